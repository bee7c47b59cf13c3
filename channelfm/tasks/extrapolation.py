"""Channel extrapolation: the whole array's channel from observations of a few antennas (seed 000, V-A1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from channelfm.checks import as_numbers, as_whole
from channelfm.errors import InputError
from channelfm.tasks.predictor import check_amplitudes
from channelfm.tokens.masks import MASKS
from channelfm.units import db_to_power

LARGEST_SNR_DB = 200.0


@dataclass(frozen=True)
class Examples:
    """``observed`` complex64 [N, rows, cols, F], 0 where hidden; ``mask`` bool [N, rows, cols, 1], True = observed;
    ``target`` complex64 [N, rows, cols, F], the full channel."""

    observed: NDArray[np.complex64]
    mask: NDArray[np.bool_]
    target: NDArray[np.complex64]


def examples(
    grid: NDArray[np.complex64], ratio: float, seed: int = 0, kind: str = "random", snr_db: float | None = None
) -> Examples:
    """Hide the share ``ratio`` of the antennas of channels [N, rows, cols, F], the same at all frequencies.

    ``kind`` is one of :data:`channelfm.tokens.masks.MASKS`. ``snr_db`` adds white complex Gaussian noise to what is
    observed, at that ratio of each snapshot's mean power over the whole array to the noise; None leaves it clean.
    The target is always clean. Snapshots without any path (all zero) are left out: there is nothing to reconstruct.
    Masks depend on the seed, the ratio, the kind and the number of snapshots with a path, so that every predictor
    meets the same ones; noise on the seed and that number alone, scaled to the SNR.

    Raises InputError for a wrong shape, NaN or infinity, an unknown kind, a ratio outside [0, 1], and a ratio so small
    that the kind hides nothing of an array of this size.
    """
    if kind not in MASKS:
        raise InputError(f"mask kind '{kind}': use one of: {', '.join(MASKS)}")
    if as_numbers(ratio, "mask ratio").ndim:
        raise InputError(f"mask ratio {str(ratio)[:40]}: give one number between 0 and 1")
    check_draw(seed, snr_db)
    target = usable_snapshots(grid)
    count, rows, cols, _ = target.shape
    # SeedSequence takes non-negative integers only: an invalid ratio gets as far as the mask, which refuses it.
    millionths = round(ratio * 1_000_000) if 0 <= ratio <= 1 else 0
    mask = MASKS[kind](np.random.default_rng((seed, millionths, *kind.encode())), count, rows, cols, ratio)
    if count and mask.all(axis=(1, 2, 3)).any():
        raise InputError(f"mask '{kind}' at ratio {ratio:g} hides nothing of {rows} x {cols} antennas: raise the ratio")
    received = target if snr_db is None else target + noise(target, snr_db, seed)
    return Examples(np.where(mask, received, np.complex64(0)), mask, target)


def noise(grid: NDArray[np.complex64], snr_db: float, seed: int) -> NDArray[np.complex64]:
    """White complex Gaussian noise, complex64 of the shape of channels [N, rows, cols, F].

    ``snr_db`` is over each snapshot's mean power; the draw is the same for every SNR, scaled.
    """
    generator = np.random.default_rng((seed, *b"noise"))
    parts = generator.standard_normal((*grid.shape, 2), dtype=np.float32) / np.float32(np.sqrt(2.0))
    power = np.mean(np.abs(grid).astype(np.float64) ** 2, axis=(1, 2, 3), keepdims=True)
    scale = np.sqrt(power / db_to_power(snr_db)).astype(np.float32)
    return np.asarray(scale * (parts[..., 0] + 1j * parts[..., 1]), dtype=np.complex64)


def usable_snapshots(grid: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Channels complex64 [N, rows, cols, F] without those that are all zero; InputError on another shape, NaN, infinity
    and amplitudes that no Predictor takes."""
    grid = as_numbers(grid, "channels")
    if grid.ndim != 4 or not np.iscomplexobj(grid) or 0 in grid.shape[1:]:
        raise InputError(
            f"channels have shape {grid.shape} and type {grid.dtype}: give complex [snapshot, row, column, frequency], "
            "none of them empty"
        )
    check_amplitudes(grid, "channels")
    return np.asarray(grid[np.any(grid != 0, axis=(1, 2, 3))], dtype=np.complex64)


def check_draw(seed: int, snr_db: float | None) -> None:
    """InputError for a seed that draws nothing, and a signal-to-noise ratio beyond what single precision tells."""
    as_whole(seed, "seed", 0)
    if snr_db is not None and not (isinstance(snr_db, float | int | np.number) and abs(snr_db) <= LARGEST_SNR_DB):
        raise InputError(f"snr_db = {str(snr_db)[:40]}: give a number up to {LARGEST_SNR_DB:g} either way, or None")
