"""Shortest paths over edges in turn, to every element at once: where they cross the edges, and how they spread.

The length of a path is a convex function of the places at which it crosses its edges, so its shortest form is
unique and found by Newton's method, in double precision, also over skew edges. Its second derivatives say how the wave
spreads: along the edges they give the stationary phase, hence the amplitude; across them, the Fresnel zones that the
edges cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.tracing.edges import LIFT_M, OUTSIDE_M, Edges

Float = NDArray[np.float64]
Lanes = Any  # Dr.Jit arrays, one entry for each pair of chain and element

_STEPS = 3  # of Newton's method, from the array's middle to an element
_SHORTEST_M = 1e-6


@dataclass(frozen=True)
class EdgeLanes:
    """One edge of each chain, spread over pairs of chain and element: ``origin`` and ``along`` in double precision, the
    rest, ``ahead`` (``along`` once more) among it, in single."""

    origin: Lanes
    along: Lanes
    ahead: Lanes
    outwards: Lanes
    length: Lanes
    near: Lanes
    far: Lanes
    opening: Lanes

    @classmethod
    def of(cls, mi: Any, dr: Any, edges: Edges, row: Lanes) -> EdgeLanes:
        """Edges [R] of chains for the given rows."""
        along = spread(dr, mi.Vector3d, edges.along, row)
        return cls(
            origin=spread(dr, mi.Vector3d, edges.origin, row),
            along=along,
            ahead=mi.Vector3f(along),
            outwards=spread(dr, mi.Vector3f, edges.outwards, row),
            length=spread(dr, mi.Float, edges.length, row),
            near=spread(dr, mi.Vector3f, edges.near, row),
            far=spread(dr, mi.Vector3f, edges.far, row),
            opening=spread(dr, mi.Float, edges.opening, row),
        )

    def point(self, place: Lanes) -> Lanes:
        """Points at places in m along the edges."""
        return self.origin + place * self.along

    def azimuth(self, dr: Any, way: Lanes) -> Lanes:
        """Azimuths in rad of vectors around the edges, from the 0-face through the outside, kept off the matter."""
        widest = dr.pi * self.opening
        rising = dr.cross(self.ahead, self.outwards)
        turned = dr.atan2(dr.dot(way, rising), dr.dot(way, self.outwards))
        return dr.clip(widest / 2.0 + turned, 0.0, widest)

    def outside(self, dr: Any, way: Lanes) -> Lanes:
        """Whether points at vectors from the edges lie before one of their faces."""
        return (dr.dot(way, self.near) > OUTSIDE_M) | (dr.dot(way, self.far) > OUTSIDE_M)


@dataclass(frozen=True)
class EdgePaths:
    """Paths over K edges each, lists over edges (K) or legs (K + 1, from the user on).

    ``possible``: whether all points lie on their edges, each outside its neighbours' wedges. ``points`` in m and
    ``length`` in m, double; ``legs`` in m, ``directions`` unit vectors; ``before``, ``after``: azimuths at each edge of
    the stops around it; ``lit``: whether these two see each other past the edge. ``spreading``: amplitude per unit of
    diffraction coefficients, in 1 / m^(K / 2 + 1). ``tightness`` in 1 / m: second derivative of the length as the path
    is lifted off an edge, across itself; ``coupling`` (K - 1): the negative mixed derivative for neighbours, over the
    geometric mean of their tightnesses.
    """

    possible: Lanes
    points: list[Lanes]
    length: Lanes
    legs: list[Lanes]
    directions: list[Lanes]
    before: list[Lanes]
    after: list[Lanes]
    lit: list[Lanes]
    spreading: Lanes
    tightness: list[Lanes]
    coupling: list[Lanes]

    @classmethod
    def over(
        cls,
        mi: Any,
        dr: Any,
        edges: list[EdgeLanes],
        user: Lanes,
        end: Lanes,
        places: list[Lanes],
        along_faces: list[Lanes],
    ) -> EdgePaths:
        """Paths from users over edges in turn to ends, given the ``places`` where paths to nearby ends cross, and which
        legs between edges run ``along_faces`` of them (K - 1)."""
        places = _settled(dr, edges, user, end, places)
        points = [edge.point(place) for edge, place in zip(edges, places, strict=True)]
        exact, ways = _legs(dr, [user, *points, end])
        legs, ways = [mi.Float(leg) for leg in exact], [mi.Vector3f(way) for way in ways]
        before = [edge.azimuth(dr, -ways[k]) for k, edge in enumerate(edges)]
        after = [edge.azimuth(dr, ways[k + 1]) for k, edge in enumerate(edges)]
        # Rays end a little outside the edges, so that is where each edge's neighbours are seen or hidden; but along a
        # face, what lies before it is in sight.
        lift = [mi.Vector3f(0.0), *(LIFT_M * edge.outwards for edge in edges), mi.Vector3f(0.0)]
        level = [mi.Bool(False), *along_faces, mi.Bool(False)]
        possible, lit = mi.Bool(True), []
        for k, (edge, place) in enumerate(zip(edges, places, strict=True)):
            back, onwards = lift[k] - legs[k] * ways[k], lift[k + 2] + legs[k + 1] * ways[k + 1]
            possible &= (place > 0.0) & (mi.Float(place) < edge.length)
            possible &= edge.outside(dr, back) & edge.outside(dr, onwards)
            seen_from = dr.select(level[k], before[k], edge.azimuth(dr, back))
            lit.append(dr.abs(dr.select(level[k + 1], after[k], edge.azimuth(dr, onwards)) - seen_from) < dr.pi)
        by_edge = _Tridiagonal.along_edges(dr, [edge.ahead for edge in edges], [dr.rcp(leg) for leg in legs], ways)
        spreading = dr.rsqrt(by_edge.determinant())
        for leg in legs:
            spreading /= leg
        tightness, coupling = _liftings(dr, edges, legs, ways, by_edge)
        return cls(possible, points, sum(exact), legs, ways, before, after, lit, spreading, tightness, coupling)


def _settled(dr: Any, edges: list[EdgeLanes], user: Lanes, end: Lanes, places: list[Lanes]) -> list[Lanes]:
    """Places at which the shortest paths cross their edges, from those of paths to nearby ends."""
    along = [edge.along for edge in edges]
    for _ in range(_STEPS):
        legs, ways = _legs(dr, [user, *(e.point(place) for e, place in zip(edges, places, strict=True)), end])
        slopes = [dr.dot(e, ways[k] - ways[k + 1]) for k, e in enumerate(along)]
        steps = _Tridiagonal.along_edges(dr, along, [dr.rcp(leg) for leg in legs], ways).solved(slopes)
        places = [place - step for place, step in zip(places, steps, strict=True)]
    return places


@dataclass(frozen=True)
class _Tridiagonal:
    """Symmetric matrices with ``diagonal`` and the entries ``beside`` it."""

    diagonal: list[Lanes]
    beside: list[Lanes]

    @classmethod
    def along_edges(cls, dr: Any, along: list[Lanes], inverse: list[Lanes], ways: list[Lanes]) -> _Tridiagonal:
        """Second derivatives of the length by the places along edges, given the legs' inverse lengths."""

        def across(k: int, other: int, leg: int) -> Lanes:
            one, two, way = along[k], along[other], ways[leg]
            return (dr.dot(one, two) - dr.dot(one, way) * dr.dot(two, way)) * inverse[leg]

        every = range(len(along))
        return cls(
            [across(k, k, k) + across(k, k, k + 1) for k in every], [-across(k, k + 1, k + 1) for k in every[:-1]]
        )

    def _pivots(self) -> list[Lanes]:
        pivots = self.diagonal[:1]
        for entry, beside in zip(self.diagonal[1:], self.beside, strict=True):
            pivots.append(entry - beside * beside / pivots[-1])
        return pivots

    def determinant(self) -> Lanes:
        product = 1.0
        for pivot in self._pivots():
            product = pivot * product
        return product

    def solved(self, right: list[Lanes]) -> list[Lanes]:
        """The solution for one right side (Thomas' algorithm)."""
        pivots, eliminated = self._pivots(), right[:1]
        for k in range(1, len(right)):
            eliminated.append(right[k] - self.beside[k - 1] / pivots[k - 1] * eliminated[k - 1])
        solution = [eliminated[-1] / pivots[-1]]
        for k in range(len(right) - 2, -1, -1):
            solution.insert(0, (eliminated[k] - self.beside[k] * solution[0]) / pivots[k])
        return solution


