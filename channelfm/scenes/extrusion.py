"""Prisms over polygons with holes: watertight triangle meshes with outward orientation."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

Float = NDArray[np.float64]
Int = NDArray[np.int32]


def extrude(area: Polygon | MultiPolygon, bottom_m: float, top_m: float) -> tuple[Float, Int]:
    """Vertices [V, 3] m and outward faces [F, 3] of the prism over ``area`` between two heights.

    Caps are constrained Delaunay triangulations, which use the polygon's own vertices only; so every edge is
    shared by exactly two faces as long as no two rings touch (:func:`channelfm.maps.areas.clean_area`).
    """
    vertices: list[Float] = []
    faces: list[Int] = []
    offset = 0
    for part in shapely.get_parts(area):
        part_vertices, part_faces = _extrude_polygon(shapely.orient_polygons(part), bottom_m, top_m)
        vertices.append(part_vertices)
        faces.append(part_faces + np.int32(offset))
        offset += len(part_vertices)
    return np.concatenate(vertices), np.concatenate(faces)


def _extrude_polygon(polygon: Polygon, bottom_m: float, top_m: float) -> tuple[Float, Int]:
    """One prism; the shell of ``polygon`` runs counter-clockwise and its holes clockwise."""
    rings = [shapely.get_coordinates(ring)[:-1] for ring in (polygon.exterior, *polygon.interiors)]
    flat = np.concatenate(rings)
    count = len(flat)
    cap = _cap_faces(polygon, flat)
    following = np.concatenate([np.roll(np.arange(len(ring)), -1) for ring in rings])
    starts = np.repeat(np.cumsum([0, *map(len, rings[:-1])]), list(map(len, rings)))
    here, there = np.arange(count), starts + following
    walls = np.concatenate(
        [np.stack([here, there, there + count], axis=1), np.stack([here, there + count, here + count], axis=1)]
    )
    vertices = np.concatenate([np.column_stack([flat, np.full(count, height)]) for height in (bottom_m, top_m)])
    return vertices, np.concatenate([cap[:, ::-1], cap + count, walls]).astype(np.int32)


def _cap_faces(polygon: Polygon, flat: Float) -> Int:
    """Counter-clockwise triangles [T, 3] of a polygon as indices into its ring coordinates ``flat`` [N, 2]."""
    index = {point: number for number, point in enumerate(map(tuple, flat.tolist()))}
    found = [index[point] for point in map(tuple, cap_triangles(polygon).reshape(-1, 2).tolist())]
    return np.array(found, dtype=np.int32).reshape(-1, 3)


def cap_triangles(polygon: Polygon) -> Float:
    """Corners [T, 3, 2] of counter-clockwise triangles that fill a polygon and use its own vertices only."""
    triangles = shapely.get_parts(shapely.constrained_delaunay_triangles(polygon))
    return np.asarray(shapely.get_coordinates(shapely.orient_polygons(triangles)).reshape(-1, 4, 2)[:, :3])


def mesh_volume(vertices: Float, faces: Int) -> float:
    """Signed volume [m3] of a closed mesh (divergence theorem); positive if its faces look outwards."""
    corners = vertices[faces] - vertices.mean(axis=0)
    return float(np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6.0)


def is_watertight(vertices: Float, faces: Int) -> bool:
    """Whether every edge is shared by exactly two faces that run along it in opposite directions, once vertices
    at the same place are taken as one."""
    _, place = np.unique(vertices, axis=0, return_inverse=True)
    corners = place.reshape(-1)[faces]
    edges = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]).astype(np.int64)
    code = edges[:, 0] * (len(vertices) + 1) + edges[:, 1]
    opposite = edges[:, 1] * (len(vertices) + 1) + edges[:, 0]
    return bool(len(np.unique(code)) == len(code) and np.array_equal(np.sort(code), np.sort(opposite)))
