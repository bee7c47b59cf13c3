"""Heights of buildings from their tags, and a seeded guess where there are none.

Tag conventions: OSM wiki, "Key:height" (metres unless a unit is given; feet and inches as 12'6"),
"Simple 3D Buildings" (height includes the roof, building:levels does not).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

FOOT_M, INCH_M = 0.3048, 0.0254
LEVEL_M = 3.0  # storey height, also of roof levels
HIGHEST_M = 1000.0  # taller values are typing errors (the tallest building on Earth has 828 m)
CANOPY_THICKNESS_M = 0.5  # of building=roof and the like, which have no walls

_NUMBER = r"(\d+(?:[.,]\d+)?)"
_METRES = re.compile(rf"^\+?{_NUMBER}\s*(?:m|meters?|metres?)?\.?$", re.IGNORECASE)
_FEET = re.compile(
    rf"^{_NUMBER}\s*(?:['\u2032]|ft|feet|foot)\.?\s*(?:{_NUMBER}\s*(?:[\"\u2033]|''|in|inch|inches)\.?)?$",
    re.IGNORECASE,
)

# Plausible heights [m] by building type where a map says nothing: lowest and highest of a uniform draw.
_DEFAULT_RANGE: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("house", "detached", "semidetached_house", "terrace", "bungalow", "villa", "farm"), (5.0, 9.0)),
    **dict.fromkeys(("garage", "garages", "shed", "hut", "kiosk", "cabin", "carport", "toilets"), (2.5, 3.5)),
    **dict.fromkeys(("roof", "canopy"), (3.5, 5.5)),
    **dict.fromkeys(("apartments", "residential", "dormitory"), (12.0, 24.0)),
    **dict.fromkeys(("office", "commercial", "hotel", "hospital", "government"), (12.0, 30.0)),
    **dict.fromkeys(("industrial", "warehouse", "retail", "supermarket", "hangar", "service"), (5.0, 10.0)),
    **dict.fromkeys(("church", "cathedral", "mosque", "temple"), (15.0, 30.0)),
    **dict.fromkeys(("school", "university", "college", "public", "civic", "train_station"), (9.0, 18.0)),
}
_OTHER_RANGE = (7.0, 18.0)
CANOPIES = frozenset({"roof", "canopy", "carport"})


@dataclass(frozen=True)
class Extent:
    """Vertical extent of a building above ground [m] and where its height came from."""

    height_m: float
    min_height_m: float
    source: str


def parse_length(text: str) -> float | None:
    """A length tag in metres: ``12``, ``12 m``, ``12,5``, ``40'``, ``40 ft``, ``40'6"``; of a list ``12;15`` the
    largest. None if it is not understood, negative, or above 1000 m."""
    values = [_parse_single_length(item.strip()) for item in text.split(";")]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    longest = max(known)
    return longest if longest <= HIGHEST_M else None


def _parse_single_length(text: str) -> float | None:
    if match := _METRES.match(text):
        return _number(match[1])
    if match := _FEET.match(text):
        inches = _number(match[2]) if match[2] else 0.0
        return _number(match[1]) * FOOT_M + inches * INCH_M
    return None


def _number(text: str) -> float:
    return float(text.replace(",", "."))


def parse_levels(text: str) -> float | None:
    """A number of storeys: ``4``, ``2.5``, ``2,5``; of a list ``3;4`` the largest. None if not understood,
    negative, or above what 1000 m can hold."""
    try:
        levels = max(_number(item.strip()) for item in text.split(";"))
    except ValueError:
        return None
    return levels if 0.0 <= levels <= HIGHEST_M / LEVEL_M else None


def default_height(osm_id: str, building_type: str, seed: int) -> float:
    """A plausible height [m] by building type; it depends on seed and id only, never on the order of reading."""
    low, high = _DEFAULT_RANGE.get(building_type, _OTHER_RANGE)
    digest = hashlib.sha256(f"{seed}:{osm_id}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2.0**64
    return round(low + share * (high - low), 2)


def has_height(tags: dict[str, str]) -> bool:
    """Whether the tags themselves give a usable height."""
    return _tagged_height(tags) is not None


def vertical_extent(tags: dict[str, str], osm_id: str, seed: int) -> tuple[Extent, list[str]]:
    """Height, underside and source of a building, and the keys of height tags that were not understood.

    The height comes from ``height`` (source "height"), else from ``building:levels`` and the roof on top of them,
    ``roof:height`` or ``roof:levels`` (source "levels"), else :func:`default_height` (source "default"). The
    underside is ``min_height``, else ``building:min_level`` storeys, else 0; canopies (``building=roof``) are slabs
    of 0.5 m.
    """
    unread: list[str] = [key for key in ("height", "building:height") if key in tags and not parse_length(tags[key])]
    if "building:levels" in tags and parse_levels(tags["building:levels"]) is None:
        unread.append("building:levels")
    building_type = tags.get("building", tags.get("building:part", "yes"))
    height, source = _tagged_height(tags) or (default_height(osm_id, building_type, seed), "default")
    underside = _min_height(tags)
    if underside is None:
        underside = max(height - CANOPY_THICKNESS_M, 0.0) if building_type in CANOPIES else 0.0
    elif source == "default" and height <= underside:
        height = underside + LEVEL_M  # a raised part of unknown height is one storey
    return Extent(height, underside, source), unread


def _tagged_height(tags: dict[str, str]) -> tuple[float, str] | None:
    for key in ("height", "building:height"):
        height = parse_length(tags.get(key, ""))
        if height:
            return height, "height"
    levels = parse_levels(tags.get("building:levels", ""))
    roof = parse_length(tags.get("roof:height", ""))
    if roof is None:
        roof = (parse_levels(tags.get("roof:levels", "")) or 0.0) * LEVEL_M
    if levels is not None and levels * LEVEL_M + roof > 0.0:
        return levels * LEVEL_M + roof, "levels"
    return None


def _min_height(tags: dict[str, str]) -> float | None:
    height = parse_length(tags.get("min_height", ""))
    if height is not None:
        return height
    levels = parse_levels(tags.get("building:min_level", ""))
    return levels * LEVEL_M if levels is not None else None
