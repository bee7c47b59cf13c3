"""Street-guided flights: UAVs that follow the map's roads and turn at junctions."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from channelfm.errors import InputError
from channelfm.mobility.airspace import Airspace
from channelfm.mobility.flights import AltitudeMode, FlightPlan, Router, fly
from channelfm.mobility.ground_grid import Bounds
from channelfm.records import Scene, Trajectory

Float = NDArray[np.float64]

# Ways for people on foot, which run through courtyards, stairs and gates.
_NOT_STREETS = frozenset({"footway", "steps", "path", "cycleway", "bridleway", "corridor", "track"})
_TURNINGS_TRIED = 6  # random choices at junctions before a blocked UAV turns back


@dataclass(frozen=True)
class StreetGraph:
    """Road points [N, 2] m, and for each the numbers of those that can be reached next."""

    points: Float
    neighbours: tuple[tuple[int, ...], ...]

    @property
    def edges(self) -> NDArray[np.int64]:
        """Both directions of all street segments [E, 2]."""
        pairs = [(here, there) for here, others in enumerate(self.neighbours) for there in others]
        return np.array(pairs, dtype=np.int64).reshape(-1, 2)


@dataclass(frozen=True)
class _Place:
    """On the segment from one road point to the next, ``offset_m`` behind the first."""

    start: int
    end: int
    offset_m: float


def street_graph(scene: Scene) -> StreetGraph:
    """Graph of the scene's streets, joined where roads share a point; InputError if there are none.

    Traffic rules do not bind UAVs, so one-way streets are open both ways.
    """
    streets = [(road.points, True) for road in scene.roads if road.kind not in _NOT_STREETS]
    graph = joined_lines(streets)
    if not graph.neighbours:
        raise InputError(f"scene '{scene.name}' has no streets to follow; use cruise, or a map with roads")
    return graph


def joined_lines(lines: Iterable[tuple[Sequence[tuple[float, float]], bool]]) -> StreetGraph:
    """Graph of lines ((x, y), ...) m, each open along its points only or (True) both ways, joined where they share
    a point."""
    numbers: dict[tuple[float, float], int] = {}
    neighbours: dict[int, dict[int, None]] = {}  # dicts keep the map's order, sets would not
    for points, both_ways in lines:
        run = [numbers.setdefault((round(x, 3), round(y, 3)), len(numbers)) for x, y in points]
        for here, there in itertools.pairwise(run):
            if here != there:
                neighbours.setdefault(here, {})[there] = None
                if both_ways:
                    neighbours.setdefault(there, {})[here] = None
    joined = tuple(tuple(neighbours.get(number, ())) for number in range(len(numbers)))
    return StreetGraph(np.array(list(numbers), dtype=np.float64).reshape(-1, 2), joined)


def street_guided(
    scene: Scene,
    num_uavs: int = 4,
    num_steps: int = 25,
    interval_s: float = 1.0,
    seed: int = 0,
    speed_mps: tuple[float, float] = (5.0, 20.0),
    altitude_m: tuple[float, float] | None = None,
    altitude_mode: AltitudeMode = "walk",
    margin_m: float = 5.0,
    bounds: Bounds | None = None,
) -> Trajectory:
    """UAVs that fly along the streets of the map, choosing at random at junctions, clear of everything built.

    They turn back only at dead ends, at the edge, and where a building blocks every way on. Parameters and
    velocities are those of :func:`channelfm.mobility.cruise`; legs of at most one second cut the corners of
    streets, which makes a UAV slower there. Raises InputError on bad values, a scene without streets, and a
    flight without room.
    """
    graph = street_graph(scene)
    return fly(
        scene,
        lambda airspace: _street_router(airspace, graph),
        kind="street_guided",
        num_uavs=num_uavs,
        num_steps=num_steps,
        interval_s=interval_s,
        seed=seed,
        speed_mps=speed_mps,
        altitude_m=altitude_m,
        altitude_mode=altitude_mode,
        margin_m=margin_m,
        bounds=bounds,
    )


def _street_router(airspace: Airspace, graph: StreetGraph) -> Router:
    edges = graph.edges
    x_min, y_min, x_max, y_max = airspace.bounds
    ends = graph.points[edges]
    inside = ((ends >= (x_min, y_min)) & (ends <= (x_max, y_max))).all(axis=(1, 2))
    edges = edges[inside] if inside.any() else edges
    lengths = np.linalg.norm(graph.points[edges[:, 1]] - graph.points[edges[:, 0]], axis=1)
    milestones = np.cumsum(lengths)

    def route(rng: np.random.Generator, plan: FlightPlan, place: Float) -> Float | None:
        along = place[0] * milestones[-1]
        number = min(int(np.searchsorted(milestones, along, side="right")), len(edges) - 1)
        start, end = edges[number]
        here = _Place(int(start), int(end), float(along - milestones[number] + lengths[number]))
        way = np.empty((plan.num_legs + 1, 2))
        way[0] = _position(graph, here)
        for leg in range(plan.num_legs):
            found = _next_place(airspace, graph, rng, here, plan.speed_mps * plan.leg_s, plan.lowest(leg))
            if found is None:
                return None
            here = found
            way[leg + 1] = _position(graph, here)
        return way

    return route


def _next_place(
    airspace: Airspace, graph: StreetGraph, rng: np.random.Generator, here: _Place, distance_m: float, lowest_m: float
) -> _Place | None:
    """Where a UAV is after one leg: onwards if some turning is clear, else back; None if neither is."""
    back = _Place(here.end, here.start, _length(graph, here.start, here.end) - here.offset_m)
    for origin in (here, back):
        for _ in range(_TURNINGS_TRIED):
            there = _advance(graph, rng, origin, distance_m)
            if airspace.is_clear(_position(graph, here), _position(graph, there), lowest_m):
                return there
    return None


def _advance(graph: StreetGraph, rng: np.random.Generator, place: _Place, distance_m: float) -> _Place:
    """The place a distance further on: at each road point by any way but the one it came from, if there is one."""
    start, end, offset = place.start, place.end, place.offset_m + distance_m
    while offset > (length := _length(graph, start, end)):
        onwards = [other for other in graph.neighbours[end] if other != start] or [start]
        start, end, offset = end, onwards[rng.integers(len(onwards))], offset - length
    return _Place(start, end, offset)


def _length(graph: StreetGraph, start: int, end: int) -> float:
    return float(np.linalg.norm(graph.points[end] - graph.points[start]))


def _position(graph: StreetGraph, place: _Place) -> Float:
    share = place.offset_m / _length(graph, place.start, place.end)
    return np.asarray(graph.points[place.start] + share * (graph.points[place.end] - graph.points[place.start]))
