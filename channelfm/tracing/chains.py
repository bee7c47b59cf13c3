"""Candidate chains of interactions: what makes two of them the same, between whom they run, and what they become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPECULAR, REFRACTION, DIFFRACTION = 1, 4, 8  # Sionna's interaction codes
_EDGE_M = 1e-6  # a mirror point on an edge belongs to both triangles
_ROUNDING = np.array([1e3, 1e3, 1e3, 1e2])  # planes agree if normals do to 1e-3 and offsets to 1 cm


@dataclass(frozen=True)
class Triangles:
    """The triangles of a scene as the ray tracer numbers them.

    ``corners`` float64 [F, 3, 3] m; ``shape``, ``primitive`` int64 [F]: mesh and number within it; ``plane`` int64 [F]:
    equal for coplanar triangles; ``first`` maps a mesh to its first row here. ``normal`` [F, 3] and ``offset`` [F] are
    the plane n.x = offset; ``inward`` [F, 3, 3] unit vectors in it from each side inwards, and ``reach`` [F, 3] their
    values on the sides.
    """

    corners: NDArray[np.float64]
    shape: NDArray[np.int64]
    primitive: NDArray[np.int64]
    plane: NDArray[np.int64]
    first: dict[int, int]
    normal: NDArray[np.float64]
    offset: NDArray[np.float64]
    inward: NDArray[np.float64]
    reach: NDArray[np.float64]

    @classmethod
    def of_meshes(cls, shapes: list[int], corners: list[NDArray[np.float64]]) -> Triangles:
        """Triangles of several meshes, given each mesh's number and the corners [f, 3, 3] of its faces."""
        counts = [len(mesh) for mesh in corners]
        every = np.concatenate(corners)
        normal = unit_normals(every)
        inward = np.cross(normal[:, None], np.roll(every, -1, axis=1) - every)
        inward /= np.maximum(np.linalg.norm(inward, axis=2, keepdims=True), 1e-12)
        return cls(
            corners=every,
            shape=np.repeat(np.array(shapes, np.int64), counts),
            primitive=np.concatenate([np.arange(count) for count in counts]),
            plane=_coplanar(every),
            first=dict(zip(shapes, np.cumsum([0, *counts[:-1]]).tolist(), strict=True)),
            normal=normal,
            offset=np.sum(normal * every[:, 0], axis=1),
            inward=inward,
            reach=np.sum(inward * every, axis=2),
        )

    def rows(self, shape: NDArray[np.int64], primitive: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of triangles named by mesh and number, any shape; meshes that are not here count as row 0."""
        meshes, inverse = np.unique(shape, return_inverse=True)
        start = np.array([self.first.get(int(mesh), -1) for mesh in meshes], np.int64)[inverse.reshape(shape.shape)]
        return np.where(start >= 0, start + primitive, 0)

    def mirrors(self, user: NDArray[np.float64], target: NDArray[np.float64], slack_m: float) -> NDArray[np.bool_]:
        """bool [F]: triangles whose plane mirrors user [3] to target [3] at a point at most ``slack_m`` beside them."""
        user_height = self.normal @ user - self.offset
        target_height = self.normal @ target - self.offset
        near = np.flatnonzero(user_height * target_height > 0)
        above, share = user_height[near], user_height[near] / (user_height[near] + target_height[near])
        # Feet of both perpendiculars; the mirror point divides the line between them as the heights do.
        foot = user - above[:, None] * self.normal[near]
        other = target - target_height[near, None] * self.normal[near]
        point = foot + share[:, None] * (other - foot)
        inside = np.ones(len(near), dtype=bool)
        for side in range(3):
            depth = np.einsum("fi,fi->f", self.inward[near, side], point) - self.reach[near, side]
            inside &= depth >= -slack_m - _EDGE_M
        found = np.zeros(len(self.corners), dtype=bool)
        found[near[inside]] = True
        return found


@dataclass(frozen=True)
class Chains:
    """Candidate chains of interactions, each once.

    ``kinds`` int64 [K, D] are Sionna's interaction codes (0 = none); ``shapes``, ``primitives`` int64 [K, D] name the
    triangle of each interaction and ``corners`` float64 [K, D, 3] is one of its corners; ``wedges`` holds the edge of
    each diffraction, by field, where diffraction is on.
    ``keys`` int64 [K, ...] identify a chain: interaction types with, for reflections, the plane, since coplanar
    triangles reflect alike, and for diffractions the edge; refractions bend no ray and carry neither.
    """

    kinds: NDArray[np.int64]
    shapes: NDArray[np.int64]
    primitives: NDArray[np.int64]
    corners: NDArray[np.float64]
    keys: NDArray[np.int64]
    wedges: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.kinds)

    def distinct(self) -> Chains:
        """Each chain once, in the order of the keys, without empty ones."""
        _, first = np.unique(self.keys, axis=0, return_index=True)
        return self._rows(first[self.kinds[first].any(axis=1)])

    def joined(self, other: Chains) -> Chains:
        """The chains of both, each once."""
        arrays = {
            name: np.concatenate([getattr(self, name), getattr(other, name)])
            for name in ("kinds", "shapes", "primitives", "corners", "keys")
        }
        wedges = {name: np.concatenate([values, other.wedges[name]]) for name, values in self.wedges.items()}
        both = Chains(**arrays, wedges=wedges)
        return both.distinct()

    def _rows(self, index: NDArray[np.intp]) -> Chains:
        return Chains(
            self.kinds[index],
            self.shapes[index],
            self.primitives[index],
            self.corners[index],
            self.keys[index],
            {name: values[index] for name, values in self.wedges.items()},
        )

    def reversed(self, triangles: Triangles) -> Chains:
        """The same chains walked from the other end."""
        depth = self.kinds.shape[1]
        bounces = (self.kinds > 0).sum(axis=1, keepdims=True)
        turned = np.where(np.arange(depth) < bounces, bounces - 1 - np.arange(depth), np.arange(depth))
        kinds, shapes, primitives = (
            np.take_along_axis(values, turned, axis=1) for values in (self.kinds, self.shapes, self.primitives)
        )
        return identified(kinds, shapes, primitives, self.wedges, triangles)


@dataclass(frozen=True)
class Endpoints:
    """Positions float64 [N, 3] m and orientations (yaw, pitch, roll) [N, 3] rad of users or array elements."""

    positions_m: NDArray[np.float64]
    orientations_rad: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.positions_m)

    def select(self, index: NDArray[np.intp]) -> Endpoints:
        """The endpoints that a NumPy index picks."""
        return Endpoints(self.positions_m[index], self.orientations_rad[index])


@dataclass(frozen=True)
class Solution:
    """Chains solved between given endpoints; N rows as requested.

    ``valid`` bool [N]; ``gain`` complex64 [N] without carrier phase;
    ``departure``, ``arrival`` float64 [N, 3] unit vectors at the user and at the array (towards the interaction);
    ``interactions`` int32 [N, D]; ``points_m`` float64 [N, D, 3]. Entries of invalid rows are meaningless.
    """

    valid: NDArray[np.bool_]
    gain: NDArray[np.complex64]
    departure: NDArray[np.float64]
    arrival: NDArray[np.float64]
    interactions: NDArray[np.int32]
    points_m: NDArray[np.float64]


def identified(
    kinds: NDArray[np.int64],
    shapes: NDArray[np.int64],
    primitives: NDArray[np.int64],
    wedges: dict[str, NDArray[Any]],
    triangles: Triangles,
) -> Chains:
    """Chains with the keys that tell them apart."""
    reflected = kinds == SPECULAR
    rows = triangles.rows(shapes, np.where(reflected, primitives, 0))
    keys = [kinds + 16 * np.where(reflected, triangles.plane[rows], 0)]
    if wedges:
        diffracted = (kinds == DIFFRACTION).any(axis=1)[:, None]
        edge = np.concatenate([wedges["o"], wedges["e_hat"]], axis=1)
        keys.append(np.round(np.where(diffracted, edge, 0) * 1e3).astype(np.int64))
    return Chains(kinds, shapes, primitives, triangles.corners[rows, 0], np.concatenate(keys, axis=1), wedges)


def unit_normals(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit normals [F, 3] of triangles [F, 3, 3]; degenerate ones get (nearly) zero."""
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return np.asarray(normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12))


def _coplanar(corners: NDArray[np.float64]) -> NDArray[np.int64]:
    """A number [F] per triangle [F, 3, 3], equal for coplanar ones: normal and offset, rounded, with one sign."""
    normal = unit_normals(corners)
    offset = np.sum(normal * corners[:, 0], axis=1, keepdims=True)
    leading = np.take_along_axis(normal, np.abs(normal).argmax(axis=1)[:, None], axis=1)
    plane = np.round(np.concatenate([normal, offset], axis=1) * np.sign(leading) * _ROUNDING)
    return np.unique(plane, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
