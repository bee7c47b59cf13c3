"""Quality measures of reconstructed channels, one number per sample, and their summaries.

All take channels of shape [N, ...]; everything after the first axis belongs to one sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from channelfm.checks import all_finite, as_numbers, as_whole
from channelfm.errors import InputError
from channelfm.units import db_to_power, power_to_db, rayleigh_distance
from channelfm.waves.scale import scale_exponents, times_power_of_two
from channelfm.waves.spherical import coarse_spherical_wave

Float = NDArray[np.float64]
Complex = NDArray[np.complexfloating]

DECIBEL_FLOOR = -200.0  # exact reconstruction; complex64 cannot show less, and JSON has no minus infinity
_LARGEST = 1e60  # its fourth power is a number; no complex64 comes near
_SSIM_WINDOW_SIGMA = 1.5  # antennas; Wang et al. 2004
# Search for the polar-domain peak of a full channel: on 64 x 64 ray-traced channels, 2 starts find the peak of a search
# with 4 starts, twice the rings and twice the oversampling in 99 of 100 cases, in a sixth of its time.
_PEAK_RINGS, _PEAK_STARTS, _PEAK_STEPS = 8, 2, 4


@dataclass(frozen=True)
class Summary:
    """NMSE of many samples in dB: of the linear mean, of the median and of the 90th percentile."""

    mean_db: float
    median_db: float
    p90_db: float


@dataclass(frozen=True)
class PolarPeaks:
    """Strongest points of polar-domain spectra: where a spherical wave collects most of a channel's energy.

    ``sines`` float64 [N, 2]: the direction's components along the array's columns (y) and rows (z); ``inverse_range``
    float64 [N]: 1 / distance per wavelength, 0 for a plane wave. A channel that is zero everywhere has its peak at
    boresight and infinity.
    """

    sines: Float
    inverse_range: Float


def nmse(estimate: Complex, truth: Complex) -> Float:
    """Normalised squared error ||h_hat - h||^2 / ||h||^2 of each sample, linear, float64 [N].

    Raises InputError if the shapes differ, a value is not finite, or a true channel is all zero (leave samples
    without any path out).
    """
    estimate, truth = _pair(estimate, truth)
    return np.asarray((np.abs(estimate - truth) ** 2).sum(axis=1) / _energy(truth))


def squared_cosine_similarity(estimate: Complex, truth: Complex) -> Float:
    """|<h_hat, h>|^2 / (||h_hat||^2 ||h||^2) of each sample, float64 [N]: 1 for the right channel up to a factor.

    0 for an estimate that is all zero. Raises what :func:`nmse` does.
    """
    estimate, truth = _pair(estimate, truth)
    energy = _energy(truth) * np.sum(np.abs(estimate) ** 2, axis=1)
    inner = np.abs(np.sum(estimate.conj() * truth, axis=1)) ** 2
    return np.asarray(inner / np.where(energy > 0, energy, 1.0))


def achievable_rate(estimate: Complex, truth: Complex, snr_db: float) -> Float:
    """Rate in bit/s/Hz, float64 [N], with the precoder of estimates [N, antenna, frequency] on the true channels.

    Mean over frequencies of log2(1 + rho |h^T w|^2), w = conj(h_hat) / ||h_hat|| at each frequency (maximum ratio
    transmission), the noise such that a channel of the sample's mean power per frequency would have ``snr_db`` behind
    its own precoder. Where an estimate is zero nothing is sent. Raises what :func:`nmse` does.
    """
    first, second = _pair(estimate, truth)
    _energy(second)
    shape = np.shape(truth)
    if len(shape) != 3:
        raise InputError(f"channels of shape {shape}: give [sample, antenna, frequency]")
    estimate, truth = first.reshape(shape), second.reshape(shape)
    norm = np.sqrt(np.sum(np.abs(estimate) ** 2, axis=1))
    received = np.abs(np.sum(truth * estimate.conj(), axis=1)) / np.where(norm > 0, norm, 1.0)
    power = np.sum(np.abs(truth) ** 2, axis=1).mean(axis=1, keepdims=True)
    return np.asarray(np.log2(1.0 + db_to_power(snr_db) * received**2 / power).mean(axis=1))


def summary(linear: Float) -> Summary:
    """Mean, median and 90th percentile of linear NMSE values, in dB (not below ``DECIBEL_FLOOR``).

    Raises InputError without any value, and for NaN, infinity and negative ones.
    """
    linear = as_numbers(linear, "NMSE values")
    if not linear.size or linear.dtype.kind == "c" or not all_finite(linear) or linear.min() < 0:
        raise InputError(f"a summary of {linear.size} values: give at least one NMSE, all finite, none below 0")
    return Summary(
        mean_db=bounded_db(np.mean(linear)),
        median_db=bounded_db(np.median(linear)),
        p90_db=bounded_db(np.quantile(linear, 0.9)),
    )


def bounded_db(linear: float | np.floating) -> float:
    """A power ratio in dB, not below ``DECIBEL_FLOOR``, as a plain float."""
    return max(float(power_to_db(linear)), DECIBEL_FLOOR)


def psnr(estimate: Complex, truth: Complex) -> Float:
    """Peak signal-to-noise ratio [dB] of the amplitude |h|, float64 [N]; the peak is each sample's own.

    An exact amplitude gives -``DECIBEL_FLOOR``. Raises what :func:`nmse` does.
    """
    estimate, truth = _pair(estimate, truth)
    _energy(truth)
    error = ((np.abs(estimate) - np.abs(truth)) ** 2).mean(axis=1)
    peak = np.abs(truth).max(axis=1) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.minimum(power_to_db(peak / error), -DECIBEL_FLOOR))


def ssim(estimate: Complex, truth: Complex) -> Float:
    """Structural similarity of amplitude maps, float64 [N], 1 for equal ones (Wang et al. 2004).

    Both are complex [N, rows, cols] or [N, rows, cols, F] (averaged over F); the dynamic range is that of each true
    map, windows are Gaussian with a standard deviation of 1.5 antennas. Raises what :func:`nmse` does.
    """
    shape = np.shape(truth)
    estimate, truth = _pair(estimate, truth)
    _energy(truth)
    if len(shape) not in (3, 4):
        raise InputError(f"SSIM compares maps [sample, row, column(, frequency)]; this has shape {shape}")
    first, second = (np.abs(maps).reshape(*shape[:3], *(shape[3:] or (1,))) for maps in (estimate, truth))
    dynamic_range = second.max(axis=(1, 2), keepdims=True)
    dynamic_range[dynamic_range == 0] = 1.0  # of a frequency without a path
    first, second = first / dynamic_range, second / dynamic_range
    luminance_floor, contrast_floor = 0.01**2, 0.03**2

    def local_mean(values: Float) -> Float:
        sigma = (0.0, _SSIM_WINDOW_SIGMA, _SSIM_WINDOW_SIGMA, 0.0)
        return np.asarray(gaussian_filter(values, sigma, truncate=3.5))

    mean_1, mean_2 = local_mean(first), local_mean(second)
    variance_1 = local_mean(first**2) - mean_1**2
    variance_2 = local_mean(second**2) - mean_2**2
    covariance = local_mean(first * second) - mean_1 * mean_2
    similarity = (2 * mean_1 * mean_2 + luminance_floor) * (2 * covariance + contrast_floor)
    similarity /= (mean_1**2 + mean_2**2 + luminance_floor) * (variance_1 + variance_2 + contrast_floor)
    return np.asarray(similarity.mean(axis=(1, 2, 3)))


def polar_peaks(channels: Complex, spacing_wavelengths: float = 0.5) -> PolarPeaks:
    """Strongest points of the polar-domain spectra of channels [N, rows, cols] or [N, rows, cols, F] (the first of F).

    Found on a de-chirped FFT (SPEC 3) and moved off its grid by Gauss-Newton steps, so that the answer does not snap
    to a codebook's rings and beams. Raises InputError on another shape, and on NaN and infinity.
    """
    channels = as_numbers(channels, "channels")
    if channels.ndim not in (3, 4) or 0 in channels.shape[1:] or not all_finite(channels):
        raise InputError(
            f"polar peaks are of finite maps [sample, row, column(, frequency)]; this has shape {channels.shape}"
        )
    maps = channels if channels.ndim == 3 else channels[..., 0]
    whole = torch.from_numpy(np.ascontiguousarray(maps, dtype=np.complex128))
    field = times_power_of_two(whole, -scale_exponents(whole))  # away from any limit
    everything = torch.ones(1, 1, 1, dtype=torch.bool)
    search = {"num_ranges": _PEAK_RINGS, "starts": _PEAK_STARTS, "iterations": _PEAK_STEPS}
    found = coarse_spherical_wave(field, everything, spacing_wavelengths, **search)
    silent = ~np.any(maps != 0, axis=(1, 2))
    sines = found.direction[:, 1:].double().numpy()
    return PolarPeaks(
        np.where(silent[:, None], 0.0, sines), np.where(silent, 0.0, found.inverse_range.double().numpy())
    )


def polar_peak_errors(
    found: PolarPeaks, true: PolarPeaks, rows: int, cols: int, spacing_wavelengths: float = 0.5
) -> tuple[Float, Float]:
    """Distance between polar-domain peaks, in direction and in inverse range, each float64 [N].

    The direction's error is that of the two sines, each in beamwidths lambda / (N d) of its side (a side of one element
    has no beam and does not count), as one Euclidean distance. The error of the inverse range is in inverse Rayleigh
    distances lambda / (2 D^2) of the diagonal aperture: a user at half the Rayleigh distance has the value 2. Raises
    InputError for peaks of different numbers of channels.
    """
    as_whole(rows, "rows")
    as_whole(cols, "cols")
    if found.sines.shape != true.sines.shape or found.inverse_range.shape != true.inverse_range.shape:
        raise InputError(f"peaks of {len(found.sines)} and {len(true.sines)} channels: give two of the same channels")
    resolution = spacing_wavelengths * np.array([cols if cols > 1 else 0, rows if rows > 1 else 0])
    direction = np.linalg.norm((found.sines - true.sines) * resolution, axis=1)
    aperture = float(np.hypot(rows - 1, cols - 1)) * spacing_wavelengths
    inverse_range = np.abs(found.inverse_range - true.inverse_range) * rayleigh_distance(aperture, 1.0)
    return direction, inverse_range


def bootstrap_interval(
    values: Float,
    statistic: Callable[[Float], Float] = lambda samples: np.asarray(samples.mean(axis=-1)),
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic of N independent values (Efron & Tibshirani 1993, ch. 13).

    ``statistic`` maps [resamples, N] to [resamples]; the default is the mean. The same seed gives the same interval.
    Raises InputError without any value, or for NaN and infinity.
    """
    values = as_numbers(values, "values")
    if values.ndim != 1 or not len(values) or values.dtype.kind == "c" or not all_finite(values):
        raise InputError(
            f"a bootstrap interval needs a list of at least one value, all finite, not an array of shape {values.shape}"
        )
    values = values.astype(np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    low, high = np.quantile(statistic(values[drawn]), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _energy(truth: NDArray[np.complex128]) -> Float:
    """Energies float64 [N] of true channels [N, K]; InputError where one is zero."""
    energy = (np.abs(truth) ** 2).sum(axis=1)
    if not (energy > 0).all():
        raise InputError(f"sample {int(np.argmin(energy))} of the true channels is all zero: leave it out")
    return np.asarray(energy)


def _pair(estimate: Complex, truth: Complex) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Both as complex128 [N, everything else]; InputError if they do not fit, hold NaN or infinity, or values whose
    powers no number tells."""
    estimate, truth = as_numbers(estimate, "the estimate"), as_numbers(truth, "the truth")
    if estimate.shape != truth.shape or estimate.ndim < 2 or 0 in estimate.shape[1:]:
        raise InputError(
            f"estimate {estimate.shape} and truth {truth.shape}: give two arrays [sample, ...] of one shape, with "
            "something in each sample"
        )
    flat = (len(estimate), int(np.prod(estimate.shape[1:])))
    pair = estimate.reshape(flat).astype(np.complex128), truth.reshape(flat).astype(np.complex128)
    for name, values in zip(("estimate", "truth"), pair, strict=True):
        if not (np.abs(values) <= _LARGEST).all():  # nor is NaN
            raise InputError(f"the {name} holds NaN, infinity or more than {_LARGEST:.0e}: repair it before measuring")
    return pair
