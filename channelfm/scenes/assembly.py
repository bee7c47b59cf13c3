"""Footprints and roads -> one Scene: a watertight mesh per building, and the ground under them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import shapely

from channelfm.errors import InputError
from channelfm.maps import Footprint
from channelfm.records import Building, Origin, Road, Scene, SceneObject
from channelfm.scenes.extrusion import Float, Int, extrude, is_watertight, mesh_volume

GROUND_MATERIAL = "medium_dry_ground"
GROUND_MARGIN_M = 100.0  # ground beyond the outermost building, so that ground reflections near the edge exist

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
) -> Scene:
    """Extrude every footprint into one object of kind "building" and lay a ground rectangle at z = 0.

    Objects are named after their OSM ids ("way_42"); the ground is the last one, "ground".
    """
    if not footprints:
        raise InputError(f"scene '{name}' has no building; choose another region or map")
    meshes = [extrude(item.area, item.min_height_m, item.height_m) for item in footprints]
    buildings = [_building(item, *mesh) for item, mesh in zip(footprints, meshes, strict=True)]
    objects = [SceneObject(object_name(item.osm_id), item.material, "building") for item in footprints]
    meshes.append(_ground(bounds, footprints))
    objects.append(SceneObject("ground", GROUND_MATERIAL, "ground"))
    vertices, faces, face_object = join_meshes(meshes)
    return Scene(
        name=name,
        vertices=vertices,
        faces=faces,
        face_object=face_object,
        objects=tuple(objects),
        bounds=bounds,
        buildings=tuple(buildings),
        roads=tuple(roads),
        origin=origin,
        skipped=dict(skipped or {}),
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


def _building(item: Footprint, vertices: Float, faces: Int) -> Building:
    shells = shapely.get_parts(item.area)
    outer = float(np.sum(shapely.area(shapely.polygons(shapely.get_exterior_ring(shells)))))
    return Building(
        osm_id=item.osm_id,
        height_m=item.height_m,
        min_height_m=item.min_height_m,
        height_source=item.height_source,
        footprint_area_m2=outer,
        hole_area_m2=outer - float(item.area.area),
        volume_m3=mesh_volume(vertices, faces),
        material=item.material,
        watertight=is_watertight(vertices, faces),
    )


def _ground(bounds: Bounds, footprints: Sequence[Footprint]) -> tuple[Float, Int]:
    """Two upward triangles at z = 0 under the region and all buildings, with a margin."""
    boxes = np.vstack([bounds, shapely.bounds([item.area for item in footprints])])
    x_min, y_min = (math.floor(value - GROUND_MARGIN_M) for value in boxes[:, :2].min(axis=0))
    x_max, y_max = (math.ceil(value + GROUND_MARGIN_M) for value in boxes[:, 2:].max(axis=0))
    corners = [(x_min, y_min, 0.0), (x_max, y_min, 0.0), (x_max, y_max, 0.0), (x_min, y_max, 0.0)]
    return np.array(corners, dtype=np.float64), np.array([[0, 1, 2], [0, 2, 3]], dtype=np.int32)
