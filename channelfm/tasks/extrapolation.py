"""Channel extrapolation: the whole array's channel from clean observations of a few antennas (seed 000, V-A1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from channelfm.errors import InputError
from channelfm.tokens.masks import random_mask


@dataclass(frozen=True)
class Examples:
    """``observed`` complex64 [N, rows, cols, F], 0 where hidden; ``mask`` bool [N, rows, cols, 1], True = observed;
    ``target`` complex64 [N, rows, cols, F], the full channel."""

    observed: NDArray[np.complex64]
    mask: NDArray[np.bool_]
    target: NDArray[np.complex64]


def examples(grid: NDArray[np.complex64], ratio: float, seed: int = 0) -> Examples:
    """Hide the share ``ratio`` of the antennas of channels [N, rows, cols, F] at random, the same at all frequencies.

    Snapshots without any path (all zero) are left out: there is nothing to reconstruct. The masks depend on the seed,
    the ratio and the number of snapshots with a path, so that every predictor meets the same ones.
    """
    if grid.ndim != 4:
        raise InputError(f"channels have shape {grid.shape}: give [snapshot, row, column, frequency]")
    target = usable_snapshots(grid)
    generator = np.random.default_rng((seed, round(ratio * 1_000_000)))
    count, rows, cols, _ = target.shape
    mask = random_mask(generator, count, rows, cols, ratio)
    return Examples(np.where(mask, target, np.complex64(0)), mask, target)


def usable_snapshots(grid: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Channels complex64 [N, rows, cols, F] without those that are all zero; InputError on NaN or infinity."""
    if not np.isfinite(grid).all():
        raise InputError("channels hold NaN or infinity: remove those snapshots")
    return np.asarray(grid[np.any(grid != 0, axis=(1, 2, 3))], dtype=np.complex64)
