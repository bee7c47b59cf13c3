"""Places to download by name: the maps of the shipped recipes, and the thirteen cities of LAETwin-XL (its table II).

A map's name stands for one box. ``MAPS`` has those of the fourteen extracts that the shipped recipes were made with;
any other city of the paper is a square kilometre about its centre.

LAETwin-XL's paper crops its scenes "randomly within city limits", and suburban ones "from rural outskirts",
without giving coordinates. The centres here are therefore chosen: a dense central quarter, and, where the paper has
a suburban set, a low-rise one at the outskirts. Scenes use this package's own projection, transverse Mercator about
the middle of each map (:mod:`channelfm.maps.projection`); the paper projects by "the corresponding regional
Gauss-Kruger" system. ``gauss_kruger_epsg`` names that of the Chinese cities (CGCS2000, zones of 3 degrees; the paper
confirms 4527 for Beijing), as information.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from channelfm.errors import InputError
from channelfm.maps.projection import Box, box_around, local_origin, to_geographic

PRESET_SIZE_M = 1000.0  # side of a preset's square

# west, south, east, north in degrees
MAPS: dict[str, Box] = {
    "baltimore": (-76.59980, 39.27548, -76.58820, 39.28452),
    "beijing": (116.31814, 39.99848, 116.32986, 40.00752),  # Tsinghua
    "berlin": (13.40870, 52.50070, 13.41790, 52.50510),  # Kreuzberg
    "heidelberg": (8.69980, 49.40578, 8.71360, 49.41482),  # the old town
    "helsinki": (24.93708, 60.16688, 24.95152, 60.17412),  # the centre
    "kolkata": (88.40908, 22.57449, 88.41492, 22.57991),  # Salt Lake
    "london": (-0.11092, 51.51248, -0.09648, 51.52152),  # Farringdon
    "monaco": (7.42128, 43.73548, 7.43372, 43.74452),  # Monte Carlo
    "nanjing": (118.77520, 32.03838, 118.78580, 32.04742),  # Xinjiekou
    "new-york": (-73.99163, 40.74388, -73.97977, 40.75292),  # Midtown, about the Empire State Building
    "paris": (2.34320, 48.87717, 2.35410, 48.88119),  # the ninth arrondissement
    "singapore": (103.78250, 1.29340, 103.79890, 1.30670),  # One-North
    "sydney": (151.20160, -33.87766, 151.20700, -33.87314),  # CBD
    "tokyo": (139.69470, 35.63840, 139.70830, 35.64800),  # Shibuya and Ebisu
}
_OTHER_NAMES = {"nyc": "new-york"}


@dataclass(frozen=True)
class CityPreset:
    """A city: (latitude, longitude) in degrees of a dense quarter and, or None, of a suburban one."""

    name: str
    centre: tuple[float, float]
    suburban: tuple[float, float] | None = None
    gauss_kruger_epsg: int | None = None


CITIES: dict[str, CityPreset] = {
    "shanghai": CityPreset("Shanghai", (31.2340, 121.4760), gauss_kruger_epsg=4528),  # People's Square
    "tianjin": CityPreset("Tianjin", (39.1200, 117.1950), gauss_kruger_epsg=4527),  # Heping
    "hangzhou": CityPreset("Hangzhou", (30.2730, 120.1600), gauss_kruger_epsg=4528),  # Wulin Square
    "shenzhen": CityPreset("Shenzhen", (22.5410, 114.0590), gauss_kruger_epsg=4526),  # Futian
    "new-york": CityPreset("New York", (40.7549, -73.9840)),  # Midtown Manhattan
    "london": CityPreset("London", (51.5134, -0.0890)),  # City of London
    "tokyo": CityPreset("Tokyo", (35.6900, 139.6990)),  # Shinjuku
    "sydney": CityPreset("Sydney", (-33.8675, 151.2070), (-33.7510, 150.6940)),  # CBD; Penrith
    "singapore": CityPreset("Singapore", (1.2815, 103.8510), (1.3650, 103.8660)),  # Downtown Core; Serangoon Gardens
    "dubai": CityPreset("Dubai", (25.1880, 55.2720), (25.2180, 55.4210)),  # Business Bay; Mirdif
    "beijing": CityPreset("Beijing", (39.9090, 116.4590), (40.3160, 116.6370), 4527),  # Guomao; Huairou
    "berlin": CityPreset("Berlin", (52.5130, 13.3890), (52.5080, 13.6130)),  # Mitte; Mahlsdorf
    "nanjing": CityPreset("Nanjing", (32.0430, 118.7840), (31.6510, 119.0280), 4528),  # Xinjiekou; Lishui
}


def map_name(text: str) -> str:
    """The one name of a map: in lower case, and without abbreviations such as "nyc"."""
    return _OTHER_NAMES.get(text.lower(), text.lower())


def known_maps() -> list[str]:
    """Names that :func:`map_box` knows."""
    suburbs = (f"{name}-suburban" for name, city in CITIES.items() if city.suburban)
    return sorted({*MAPS, *CITIES, *suburbs})


def map_box(name: str) -> Box:
    """(west, south, east, north) in degrees of a named map; "sydney-suburban" is a city's outskirts.

    Raises InputError on a name that is not known.
    """
    name = map_name(name)
    if name not in known_maps():
        raise InputError(f"no place is known as '{name}'; use one of {', '.join(known_maps())}, or give W,S,E,N")
    return MAPS.get(name) or preset_box(name.removesuffix("-suburban"), suburban=name.endswith("-suburban"))


def preset_box(name: str, *, suburban: bool = False) -> Box:
    """(west, south, east, north) in degrees of 1 km about the centre of one of the paper's cities.

    Raises InputError on an unknown city, and on one without a suburban set.
    """
    key = name.strip().lower().replace(" ", "-")
    if key not in CITIES:
        raise InputError(f"unknown city '{name}'; use one of {', '.join(CITIES)}")
    centre = CITIES[key].suburban if suburban else CITIES[key].centre
    if centre is None:
        known = ", ".join(city for city, preset in CITIES.items() if preset.suburban)
        raise InputError(f"{CITIES[key].name} has no suburban set; these have one: {known}")
    return box_around(*centre, PRESET_SIZE_M)


def crop_box(name: str, number: int, size_m: float) -> Box:
    """(west, south, east, north) in degrees of one of a city's crops: squares of side ``size_m`` that lie side by side,
    numbered from 0 along a spiral about the preset's centre. "sydney-suburban" means the suburban preset."""
    box = preset_box(name.removesuffix("-suburban"), suburban=name.endswith("-suburban"))
    middle = np.array([spiral_place(number)], dtype=np.float64) * size_m
    longitude, latitude = to_geographic(middle, local_origin(box))[0]
    return box_around(float(latitude), float(longitude), size_m)


def crop_name(name: str, number: int, size_m: float) -> str:
    """What the map of a crop is called: "nanjing-600m-0"."""
    return f"{name}-{size_m:g}m-{number}"


def spiral_place(number: int) -> tuple[int, int]:
    """Column and row of a place on the square spiral about (0, 0): each integer point of the plane once."""
    column, row, step = 0, 0, (1, 0)
    for side in itertools.count(1):
        for _ in range(2):
            walked = min(number, side)
            column, row, number = column + walked * step[0], row + walked * step[1], number - walked
            if number == 0:
                return column, row
            step = (-step[1], step[0])
    raise AssertionError("the spiral has no end")
