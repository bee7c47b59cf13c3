"""Vehicles on a scene's roads: lanes, turns at junctions, stop and go.

The mobility of a dynamic digital twin (LWM-Temporal, section IV-C), on the map's own road graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from channelfm.errors import InputError
from channelfm.mobility.ground_grid import Bounds, ground_grid
from channelfm.mobility.legs import Legs, check_request, trajectory
from channelfm.mobility.motion import KNOT_M, Drive, SmoothLine
from channelfm.mobility.streets import joined_lines
from channelfm.records import Scene, Trajectory
from channelfm.scenes.surface import inside_buildings

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Side = Literal["right", "left"]

_ROADS = ("motorway", "trunk", "primary", "secondary", "tertiary")
DRIVABLE = frozenset(
    {*_ROADS, *(f"{kind}_link" for kind in _ROADS), "unclassified", "residential", "living_street", "service", "road"}
)
LANE_M = 1.6  # from the centre line of a two-way road to the middle of its lane; one-way roads are driven in the middle
STOP_LINE_M = 6.0  # before the middle of a junction
STOP_SHARE = 0.3  # of the junctions that a vehicle comes to
CLOSEST_STOPS_M = 15.0
WAIT_S = (2.0, 15.0)
EARLIER_S = (30.0, 60.0)  # a vehicle has driven so long when its track begins
SLACK, SLACK_M = 1.25, 50.0  # by which a route is longer than a drive at full speed: rounding corners shortens it
ATTEMPTS = 30


def vehicles(
    scene: Scene,
    num_users: int = 4,
    num_steps: int = 25,
    interval_s: float = 1.0,
    seed: int = 0,
    speed_mps: tuple[float, float] = (5.0, 14.0),
    height_m: float = 1.5,
    side: Side = "right",
    bounds: Bounds | None = None,
    steady: bool = False,
) -> Trajectory:
    """Vehicles that drive on the scene's roads and never through a building.

    Each keeps to its lane on one side of the road, obeys one-way streets, turns at random at junctions (back only at
    dead ends), and brakes for curves; at 30 % of the junctions it stops for 2-15 s. Acceleration, braking and
    sideways acceleration in curves are at most 2, 3 and 2.5 m/s2. Vehicles do not see each other.

    Parameters
    ----------
    scene : with roads.
    num_users, num_steps : vehicles, and snapshots of each.
    interval_s : time between snapshots [s]; at 1 ms movement is as smooth as at 1 s.
    seed : vehicle k drives the same way whatever ``num_users`` is.
    speed_mps : (lowest, highest) speed [m/s] that a vehicle keeps on a free, straight road.
    height_m : of the antenna above ground [m].
    side : of the road that is driven on.
    bounds : (x_min, y_min, x_max, y_max) [m] that centre lines stay in; None takes the scene's.
    steady : keep the speed that was drawn all along, without stops or brakes, as sequences of milliseconds have it that
        shall cover all speeds alike (seed 004, IV-C).

    Velocities are the derivative of the path (:mod:`channelfm.mobility.legs`). Raises InputError on bad values and a
    scene without drivable roads there.
    """
    check_request("num_users", num_users, num_steps, interval_s, seed, speed_mps)
    check_height(height_m)
    if side not in ("right", "left"):
        raise InputError(f"side = '{side}': use 'right' or 'left'")
    limits = bounds or scene.bounds
    ground = ground_grid(scene, limits)

    def is_built_over(points_xy: Float) -> Bool:
        return inside_buildings(scene, np.column_stack([points_xy, ground.at(points_xy) + height_m]))

    lanes = lane_graph(scene, limits, side, is_built_over)
    legs = Legs.of(num_steps, interval_s)
    paths = []
    for user in range(num_users):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(user,)))
        way = _way(rng, lanes, is_built_over, legs, speed_mps, steady)
        if way is None:
            raise InputError(f"scene '{scene.name}': no way for a vehicle between the buildings; choose other bounds")
        paths.append(np.column_stack([way, ground.at(way) + height_m]))
    return trajectory(paths, legs, "vehicles", seed)


def check_height(height_m: float) -> None:
    """Raise InputError unless a user's height above ground is positive."""
    if not 0.0 < height_m < np.inf:
        raise InputError(f"height_m = {height_m}: give a height above ground in metres, above 0")


