"""Driving along a smooth line: speed limited by curves, stops and what an engine and brakes can do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

Float = NDArray[np.float64]

ACCELERATION_MPS2 = 2.0
BRAKING_MPS2 = 3.0
SIDEWAYS_MPS2 = 2.5  # acceleration towards the inside of a curve that drivers accept
KNOT_M = 0.5  # distance between the knots of a line
CORNER_M = 3.0  # standard deviation of the smoothing that rounds corners


@dataclass(frozen=True)
class SmoothLine:
    """A line without corners: a cubic spline over its length; ``lengths_m`` [K] are those of its knots, and
    ``knots`` [N] the knot of each point that it was made from."""

    spline: CubicSpline
    lengths_m: Float
    knots: NDArray[np.int64]

    @classmethod
    def through(cls, points: Float) -> SmoothLine:
        """The line that rounds the corners of a polyline whose points [N, 2] lie ``KNOT_M`` apart (N >= 2)."""
        rounded = gaussian_filter1d(points, CORNER_M / KNOT_M, axis=0, mode="nearest")
        steps = np.linalg.norm(np.diff(rounded, axis=0), axis=1)
        moving = np.concatenate([[True], steps > 1e-6])  # a spline needs growing lengths
        lengths = np.concatenate([[0.0], np.cumsum(steps[moving[1:]])])
        return cls(CubicSpline(lengths, rounded[moving]), lengths, np.cumsum(moving) - 1)

    def curvature(self) -> Float:
        """Curvature [K] in 1/m at the knots."""
        (dx, dy), (ddx, ddy) = self.spline(self.lengths_m, 1).T, self.spline(self.lengths_m, 2).T
        return np.asarray(np.abs(dx * ddy - dy * ddx) / np.maximum(np.hypot(dx, dy), 1e-6) ** 3)


@dataclass(frozen=True)
class Drive:
    """Movement along a line with constant acceleration between knots: times [s] and speeds [m/s] at the lengths [m]
    of the knots; a stop is two knots of the same length."""

    lengths_m: Float
    speeds_mps: Float
    times_s: Float

    @classmethod
    def along(cls, line: SmoothLine, cruise_mps: float, stops: NDArray[np.int64], waits_s: Float) -> Drive:
        """The fastest drive within ``cruise_mps`` that waits at the knots ``stops`` [S] for ``waits_s`` [S]; no two
        stops are neighbours."""
        limit = np.minimum(cruise_mps, np.sqrt(SIDEWAYS_MPS2 / np.maximum(line.curvature(), 1e-9)))
        squared = limit**2
        squared[stops] = 0.0
        steps = np.diff(line.lengths_m)
        for knot, step in enumerate(steps):
            squared[knot + 1] = min(squared[knot + 1], squared[knot] + 2 * ACCELERATION_MPS2 * step)
        for knot in range(len(steps) - 1, -1, -1):
            squared[knot] = min(squared[knot], squared[knot + 1] + 2 * BRAKING_MPS2 * steps[knot])
        speeds = np.sqrt(squared)
        durations = 2 * steps / (speeds[1:] + speeds[:-1])
        times = np.concatenate([[0.0], np.cumsum(durations)])
        waiting = np.zeros(len(times))
        waiting[stops] = waits_s
        arrived = times + np.cumsum(waiting) - waiting
        return cls(
            np.insert(line.lengths_m, stops + 1, line.lengths_m[stops]),
            np.insert(speeds, stops + 1, 0.0),
            np.insert(arrived, stops + 1, arrived[stops] + waiting[stops]),
        )

    def length_at(self, times_s: Float) -> Float:
        """Lengths [T] in m at times [T] within the drive: continuous, with a continuous derivative."""
        knot = np.clip(np.searchsorted(self.times_s, times_s, side="right") - 1, 0, len(self.times_s) - 2)
        duration = np.diff(self.times_s)[knot]
        since = times_s - self.times_s[knot]
        change = np.diff(self.speeds_mps)[knot] / np.where(duration > 0.0, duration, 1.0)
        return np.asarray(self.lengths_m[knot] + self.speeds_mps[knot] * since + change * since**2 / 2)
