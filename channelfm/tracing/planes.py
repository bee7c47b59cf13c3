"""A scene as planar reflectors and occluders: what the image method asks of geometry, in float64 NumPy.

Coplanar triangles share one plane, whatever object they belong to, because a mirror image depends on the
plane alone. Occlusion is Möller and Trumbore's test (1997) on the triangles of those blocks of the mesh
whose bounding box a segment enters.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from channelfm.records import Scene

Float = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]

COPLANAR_TOLERANCE = 1e-5  # of (100 m * normal, offset in m): below a thousandth of a centimetre-wave's length
LENGTH_SCALE_M = 100.0  # a tilt counts as the offset that it makes over this length
BARYCENTRIC_TOLERANCE = 1e-9  # edges belong to both their triangles, so that no ray slips through
BLOCK_TRIANGLES = 16
CHUNK_PAIRS = 400_000  # pairs of segment and triangle tested at once: some 100 MB
SMALLEST_AREA_M2 = 1e-10


@dataclass(frozen=True)
class PlanarScene:
    """Triangles of a scene grouped by plane (for mirroring) and by block (for occlusion).

    Triangles: ``corner``, ``edge_one``, ``edge_two`` [T, 3] m, ``plane`` [T], ``material`` [T] index into
    ``materials``. Planes: unit ``normal`` [P, 3] (either side), ``offset`` [P] = normal . point, bounding box
    ``lower``, ``upper`` [P, 3]. ``plane_start`` [P + 1] delimits each plane's part of ``plane_triangles``;
    ``block_start`` [B + 1] each block's part of ``block_triangles``, with boxes ``block_lower``, ``block_upper``.
    """

    corner: Float
    edge_one: Float
    edge_two: Float
    plane: Index
    material: Index
    materials: tuple[str, ...]
    normal: Float
    offset: Float
    lower: Float
    upper: Float
    plane_start: Index
    plane_triangles: Index
    block_start: Index
    block_triangles: Index
    block_lower: Float
    block_upper: Float

    def mirror(self, points: Float, plane: Index | int) -> Float:
        """Mirror images of points [..., 3] in planes (one index, or one for each point)."""
        normal, offset = self.normal[plane], self.offset[plane]
        height = np.sum(points * normal, axis=-1) - offset
        return np.asarray(points - 2.0 * height[..., None] * normal)

    def in_box(self, points: Float, plane: Index) -> Mask:
        """Whether points [N, 3] on planes [N] lie in the bounding box of the plane's triangles."""
        return np.asarray(((points >= self.lower[plane]) & (points <= self.upper[plane])).all(axis=-1))

    def triangle_at(self, points: Float, plane: Index) -> Index:
        """Triangle [N] of the planes [N] that contains each point [N, 3]; -1 where none does."""
        found = np.full(len(points), -1, dtype=np.int64)
        for part in _chunks(np.diff(self.plane_start)[plane]):
            owner, item = _expand(self.plane_start, plane[part])
            triangle, owner = self.plane_triangles[item], owner + part.start
            inside = self._inside(points[owner], triangle)
            found[owner[inside]] = triangle[inside]
        return found

    def blocked(self, start: Float, end: Float, ignored: Index) -> Mask:
        """Whether any triangle crosses the segments start -> end [N, 3].

        ``ignored`` [N, K] names planes that do not count: those that the segment starts or ends on. A
        straight segment meets a plane once, so nothing real is missed. -1 ignores nothing.
        """
        result = np.zeros(len(start), dtype=bool)
        rows = max(1, CHUNK_PAIRS // max(1, len(self.block_lower)))
        for first in range(0, len(start), rows):
            part = slice(first, min(first + rows, len(start)))
            segment, block = np.nonzero(_enters(start[part], end[part], self.block_lower, self.block_upper))
            segment += first
            for pairs in _chunks(np.diff(self.block_start)[block]):
                owner, item = _expand(self.block_start, block[pairs])
                self._mark_blocked(result, segment[pairs][owner], self.block_triangles[item], start, end, ignored)
        return result

    def bundle_blocked(self, start: Float, end: Float, ignored: Index) -> Mask:
        """As ``blocked`` for segments [N, 3] that run close together, all with the same ``ignored`` [K].

        Each segment stays within one radius of the bundle's axis, so only blocks whose box, grown by that
        radius, meets the axis can matter to any of them.
        """
        result = np.zeros(len(start), dtype=bool)
        if not len(start):
            return result
        axis_start, axis_end = start.mean(axis=0), end.mean(axis=0)
        radius = max(np.linalg.norm(start - axis_start, axis=1).max(), np.linalg.norm(end - axis_end, axis=1).max())
        near = _enters(axis_start[None], axis_end[None], self.block_lower - radius, self.block_upper + radius)[0]
        _, item = _expand(self.block_start, np.nonzero(near)[0])
        triangles = self.block_triangles[item]
        triangles = triangles[~np.isin(self.plane[triangles], ignored)]
        corners = self.corner[triangles, None] + np.stack(
            [0 * self.edge_one[triangles], self.edge_one[triangles], self.edge_two[triangles]], axis=1
        )
        triangles = triangles[
            _enters(axis_start[None], axis_end[None], corners.min(axis=1) - radius, corners.max(axis=1) + radius)[0]
        ]
        per_segment = np.full(len(start), len(triangles), dtype=np.int64)
        for part in _chunks(per_segment):
            segment = np.repeat(np.arange(part.start, part.stop), len(triangles))
            triangle = np.tile(triangles, part.stop - part.start)
            self._mark_blocked(result, segment, triangle, start, end, np.full((len(start), 1), -1))
        return result

    def _mark_blocked(
        self, result: Mask, segment: Index, triangle: Index, start: Float, end: Float, ignored: Index
    ) -> None:
        """Set ``result`` for the segments that cross their triangle; one entry of both indices is one test."""
        direction = end[segment] - start[segment]
        one, two = self.edge_one[triangle], self.edge_two[triangle]
        across = np.cross(direction, two)
        determinant = np.einsum("ij,ij->i", one, across)
        parallel = np.abs(determinant) < 1e-14
        inverse = 1.0 / np.where(parallel, 1.0, determinant)
        offset = start[segment] - self.corner[triangle]
        u = np.einsum("ij,ij->i", offset, across) * inverse
        sideways = np.cross(offset, one)
        v = np.einsum("ij,ij->i", direction, sideways) * inverse
        t = np.einsum("ij,ij->i", two, sideways) * inverse
        hit = ~parallel & (u >= -BARYCENTRIC_TOLERANCE) & (v >= -BARYCENTRIC_TOLERANCE)
        hit &= (u + v <= 1.0 + BARYCENTRIC_TOLERANCE) & (t > 1e-9) & (t < 1.0 - 1e-9)
        hit[hit] = (ignored[segment[hit]] != self.plane[triangle[hit], None]).all(axis=1)
        result[segment[hit]] = True

    def _inside(self, points: Float, triangle: Index) -> Mask:
        """Whether points [N, 3] project into triangles [N] along their normals (barycentric coordinates)."""
        one, two = self.edge_one[triangle], self.edge_two[triangle]
        relative = points - self.corner[triangle]
        aa, ab, bb = (np.einsum("ij,ij->i", p, q) for p, q in ((one, one), (one, two), (two, two)))
        ra, rb = np.einsum("ij,ij->i", relative, one), np.einsum("ij,ij->i", relative, two)
        determinant = aa * bb - ab**2
        u, v = (bb * ra - ab * rb) / determinant, (aa * rb - ab * ra) / determinant
        tolerance = BARYCENTRIC_TOLERANCE
        return np.asarray((u >= -tolerance) & (v >= -tolerance) & (u + v <= 1.0 + tolerance))


def planar_scene(scene: Scene) -> PlanarScene:
    """Group a scene's triangles by plane and by block; triangles without area are left out."""
    corners = scene.vertices[scene.faces]
    doubled = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(doubled, axis=1) / 2.0
    kept = area > SMALLEST_AREA_M2
    corners, area, owner = corners[kept], area[kept], scene.face_object[kept].astype(np.int64)
    normals = doubled[kept] / (2.0 * area[:, None])
    plane, representative, normals = _group_planes(normals, corners[:, 0], area)
    materials = tuple(sorted({item.material for item in scene.objects}))
    object_material = np.array([materials.index(item.material) for item in scene.objects], dtype=np.int64)
    plane_triangles, plane_start = _grouped(plane)
    lower, upper = _boxes(corners, plane_triangles, plane_start)
    block_triangles, block_start = _grouped(_blocks(owner))
    block_lower, block_upper = _boxes(corners, block_triangles, block_start)
    return PlanarScene(
        corner=corners[:, 0],
        edge_one=corners[:, 1] - corners[:, 0],
        edge_two=corners[:, 2] - corners[:, 0],
        plane=plane,
        material=object_material[owner],
        materials=materials,
        normal=normals[representative],
        offset=np.sum(normals[representative] * corners[representative, 0], axis=1),
        lower=lower,
        upper=upper,
        plane_start=plane_start,
        plane_triangles=plane_triangles,
        block_start=block_start,
        block_triangles=block_triangles,
        block_lower=block_lower,
        block_upper=block_upper,
    )


def _group_planes(normals: Float, points: Float, area: Float) -> tuple[Index, Index, Float]:
    """Plane number of each triangle, the largest triangle of each plane, and normals with one sign for a plane."""
    if not len(normals):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), normals
    # The leading component that is clearly not zero is made positive: both sides are one plane.
    leading = np.argmax(np.abs(normals) > 0.1, axis=1)
    signed = normals * np.sign(np.take_along_axis(normals, leading[:, None], axis=1))
    features = np.column_stack([LENGTH_SCALE_M * signed, np.sum(signed * points, axis=1)])
    # Exact repeats are merged first: a neighbour query over a finely meshed ground would return all its pairs.
    _, first, inverse = np.unique(np.round(features, 7), axis=0, return_index=True, return_inverse=True)
    pairs = cKDTree(features[first]).query_pairs(COPLANAR_TOLERANCE, output_type="ndarray")
    links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(first), len(first)))
    _, label = connected_components(links, directed=False)
    plane = label[inverse.reshape(-1)].astype(np.int64)
    by_area = np.lexsort((-area, plane))
    _, position = np.unique(plane[by_area], return_index=True)
    return plane, by_area[position], signed


