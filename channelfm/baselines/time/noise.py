"""The noise power of pilots, from the bins of angle, delay and Doppler that hold least."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from channelfm.baselines.time.bins import AT_ONCE, seen_in_common

Complex = NDArray[np.complex64]
Float = NDArray[np.float64]

_QUANTILE = 0.25
_SHORTEST_WINDOWED = 8  # entries of an axis below which a window leaves too few bins apart
_NEGLIGIBLE = 1e-5  # noise estimates below this share of the power are leakage, or rounding


def estimate_noise(past: Complex, mask: NDArray[np.bool_]) -> Float:
    """Power of white complex noise per observed entry, float64 [N]; 0 where it is 50 dB below the pilots or weaker.

    The pilots go to angle, delay and Doppler, under Hann windows that keep paths out of the bins of others. The power
    of a bin of white noise is exponentially distributed, so its lower quartile over all bins is ln(4/3) times the noise
    power. Paths raise that little as long as they leave most bins free.

    ``past`` complex [N, T, row, col, F] and ``mask`` bool of that shape: those frequencies count that are seen at all
    antennas of all frames that are seen at all. Sequences without such are taken as clean (0), as are those of fewer
    than 16 bins.
    """
    noise = np.zeros(len(past))
    for chosen, frames, frequencies in seen_in_common(mask):
        for first in range(0, len(chosen) if frames.size and frequencies.size else 0, AT_ONCE):
            part = chosen[first : first + AT_ONCE]
            noise[part] = _of_full(past[part][:, frames][..., frequencies])
    return noise


def _of_full(pilots: Complex) -> Float:
    """Noise power float64 [N] of fully observed pilots [N, T, row, col, F]."""
    power = np.mean(np.abs(pilots) ** 2, axis=(1, 2, 3, 4))
    bins = np.asarray(pilots)
    for axis in (1, 2, 3, 4):
        size = bins.shape[axis]
        if size >= _SHORTEST_WINDOWED:
            window = np.hanning(size + 2)[1:-1]
            window = (window / np.sqrt(np.mean(window**2))).astype(np.float32)
            bins = bins * window.reshape(-1, *[1] * (4 - axis))
        bins = np.asarray(np.fft.fft(bins, axis=axis, norm="ortho"), dtype=np.complex64)
    count = math.prod(bins.shape[1:])
    if count < 16:
        return np.zeros(len(pilots))
    weak = np.quantile(np.abs(bins.reshape(len(bins), -1)) ** 2, _QUANTILE, axis=1)
    noise = weak / -math.log(1 - _QUANTILE)
    return np.where(noise > _NEGLIGIBLE * power, noise, 0.0)
