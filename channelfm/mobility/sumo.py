"""Flights along streets as traffic uses them: the ways of vehicles in SUMO, flown by UAVs.

Krajzewicz et al., "Recent development and applications of SUMO", 2012; used as in LAETwin-XL (section III-B), but
with the coordinates projected back instead of stretched. libsumo runs the simulation in this process.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, dijkstra

from channelfm.errors import DependencyError, InputError
from channelfm.mobility.airspace import Airspace, altitude_band, open_airspace
from channelfm.mobility.flights import AltitudeMode, altitude_profile, check_mode, spread_place
from channelfm.mobility.ground_grid import Bounds
from channelfm.mobility.legs import Legs, check_request, trajectory
from channelfm.mobility.sumo_network import (
    VEHICLE_CLASS,
    SumoNetwork,
    build_network,
    import_sumo,
    proj_folders_restored,
    proj_of_sumo,
)
from channelfm.records import Scene, Trajectory

Float = NDArray[np.float64]

STEP_S = 0.2  # of the simulation
WARM_UP_S = 60.0  # in which traffic spreads and queues form before the first snapshot
STREET_PER_VEHICLE_M = 250.0
FLEET = (8, 120)  # fewest and most vehicles of one simulation
SIMULATIONS = 12  # run before a flight counts as without room
LEVELS = 5  # lowest altitudes tried within the band
LEAST_STREET_M = 300.0  # streets that must hang together at an altitude
STRETCH_M = 20.0  # streets are checked for room in stretches of at most this length

_one_simulation = threading.Lock()  # libsumo holds one simulation per process


@dataclass(frozen=True)
class Streets:
    """Network edges that can all be reached from each other: names, lengths [E] m, and a graph [E, E] whose entry
    (i, j) is the length of edge j if it may follow edge i."""

    names: tuple[str, ...]
    lengths_m: Float
    graph: csr_array

    @property
    def total_m(self) -> float:
        """Length of all edges [m]."""
        return float(self.lengths_m.sum())


def sumo_guided(
    scene: Scene,
    map_path: str | Path,
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
    """UAVs that follow vehicles of a SUMO simulation on the roads of the scene's own map, clear of everything built.

    The vehicles drive from one random place to the next, on lanes, by the rules of traffic; each one's ``maxSpeed``
    is drawn from ``speed_mps``, below which speed limits, junctions and other vehicles slow it down to a stop. Only
    streets with room for the margin at the lowest altitude are used; where these do not hang together, the lower
    end of the altitudes is raised, within the given ones, until they do.

    Parameters
    ----------
    scene : from ``map_path`` (its ``origin`` says where on Earth it lies).
    map_path : OpenStreetMap extract, any format that :func:`channelfm.scenes.from_osm` reads.
    num_uavs, num_steps, interval_s, seed, altitude_m, altitude_mode, margin_m, bounds : as in
        :func:`channelfm.mobility.cruise`. The simulation is the same whatever ``num_uavs`` is.
    speed_mps : (lowest, highest) maximum speed of a vehicle [m/s].

    Velocities are the derivative of the path (:mod:`channelfm.mobility.legs`); between two steps of the simulation
    (0.2 s) vehicles move straight. Raises InputError on bad values, a scene without origin, a map without drivable
    roads, a flight without room and a simulation that already runs in this process; DependencyError without the
    extra ``sumo``.
    """
    check_request("num_uavs", num_uavs, num_steps, interval_s, seed, speed_mps)
    check_mode(altitude_mode)
    if scene.origin is None:
        raise InputError(f"scene '{scene.name}' lies nowhere on Earth; use street_guided, or a scene of a map")
    airspace = open_airspace(scene, margin_m, bounds)
    band = altitude_band(altitude_m, airspace)
    legs = Legs.of(num_steps, interval_s)
    with tempfile.TemporaryDirectory(prefix="channelfm-sumo-") as folder:
        network = build_network(map_path, Path(folder), scene.origin, airspace.bounds)
        streets, lowest = _streets_with_room(network, airspace, band)
        ways = _clear_ways(network, streets, airspace, lowest, legs, seed, speed_mps)
        chosen = _spread(ways, num_uavs, seed, airspace, band)
    paths = []
    for uav, way in enumerate(chosen):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(uav,)))
        altitude = altitude_profile(rng, (lowest, band[1]), legs.count, legs.leg_s, altitude_mode)
        paths.append(np.column_stack([way, airspace.ground.at(way) + altitude]))
    return trajectory(paths, legs, "sumo_guided", seed)


def _spread(
    fleets: Iterator[list[Float]], num_uavs: int, seed: int, airspace: Airspace, band: tuple[float, float]
) -> list[Float]:
    """One way per UAV: of those not yet taken in a simulation, the one that starts nearest to the UAV's place."""
    x_min, y_min, x_max, y_max = airspace.bounds
    chosen: list[Float] = []
    left: list[Float] = []
    while len(chosen) < num_uavs:
        while not left:
            found = next(fleets, None)
            if found is None:
                raise airspace.without_room("sumo_guided", band)
            left = found
        place = (x_min, y_min) + spread_place(seed, len(chosen)) * (x_max - x_min, y_max - y_min)
        nearest = int(np.argmin([np.hypot(*(way[0] - place)) for way in left]))
        chosen.append(left.pop(nearest))
    return chosen


