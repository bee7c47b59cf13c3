"""The convex edges of a scene, at which waves diffract, and the chains that they make.

The point of diffraction is Keller's: where the edge, unfolded, is crossed by the straight line between both ends. Every
edge is tried on every user, so no rays are needed; what makes the chain is that both ends lie outside the wedge and
that nothing but walls stands on the legs.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from channelfm.tracing.chains import Triangles, unit_normals

Float = NDArray[np.float64]
Index = NDArray[np.int64]

_LATTICE_M = 1e-3  # corners nearer than this are one
_FLATTEST = np.cos(np.radians(10.0))  # faces that turn by less than 10 degrees are one smooth surface
_OUTSIDE_M = 1e-3  # a point in front of a face lies at least as far from it


@dataclass(frozen=True)
class Edges:
    """Wedges of two faces [W], each from both sides: the 0-face is the one that faces the user.

    ``origin`` [W, 3] and unit ``along`` [W, 3] give the edge, ``length`` [W] in m; ``near`` and ``far`` [W, 3] are the
    outward normals of the 0-face and the n-face, ``near_triangle``, ``far_triangle`` int64 [W] their triangles. The
    edge runs such that near x along points from it into the 0-face, as in Sionna.
    """

    origin: Float
    along: Float
    length: Float
    near: Float
    far: Float
    near_triangle: Index
    far_triangle: Index

    @classmethod
    def of(cls, triangles: Triangles) -> Edges:
        """All edges that two faces share, with less than 180 degrees of matter between them."""
        corners, normal = triangles.corners, unit_normals(triangles.corners)
        one, two = _shared_sides(corners)
        face, other = one // 3, two // 3
        start = corners.reshape(-1, 3)[one]
        middle = corners.mean(axis=1)
        bent = np.sum(normal[face] * normal[other], axis=1) < _FLATTEST
        convex = bent & (np.sum(normal[face] * (middle[other] - start), axis=1) < 0.0)
        one, face, other, start = one[convex], face[convex], other[convex], start[convex]
        end = corners.reshape(-1, 3)[one // 3 * 3 + (one + 1) % 3]
        return cls._both_sides(start, end, face, other, normal, middle)

    @classmethod
    def _both_sides(cls, start: Float, end: Float, face: Index, other: Index, normal: Float, middle: Float) -> Edges:
        start, end = np.concatenate([start, start]), np.concatenate([end, end])
        near, far = np.concatenate([face, other]), np.concatenate([other, face])
        length = np.linalg.norm(end - start, axis=1)
        along = (end - start) / length[:, None]
        inwards = np.sum(np.cross(normal[near], along) * (middle[near] - start), axis=1) > 0.0
        return cls(
            origin=np.where(inwards[:, None], start, end),
            along=np.where(inwards[:, None], along, -along),
            length=length,
            near=normal[near],
            far=normal[far],
            near_triangle=near,
            far_triangle=far,
        )

    def __len__(self) -> int:
        return len(self.length)

    def select(self, index: NDArray[np.intp]) -> Edges:
        """The wedges that a NumPy index picks."""
        return Edges(**{item.name: getattr(self, item.name)[index] for item in fields(self)})

    def diffracting(self, user: Float, ends: Float, slack_m: float) -> Index:
        """Wedges that may diffract from a user [3] before their 0-face to an end [3] or within ``slack_m`` of it."""
        before = np.sum(self.near * (user - self.origin), axis=1) > _OUTSIDE_M
        # Before both faces, a wedge seen from its other side would be the same path once more.
        half = len(self) // 2
        before[half:] &= ~before[:half]
        chosen = np.flatnonzero(before)
        wedges = self.select(chosen)
        place = wedges.places(np.broadcast_to(user, (len(chosen), 3)), np.broadcast_to(ends, (len(chosen), 3)))
        open_side = wedges.outside(np.broadcast_to(ends, (len(chosen), 3)), -slack_m)
        return chosen[open_side & (place > -slack_m) & (place < wedges.length + slack_m)]

    def places(self, users: Float, ends: Float) -> Float:
        """Distance [W] in m along each edge of the point that diffracts from users [W, 3] to ends [W, 3]."""
        user_along, user_across = self._around(users)
        end_along, end_across = self._around(ends)
        across = np.maximum(user_across + end_across, 1e-9)
        return np.asarray((user_along * end_across + end_along * user_across) / across)

    def points(self, users: Float, ends: Float) -> Float:
        """Points of diffraction [W, 3], moved out of the wedge by as little as keeps rays to them clear of it."""
        out = self.near + self.far
        out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)
        return self.origin + self.places(users, ends)[:, None] * self.along + 5.0 * _OUTSIDE_M * out

    def outside(self, ends: Float, margin_m: float = _OUTSIDE_M) -> NDArray[np.bool_]:
        """Whether points [W, 3] lie outside the wedges, that is before one of their faces."""
        beyond = ends - self.origin
        return np.asarray(
            (np.sum(beyond * self.near, axis=1) > margin_m) | (np.sum(beyond * self.far, axis=1) > margin_m)
        )

    def _around(self, points: Float) -> tuple[Float, Float]:
        """Positions along the edges [W] and distances from their lines [W] of points [W, 3]."""
        relative = points - self.origin
        along = np.sum(relative * self.along, axis=1)
        return along, np.linalg.norm(relative - along[:, None] * self.along, axis=1)


def _shared_sides(corners: Float) -> tuple[Index, Index]:
    """Pairs of triangle sides [W] that lie on each other; side s of triangle t is number 3 t + s."""
    rounded = np.round(corners.reshape(-1, 3) / _LATTICE_M).astype(np.int64)
    _, vertex = np.unique(rounded, axis=0, return_inverse=True)
    triangle = vertex.reshape(-1, 3)
    sides = np.sort(np.stack([triangle, np.roll(triangle, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    _, number, count = np.unique(sides, axis=0, return_inverse=True, return_counts=True)
    number = number.reshape(-1)
    order = np.argsort(number, kind="stable")
    first = np.cumsum(count) - count
    pairs = first[count == 2]
    return order[pairs], order[pairs + 1]
