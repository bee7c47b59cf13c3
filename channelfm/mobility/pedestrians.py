"""Pedestrians: bounded changes of heading, beside roads and over free ground, never through a building."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from channelfm.errors import InputError
from channelfm.mobility.airspace import Airspace
from channelfm.mobility.cruise import Start, heading_router
from channelfm.mobility.flights import find_path
from channelfm.mobility.ground_grid import Bounds, ground_grid
from channelfm.mobility.legs import Legs, check_request, trajectory
from channelfm.mobility.vehicles import check_height
from channelfm.records import Scene, Trajectory
from channelfm.scenes.surface import HeightRaster, height_raster

Float = NDArray[np.float64]

CELL_M = 1.0
TURN_RATE_RAD_S = np.deg2rad(20.0)  # of the random heading changes
BESIDE_ROAD_M = (3.0, 6.0)  # distance from the centre line at which people start
_NO_WALKING = frozenset({"motorway", "motorway_link", "trunk", "trunk_link"})


def pedestrians(
    scene: Scene,
    num_users: int = 4,
    num_steps: int = 25,
    interval_s: float = 1.0,
    seed: int = 0,
    speed_mps: tuple[float, float] = (0.7, 1.9),
    height_m: float = 1.5,
    bounds: Bounds | None = None,
) -> Trajectory:
    """People who walk at one speed each with bounded changes of heading (LWM-Temporal, section IV-C).

    They start beside a road, along it, in one direction or the other (anywhere on free ground where a scene has no
    roads); headings change at random by at most 20 degrees per second, and by more only to avoid a building or the
    edge. Nobody walks under anything built, nor within about a metre of it (so not in alleys narrower than 4 m or so).

    Parameters are those of :func:`channelfm.mobility.vehicles`; ``speed_mps`` is walking speed. Velocities are the
    derivative of the path (:mod:`channelfm.mobility.legs`). Raises InputError on bad values and a scene without free
    ground.
    """
    check_request("num_users", num_users, num_steps, interval_s, seed, speed_mps)
    check_height(height_m)
    free = _free_ground(scene, bounds or scene.bounds)
    router = heading_router(free, _start(scene, free), TURN_RATE_RAD_S)
    legs = Legs.of(num_steps, interval_s)
    paths = []
    for user in range(num_users):
        path = find_path(free, router, legs, seed, user, speed_mps, (height_m, height_m), "walk")
        if path is None:
            raise InputError(f"scene '{scene.name}' has no free ground for pedestrians; choose other bounds")
        paths.append(path)
    return trajectory(paths, legs, "pedestrians", seed)


def _free_ground(scene: Scene, bounds: Bounds) -> Airspace:
    """The ground as an airspace whose floor is endlessly high where anything but ground stands, else endlessly low."""
    is_ground = np.array([item.kind == "ground" for item in scene.objects], dtype=bool)[scene.face_object]
    x_min, y_min, x_max, y_max = bounds
    if not (x_min < x_max and y_min < y_max):
        raise InputError(f"bounds = {bounds}: give x_min, y_min, x_max, y_max in metres with an area between them")
    wide = (x_min - CELL_M, y_min - CELL_M, x_max + CELL_M, y_max + CELL_M)
    built = height_raster(
        replace(scene, faces=scene.faces[~is_ground], face_object=scene.face_object[~is_ground]), CELL_M, wide
    )
    # A cell more than those that are touched, since lines are tested at points half a cell apart.
    blocked = np.where(np.isfinite(maximum_filter(built.heights_m, size=3, mode="nearest")), np.inf, -np.inf)
    floor = HeightRaster(blocked, built.x_min, built.y_min, CELL_M)
    return Airspace(built, floor, ground_grid(scene, wide), bounds, 0.0)


def _start(scene: Scene, free: Airspace) -> Start:
    """Starts beside roads that lie in the bounds, each by its length; else anywhere."""
    x_min, y_min, x_max, y_max = free.bounds
    lines = [np.array(road.points) for road in scene.roads if road.kind not in _NO_WALKING]
    segments = np.concatenate([np.stack([line[:-1], line[1:]], axis=1) for line in lines] or [np.empty((0, 2, 2))])
    segments = segments[free.contains(segments[:, 0]) & free.contains(segments[:, 1])]
    milestones = np.cumsum(np.linalg.norm(segments[:, 1] - segments[:, 0], axis=1))

    def anywhere(rng: np.random.Generator, place: Float) -> tuple[Float, float]:
        point = np.array([x_min + place[0] * (x_max - x_min), y_min + place[1] * (y_max - y_min)])
        return point, rng.uniform(-np.pi, np.pi)

    def beside_road(rng: np.random.Generator, place: Float) -> tuple[Float, float]:
        number = min(int(np.searchsorted(milestones, place[0] * milestones[-1])), len(segments) - 1)
        start, end = segments[number]
        heading = float(np.arctan2(*(end - start)[::-1]))
        aside = rng.uniform(*BESIDE_ROAD_M) * rng.choice([-1.0, 1.0])
        point = start + place[1] * (end - start) + aside * np.array([-np.sin(heading), np.cos(heading)])
        return np.clip(point, (x_min, y_min), (x_max, y_max)), heading + rng.choice([0.0, np.pi])

    return beside_road if len(segments) else anywhere
