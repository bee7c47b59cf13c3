"""Autoregressive prediction of angle-delay bins: coefficients of each bin, of its neighbourhood, or of all bins."""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from channelfm.baselines.time.bins import Complex128, in_parts, to_bins
from channelfm.baselines.time.completion import complete_frames
from channelfm.baselines.time.noise import estimate_noise
from channelfm.estimator import SequenceEstimator

Complex = NDArray[np.complex64]
Float = NDArray[np.float64]
Values = TypeVar("Values", NDArray[np.complex128], NDArray[np.float64])

_RIDGE = 1e-9  # relative to the mean power of the pooled bins


class Autoregression(SequenceEstimator):
    """Linear prediction x_t = a_1 x_(t-1) + ... + a_p x_(t-p) of completed frames in angle and delay.

    Coefficients come from forward and backward equations (the modified covariance method, Marple 1987, chapter 8) by
    least squares with a ridge; subclasses say over which bins equations are pooled. Before, each bin is scaled
    by its Wiener gain, 1 - noise / mean power, with the noise estimated from the pilots. Roots of the
    characteristic polynomial outside the unit circle are put on it, and :func:`bounded`
    limits each frame's energy.

    ``order`` p: fewer where the past is too short for 2 p frames.
    """

    def __init__(self, order: int) -> None:
        self.order = order

    def future(self, past: Complex, mask: NDArray[np.bool_], horizon: int) -> Complex:
        """See :class:`channelfm.estimator.SequenceEstimator`."""
        noise = estimate_noise(past, mask)
        return self.predict_completed(complete_frames(past, mask, noise), noise, horizon)

    def predict_completed(self, frames: Complex, noise: Float, horizon: int) -> Complex:
        """The next frames of completed ones [N, T, row, col, F] with noise of power [N] per entry."""
        return in_parts(self._rolled_out, frames, noise, horizon)

    def _rolled_out(self, frames: Complex, noise: Float, horizon: int) -> Complex128:
        bins = to_bins(frames)
        bins = bins * wiener_gains(bins, noise)[:, None]
        order = min(self.order, bins.shape[1] // 2)
        if order == 0:
            return np.repeat(bins, horizon, axis=1)
        products = self._pooled(lag_products(bins, order))
        return roll_out(bins, clamped(solve_prediction(products, self._ridge(products, noise, bins.shape[1]))), horizon)

    @abstractmethod
    def _pooled(self, products: Complex128) -> Complex128:
        """Sums of products [N, row, col, F, p + 1, p + 1], with 1 for the size of axes that share coefficients."""

    def _ridge(self, products: Complex128, noise: Float, frames: int) -> Float:
        """Ridge [N, 1, 1, 1]; the products of many bins need none beside the noise that is in them."""
        return np.zeros((len(products), 1, 1, 1))


class SharedAutoregression(Autoregression):
    """One set of coefficients per sequence, fitted over all bins together: they share their Doppler shifts."""

    name = "ar-shared"

    def __init__(self, order: int = 5) -> None:
        super().__init__(order)

    def _pooled(self, products: Complex128) -> Complex128:
        return np.asarray(products.sum(axis=(1, 2, 3), keepdims=True))


class BinAutoregression(Autoregression):
    """Coefficients of every angle-delay bin of its own."""

    name = "ar-per-bin"

    def __init__(self, order: int = 2) -> None:
        super().__init__(order)

    def _pooled(self, products: Complex128) -> Complex128:
        return products

    def _ridge(self, products: Complex128, noise: Float, frames: int) -> Float:
        order = products.shape[-1] - 1
        return np.asarray(2 * (frames - order) * noise[:, None, None, None])


class LocalAutoregression(BinAutoregression):
    """Coefficients of every bin from its neighbourhood of 3 bins along each axis, which the same few paths reach."""

    name = "ar-local"

    def __init__(self, order: int = 4) -> None:
        super().__init__(order)

    def _pooled(self, products: Complex128) -> Complex128:
        return around(products)


def around(values: Values) -> Values:
    """Sums over 3 bins along each axis of [N, row, col, F, ...], which are circles; axes of 3 or less stay."""
    for axis in (1, 2, 3):
        if values.shape[axis] > 3:
            values = values + np.roll(values, 1, axis) + np.roll(values, -1, axis)
    return values


def wiener_gains(bins: Complex128, noise: Float) -> Float:
    """Gains [N, row, col, F] of bins [N, T, row, col, F]: 1 - noise / mean power over the frames, at least 0."""
    power = np.mean(np.abs(bins) ** 2, axis=1)
    gains = 1 - noise[:, None, None, None] / np.maximum(power, np.finfo(np.float64).tiny)
    return np.asarray(np.maximum(gains, 0))


def lag_products(bins: Complex128, order: int) -> Complex128:
    """Sums [N, row, col, F, p + 1, p + 1] of conj(y_i) y_j over windows y of p + 1 frames of bins [N, T, row, col, F],
    all of them forward (newest first) and backward (conjugate, oldest first).
    """
    windows = np.lib.stride_tricks.sliding_window_view(bins, order + 1, axis=1)
    newest_first = np.moveaxis(windows[..., ::-1], 1, -2)
    forward = newest_first.conj().swapaxes(-1, -2) @ newest_first
    return np.asarray(forward + forward[..., ::-1, ::-1].conj())


def solve_prediction(products: Complex128, ridge: Float) -> Complex128:
    """Coefficients [..., p] that least-squares predict entry 0 from the others, from products [..., p + 1, p + 1]."""
    order = products.shape[-1] - 1
    power = np.trace(products, axis1=-2, axis2=-1).real / (order + 1)
    load = ridge + _RIDGE * power + np.finfo(np.float64).tiny ** 0.5
    system = products[..., 1:, 1:] + load[..., None, None] * np.eye(order)
    return np.asarray(np.linalg.solve(system, products[..., 1:, :1])[..., 0])


def clamped(coefficients: Complex128) -> Complex128:
    """Prediction coefficients [..., p] whose characteristic roots outside the unit circle were put on it."""
    roots = characteristic_roots(coefficients)
    roots = roots / np.maximum(np.abs(roots), 1)
    polynomial = np.zeros((*coefficients.shape[:-1], coefficients.shape[-1] + 1), dtype=np.complex128)
    polynomial[..., 0] = 1
    for number in range(roots.shape[-1]):
        polynomial[..., 1:] = polynomial[..., 1:] - roots[..., number, None] * polynomial[..., :-1]
    return -polynomial[..., 1:]


def characteristic_roots(coefficients: Complex128) -> Complex128:
    """Roots [..., p] of z^p - a_1 z^(p-1) - ... - a_p."""
    order = coefficients.shape[-1]
    if order == 2:  # in closed form, since eigenvalues of a thousand bins take their time
        half = coefficients[..., 0] / 2
        spread = np.sqrt(half**2 + coefficients[..., 1])
        return np.stack([half + spread, half - spread], axis=-1)
    return np.asarray(np.linalg.eigvals(companion(coefficients)))


def companion(coefficients: Complex128) -> Complex128:
    """Companion matrices [..., p, p]: they take the state (x_t, x_(t-1), ...) one frame on."""
    order = coefficients.shape[-1]
    matrices = np.zeros((*coefficients.shape, order), dtype=np.complex128)
    matrices[..., 0, :] = coefficients
    matrices[..., 1:, :-1] = np.eye(order - 1)
    return matrices


def roll_out(bins: Complex128, coefficients: Complex128, horizon: int) -> Complex128:
    """The next frames [N, horizon, row, col, F] of bins; coefficients [N, row, col, F, p], perhaps 1 for a size."""
    frames = list(np.moveaxis(bins, 1, 0))
    for _ in range(horizon):
        frames.append(sum(coefficients[..., i] * frames[-1 - i] for i in range(coefficients.shape[-1])))
    return np.stack(frames[-horizon:], axis=1)
