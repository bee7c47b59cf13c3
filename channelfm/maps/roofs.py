"""Roofs from ``roof:*`` tags (OSM wiki, "Simple 3D Buildings", section "Roof").

Gabled, hipped and pyramidal roofs are modelled; every other shape stays flat at the building's full height.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from typing import Literal

import numpy as np
import shapely

from channelfm.maps.areas import Area
from channelfm.maps.data import Roof
from channelfm.maps.heights import LEVEL_M, Extent, parse_length, parse_levels

DEFAULT_ANGLE_DEG = 30.0  # pitch of a roof whose height is not given
LARGEST_DEFAULT_SHARE = 0.5  # of the building's own height that such a roof may take

Shape = Literal["gabled", "hipped", "pyramidal"]
# A cone is a pyramid on a round footprint; the others are common spellings.
_SHAPES: dict[str, Shape] = {
    **dict.fromkeys(("gabled", "gable", "pitched"), "gabled"),
    **dict.fromkeys(("hipped", "hip"), "hipped"),
    **dict.fromkeys(("pyramidal", "pyramid", "cone", "conical"), "pyramidal"),
}
_FLAT = frozenset({"flat", "no", ""})
_COMPASS = ("N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE", "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW")
_DEGREES = re.compile(r"^(\d+(?:[.,]\d+)?)\s*(?:°|deg|degrees?)?$", re.IGNORECASE)


def parse_direction(text: str) -> float | None:
    """A direction in degrees clockwise from north, in [0, 360): ``135``, ``135°``, ``SE``; None if not understood."""
    text = text.strip()
    if text.upper() in _COMPASS:
        return _COMPASS.index(text.upper()) * 360.0 / len(_COMPASS)
    degrees = _parse_degrees(text)
    return None if degrees is None or degrees > 360.0 else degrees % 360.0


def parse_roof_angle(text: str) -> float | None:
    """A roof's inclination in degrees, above 0 and below 90: ``30``, ``30°``, ``27,5``; None if not understood."""
    degrees = _parse_degrees(text.strip())
    return degrees if degrees is not None and 0.0 < degrees < 90.0 else None


def _parse_degrees(text: str) -> float | None:
    match = _DEGREES.match(text)
    return float(match[1].replace(",", ".")) if match else None


def raise_roof(tags: dict[str, str], area: Area, extent: Extent, skipped: Counter[str]) -> tuple[Extent, Roof | None]:
    """The roof of a building, None for a flat one, and the building's extent with it.

    Its height is ``roof:height``, else follows from ``roof:angle`` and the width across the ridge, else is
    ``roof:levels`` of 3 m, else that of a 30 degree pitch, at most half of the building. It lies within the
    building's height, unless that comes from ``building:levels``, which leave the roof out: then it comes on top.
    ``skipped`` counts shapes that are not modelled, tags not understood, and roofs cut down to their building.
    """
    shape = _shape(tags, skipped)
    room = extent.height_m - extent.min_height_m
    if shape is None or room <= 0.0:
        return extent, None
    ridge = None if shape == "pyramidal" else _ridge(tags, area, skipped)
    bearing = longer_side_bearing(area) if ridge is None else ridge
    height = _roof_height(tags, _width_across(area, bearing), room, skipped)
    if height <= 0.0:
        return extent, None
    if extent.source == "levels":
        storeys = parse_levels(tags["building:levels"]) or 0.0
        extent = dataclasses.replace(extent, height_m=round(storeys * LEVEL_M + height, 3))
        room = extent.height_m - extent.min_height_m
        if room <= 0.0:
            return extent, None
    if height > room:
        skipped["roof higher than its building"] += 1
        height = room
    return extent, Roof(shape, height, ridge)


def longer_side_bearing(area: Area) -> float:
    """Bearing [deg] in [0, 180) of the longer side of an area's minimum rotated rectangle, clockwise from north."""
    corners = shapely.get_coordinates(shapely.oriented_envelope(area))
    sides = np.diff(corners[:3], axis=0)
    east, north = sides[np.argmax(np.hypot(*sides.T))]
    return _as_ridge(math.degrees(math.atan2(east, north)))


def _as_ridge(bearing_deg: float) -> float:
    """A bearing as that of a line, in [0, 180), to a hundredth of a degree."""
    return round(bearing_deg, 2) % 180.0


def _shape(tags: dict[str, str], skipped: Counter[str]) -> Shape | None:
    text = tags.get("roof:shape", "").strip().lower()
    if text not in _SHAPES and text not in _FLAT:
        skipped["roof shape not modelled"] += 1
    return _SHAPES.get(text)


def _ridge(tags: dict[str, str], area: Area, skipped: Counter[str]) -> float | None:
    """Bearing of the ridge where tags give it: at right angles to the direction in which the roof's face looks, or
    across the longer side. None means along the longer side."""
    if "roof:direction" in tags:
        direction = parse_direction(tags["roof:direction"])
        if direction is not None:
            return _as_ridge(direction + 90.0)
        skipped["roof tag not understood"] += 1
    across = tags.get("roof:orientation") == "across"
    return _as_ridge(longer_side_bearing(area) + 90.0) if across else None


def _width_across(area: Area, bearing_deg: float) -> float:
    """Extent [m] of an area at right angles to a bearing."""
    bearing = math.radians(bearing_deg)
    return float(np.ptp(shapely.get_coordinates(area) @ (math.cos(bearing), -math.sin(bearing))))


def _roof_height(tags: dict[str, str], width: float, room: float, skipped: Counter[str]) -> float:
    """Height [m] of a sloped roof over a width; 0 where the map says that it has none."""
    height, angle = parse_length(tags.get("roof:height", "")), parse_roof_angle(tags.get("roof:angle", ""))
    levels = parse_levels(tags.get("roof:levels", ""))
    read = {"roof:height": height, "roof:angle": angle, "roof:levels": levels}
    skipped["roof tag not understood"] += sum(key in tags and value is None for key, value in read.items())
    if height is None:
        if angle is not None:
            height = math.tan(math.radians(angle)) * width / 2.0
        elif levels:  # roof:levels=0 is a roof without rooms
            height = levels * LEVEL_M
        else:
            height = min(math.tan(math.radians(DEFAULT_ANGLE_DEG)) * width / 2.0, LARGEST_DEFAULT_SHARE * room)
    return round(height, 3)
