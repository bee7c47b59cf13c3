"""A street map as a scene."""

from __future__ import annotations

from pathlib import Path

from channelfm.maps import read_map
from channelfm.records import Scene
from channelfm.scenes.assembly import assemble


def from_osm(path: str | Path, bbox: tuple[float, float, float, float] | None = None, seed: int = 0) -> Scene:
    """Scene of an OpenStreetMap extract: extruded buildings with flat roofs on flat ground, and its roads.

    ``bbox`` is (west, south, east, north) in degrees and limits the region; ``seed`` draws the heights that the
    map does not give. Raises InputError as :func:`channelfm.maps.read_map` does.
    """
    data = read_map(path, bbox, seed)
    return assemble(
        data.name,
        data.footprints,
        data.roads,
        data.bounds,
        origin=data.origin,
        skipped=data.skipped,
        attribution=data.attribution,
    )
