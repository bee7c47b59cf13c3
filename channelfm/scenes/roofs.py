"""Pitched roofs: solids over a polygon whose top follows a height field (gabled, hipped) or rises to an apex."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable

import numpy as np
import shapely
from shapely import Polygon

from channelfm.maps import Footprint, Roof
from channelfm.scenes.extrusion import Float, Int, cap_triangles, extrude

ON_FOLD_M = 1e-3  # corners this near to a ridge or hip count as lying on it
SMALLEST_WALL_M = 0.01  # below the eaves

Triangle = tuple[tuple[float, ...], ...]  # three corners (x, y, z)
Fold = Callable[[Float], Float]  # signed distance [N] m of points [N, 2] from a line where the roof bends


def roofed_solid(item: Footprint) -> tuple[Float, Int] | None:
    """Vertices [V, 3] m and outward faces [F, 3] of a building with its roof; None if that makes no valid solid.

    The eaves lie at ``height_m - roof.height_m``, and at least 1 cm above the underside. A gabled or hipped roof is
    that of the bounding rectangle along the ridge, cut along the outline: the walls follow it, and it always fits. A
    pyramid needs an outline without holes, all of which is seen from its centroid.
    """
    roof = item.roof
    if roof is None:
        return extrude(item.area, item.min_height_m, item.height_m)
    eaves = max(item.height_m - roof.height_m, item.min_height_m + SMALLEST_WALL_M)
    if eaves >= item.height_m:
        return None
    triangles: list[Triangle] = []
    for part in shapely.get_parts(item.area):
        polygon = shapely.orient_polygons(part)
        found = (
            _pyramid(polygon, item.min_height_m, eaves, item.height_m)
            if roof.shape == "pyramidal"
            else _ridged(polygon, item.min_height_m, eaves, dataclasses.replace(roof, height_m=item.height_m - eaves))
        )
        if found is None:
            return None
        triangles += found
    vertices, faces = np.unique(np.array(triangles).reshape(-1, 3), axis=0, return_inverse=True)
    return vertices, faces.reshape(-1, 3).astype(np.int32)


def _pyramid(polygon: Polygon, bottom: float, eaves: float, top: float) -> list[Triangle] | None:
    """Level eaves, and one roof triangle from each edge of the outline to the apex over the centroid."""
    ring = shapely.get_coordinates(polygon.exterior)
    (x, y), start, end = shapely.get_coordinates(polygon.centroid)[0], ring[:-1], ring[1:]
    double_area = (start[:, 0] - x) * (end[:, 1] - y) - (start[:, 1] - y) * (end[:, 0] - x)
    if polygon.interiors or (double_area < ON_FOLD_M * np.hypot(*(end - start).T)).any():
        return None
    apex = (float(x), float(y), top)
    triangles = _underside(polygon, bottom)
    for a, b in zip(start.tolist(), end.tolist(), strict=True):
        triangles += _wall(bottom, [(*a, eaves), (*b, eaves)])
        triangles.append(((*a, eaves), (*b, eaves), apex))
    return triangles


def _ridged(polygon: Polygon, bottom: float, eaves: float, roof: Roof) -> list[Triangle]:
    """Roof planes that fall from the middle line of the bounding rectangle to its sides (and ends, if hipped)."""
    height, folds = _roof_field(polygon, roof)

    def raised(points: Float) -> list[tuple[float, ...]]:
        return [tuple(corner) for corner in np.column_stack([points, eaves + height(points)]).tolist()]

    triangles = _underside(polygon, bottom)
    pieces = list(cap_triangles(polygon))
    for fold in folds:
        pieces = [piece for whole in pieces for piece in _split(whole, fold)]
    for piece in pieces:
        corners = raised(piece)
        triangles += [(corners[0], corners[k], corners[k + 1]) for k in range(1, len(corners) - 1)]
    for ring in (polygon.exterior, *polygon.interiors):
        points = shapely.get_coordinates(ring)
        for edge in itertools.pairwise(points):
            line = np.array(edge)
            for fold in folds:
                line = _cut_line(line, fold)
            triangles += _wall(bottom, raised(line))
    return triangles


def _roof_field(polygon: Polygon, roof: Roof) -> tuple[Callable[[Float], Float], list[Fold]]:
    """Height above the eaves of points [N, 2], and the folds along which it bends, in the order to cut them.

    Both are given in a frame along the ridge, from the middle of the bounding rectangle. The planes of a hipped roof
    have equal slopes, so its ridge runs along the longer side whatever the bearing says.
    """
    along = _ridge_direction(polygon, roof)
    across = np.array([-along[1], along[0]])
    corners = shapely.get_coordinates(polygon)
    u, v = _along(corners, along), _along(corners, across)
    u_mid, v_mid = (float(values.min() + values.max()) / 2 for values in (u, v))
    if roof.shape == "hipped" and np.ptp(u) < np.ptp(v):
        along, across, u_mid, v_mid, u, v = across, along, v_mid, u_mid, v, u
    half_length, half_width = float(np.ptp(u)) / 2, float(np.ptp(v)) / 2

    def from_ridge(points: Float) -> Float:
        return _along(points, across) - v_mid

    def beyond_hip(points: Float, end: float) -> Float:
        to_side = half_width - np.abs(from_ridge(points))
        return np.asarray(to_side - (half_length - end * (_along(points, along) - u_mid)))

    def height(points: Float) -> Float:
        run = half_width - np.abs(from_ridge(points))
        if roof.shape == "hipped":
            run = np.minimum(run, half_length - np.abs(_along(points, along) - u_mid))
        return np.asarray(roof.height_m * np.clip(run / half_width, 0.0, 1.0))

    hips: list[Fold] = [lambda points: beyond_hip(points, -1.0), lambda points: beyond_hip(points, 1.0)]
    return height, [from_ridge, *(hips if roof.shape == "hipped" else [])]


def _along(points: Float, direction: Float) -> Float:
    """Scalar products [N], written out: a matrix product may round a point differently in another array, and then
    neighbours would not meet."""
    return np.asarray(points[:, 0] * direction[0] + points[:, 1] * direction[1])


def _ridge_direction(polygon: Polygon, roof: Roof) -> Float:
    """Unit vector [2] of the ridge: its bearing from north, else the longer side of the minimum rotated rectangle."""
    if roof.ridge_deg is not None:
        bearing = math.radians(roof.ridge_deg)
        return np.array([math.sin(bearing), math.cos(bearing)])
    corners = shapely.get_coordinates(shapely.minimum_rotated_rectangle(polygon))
    sides = corners[1:3] - corners[:2]
    longest = sides[int(np.argmax(np.hypot(*sides.T)))]
    return np.asarray(longest / np.hypot(*longest))


def _split(polygon: Float, fold: Fold) -> list[Float]:
    """The one or two convex pieces of a convex polygon [N, 2] on either side of a fold.

    New corners are computed from the ends of an edge in a fixed order, so that neighbours get the very same ones.
    """
    ring = _cut_line(np.vstack([polygon, polygon[:1]]), fold)[:-1]
    distance = _distance(ring, fold)
    if (distance >= 0.0).all() or (distance <= 0.0).all():
        return [ring]
    return [ring[distance >= 0.0], ring[distance <= 0.0]]


def _cut_line(line: Float, fold: Fold) -> Float:
    """A polyline [N, 2] with a new point wherever it crosses a fold."""
    distance = _distance(line, fold)
    points = [line[0]]
    for k in range(1, len(line)):
        if distance[k - 1] * distance[k] < 0.0:
            first, second = sorted((k - 1, k), key=lambda index: tuple(line[index]))
            share = distance[first] / (distance[first] - distance[second])
            points.append(line[first] + share * (line[second] - line[first]))
        points.append(line[k])
    return np.array(points)


def _distance(points: Float, fold: Fold) -> Float:
    distance = fold(points)
    return np.where(np.abs(distance) < ON_FOLD_M, 0.0, distance)


def _underside(polygon: Polygon, bottom: float) -> list[Triangle]:
    return [((*c, bottom), (*b, bottom), (*a, bottom)) for a, b, c in cap_triangles(polygon).tolist()]


def _wall(bottom: float, rim: list[tuple[float, ...]]) -> list[Triangle]:
    """Outward triangles of an upright wall below the points of its upper rim, which runs counter-clockwise and is
    nowhere concave from below."""
    here, there = (rim[0][0], rim[0][1], bottom), (rim[-1][0], rim[-1][1], bottom)
    fan: list[tuple[float, ...]] = [there, *rim[::-1]]
    return [(here, fan[k], fan[k + 1]) for k in range(len(fan) - 1)]
