"""Kalman filters of angle-delay bins whose dynamics are autoregressive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from channelfm.baselines.time.autoregression import around, clamped, companion, lag_products, roll_out
from channelfm.baselines.time.bins import Complex128, in_parts, to_bins
from channelfm.baselines.time.completion import complete_frames
from channelfm.baselines.time.noise import estimate_noise
from channelfm.estimator import SequenceEstimator

Complex = NDArray[np.complex64]
Float = NDArray[np.float64]

_KEPT_NOISE = 0.2  # share of the noise that stays in the equations as a ridge
_RANK = 1e-10  # eigenvalues below this share of the largest are rounding
_LEAST_POWER = 1e-9  # of a bin, over the mean of all


class KalmanFilter(SequenceEstimator):
    """Each angle-delay bin is an autoregressive process seen in white noise, filtered over the past and propagated.

    The coefficients of a bin come from the forward-backward products of the 3 bins around it along each axis, without
    what the noise (estimated from the pilots) adds to their diagonal (noise compensation, Kay 1980); their
    characteristic roots are clamped to the unit circle. The process noise is the prediction error that the noise does
    not explain, the measurement noise is the estimate, and the filter (Kalman 1960) starts from the bin's mean
    power. :func:`channelfm.baselines.time.bins.bounded` limits each frame's energy.

    ``order``: of the processes; fewer where the past is too short for twice that many frames.
    """

    name = "kalman"

    def __init__(self, order: int = 3) -> None:
        self.order = order

    def future(self, past: Complex, mask: NDArray[np.bool_], horizon: int) -> Complex:
        """See :class:`channelfm.estimator.SequenceEstimator`."""
        noise = estimate_noise(past, mask)
        return in_parts(self._propagated, complete_frames(past, mask, noise), noise, horizon)

    def _propagated(self, frames: Complex, noise: Float, horizon: int) -> Complex128:
        bins = to_bins(frames)
        order = min(self.order, bins.shape[1] // 2)
        if order == 0:
            return np.repeat(bins, horizon, axis=1)
        process = fit_process(bins, noise, order)
        return roll_out(filtered(bins, process), process.coefficients, horizon)


@dataclass(frozen=True)
class Process:
    """Autoregressive processes of bins: ``coefficients`` complex128 [N, row, col, F, p]; float64 [N, row, col, F] are
    ``innovation``, the power of the process noise, ``noise`` of the measurements, and ``power`` of the process.
    """

    coefficients: Complex128
    innovation: Float
    noise: Float
    power: Float


def fit_process(bins: Complex128, noise: Float, order: int) -> Process:
    """Processes of bins [N, T, row, col, F] in noise of power [N]; see :class:`KalmanFilter`."""
    level = np.broadcast_to(noise[:, None, None, None], bins[:, 0].shape)
    number = 2 * (bins.shape[1] - order) * around(np.ones(bins[:1, 0].shape))  # of windows that are pooled
    products = around(lag_products(bins, order)) / number[..., None, None]
    coefficients = clamped(_compensated(products, level))
    error = np.concatenate([np.ones_like(coefficients[..., :1]), -coefficients], axis=-1)
    unexplained = np.einsum("...i,...ij,...j->...", error.conj(), products, error, optimize=True).real
    innovation = unexplained - level * np.sum(np.abs(error) ** 2, axis=-1)
    power = np.mean(np.abs(bins) ** 2, axis=1)
    least = _LEAST_POWER * power.mean(axis=(1, 2, 3), keepdims=True) + np.finfo(np.float64).tiny ** 0.5
    return Process(
        coefficients,
        np.maximum(innovation, 0),
        level + 1e-3 * least,  # the filter divides by it where nothing else is uncertain
        np.maximum(power - level, 0) + least,
    )


def _compensated(products: Complex128, noise: Float) -> Complex128:
    """Coefficients [..., p] from mean products [..., p + 1, p + 1] without the ``noise`` [...] on their diagonal."""
    values, vectors = np.linalg.eigh(products[..., 1:, 1:])
    signal = np.maximum(values - noise[..., None], 0)
    floor = np.maximum(_KEPT_NOISE * noise[..., None], _RANK * values[..., -1:]) + np.finfo(np.float64).tiny ** 0.5
    right = vectors.conj().swapaxes(-1, -2) @ products[..., 1:, :1]
    return np.asarray((vectors @ (right / (signal + floor)[..., None]))[..., 0])


def filtered(bins: Complex128, process: Process) -> Complex128:
    """The last p frames [N, p, row, col, F] as the filter has them after all of bins [N, T, row, col, F]."""
    order = process.coefficients.shape[-1]
    step = companion(process.coefficients)
    covariance: Complex128 = (process.power[..., None, None] * np.eye(order)).astype(np.complex128)
    state = np.zeros(process.coefficients.shape, dtype=np.complex128)  # newest frame first
    for time in range(bins.shape[1]):
        if time:
            state = (step @ state[..., None])[..., 0]
            covariance = step @ covariance @ step.conj().swapaxes(-1, -2)
            covariance[..., 0, 0] += process.innovation
        gain = covariance[..., 0] / (covariance[..., 0, 0].real + process.noise)[..., None]
        state = state + gain * (bins[:, time] - state[..., 0])[..., None]
        covariance = covariance - gain[..., None] * covariance[..., 0, None, :]
    return np.moveaxis(state[..., ::-1], -1, 1)
