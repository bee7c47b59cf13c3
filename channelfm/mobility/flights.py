"""What all flights share: legs in time, altitude profiles, independent randomness per UAV, the final record.

A flight is flown in straight legs of at most one second, and every snapshot lies at the start of a leg. The
velocity of a snapshot is that of the leg that starts there: the derivative of the path from the right. So with
``interval_s <= 1`` each position is exactly the former one plus velocity times interval.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from channelfm.errors import InputError
from channelfm.mobility.airspace import Airspace, Bounds, altitude_band, open_airspace
from channelfm.records import Scene, Trajectory

Float = NDArray[np.float64]
AltitudeMode = Literal["walk", "sinusoid"]

LONGEST_LEG_S = 1.0
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
    _check(num_uavs, num_steps, interval_s, seed, speed_mps, altitude_mode)
    airspace, surface = open_airspace(scene, margin_m, bounds)
    band = altitude_band(altitude_m, surface, margin_m)
    router = make_router(airspace)
    legs_per_step = int(np.ceil(interval_s / LONGEST_LEG_S - 1e-9))
    leg_s = interval_s / legs_per_step
    num_legs = (num_steps - 1) * legs_per_step + 1  # one beyond the last snapshot, for its velocity
    positions, velocities = [], []
    for uav in range(num_uavs):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(uav,)))
        for attempt in range(ATTEMPTS):
            altitude = altitude_profile(rng, band, num_legs, leg_s, altitude_mode)
            plan = FlightPlan(float(rng.uniform(*speed_mps)), leg_s, altitude)
            place = spread_place(seed, uav) if attempt == 0 else rng.random(2)
            way = router(rng, plan, place)
            if way is not None:
                break
        else:
            raise airspace.without_room(kind, band)
        path = np.column_stack([way, plan.altitude_m])
        positions.append(path[:-1:legs_per_step])
        velocities.append((np.diff(path, axis=0) / leg_s)[::legs_per_step])
    return Trajectory(
        times_s=np.tile(np.arange(num_steps) * interval_s, num_uavs),
        positions_m=np.concatenate(positions),
        velocities_mps=np.concatenate(velocities),
        track=np.repeat(np.arange(num_uavs, dtype=np.int32), num_steps),
        kind=kind,
        seed=seed,
    )


def _check(
    num_uavs: int,
    num_steps: int,
    interval_s: float,
    seed: int,
    speed_mps: tuple[float, float],
    altitude_mode: AltitudeMode,
) -> None:
    if num_uavs < 1 or num_steps < 1:
        raise InputError(f"num_uavs = {num_uavs}, num_steps = {num_steps}: give at least 1 of each")
    if seed < 0:
        raise InputError(f"seed = {seed}: give an integer of at least 0")
    if not 0.0 < interval_s < np.inf:
        raise InputError(f"interval_s = {interval_s}: give a positive time between snapshots in seconds")
    if len(speed_mps) != 2 or not 0.0 < speed_mps[0] <= speed_mps[1] < np.inf:
        raise InputError(f"speed_mps = {speed_mps}: give (slowest, fastest) in m/s, above 0")
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
