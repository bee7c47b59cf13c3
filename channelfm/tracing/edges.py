"""The edges of a scene at which waves diffract: convex edges of closed meshes, and the free borders of thin sheets.

The point of diffraction is Keller's: where the edge, unfolded, is crossed by the straight line between both ends. Every
edge is tried on every user, so no rays are needed; what makes the chain is that both ends lie outside the wedge and
that nothing but walls stands on the legs.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from channelfm.tracing.chains import Triangles, unit_normals
from channelfm.tracing.rays import RayCaster

Float = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]

_LATTICE_M = 1e-3  # corners nearer than this are one
_FLATTEST = np.cos(np.radians(10.0))  # faces that turn by less than 10 degrees are one smooth surface
OUTSIDE_M = 2e-4  # a point in front of a face lies at least as far from it
LIFT_M = 1e-3  # rays to an edge end this far outside it, clear of its faces
_AROUND_M = 0.02  # how closely a free border is walked around


@dataclass(frozen=True)
class Edges:
    """Wedges of two faces [W].

    ``origin`` [W, 3] and unit ``along`` [W, 3] give the edge, ``length`` [W] in m; ``near`` and ``far`` [W, 3] are the
    outward normals of the 0-face and the n-face, ``near_triangle``, ``far_triangle`` int64 [W] their triangles and
    ``near_facet``, ``far_facet`` int64 [W] the flat faces that these are parts of. The edge runs such that near x along
    points from it into the 0-face, so that azimuths around it grow from the 0-face through the outside. A thin sheet
    is a wedge whose faces are its two sides.
    """

    origin: Float
    along: Float
    length: Float
    near: Float
    far: Float
    near_triangle: Index
    far_triangle: Index
    near_facet: Index
    far_facet: Index

    @classmethod
    def of(cls, triangles: Triangles, rays: RayCaster | None = None, ground: Mask | None = None) -> Edges:
        """All edges that two faces share, with less than 180 degrees of matter between them; and, where ``rays`` are
        given to see what else is there, the free borders of sheets, those of the ``ground`` bool [F] excepted."""
        corners, normal = triangles.corners, unit_normals(triangles.corners)
        one, two, alone = _sides(corners)
        face, other = one // 3, two // 3
        start, middle = corners.reshape(-1, 3)[one], corners.mean(axis=1)
        bent = np.sum(normal[face] * normal[other], axis=1) < _FLATTEST
        convex = bent & (np.sum(normal[face] * (middle[other] - start), axis=1) < 0.0)
        facets = _facets(triangles.plane, face, other)
        closed = cls._between(one[convex], face[convex], other[convex], normal, normal, corners, facets)
        if rays is None:
            return closed
        alone = alone if ground is None else alone[~ground[alone // 3]]
        sheets = cls._between(alone, alone // 3, alone // 3, normal, -normal, corners, facets)
        return cls.joined([closed, sheets.select(_free(sheets, rays))])

    @classmethod
    def _between(
        cls, side: Index, face: Index, other: Index, near: Float, far: Float, corners: Float, facets: Index
    ) -> Edges:
        """Wedges at sides [W] of triangles, between faces [W] and others [W]."""
        start = corners.reshape(-1, 3)[side]
        end = corners.reshape(-1, 3)[side // 3 * 3 + (side + 1) % 3]
        length = np.linalg.norm(end - start, axis=1)
        along = (end - start) / np.maximum(length, 1e-12)[:, None]
        inwards = np.sum(np.cross(near[face], along) * (corners.mean(axis=1)[face] - start), axis=1) > 0.0
        return cls(
            origin=np.where(inwards[:, None], start, end),
            along=np.where(inwards[:, None], along, -along),
            length=length,
            near=near[face],
            far=far[other],
            near_triangle=face,
            far_triangle=other,
            near_facet=facets[face],
            far_facet=facets[other],
        )

    @classmethod
    def joined(cls, parts: list[Edges]) -> Edges:
        """All wedges of several sets, one after the other."""
        return cls(**{item.name: np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(cls)})

    def __len__(self) -> int:
        return len(self.length)

    def select(self, index: Any) -> Edges:
        """The wedges that a NumPy index picks; an index of any shape gives fields of that shape."""
        return Edges(**{item.name: getattr(self, item.name)[index] for item in fields(self)})

    @property
    def opening(self) -> Float:
        """Angle through the outside from face to face, in units of pi: n of the uniform theory, 2 for a sheet."""
        return np.asarray(1.0 + np.arccos(np.clip(np.sum(self.near * self.far, axis=-1), -1.0, 1.0)) / np.pi)

    @property
    def outwards(self) -> Float:
        """Unit vectors [..., 3] away from the matter, midway between the faces."""
        half, into = self.opening[..., None] * (np.pi / 2.0), np.cross(self.near, self.along)
        return np.asarray(np.cos(half) * into + np.sin(half) * self.near)

    def diffracting(self, user: Float, end: Float, slack_m: float) -> Index:
        """Wedges that may diffract from a user [3] to an end [3] or within ``slack_m`` of it."""
        outside = self.outside(user) & self.outside(end, -slack_m)
        place = self.places(user, end)
        return np.flatnonzero(outside & (place > -slack_m) & (place < self.length + slack_m))

    def places(self, users: Float, ends: Float) -> Float:
        """Distance [...] in m along each edge of the point that diffracts from users [..., 3] to ends [..., 3]."""
        user_along, user_across = self._around(users)
        end_along, end_across = self._around(ends)
        across = np.maximum(user_across + end_across, 1e-9)
        return np.asarray((user_along * end_across + end_along * user_across) / across)

    def settled(self, users: Float, end: Float, sweeps: int = 20) -> Float:
        """Places [R, K] in m at which the shortest paths from users [R, 3] over edges [R, K] in turn to an end [3]
        cross them, nearly: so many times each edge in turn, given its neighbours."""
        places = self.length / 2.0
        start, stop = (np.broadcast_to(point, users.shape)[:, None] for point in (users, end))
        for _ in range(1 if places.shape[1] == 1 else sweeps):
            for turn in range(places.shape[1]):
                stops = np.concatenate([start, self.points(places), stop], axis=1)
                one = self.select((slice(None), turn))
                places[:, turn] = one.places(stops[:, turn], stops[:, turn + 2])
        return places

    def shared_faces(self) -> Mask:
        """bool [R, K - 1, 2, 2]: whether the (near, far) face of each edge [R, K] is that of the next one, which also
        bounds it: then the path between them runs along this face."""
        facets = np.stack([self.near_facet, self.far_facet], axis=-1)
        wedge = facets[..., 0] != facets[..., 1]
        same = facets[:, :-1, :, None] == facets[:, 1:, None, :]
        return np.asarray(same & (wedge[:, :-1] & wedge[:, 1:])[..., None, None])

    def points(self, places: Float) -> Float:
        """Points [..., 3] at distances [...] in m along the edges."""
        return np.asarray(self.origin + places[..., None] * self.along)

    def outside(self, ends: Float, margin_m: float = OUTSIDE_M) -> Mask:
        """Whether points [..., 3] lie outside the wedges, that is before one of their faces."""
        beyond = ends - self.origin
        return np.asarray(
            (np.sum(beyond * self.near, axis=-1) > margin_m) | (np.sum(beyond * self.far, axis=-1) > margin_m)
        )

    def _around(self, points: Float) -> tuple[Float, Float]:
        """Positions along the edges [...] and distances from their lines [...] of points [..., 3]."""
        relative = points - self.origin
        along = np.sum(relative * self.along, axis=-1)
        return along, np.linalg.norm(relative - along[..., None] * self.along, axis=-1)


def _sides(corners: Float) -> tuple[Index, Index, Index]:
    """Pairs of triangle sides [W], [W] that lie on each other, and sides [B] on which no other lies; side s of
    triangle t is number 3 t + s."""
    rounded = np.round(corners.reshape(-1, 3) / _LATTICE_M).astype(np.int64)
    _, vertex = np.unique(rounded, axis=0, return_inverse=True)
    triangle = vertex.reshape(-1, 3)
    sides = np.sort(np.stack([triangle, np.roll(triangle, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    _, number, count = np.unique(sides, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(number.reshape(-1), kind="stable")
    first = np.cumsum(count) - count
    pairs = first[count == 2]
    return order[pairs], order[pairs + 1], order[first[count == 1]]


def _facets(plane: Index, face: Index, other: Index) -> Index:
    """A number [F] per triangle, equal for coplanar ones that hang together by the sides that ``face`` and ``other``
    share."""
    flat = plane[face] == plane[other]
    links = coo_matrix((np.ones(np.count_nonzero(flat)), (face[flat], other[flat])), shape=(len(plane), len(plane)))
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)


def _free(sheets: Edges, rays: RayCaster) -> Mask:
    """Whether nothing else is attached to the borders of sheets [W]: a walk around their middles meets nothing."""
    middle = sheets.points(sheets.length / 2.0)
    across, out = _AROUND_M * sheets.near, _AROUND_M * sheets.outwards
    walk = [middle + across - out, middle + across + out, middle - across + out, middle - across - out]
    free = np.ones(len(sheets), np.bool_)
    for start, end in pairwise(walk):
        way = end - start
        reach = np.linalg.norm(way, axis=1)
        free &= rays.first_hits(start, way / reach[:, None], reach)[1] < 0
    return free
