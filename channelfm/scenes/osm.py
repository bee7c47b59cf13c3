"""A street map as a scene."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from channelfm.maps import read_map
from channelfm.records import Scene
from channelfm.scenes.assembly import assemble, ground_bounds
from channelfm.scenes.terrain import read_terrain


def from_osm(
    path: str | Path,
    bbox: tuple[float, float, float, float] | None = None,
    seed: int = 0,
    terrain: str | Path | None = None,
) -> Scene:
    """Scene of an OpenStreetMap extract: solid buildings with their roofs, the ground, and the roads.

    ``bbox`` is (west, south, east, north) in degrees and limits the region; ``seed`` draws the heights that the
    map does not give. ``terrain`` is a height raster (GeoTIFF, ASC) for the ground, which is flat at z = 0 without
    it; z = 0 then is its lowest point, ``origin.height_m`` above the raster's own zero. Raises InputError as
    :func:`channelfm.maps.read_map` and :func:`channelfm.scenes.terrain.read_terrain` do.
    """
    data = read_map(path, bbox, seed)
    origin, ground = data.origin, None
    if terrain is not None:
        ground = read_terrain(terrain, origin, ground_bounds(data.bounds, data.footprints))
        origin = dataclasses.replace(origin, height_m=ground.datum_m)
    return assemble(
        data.name,
        data.footprints,
        data.roads,
        data.bounds,
        origin=origin,
        skipped=data.skipped,
        attribution=data.attribution,
        terrain=ground,
    )
