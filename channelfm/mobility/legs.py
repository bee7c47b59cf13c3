"""What all mobility models share: straight legs in time, and the record of the snapshots at their starts.

Every way consists of straight legs of at most one second, and every snapshot lies at the start of a leg. The
velocity of a snapshot is that of the leg that starts there: the derivative of the path from the right. So with
``interval_s <= 1`` each position is exactly the former one plus velocity times interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from channelfm.errors import InputError
from channelfm.records import Trajectory

Float = NDArray[np.float64]

LONGEST_LEG_S = 1.0


@dataclass(frozen=True)
class Legs:
    """``num_steps`` snapshots, ``interval_s`` apart, each at the start of every ``per_step``-th leg."""

    num_steps: int
    interval_s: float
    per_step: int

    @classmethod
    def of(cls, num_steps: int, interval_s: float) -> Legs:
        """The fewest legs of at most one second."""
        return cls(num_steps, interval_s, int(np.ceil(interval_s / LONGEST_LEG_S - 1e-9)))

    @property
    def leg_s(self) -> float:
        """Duration of a leg [s]."""
        return self.interval_s / self.per_step

    @property
    def count(self) -> int:
        """Number of legs: one beyond the last snapshot, for its velocity."""
        return (self.num_steps - 1) * self.per_step + 1

    @property
    def ends_s(self) -> Float:
        """Times [count + 1] of all leg ends, from 0 [s]."""
        return np.asarray(np.arange(self.count + 1) * self.leg_s)


def trajectory(paths: Sequence[Float], legs: Legs, kind: str, seed: int) -> Trajectory:
    """Snapshots of the users that move along the leg ends ``paths``: one [legs.count + 1, 3] in m per user."""
    return Trajectory(
        times_s=np.tile(np.arange(legs.num_steps) * legs.interval_s, len(paths)),
        positions_m=np.concatenate([path[: -1 : legs.per_step] for path in paths]),
        velocities_mps=np.concatenate([(np.diff(path, axis=0) / legs.leg_s)[:: legs.per_step] for path in paths]),
        track=np.repeat(np.arange(len(paths), dtype=np.int32), legs.num_steps),
        kind=kind,
        seed=seed,
    )


def check_request(
    counted: str, count: int, num_steps: int, interval_s: float, seed: int, speed_mps: tuple[float, float]
) -> None:
    """Raise InputError on values that no model can move by; ``counted`` is the name of ``count``."""
    if count < 1 or num_steps < 1:
        raise InputError(f"{counted} = {count}, num_steps = {num_steps}: give at least 1 of each")
    if seed < 0:
        raise InputError(f"seed = {seed}: give an integer of at least 0")
    if not 0.0 < interval_s < np.inf:
        raise InputError(f"interval_s = {interval_s}: give a positive time between snapshots in seconds")
    if len(speed_mps) != 2 or not 0.0 < speed_mps[0] <= speed_mps[1] < np.inf:
        raise InputError(f"speed_mps = {speed_mps}: give (slowest, fastest) in m/s, above 0")