def _clear_ways(
    network: SumoNetwork,
    streets: Streets,
    airspace: Airspace,
    lowest_m: float,
    legs: Legs,
    seed: int,
    speed_mps: tuple[float, float],
) -> Iterator[list[Float]]:
    """For each of several simulations, the ways [legs.count + 1, 2] m that stay in the free space."""
    times = np.arange(int(np.ceil(legs.ends_s[-1] / STEP_S)) + 1) * STEP_S
    for simulation in range(SIMULATIONS):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0x50, simulation)))
        size = int(np.clip(streets.total_m / STREET_PER_VEHICLE_M, *FLEET))
        speeds = rng.uniform(*speed_mps, size=size)
        routes = [_route(rng, streets, speed * (WARM_UP_S + times[-1]) + 100.0) for speed in speeds]
        driven = network.to_scene(_drive(network.path, routes, speeds, len(times), int(rng.integers(2**31))))
        ways = [
            np.stack([np.interp(legs.ends_s, times, way[:, axis]) for axis in range(2)], axis=1)
            for way in driven
            if np.isfinite(way).all()
        ]
        yield [way for way in ways if _stays_clear(airspace, way, lowest_m)]


def _stays_clear(airspace: Airspace, way: Float, lowest_m: float) -> bool:
    return bool(airspace.contains(way[:1])[0]) and all(
        airspace.is_clear(here, there, lowest_m) for here, there in itertools.pairwise(way)
    )


def _streets_with_room(network: SumoNetwork, airspace: Airspace, band: tuple[float, float]) -> tuple[Streets, float]:
    """The streets that hang together and have room at the lowest possible altitude of the band, and that altitude."""
    edges = [edge for edge in network.net.getEdges() if edge.allows(VEHICLE_CLASS)]
    lanes = [(number, lane) for number, edge in enumerate(edges) for lane in edge.getLanes()]
    usable = [(number, np.array(lane.getShape())) for number, lane in lanes if lane.allows(VEHICLE_CLASS)]
    places = network.to_scene(np.concatenate([shape for _, shape in usable]))
    shapes = np.split(places, np.cumsum([len(shape) for _, shape in usable])[:-1])
    for lowest in np.linspace(*band, LEVELS):
        blocked = {
            number
            for (number, _), shape in zip(usable, shapes, strict=True)
            if not _lane_is_clear(airspace, shape, float(lowest))
        }
        streets = _connected([edge for number, edge in enumerate(edges) if number not in blocked])
        if streets is not None and streets.total_m >= LEAST_STREET_M:
            return streets, float(lowest)
    raise airspace.without_room("sumo_guided", band)


