"""Footprints, roads and ground -> one Scene: watertight meshes without inner walls, and the ground under them."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import shapely

from channelfm.errors import InputError
from channelfm.maps import Footprint
from channelfm.records import Building, Origin, Road, Scene, SceneObject
from channelfm.scenes.extrusion import Float, Int, extrude, is_watertight, mesh_volume
from channelfm.scenes.roofs import roofed_solid
from channelfm.scenes.terrain import Terrain, base_heights
from channelfm.scenes.unions import Body, join_touching

GROUND_MATERIAL = "medium_dry_ground"
GROUND_MARGIN_M = 100.0  # ground beyond the outermost building, so that ground reflections near the edge exist
UNFIT_ROOF = "roof shape does not fit the outline"

Bounds = tuple[float, float, float, float]


def assemble(
    name: str,
    footprints: Sequence[Footprint],
    roads: Sequence[Road],
    bounds: Bounds,
    *,
    origin: Origin | None = None,
    skipped: dict[str, int] | None = None,
    attribution: str = "",
    terrain: Terrain | None = None,
) -> Scene:
    """Raise every footprint to a solid, unite those that touch, and lay the ground under them.

    Footprints must be disjoint in volume, but may touch. Objects of kind "building" are named after their OSM ids
    ("way_42"), a union after its largest building; the ground is the last object, "ground": a rectangle at z = 0, or
    the surface of ``terrain``, on whose lowest point under its outline a building then stands. ``buildings`` gives
    heights above that point, and outlines as they were built.
    """
    if not footprints:
        raise InputError(f"scene '{name}' has no building; choose another region or map")
    counts = Counter(skipped or {})
    base = dict(zip([item.osm_id for item in footprints], base_heights(footprints, terrain), strict=True))
    standing = [_lifted(item, base[item.osm_id]) for item in footprints]
    buildings: list[Building] = []
    objects: list[SceneObject] = []
    meshes: list[tuple[Float, Int]] = []
    for body in join_touching(standing, counts):
        items, mesh = _solid(body, counts)
        largest = max(items, key=lambda item: (item.area.area * (item.height_m - item.min_height_m), item.osm_id))
        objects.append(SceneObject(object_name(largest.osm_id), largest.material, "building"))
        meshes.append(mesh)
        closed = is_watertight(*mesh)
        for item in items:
            volume = item.area.area * (item.height_m - item.min_height_m) if item.roof is None else mesh_volume(*mesh)
            buildings.append(_building(_lifted(item, -base[item.osm_id]), volume, closed, objects[-1].name))
    order = {item.osm_id: number for number, item in enumerate(footprints)}
    meshes.append(terrain.mesh() if terrain else _flat_ground(ground_bounds(bounds, footprints)))
    objects.append(SceneObject("ground", GROUND_MATERIAL, "ground"))
    vertices, faces, face_object = join_meshes(meshes)
    return Scene(
        name=name,
        vertices=vertices,
        faces=faces,
        face_object=face_object,
        objects=tuple(objects),
        bounds=bounds,
        buildings=tuple(sorted(buildings, key=lambda item: order[item.osm_id])),
        roads=tuple(roads),
        origin=origin,
        skipped={reason: count for reason, count in counts.items() if count},
        attribution=attribution,
    )


def object_name(osm_id: str) -> str:
    """An OSM id as a name that is safe in file names and XML: "way/-7" -> "way_-7"."""
    return osm_id.replace("/", "_")


def join_meshes(meshes: Sequence[tuple[Float, Int]]) -> tuple[Float, Int, Int]:
    """Vertices, faces and object index of each face of several meshes taken together."""
    offsets = np.cumsum([0, *(len(vertices) for vertices, _ in meshes[:-1])])
    faces = [mesh + offset for (_, mesh), offset in zip(meshes, offsets, strict=True)]
    return (
        np.concatenate([vertices for vertices, _ in meshes]).astype(np.float64),
        np.concatenate(faces).astype(np.int32),
        np.repeat(np.arange(len(meshes)), [len(mesh) for _, mesh in meshes]).astype(np.int32),
    )


def ground_bounds(bounds: Bounds, footprints: Sequence[Footprint]) -> Bounds:
    """Whole metres around the region and all buildings, with a margin."""
    boxes = np.vstack([bounds, shapely.bounds([item.area for item in footprints])])
    x_min, y_min = (math.floor(value - GROUND_MARGIN_M) for value in boxes[:, :2].min(axis=0))
    x_max, y_max = (math.ceil(value + GROUND_MARGIN_M) for value in boxes[:, 2:].max(axis=0))
    return x_min, y_min, x_max, y_max


def _lifted(item: Footprint, base_m: float) -> Footprint:
    """A footprint with its heights moved by ``base_m``, to the millimetre, so that what should touch does."""
    return dataclasses.replace(
        item, height_m=round(item.height_m + base_m, 3), min_height_m=round(item.min_height_m + base_m, 3)
    )


def _solid(body: Body, counts: Counter[str]) -> tuple[tuple[Footprint, ...], tuple[Float, Int]]:
    """The mesh of a body; a roof that makes no solid over its outline becomes flat, and is counted."""
    if body.mesh is not None:
        return body.items, body.mesh
    (item,) = body.items
    mesh = roofed_solid(item)
    if mesh is None:
        counts[UNFIT_ROOF] += 1
        item = dataclasses.replace(item, roof=None)
        mesh = extrude(item.area, item.min_height_m, item.height_m)
    return (item,), mesh


def _building(item: Footprint, volume_m3: float, watertight: bool, mesh: str) -> Building:
    shells = shapely.get_parts(item.area)
    outer = float(np.sum(shapely.area(shapely.polygons(shapely.get_exterior_ring(shells)))))
    return Building(
        osm_id=item.osm_id,
        height_m=item.height_m,
        min_height_m=item.min_height_m,
        height_source=item.height_source,
        footprint_area_m2=outer,
        hole_area_m2=outer - float(item.area.area),
        volume_m3=volume_m3,
        material=item.material,
        watertight=watertight,
        roof_shape=item.roof.shape if item.roof else "flat",
        mesh=mesh,
    )


def _flat_ground(bounds: Bounds) -> tuple[Float, Int]:
    """Two upward triangles at z = 0."""
    x_min, y_min, x_max, y_max = bounds
    corners = [(x_min, y_min, 0.0), (x_max, y_min, 0.0), (x_max, y_max, 0.0), (x_min, y_max, 0.0)]
    return np.array(corners, dtype=np.float64), np.array([[0, 1, 2], [0, 2, 3]], dtype=np.int32)
