"""What all flights share: altitude profiles, independent randomness per UAV, attempts until one stays clear.

A flight is flown in straight legs of at most one second (:mod:`channelfm.mobility.legs`) from leg end to leg end;
altitudes count from the ground below the leg ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from channelfm.errors import InputError
from channelfm.mobility.airspace import Airspace, altitude_band, open_airspace
from channelfm.mobility.ground_grid import Bounds
from channelfm.mobility.legs import Legs, check_request, trajectory
from channelfm.records import Scene, Trajectory

Float = NDArray[np.float64]
AltitudeMode = Literal["walk", "sinusoid"]

CLIMB_MPS = 3.0  # fastest climb and descent
CLIMB_CHANGE_MPS2 = 1.0  # fastest change of the climb rate in an altitude walk
PERIOD_S = (20.0, 60.0)  # of altitude sinusoids; longer where the climb would be too fast
ATTEMPTS = 60  # starts tried before a flight counts as without room


@dataclass(frozen=True)
class FlightPlan:
    """What a UAV is to do before its way is known: speed [m/s], leg duration [s], altitudes [m] at the leg ends."""

    speed_mps: float
    leg_s: float
    altitude_m: Float

    @property
    def num_legs(self) -> int:
        """Number of legs."""
        return len(self.altitude_m) - 1

    def lowest(self, leg: int, ahead: int = 1) -> float:
        """Lowest altitude [m] over ``ahead`` legs from ``leg`` on."""
        return float(self.altitude_m[leg : leg + ahead + 1].min())


# Finds the leg ends [num_legs + 1, 2] of a plan, or None; arguments: generator, plan, place in [0, 1)^2.
Router = Callable[[np.random.Generator, FlightPlan, Float], Float | None]


def fly(
    scene: Scene,
    make_router: Callable[[Airspace], Router],
    *,
    kind: str,
    num_uavs: int,
    num_steps: int,
    interval_s: float,
    seed: int,
    speed_mps: tuple[float, float],
    altitude_m: tuple[float, float] | None,
    altitude_mode: AltitudeMode,
    margin_m: float,
    bounds: Bounds | None,
) -> Trajectory:
    """Fly ``num_uavs`` UAVs whose horizontal ways come from a router; see :func:`channelfm.mobility.cruise`."""
    check_request("num_uavs", num_uavs, num_steps, interval_s, seed, speed_mps)
    check_mode(altitude_mode)
    airspace = open_airspace(scene, margin_m, bounds)
    band = altitude_band(altitude_m, airspace)
    legs = Legs.of(num_steps, interval_s)
    router = make_router(airspace)
    paths = []
    for uav in range(num_uavs):
        path = find_path(airspace, router, legs, seed, uav, speed_mps, band, altitude_mode)
        if path is None:
            raise airspace.without_room(kind, band)
        paths.append(path)
    return trajectory(paths, legs, kind, seed)


def find_path(
    airspace: Airspace,
    router: Router,
    legs: Legs,
    seed: int,
    user: int,
    speed_mps: tuple[float, float],
    band: tuple[float, float],
    mode: AltitudeMode,
) -> Float | None:
    """Leg ends [legs.count + 1, 3] of one user, from randomness of its own; None if no attempt stays clear."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(user,)))
    for attempt in range(ATTEMPTS):
        altitude = altitude_profile(rng, band, legs.count, legs.leg_s, mode)
        plan = FlightPlan(float(rng.uniform(*speed_mps)), legs.leg_s, altitude)
        place = spread_place(seed, user) if attempt == 0 else rng.random(2)
        way = router(rng, plan, place)
        if way is not None:
            return np.column_stack([way, airspace.ground.at(way) + plan.altitude_m])
    return None


def check_mode(altitude_mode: AltitudeMode) -> None:
    """Raise InputError on an altitude mode that does not exist."""
    if altitude_mode not in ("walk", "sinusoid"):
        raise InputError(f"altitude_mode = '{altitude_mode}': use 'walk' or 'sinusoid'")


def altitude_profile(
    rng: np.random.Generator, band: tuple[float, float], num_legs: int, leg_s: float, mode: AltitudeMode
) -> Float:
    """Altitudes [num_legs + 1] in m at the leg ends, inside the band and never steeper than 3 m/s.

    ``walk``: the climb rate wanders with bounded steps and stops at the band's ends; ``sinusoid``: amplitude,
    period and phase are drawn.
    """
    low, high = band
    if mode == "sinusoid":
        amplitude = (high - low) / 2 * rng.uniform(0.3, 1.0)
        period = max(rng.uniform(*PERIOD_S), 2 * np.pi * amplitude / CLIMB_MPS)
        phase = rng.uniform(0.0, 2 * np.pi)
        middle = rng.uniform(low + amplitude, high - amplitude)
        return np.asarray(middle + amplitude * np.sin(2 * np.pi * np.arange(num_legs + 1) * leg_s / period + phase))
    altitude = np.empty(num_legs + 1)
    altitude[0] = rng.uniform(low, high)
    climb = rng.uniform(-CLIMB_MPS, CLIMB_MPS) / 2
    for leg, change in enumerate(rng.uniform(-CLIMB_CHANGE_MPS2, CLIMB_CHANGE_MPS2, num_legs) * leg_s):
        climb = float(np.clip(climb + change, -CLIMB_MPS, CLIMB_MPS))
        wanted = altitude[leg] + climb * leg_s
        altitude[leg + 1] = np.clip(wanted, low, high)
        climb = climb if low <= wanted <= high else 0.0
    return altitude


def spread_place(seed: int, uav: int) -> Float:
    """Starting place [2] in the unit square: the R2 sequence from an offset of the seed, so that the UAVs of a
    data set start far apart although none knows of the others."""
    offset = np.random.default_rng([seed, 0xA1]).random(2)
    plastic = 1.324717957244746  # real root of x^3 = x + 1 (M. Roberts' R2 low-discrepancy sequence)
    return np.asarray((offset + uav * np.array([1 / plastic, 1 / plastic**2])) % 1.0)