def _legs(dr: Any, stops: list[Lanes]) -> tuple[list[Lanes], list[Lanes]]:
    """Lengths and directions of the legs between stops."""
    ways = [there - here for here, there in pairwise(stops)]
    legs = [dr.maximum(dr.norm(way), _SHORTEST_M) for way in ways]
    return legs, [way * dr.rcp(leg) for way, leg in zip(ways, legs, strict=True)]


def _liftings(
    dr: Any, edges: list[EdgeLanes], legs: list[Lanes], ways: list[Lanes], by_edge: _Tridiagonal
) -> tuple[list[Lanes], list[Lanes]]:
    """Tightness and coupling; see EdgePaths.

    A path is displaced at each edge by t along it, and by u off it, across path and edge. Along the edges waves add up
    in phase all the way, so t is taken out of the second derivatives (Schur's complement); what is left is of u alone.
    Couplings of edges that are no neighbours, which only skew edges have, are left out.
    """
    count = len(edges)
    off: list[list[Lanes]] = [[0.0] * count for _ in edges]
    mixed: list[list[Lanes]] = [[0.0] * count for _ in edges]  # of t at the first index and u at the second
    for k in range(count):
        off[k][k] = 1.0 / legs[k] + 1.0 / legs[k + 1]
    for k in range(count - 1):
        leg, way = legs[k + 1], ways[k + 1]
        (here_along, here_off), (there_along, there_off) = (frame(dr, e.ahead, way) for e in edges[k : k + 2])
        off[k][k + 1] = -dr.dot(here_off, there_off) / leg
        mixed[k][k + 1], mixed[k + 1][k] = -dr.dot(here_along, there_off) / leg, -dr.dot(there_along, here_off) / leg
    if count > 1:
        taken = [by_edge.solved([row[k] for row in mixed]) for k in range(count)]
        for k in range(count):
            for other in range(k, min(k + 2, count)):
                off[k][other] -= sum(mixed[t][k] * taken[other][t] for t in range(count))
    tightness = [off[k][k] for k in range(count)]
    return tightness, [-off[k][k + 1] * dr.rsqrt(tightness[k] * tightness[k + 1]) for k in range(count - 1)]


def spread(dr: Any, kind: Any, values: NDArray[Any], index: Lanes) -> Lanes:
    """Values [N], or vectors [N, 3], by index, as Dr.Jit arrays of a kind."""
    # a single entry would be a scalar to the compiler, which makes a new kernel of it every time
    axes = np.ascontiguousarray(np.repeat(values, 2 if len(values) == 1 else 1, axis=0).T)
    return dr.gather(kind, kind(axes) if axes.ndim == 1 else kind(*axes), index)


def frame(dr: Any, along: Lanes, way: Lanes) -> tuple[Lanes, Lanes]:
    """What a path with a direction sees of an edge: its part across the path, of length sin(beta), and the unit vector
    across both, along which the path is lifted."""
    part = along - dr.dot(along, way) * way
    return part, dr.normalize(dr.cross(way, part))


def soft_and_hard(dr: Any, edge: EdgeLanes, way: Lanes) -> tuple[Lanes, Lanes]:
    """Unit vectors of the two parts of a field that travels along a way: along an edge, and across edge and way."""
    part, off = frame(dr, edge.ahead, way)
    return dr.normalize(part), off
