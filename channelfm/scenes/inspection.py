"""Faults that a ray tracer would trip over: faces of a scene that coincide back to back."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from channelfm.records import Scene

Index = NDArray[np.int64]

NEAR_M = 1e-3  # the grid of the outlines
NEAR_RAD = 1e-4
SMALLEST_OVERLAP_M2 = 1e-4


def coincident_faces(scene: Scene) -> Index:
    """Pairs of faces [K, 2] that face opposite ways and overlap within 1 mm: inner walls between solids.

    Faces of the ground are not looked at: every building stands on it.
    """
    raised = np.array([item.kind != "ground" for item in scene.objects])
    number = np.flatnonzero(raised[scene.face_object])
    corners = scene.vertices[scene.faces[number]]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1)
    proper = length > 0.0
    number, corners, normal = number[proper], corners[proper], normal[proper] / length[proper, None]
    low, high = corners.min(axis=1), corners.max(axis=1)
    boxes = shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1])
    one, other = shapely.STRtree(boxes).query(boxes)
    later = one < other
    one, other = one[later], other[later]
    opposite = (normal[one] * normal[other]).sum(axis=1) < -np.cos(NEAR_RAD)
    near = opposite & (low[one] <= high[other] + NEAR_M).all(axis=1) & (low[other] <= high[one] + NEAR_M).all(axis=1)
    one, other = one[near], other[near]
    origin, along = corners[one, 0], corners[one, 1] - corners[one, 0]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    axes = np.stack([along, np.cross(normal[one], along)], axis=1)
    first, second = (
        shapely.polygons(np.einsum("kad,kcd->kca", axes, corners[index] - origin[:, None])) for index in (one, other)
    )
    common = shapely.intersection(first, second)
    large = shapely.area(common) > SMALLEST_OVERLAP_M2
    one, other, origin, axes = one[large], other[large], origin[large], axes[large]
    points, pair = shapely.get_coordinates(common[large], return_index=True)
    points_3d = origin[pair] + np.einsum("kad,ka->kd", axes[pair], points)
    gap = np.zeros(len(one))
    np.maximum.at(gap, pair, np.abs(((points_3d - corners[other[pair], 0]) * normal[other[pair]]).sum(axis=1)))
    return np.stack([number[one], number[other]], axis=1)[gap < NEAR_M]
