"""The noise power of pilots, from the angle-delay bins that hold least."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from channelfm.baselines.prediction.bins import seen_in_common

Complex = NDArray[np.complex64]
Float = NDArray[np.float64]

_QUANTILE = 0.25
_SHORTEST_WINDOWED = 8  # entries of an axis below which a window leaves too few bins apart
_NEGLIGIBLE = 1e-5  # noise estimates below this share of the power are leakage, or rounding


def estimate_noise(past: Complex, mask: NDArray[np.bool_]) -> Float:
    """Power of white complex noise per observed entry, float64 [N]; 0 where it is 50 dB below the pilots or weaker.

    The pilots, under Hann windows over antennas and frequency that keep paths out of other bins, go to angle and delay.
    There and in Doppler, the power of a bin of pure noise is exponentially distributed, and the mean of
    it over k bins is a gamma variable: its lower quartile over the bins is that of the noise as long as paths leave
    well over a quarter of the bins free, and is divided by what the quartile is for unit power.

    ``past`` complex [N, T, row, col, F] and ``mask`` bool of that shape: those frequencies count that are seen at all
    antennas of all frames that are seen at all. Sequences without such are taken as clean (0), as are those of fewer
    than 16 bins.
    """
    noise = np.zeros(len(past))
    for chosen, frames, frequencies in seen_in_common(mask):
        if frames.size and frequencies.size:
            noise[chosen] = _of_full(past[np.ix_(chosen, frames)][..., frequencies])
    return noise


def _of_full(pilots: Complex) -> Float:
    """Noise power float64 [N] of fully observed pilots [N, T, row, col, F]."""
    power = np.mean(np.abs(pilots) ** 2, axis=(1, 2, 3, 4))
    bins = pilots
    for axis in (1, 2, 3, 4):
        size = bins.shape[axis]
        if size >= _SHORTEST_WINDOWED:
            window = np.hanning(size + 2)[1:-1]
            window = (window / np.sqrt(np.mean(window**2))).astype(np.float32)
            bins = bins * window.reshape(-1, *[1] * (4 - axis))
        bins = np.fft.fft(bins, axis=axis, norm="ortho")
    count = math.prod(bins.shape[1:])
    if count < 16:
        return np.zeros(len(pilots))
    weak = np.quantile(np.abs(bins.reshape(len(bins), -1)) ** 2, _QUANTILE, axis=1)
    noise = weak / float(gammaincinv(1.0, _QUANTILE))
    return np.where(noise > _NEGLIGIBLE * power, noise, 0.0)
