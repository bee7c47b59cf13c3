"""What a map reader hands on: footprints and roads in one local metric frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from shapely import MultiPolygon, Polygon

from channelfm.records import Building, Origin, Road

OSM_ATTRIBUTION = "© OpenStreetMap contributors, Open Database License 1.0"


@dataclass(frozen=True)
class Roof:
    """A roof that is not flat ("Simple 3D Buildings" of the OSM wiki).

    ``height_m`` is the height of the roof alone: the eaves lie at ``Footprint.height_m - height_m``.
    ``ridge_deg`` is the bearing of the ridge, clockwise from the y axis (north), in [0, 180); None means along the
    longer side of the area's minimum rotated rectangle. A pyramid has no ridge.
    """

    shape: Literal["gabled", "hipped", "pyramidal"]
    height_m: float
    ridge_deg: float | None = None


@dataclass(frozen=True)
class Footprint:
    """One building of a city: an area with holes, standing between two heights above ground [m].

    ``area`` is valid, in metres (x east, y north), and its rings touch neither each other nor themselves, so
    that it extrudes to a watertight mesh. ``height_m`` includes the roof. ``height_source`` is "height", "levels",
    "default" or "procedural". ``roof`` None is a flat roof.
    """

    osm_id: str
    area: Polygon | MultiPolygon
    height_m: float
    min_height_m: float
    height_source: str
    material: str
    is_part: bool = False
    roof: Roof | None = None


@dataclass(frozen=True)
class MapData:
    """A map in local metres. ``bounds`` is (x_min, y_min, x_max, y_max) of the region of interest; ``skipped``
    counts by reason what was left out or could not be understood."""

    name: str
    footprints: tuple[Footprint, ...]
    roads: tuple[Road, ...]
    origin: Origin
    bounds: tuple[float, float, float, float]
    skipped: dict[str, int] = field(default_factory=dict)
    attribution: str = OSM_ATTRIBUTION


def height_sources(buildings: Iterable[Footprint | Building]) -> dict[str, float]:
    """Share of buildings whose height came from each source, the largest first; empty without buildings."""
    counts = Counter(item.height_source for item in buildings)
    return {source: count / counts.total() for source, count in counts.most_common()}
