"""The thirteen cities of the LAETwin-XL data set (its table II) as places to download.

The data set's paper crops its scenes "randomly within city limits", and suburban ones "from rural outskirts",
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


def preset_box(name: str, *, suburban: bool = False) -> Box:
    """(west, south, east, north) in degrees of a preset's 1 km square, ready for ``download_map`` and ``read_map``.

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
