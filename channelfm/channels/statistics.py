"""Statistics of channels: delay and angular spread, power delay profile, Doppler spectrum, correlation, Rician K.

They pool all leading axes, so samples of one process go in together. Powers are linear.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
import scipy.signal
from numpy.typing import ArrayLike, NDArray

from channelfm.errors import InputError

Float = NDArray[np.float64]

BEFORE_ZERO = 16  # one part in so many of a delay axis lies before zero, where the first path's leakage belongs


def rms_delay_spread(delay_s: ArrayLike, power: ArrayLike) -> Float:
    """Root mean square delay spread [...] in s of power delay profiles: delays and powers [..., path].

    The square root of the second central moment of the delay, weighted by power (TR 38.901, section 7.7.3).
    Raises InputError for profiles without power.
    """
    delay, weight = _weighted(delay_s, power)
    mean = np.sum(weight * delay, axis=-1, keepdims=True)
    return np.asarray(np.sqrt(np.sum(weight * (delay - mean) ** 2, axis=-1)))


def angular_spread(angle_rad: ArrayLike, power: ArrayLike) -> Float:
    """Circular angular spread [...] in rad of rays: angles and powers [..., ray] (TR 38.901, annex A.1).

    sqrt(-2 ln |sum p exp(j angle) / sum p|): the same for every choice of the zero, and for small spreads the root
    mean square. Infinite for rays that cancel. Raises InputError for rays without power.
    """
    angle, weight = _weighted(angle_rad, power)
    resultant = np.minimum(np.abs(np.sum(weight * np.exp(1j * angle), axis=-1)), 1.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.sqrt(-2.0 * np.log(resultant)))


def power_delay_profile(response: NDArray[Any], frequencies_hz: ArrayLike) -> tuple[Float, Float]:
    """Delays [F] in s and mean power [F] of responses [..., F] at uniformly spaced frequencies.

    By inverse Fourier transform under a Hann window, which resolves 2 / bandwidth; powers sum to the mean |h|^2. The
    axis is periodic with 1 / spacing, and its first sixteenth lies before zero. Raises InputError for frequencies that
    are not uniform or do not fit.
    """
    frequencies = np.asarray(frequencies_hz, dtype=np.float64)
    steps = np.diff(frequencies)
    if frequencies.shape != response.shape[-1:] or len(steps) < 2 or not steps[0] > 0:
        raise InputError(f"frequencies of shape {frequencies.shape}: give the rising ones of a response [..., F >= 3]")
    if not np.allclose(steps, steps[0], rtol=1e-6):
        raise InputError("frequencies_hz are not uniformly spaced: a delay profile needs a regular grid")
    count = len(frequencies)
    window = scipy.signal.get_window("hann", count)
    taps = scipy.fft.ifft(response * (window / np.sqrt(np.mean(window**2))), axis=-1)
    power = np.mean(np.abs(taps.reshape(-1, count)) ** 2, axis=0)
    early = count // BEFORE_ZERO
    delay = (np.arange(count) - early) / (count * steps[0])
    return delay, np.roll(power, early)


def temporal_autocorrelation(series: NDArray[Any]) -> NDArray[np.complex128]:
    """Correlation coefficient complex128 [T] of series [..., T] at lags of 0 to T - 1 steps.

    E[h(t + lag) h*(t)] / E|h|^2, so a positive Doppler shift turns it forwards. Every lag averages over
    all pairs that the series hold; the longest has one pair per series.
    """
    steps = series.shape[-1]
    samples = series.reshape(-1, steps).astype(np.complex128)
    spectrum = np.abs(scipy.fft.fft(samples, 2 * steps, axis=-1)) ** 2  # of the zero-padded series: no wrapping
    sums = scipy.fft.ifft(spectrum.sum(axis=0))[:steps]
    means = sums / (len(samples) * (steps - np.arange(steps)))
    return np.asarray(means / means[0].real)


def doppler_spectrum(series: NDArray[Any], interval_s: float) -> tuple[Float, Float]:
    """Doppler shifts [T] in Hz, rising, and power spectral density [T] in 1/Hz of series [..., T], Hann windowed.

    The density integrates to the mean |h|^2.
    """
    samples = series.reshape(-1, series.shape[-1])
    shifts, density = scipy.signal.periodogram(
        samples, fs=1.0 / interval_s, window="hann", detrend=False, return_onesided=False
    )
    return scipy.fft.fftshift(shifts), scipy.fft.fftshift(density.mean(axis=0))


def rician_k(samples: ArrayLike) -> float:
    """Rician K factor (linear) of complex samples of one tap, of any shape, by the moments of their power.

    K = g / (1 - g) with g = sqrt(1 - var / mean^2) (Greenstein, Michelson, Erceg, "Moment-method estimation of the
    Ricean K-factor", 1999). 0 where the power varies as Rayleigh fading's, or more. The estimate's noise floor is
    about K = N^(-1/4) for N independent samples of Rayleigh fading. Infinite for constant power.
    """
    power = np.abs(np.asarray(samples)) ** 2
    fixed = np.sqrt(max(0.0, 1.0 - float(np.var(power)) / float(np.mean(power)) ** 2))
    return float("inf") if fixed >= 1.0 else float(fixed / (1.0 - fixed))


def _weighted(values: ArrayLike, power: ArrayLike) -> tuple[Float, Float]:
    """Values as float64 and their weights, which sum to one along the last axis."""
    position, weight = np.asarray(values, dtype=np.float64), np.asarray(power, dtype=np.float64)
    total = weight.sum(axis=-1, keepdims=True)
    if np.any(weight < 0.0) or not np.all(total > 0.0):
        raise InputError("power: give values of at least 0, and some power in every profile")
    return position, weight / total
