"""What a map reader hands on: footprints and roads in one local metric frame."""

from __future__ import annotations

from dataclasses import dataclass, field

from shapely import MultiPolygon, Polygon

from channelfm.records import Origin, Road

OSM_ATTRIBUTION = "© OpenStreetMap contributors, Open Database License 1.0"


@dataclass(frozen=True)
class Footprint:
    """One prism of a city: an area with holes, standing between two heights above ground [m].

    ``area`` is valid, in metres (x east, y north), and its rings touch neither each other nor themselves, so
    that it extrudes to a watertight mesh. ``height_source`` is "height", "levels", "default" or "procedural".
    """

    osm_id: str
    area: Polygon | MultiPolygon
    height_m: float
    min_height_m: float
    height_source: str
    material: str
    is_part: bool = False


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
