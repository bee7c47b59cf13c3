"""Chains over two and more edges: strings pulled taut over the roofs between a user and the array.

The vertical section of the scene between both ends shows the edges that stand between. A wave that is not reflected
runs from one to the next of them, where nothing stands higher in between; and it matters if each of its edges stands in
the way, or comes so near to it from below that it cuts the Fresnel zone. Over edges askew the path leaves the section,
so the section is taken again along the path found.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from channelfm.tracing.edges import LIFT_M, Edges

Float = NDArray[np.float64]
Index = NDArray[np.int64]

CLEARANCE = 5.0  # an edge this many units of nu below a path changes it by less than 0.4 dB
_STEEPEST = 0.95  # vertical part of the direction of an edge that is a roof's
_SECTIONS, _SWEEPS = 3, 5  # a path need only be near enough to meet the same roofs


class Skylines:
    """What the edges of a scene that are no upright corners do to paths above them, at one wavelength."""

    def __init__(self, edges: Edges, wavelength_m: float, most_edges: int) -> None:
        self._number = np.flatnonzero(np.abs(edges.along[:, 2]) < _STEEPEST)
        self._edges, self._wavelength, self._most = edges, wavelength_m, most_edges
        low = edges.select(self._number)
        self._start, self._way = low.origin, low.along * low.length[:, None]

    def strings(self, user: Float, end: Float) -> set[tuple[int, ...]]:
        """Sequences of 2 to ``most_edges`` edges, user's first, over which waves may pass from a user [3] to an end
        [3]."""
        found: set[tuple[int, ...]] = set()
        stops, taut = np.stack([user, end]), ()
        for _ in range(_SECTIONS):
            distance, height, edge = self._section(stops, taut)
            sights = _sights(distance, height)
            found |= {tuple(edge[list(way)].tolist()) for way in self._ways(distance, height, sights) if len(way) > 1}
            before, taut = taut, tuple(edge[_hull(distance, height)].tolist())
            if not 0 < len(taut) <= self._most or taut == before:
                break
            over = self._edges.select(np.array(taut)[None])
            stops = np.concatenate([user[None], over.points(over.settled(user[None], end, _SWEEPS))[0], end[None]])
        return found

    def _section(self, stops: Float, bends: tuple[int, ...]) -> tuple[Float, Float, Index]:
        """Distance [N] along a polyline in plan that bends at edges, height [N] and edge [N] of all edges above or near
        it, in order; the first and the last are the polyline's ends and no edges, -1."""
        others = ~np.isin(self._number, bends)
        points, begun = [(0.0, stops[0, 2], -1)], 0.0
        for here, there, bend in zip(stops[:-1], stops[1:], [*bends, -1], strict=True):
            leg = there[:2] - here[:2]
            apart = self._start[:, :2] - here[:2]
            area = leg[0] * self._way[:, 1] - leg[1] * self._way[:, 0]
            area = np.where(np.abs(area) < 1e-12, np.inf, area)
            share = (apart[:, 0] * self._way[:, 1] - apart[:, 1] * self._way[:, 0]) / area
            place = (apart[:, 0] * leg[1] - apart[:, 1] * leg[0]) / area
            met = np.flatnonzero(others & (share > 0.0) & (share < 1.0) & (place >= 0.0) & (place <= 1.0))
            met = met[np.argsort(share[met])]
            length = float(np.linalg.norm(leg))
            height = self._start[met, 2] + place[met] * self._way[met, 2]
            points += zip(begun + share[met] * length, height, self._number[met], strict=True)
            begun += length
            points.append((begun, there[2], bend))
        distance, height, edge = (np.array(column) for column in zip(*points, strict=True))
        return self._near(distance, height, edge.astype(np.int64))

    def _near(self, distance: Float, height: Float, edge: Index) -> tuple[Float, Float, Index]:
        """The ends of a section, and its edges that reach the Fresnel zone of the straight line between them; of edges
        within a wavelength the highest."""
        whole = max(float(distance[-1]), 1e-9)
        share = distance / whole
        line = height[0] + share * (height[-1] - height[0])
        zone = np.sqrt(self._wavelength * whole * share * (1.0 - share) / 2.0)
        kept = np.flatnonzero((edge < 0) | (height > line - CLEARANCE * zone))
        alone = [0]
        for at in kept[1:-1]:
            if distance[at] - distance[alone[-1]] > self._wavelength or edge[alone[-1]] < 0:
                alone.append(int(at))
            elif height[at] > height[alone[-1]]:
                alone[-1] = int(at)
        alone.append(len(edge) - 1)
        return distance[alone], height[alone], edge[alone]

    def _ways(self, distance: Float, height: Float, sights: list[list[int]]) -> list[list[int]]:
        """Sequences of up to ``most_edges`` points of a section from its first to its last, each in sight of the next,
        each reaching the Fresnel zone between its neighbours."""
        last, ways, found = len(distance) - 1, [[0]], []
        while ways:
            way = ways.pop()
            for point in sights[way[-1]]:
                if len(way) > 1 and not self._cut(distance, height, way[-2], way[-1], point):
                    continue
                if point == last:
                    found.append(way[1:])
                elif len(way) <= self._most:
                    ways.append([*way, point])
        return found

    def _cut(self, distance: Float, height: Float, before: int, point: int, after: int) -> bool:
        """Whether a point reaches the Fresnel zone between two others."""
        one, two = distance[point] - distance[before], distance[after] - distance[point]
        line = height[before] + (height[after] - height[before]) * one / (one + two)
        return bool(height[point] > line - CLEARANCE * np.sqrt(self._wavelength * one * two / (one + two) / 2.0))


def _sights(distance: Float, height: Float) -> list[list[int]]:
    """For each point of a section, the later ones that it sees."""
    seen = []
    for point in range(len(distance)):
        ahead = distance[point + 1 :] - distance[point]
        slope = (height[point + 1 :] - height[point]) / np.maximum(ahead, 1e-9)
        highest = np.maximum.accumulate(np.concatenate([[-np.inf], slope[:-1]]))[: len(slope)]
        seen.append((point + 1 + np.flatnonzero(slope >= highest - LIFT_M / np.maximum(ahead, 1e-9))).tolist())
    return seen


def _hull(distance: Float, height: Float) -> list[int]:
    """The points between the first and the last over which a string between these, pulled taut, bends."""
    hull: list[int] = []
    for point in range(len(distance)):
        while len(hull) > 1:
            (x0, z0), (x1, z1) = ((distance[at], height[at]) for at in hull[-2:])
            if (z1 - z0) * (distance[point] - x0) > (height[point] - z0) * (x1 - x0) + 1e-9:
                break
            hull.pop()
        hull.append(point)
    return hull[1:-1]