@dataclass(frozen=True)
class LaneGraph:
    """Lanes of the roads that are free of buildings and within which every place can be reached from every other.

    ``edges`` [E, 2] are pairs of numbers of the road points [N, 2] m; ``two_way`` holds the pairs whose opposite is a
    road too; ``aside_m`` is how far to the right of its centre line a two-way road is driven on.
    """

    points: Float
    edges: NDArray[np.int64]
    two_way: frozenset[tuple[int, int]]
    aside_m: float

    @cached_property
    def lengths_m(self) -> Float:
        """Length [E] of the edges in m."""
        return np.asarray(np.linalg.norm(self.points[self.edges[:, 1]] - self.points[self.edges[:, 0]], axis=1))

    @cached_property
    def following(self) -> dict[int, list[int]]:
        """Road points that can be reached next, by road point."""
        following: dict[int, list[int]] = {}
        for here, there in self.edges.tolist():
            following.setdefault(here, []).append(there)
        return following

    @cached_property
    def junctions(self) -> frozenset[int]:
        """Road points where at least three roads meet."""
        around: dict[int, set[int]] = {}
        for here, there in self.edges.tolist():
            around.setdefault(here, set()).add(there)
            around.setdefault(there, set()).add(here)
        return frozenset(node for node, others in around.items() if len(others) >= 3)

    def lane(self, here: int, there: int) -> Float:
        """Points [N, 2] of the lane from one road point to the next, about ``KNOT_M`` apart, without the last."""
        start, end = self.points[here], self.points[there]
        length = float(np.linalg.norm(end - start))
        along = (end - start) / length
        aside = self.aside_m * np.array([along[1], -along[0]]) if (here, there) in self.two_way else np.zeros(2)
        count = max(1, round(length / KNOT_M))
        return np.asarray(start + aside + (np.arange(count) * length / count)[:, None] * along)

    def only(self, kept: NDArray[Any]) -> LaneGraph:
        """The graph of some of its edges."""
        return replace(self, edges=self.edges[kept])

    def connected(self) -> LaneGraph:
        """The longest part within which every road point can be reached from every other."""
        size = len(self.points)
        links = csr_array((np.ones(len(self.edges)), tuple(self.edges.T)), shape=(size, size))
        _, group = connected_components(links, connection="strong")
        start, end = group[self.edges].T
        if not (start == end).any():
            return self.only(start == end)
        weights = np.where(start == end, self.lengths_m, 0.0)
        return self.only((start == end) & (start == np.argmax(np.bincount(start, weights=weights))))


def lane_graph(scene: Scene, bounds: Bounds, side: Side, is_built_over: Callable[[Float], Bool]) -> LaneGraph:
    """Lanes of a scene's roads whose centre lines lie in bounds; InputError if there are none."""
    graph = joined_lines((road.points, not road.oneway) for road in scene.roads if road.kind in DRIVABLE)
    inside = np.asarray(((graph.points >= bounds[:2]) & (graph.points <= bounds[2:])).all(axis=1))
    edges = graph.edges[inside[graph.edges].all(axis=1)]
    pairs = set(map(tuple, edges.tolist()))
    two_way = frozenset((here, there) for here, there in pairs if (there, here) in pairs)
    lanes = LaneGraph(graph.points, edges, two_way, LANE_M if side == "right" else -LANE_M)
    if len(edges):
        shapes = [lanes.lane(here, there) for here, there in edges.tolist()]
        owner = np.repeat(np.arange(len(shapes)), [len(shape) for shape in shapes])
        blocked = np.bincount(owner[is_built_over(np.concatenate(shapes))], minlength=len(shapes))
        lanes = lanes.only(blocked == 0).connected()
    if not len(lanes.edges):
        raise InputError(f"scene '{scene.name}' has no roads to drive on; use pedestrians, other bounds or another map")
    return lanes


def _way(
    rng: np.random.Generator,
    lanes: LaneGraph,
    is_built_over: Callable[[Float], Bool],
    legs: Legs,
    speed_mps: tuple[float, float],
    steady: bool,
) -> Float | None:
    """Leg ends [legs.count + 1, 2] of one vehicle; None if rounding corners leads through buildings every time."""
    for _ in range(ATTEMPTS):
        cruise, start = float(rng.uniform(*speed_mps)), float(rng.uniform(*EARLIER_S))
        times = start + legs.ends_s
        driven_for = legs.ends_s if steady else times
        points, stops = _route(rng, lanes, SLACK * cruise * float(driven_for[-1]) + SLACK_M)
        line = SmoothLine.through(points)
        if steady:
            spare = line.lengths_m[-1] - cruise * float(legs.ends_s[-1])
            driven, arrives = spare * rng.random() + cruise * legs.ends_s, spare >= 0
        else:
            drive = Drive.along(line, cruise, line.knots[stops], rng.uniform(*WAIT_S, size=len(stops)))
            driven, arrives = drive.length_at(times), times[-1] <= drive.times_s[-1]
        passed = (line.lengths_m >= driven[0]) & (line.lengths_m <= driven[-1])
        if arrives and not is_built_over(line.spline(line.lengths_m[passed])).any():
            return np.asarray(line.spline(driven))
    return None


def _route(rng: np.random.Generator, lanes: LaneGraph, length_m: float) -> tuple[Float, NDArray[np.int64]]:
    """Points [N, 2] of a random route of at least ``length_m``, and the numbers [S] of those where it stops."""
    before, here = lanes.edges[rng.choice(len(lanes.edges), p=lanes.lengths_m / lanes.lengths_m.sum())].tolist()
    driven = [lanes.lane(before, here)]
    count, stops = len(driven[0]), [0]
    while count * KNOT_M < length_m:
        stop = count - round(STOP_LINE_M / KNOT_M)
        if here in lanes.junctions and stop - stops[-1] > CLOSEST_STOPS_M / KNOT_M and rng.random() < STOP_SHARE:
            stops.append(stop)
        onwards = [node for node in lanes.following[here] if node != before] or lanes.following[here]
        before, here = here, onwards[rng.integers(len(onwards))]
        driven.append(lanes.lane(before, here))
        count += len(driven[-1])
    return np.concatenate(driven), np.array(stops[1:], dtype=np.int64)
