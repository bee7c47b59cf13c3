"""Chains of interactions: the mirrors and walls that they touch, between whom they run, and what they become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Index = NDArray[np.int64]

SPECULAR, DIFFUSE, REFRACTION, DIFFRACTION = 1, 2, 4, 8  # Sionna's interaction codes
_ROUNDING = np.array([1e4, 1e4, 1e4, 1e3])  # planes agree if normals do to 1e-4 and offsets to 1 mm
_EDGE_M = 1e-3  # the ray tracer rounds as much; it decides in the end


@dataclass(frozen=True)
class Triangles:
    """The triangles of a scene as the ray tracer numbers them.

    ``corners`` float64 [F, 3, 3] m; ``shape``, ``primitive`` int64 [F]: mesh and number within it; ``first`` maps a
    mesh to its first row here; ``plane`` int64 [F] numbers the planes, equal for coplanar triangles.
    """

    corners: Float
    shape: Index
    primitive: Index
    first: dict[int, int]
    plane: Index

    def __len__(self) -> int:
        return len(self.plane)

    @classmethod
    def of_meshes(cls, shapes: list[int], corners: list[Float]) -> Triangles:
        """Triangles of several meshes, given each mesh's number and the corners [f, 3, 3] of its faces."""
        counts = [len(mesh) for mesh in corners]
        every = np.concatenate([np.zeros((0, 3, 3)), *corners])
        return cls(
            corners=every,
            shape=np.repeat(np.array(shapes, np.int64), counts),
            primitive=np.concatenate([np.zeros(0, np.int64), *(np.arange(count) for count in counts)]),
            first=dict(zip(shapes, np.cumsum([0, *counts[:-1]]).tolist(), strict=True)),
            plane=_coplanar(every),
        )


@dataclass(frozen=True)
class Mirrors:
    """The planes of a scene's triangles, each once, as mirrors.

    Unit ``normal`` [P, 3] (either side), ``offset`` [P] = normal . point, the box ``lower``, ``upper`` [P, 3] around
    all triangles of the plane, and its largest ``triangle`` int64 [P].
    """

    normal: Float
    offset: Float
    lower: Float
    upper: Float
    triangle: Index

    @classmethod
    def of(cls, triangles: Triangles) -> Mirrors:
        """One mirror for every plane, in the order of their numbers."""
        corners, plane = triangles.corners, triangles.plane
        doubled = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        order = np.lexsort((-np.linalg.norm(doubled, axis=1), plane))
        first = np.searchsorted(plane[order], np.arange(plane.max(initial=-1) + 1))
        largest = order[first]
        normal = unit_normals(corners[largest])
        lower, upper = corners.min(axis=1)[order], corners.max(axis=1)[order]
        some = len(first) > 0
        return cls(
            normal=normal,
            offset=np.sum(normal * corners[largest, 0], axis=1),
            lower=np.minimum.reduceat(lower, first, axis=0) if some else lower,
            upper=np.maximum.reduceat(upper, first, axis=0) if some else upper,
            triangle=largest,
        )

    def __len__(self) -> int:
        return len(self.offset)

    def height(self, points: Float, plane: Index) -> Float:
        """Signed distances [N] of points [N, 3] (or one [3]) from planes [N]."""
        return (
            np.asarray(np.einsum("ni,ni->n", self.normal[plane], np.broadcast_to(points, (len(plane), 3))))
            - (self.offset[plane])
        )

    def image(self, points: Float, plane: Index) -> Float:
        """Mirror images [N, 3] of points [N, 3] (or one [3]) in planes [N]."""
        return np.asarray(points - 2.0 * self.height(points, plane)[:, None] * self.normal[plane])

    def stops(self, users: Float, planes: Index, ends: Float) -> tuple[Float, NDArray[np.bool_]]:
        """User, mirror points and end [N, k + 2, 3] of the paths from users [N, 3] by planes [N, k] to ends [N, 3],
        and whether [N] user and end lie on the proper sides of all planes and the points in the planes' boxes."""
        images = [users]
        for plane in planes.T:
            images.append(self.image(images[-1], plane))
        stops, possible = [ends], np.ones(len(users), dtype=bool)
        for plane, image in zip(planes.T[::-1], images[:0:-1], strict=True):
            here, there = self.height(stops[0], plane), self.height(image, plane)
            possible &= here * there < 0.0
            share = np.where(possible, here / np.where(possible, here - there, 1.0), 0.0)
            point = stops[0] + share[:, None] * (image - stops[0])
            possible &= ((point >= self.lower[plane] - _EDGE_M) & (point <= self.upper[plane] + _EDGE_M)).all(axis=1)
            stops.insert(0, point)
        return np.stack([users, *stops], axis=1), possible