def _lane_is_clear(airspace: Airspace, lane: Float, lowest_m: float) -> bool:
    lengths = np.hypot(*np.diff(lane, axis=0).T)
    return bool(airspace.contains(lane[:1])[0]) and all(
        airspace.is_clear(here, there, lowest_m, int(np.ceil(length / STRETCH_M)) or 1)
        for here, there, length in zip(lane[:-1], lane[1:], lengths, strict=True)
    )


def _connected(edges: list[Any]) -> Streets | None:
    """The longest set of at least two edges that can all be reached from each other; None if there is none."""
    number = {edge: index for index, edge in enumerate(edges)}
    pairs = [
        (number[edge], number[other])
        for edge in edges
        for other in edge.getAllowedOutgoing(VEHICLE_CLASS)
        if other in number
    ]
    if not pairs:
        return None
    here, there = np.array(sorted(pairs)).T
    lengths = np.array([edge.getLength() for edge in edges])
    graph = csr_array((lengths[there], (here, there)), shape=(len(edges), len(edges)))
    _, group = connected_components(graph, connection="strong")
    kept = np.flatnonzero(group == np.argmax(np.bincount(group, weights=lengths)))
    if len(kept) < 2:
        return None
    return Streets(tuple(edges[index].getID() for index in kept), lengths[kept], graph[kept][:, kept])


def _route(rng: np.random.Generator, streets: Streets, length_m: float) -> list[str]:
    """Edges of the shortest ways from one random street to the next (each drawn by its length), ``length_m`` long."""
    share = streets.lengths_m / streets.total_m
    route = [int(rng.choice(len(share), p=share))]
    driven = 0.0
    while driven < length_m:
        goal = int(rng.choice(len(share), p=share))
        _, before = dijkstra(streets.graph, indices=np.array([route[-1]]), return_predecessors=True)
        stretch = [goal]
        while stretch[-1] != route[-1]:
            stretch.append(int(before[0, stretch[-1]]))
        route += stretch[-2::-1]
        driven += float(streets.lengths_m[stretch[:-1]].sum())
    return [streets.names[index] for index in route]


def _drive(network: Path, routes: list[list[str]], speeds_mps: Float, num_steps: int, seed: int) -> Float:
    """Places [vehicle, num_steps, 2] in m of the network, one each 0.2 s after the warm-up; NaN while a vehicle is
    not on the road."""
    libsumo = import_sumo("libsumo")
    with _one_simulation, proj_folders_restored():
        os.environ.update(proj_of_sumo())
        if libsumo.isLoaded():
            raise InputError("a SUMO simulation runs in this process already and there can be only one; close it first")
        try:
            libsumo.start(["sumo", "--net-file", str(network), *_SETTINGS, "--seed", str(seed)])
            return _record(libsumo, routes, speeds_mps, num_steps)
        except (libsumo.TraCIException, libsumo.FatalTraCIError) as error:
            raise DependencyError(f"SUMO stopped ({error}); another seed or map may work, else reinstall it") from error
        finally:
            if libsumo.isLoaded():
                libsumo.close()


# Vehicles never jump ("teleport") out of a jam, and change lanes gradually, so that their ways are continuous.
_SETTINGS = (
    *("--step-length", str(STEP_S), "--step-method.ballistic", "--lanechange.duration", "3"),
    *("--time-to-teleport", "-1", "--collision.action", "none"),
    *("--no-step-log", "--no-warnings", "--duration-log.disable", "--xml-validation", "never"),
)


def _record(libsumo: Any, routes: list[list[str]], speeds_mps: Float, num_steps: int) -> Float:
    for number, (route, speed) in enumerate(zip(routes, speeds_mps, strict=True)):
        name = str(number)
        libsumo.route.add(name, route)
        libsumo.vehicle.add(name, name, departLane="best", departPos="random_free", departSpeed="0")
        libsumo.vehicle.setMaxSpeed(name, float(speed))
    for _ in range(round(WARM_UP_S / STEP_S)):
        libsumo.simulationStep()
    places = np.full((len(routes), num_steps, 2), np.nan)
    for step in range(num_steps):
        for name in libsumo.vehicle.getIDList():
            places[int(name), step] = libsumo.vehicle.getPosition(name)
        libsumo.simulationStep()
    return places