def _blocks(owner: Index) -> Index:
    """Block number of each triangle: runs of up to ``BLOCK_TRIANGLES`` triangles of one object."""
    order = np.argsort(owner, kind="stable")
    ordered = owner[order]
    starts = np.searchsorted(ordered, ordered, side="left")
    within = (np.arange(len(owner)) - starts) // BLOCK_TRIANGLES
    _, label = np.unique(np.column_stack([ordered, within]), axis=0, return_inverse=True)
    result = np.empty(len(owner), dtype=np.int64)
    result[order] = label.reshape(-1)
    return result


def _grouped(label: Index) -> tuple[Index, Index]:
    """Members ordered by label, and where each label's members start (one more entry at the end)."""
    count = int(label.max()) + 1 if len(label) else 0
    order = np.argsort(label, kind="stable")
    return order, np.searchsorted(label[order], np.arange(count + 1))


def _boxes(corners: Float, members: Index, start: Index) -> tuple[Float, Float]:
    """Bounding boxes of groups of triangles, grown by a micrometre against rounding."""
    if not len(members):
        return np.zeros((0, 3)), np.zeros((0, 3))
    ordered = corners[members]
    lower = np.minimum.reduceat(ordered.min(axis=1), start[:-1], axis=0)
    upper = np.maximum.reduceat(ordered.max(axis=1), start[:-1], axis=0)
    return lower - 1e-6, upper + 1e-6


