"""Cruise: nearly straight flights that turn away from what is in their way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from channelfm.mobility.airspace import Airspace
from channelfm.mobility.flights import AltitudeMode, FlightPlan, Router, fly
from channelfm.mobility.ground_grid import Bounds
from channelfm.records import Scene, Trajectory

Float = NDArray[np.float64]
Start = Callable[[np.random.Generator, Float], tuple[Float, float]]  # place in [0, 1)^2 -> point [2] m, heading

TURN_RATE_RAD_S = np.deg2rad(5.0)  # of the random heading changes
LOOK_AHEAD_S = 4.0  # a UAV turns away from obstacles this long before it would reach them
DETOURS_RAD = np.deg2rad(np.arange(10.0, 181.0, 10.0))


def cruise(
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
    """UAVs on nearly straight flights, clear of everything built.

    Each UAV keeps one horizontal speed; its heading changes at random by at most 5 degrees per second. Ahead of a
    building it turns by the least that avoids it; at the edge it turns back inside as a ball bounces off a wall.

    Parameters
    ----------
    scene : where to fly.
    num_uavs, num_steps : UAVs, and snapshots of each.
    interval_s : time between snapshots [s].
    seed : UAV k flies the same way whatever ``num_uavs`` is.
    speed_mps : (slowest, fastest) horizontal speed [m/s].
    altitude_m : (lowest, highest) [m] above ground; None takes a band of 20 m above 90 % of the roof area plus
        margin, from 30 m up.
    altitude_mode : "walk" (bounded random walk of the climb rate) or "sinusoid".
    margin_m : every surface within this distance horizontally lies at least this far below the UAV, at the
        snapshots and on the way between them.
    bounds : (x_min, y_min, x_max, y_max) [m] to stay in; None takes the scene's.

    Velocities are the derivative of the path (:mod:`channelfm.mobility.flights`). Raises InputError on bad
    values and on a flight without room.
    """
    return fly(
        scene,
        _cruise_router,
        kind="cruise",
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


def _cruise_router(airspace: Airspace) -> Router:
    x_min, y_min, x_max, y_max = airspace.bounds

    def start(rng: np.random.Generator, place: Float) -> tuple[Float, float]:
        point = np.array([x_min + place[0] * (x_max - x_min), y_min + place[1] * (y_max - y_min)])
        return point, rng.uniform(-np.pi, np.pi)

    return heading_router(airspace, start, TURN_RATE_RAD_S)


def heading_router(airspace: Airspace, start: Start, turn_rate_rad_s: float) -> Router:
    """Ways whose heading changes at random by at most a rate [rad/s], and more only to avoid what is ahead."""

    def route(rng: np.random.Generator, plan: FlightPlan, place: Float) -> Float | None:
        way = np.empty((plan.num_legs + 1, 2))
        way[0], heading = start(rng, place)
        for leg in range(plan.num_legs):
            heading += rng.uniform(-turn_rate_rad_s, turn_rate_rad_s) * plan.leg_s
            side = rng.choice([-1.0, 1.0])
            found = _free_heading(airspace, plan, way[leg], leg, heading, side)
            if found is None:
                return None
            heading = found
            way[leg + 1] = way[leg] + plan.speed_mps * plan.leg_s * _direction(heading)
        return way

    return route


def _free_heading(
    airspace: Airspace, plan: FlightPlan, here: Float, leg: int, heading: float, side: float
) -> float | None:
    """The heading nearest to the given one that is free some seconds ahead, else for this leg; else None."""
    turns = np.concatenate([[0.0], np.stack([side * DETOURS_RAD, -side * DETOURS_RAD], axis=1).ravel()])
    stride = plan.speed_mps * plan.leg_s
    for legs in sorted({max(1, round(LOOK_AHEAD_S / plan.leg_s)), 1}, reverse=True):
        lowest = plan.lowest(leg, legs)
        wanted = _bounced(airspace.bounds, here + legs * stride * _direction(heading), heading)
        for turn in turns:
            ahead = stride * _direction(wanted + turn)
            if airspace.is_clear(here, here + legs * ahead, lowest, legs) and airspace.is_clear(
                here, here + ahead, lowest
            ):
                return float(wanted + turn)
    return None


def _bounced(bounds: Bounds, ahead: Float, heading: float) -> float:
    """The heading, mirrored at the edges beyond which the point ahead [2] lies. (Turning by the least that stays
    inside would keep UAVs along the edges.)"""
    x_min, y_min, x_max, y_max = bounds
    if not x_min <= ahead[0] <= x_max:
        heading = np.pi - heading
    return heading if y_min <= ahead[1] <= y_max else -heading


def _direction(heading: float) -> Float:
    return np.array([np.cos(heading), np.sin(heading)])