@dataclass(frozen=True)
class Chains:
    """Chains of interactions from a user to the array.

    ``kinds`` int64 [K, D] are Sionna's interaction codes (0 = none), ``triangle`` int64 [K, D] a triangle of each
    interaction (of a refraction any will do: it bends no ray); ``site`` int64 [K, D] is the edge of a diffraction or
    the scatterer of a diffuse reflection, else -1.
    """

    kinds: Index
    triangle: Index
    site: Index

    def __len__(self) -> int:
        return len(self.kinds)

    def select(self, index: Any) -> Chains:
        """The chains that a NumPy index picks."""
        return Chains(self.kinds[index], self.triangle[index], self.site[index])

    @classmethod
    def empty(cls, count: int, depth: int) -> Chains:
        """Chains without interactions: lines of sight."""
        shape = (count, max(1, depth))
        return cls(np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.full(shape, -1))

    @classmethod
    def joined(cls, parts: list[Chains]) -> Chains:
        """All chains of several sets, one after the other."""
        return cls(
            np.concatenate([part.kinds for part in parts]),
            np.concatenate([part.triangle for part in parts]),
            np.concatenate([part.site for part in parts]),
        )


@dataclass(frozen=True)
class Endpoints:
    """Positions float64 [N, 3] m, orientations (yaw, pitch, roll) [N, 3] rad and velocities [N, 3] m/s of users or
    array elements."""

    positions_m: Float
    orientations_rad: Float
    velocities_mps: Float

    def __len__(self) -> int:
        return len(self.positions_m)


@dataclass(frozen=True)
class Solution:
    """R chains solved from their user to E elements; Q polarisations of the array.

    ``valid`` bool [R, E]; ``gain`` complex64 [R, Q, E] without carrier phase; ``length_m`` float64 [R, E];
    ``closing_mps`` float32 [R, E], the user's speed towards its first interaction point. At the reference element of
    each row: ``departure``, ``arrival`` float64 [R, 3], unit vectors at the user and at the array (towards the
    interaction), and ``points_m`` float64 [R, D, 3]. Entries where a path is not valid are meaningless.
    """

    valid: NDArray[np.bool_]
    gain: NDArray[np.complex64]
    length_m: Float
    closing_mps: NDArray[np.float32]
    departure: Float
    arrival: Float
    points_m: Float


def unit_normals(corners: Float) -> Float:
    """Unit normals [F, 3] of triangles [F, 3, 3]; degenerate ones get (nearly) zero."""
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return np.asarray(normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12))


def _coplanar(corners: Float) -> Index:
    """A number [F] per triangle [F, 3, 3], equal for coplanar ones: normal and offset, rounded, with one sign."""
    normal = unit_normals(corners)
    offset = np.sum(normal * corners[:, 0], axis=1, keepdims=True)
    leading = np.take_along_axis(normal, np.abs(normal).argmax(axis=1)[:, None], axis=1)
    plane = np.round(np.concatenate([normal, offset], axis=1) * np.sign(leading) * _ROUNDING)
    return np.unique(plane, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def reference_lanes(valid: NDArray[np.bool_], elements: Endpoints) -> NDArray[np.intp]:
    """Of the flattened pairs of chain [R] and element [E], that of each chain's reference element: the last one where
    the path reaches it (``valid`` [R, E]), else the nearest to it that is reached."""
    distance = np.linalg.norm(elements.positions_m - elements.positions_m[-1], axis=1)
    return np.asarray(np.arange(len(valid)) * len(elements) + np.where(valid, distance, np.inf).argmin(axis=1))