def _enters(start: Float, end: Float, lower: Float, upper: Float) -> Mask:
    """Slab test: which segments [N, 3] meet which boxes [B, 3], as bool [N, B]."""
    direction = end - start
    direction = np.where(np.abs(direction) < 1e-12, 1e-12, direction)
    enter = np.zeros((len(start), len(lower)))
    leave = np.ones((len(start), len(lower)))
    for axis in range(3):
        one = (lower[None, :, axis] - start[:, None, axis]) / direction[:, None, axis]
        two = (upper[None, :, axis] - start[:, None, axis]) / direction[:, None, axis]
        np.maximum(enter, np.minimum(one, two), out=enter)
        np.minimum(leave, np.maximum(one, two), out=leave)
    return np.asarray(enter <= leave)


def _expand(start: Index, group: Index) -> tuple[Index, Index]:
    """All members of the groups: index into ``group``, and position in the array that ``start`` delimits."""
    counts = start[group + 1] - start[group]
    owner = np.repeat(np.arange(len(group)), counts)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    return owner, start[group][owner] + within


def _chunks(counts: Index) -> list[slice]:
    """Slices of a list of work items such that each holds about ``CHUNK_PAIRS`` tests (``counts`` per item)."""
    if not len(counts):
        return []
    number = np.cumsum(counts) // CHUNK_PAIRS
    edges = np.flatnonzero(np.diff(number)) + 1
    bounds = [0, *edges.tolist(), len(counts)]
    return [slice(a, b) for a, b in pairwise(bounds)]
