"""Damped exponentials in angle-delay bins by the matrix pencil: poles of neighbours, or of all bins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from channelfm.baselines.time.autoregression import Values, around, lag_products, wiener_gains
from channelfm.baselines.time.bins import Complex128, in_parts, to_bins
from channelfm.baselines.time.completion import complete_frames
from channelfm.baselines.time.noise import estimate_noise
from channelfm.estimator import SequenceEstimator

Complex = NDArray[np.complex64]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

_SIGNIFICANT = 2.0  # eigenvalues of a signal over those of the noise
_RANK = 1e-10  # eigenvalues below this share of the largest are rounding
_RIDGE = 1e-9  # on amplitudes
_LEAST_POLE = 1e-3


class MatrixPencil(SequenceEstimator):
    """Poles z_k from the Hankel matrices of angle-delay bins, and sums of c_k z_k^t with them in each bin.

    Hua & Sarkar 1990: the rows of a basis of the signal subspace, shifted by one frame, are a pencil whose eigenvalues
    are the poles. The basis holds those eigenvectors of the forward-backward covariance of windows of half the past
    (its singular vectors) that stand out of the noise, which is estimated from the pilots. Windows are pooled over 3
    bins along each axis, scaled by their Wiener gains. Poles outside the unit circle are put on it; amplitudes follow
    by least squares, under the ridge that the noise asks for; and :func:`channelfm.baselines.time.bins.bounded`
    limits each frame's energy.

    ``most`` poles at most: fewer where windows are too short.
    """

    name = "matrix-pencil"

    def __init__(self, most: int = 4) -> None:
        self.most = most

    def future(self, past: Complex, mask: NDArray[np.bool_], horizon: int) -> Complex:
        """See :class:`channelfm.estimator.SequenceEstimator`."""
        noise = estimate_noise(past, mask)
        return in_parts(self._continued, complete_frames(past, mask, noise), noise, horizon)

    def _continued(self, frames: Complex, noise: Float, horizon: int) -> Complex128:
        bins = to_bins(frames)
        gains = wiener_gains(bins, noise)
        bins = bins * gains[:, None]
        steps = bins.shape[1]
        length = self._window(steps)
        if length < 2:
            return np.repeat(bins[:, -1:], horizon, axis=1)
        windows = 2 * (steps - length + 1)
        floor = windows * self._pooled(noise[:, None, None, None] * gains**2)
        products = self._pooled(lag_products(bins, length - 1))
        poles, found = pencil_poles(products, floor, min(self.most, length - 1))
        return continued(bins, poles, found, noise, horizon)

    def _window(self, steps: int) -> int:
        return steps // 2 + 1 if steps > 1 else 1

    def _pooled(self, values: Values) -> Values:
        return around(values)


class SharedMatrixPencil(MatrixPencil):
    """The same with one set of poles per sequence from the longer windows of all its bins together.

    That is ESPRIT (Roy & Kailath 1989) with bins as snapshots: poles of less noise, but few for all paths.
    """

    name = "esprit"

    def __init__(self, most: int = 6) -> None:
        super().__init__(most)

    def _window(self, steps: int) -> int:
        return max(steps - 2, super()._window(steps))

    def _pooled(self, values: Values) -> Values:
        total: Values = np.sum(values, axis=(1, 2, 3), keepdims=True)
        return total


def pencil_poles(products: Complex128, noise: Float, most: int) -> tuple[Complex128, Bool]:
    """Poles [N, row, col, F, most] on and in the unit circle, and which of them were found (the others are 0).

    ``products``: see :func:`lag_products`; ``noise`` [N, row, col, F]: what noise adds to each of their eigenvalues.
    """
    values, vectors = np.linalg.eigh(products.conj())
    values, vectors = values[..., : -most - 1 : -1], vectors[..., : -most - 1 : -1]
    level = np.maximum(_SIGNIFICANT * noise[..., None], _RANK * values[..., :1])
    basis = vectors * (values > level)[..., None, :]
    newer, older = basis[..., :-1, :], basis[..., 1:, :]
    system = older.conj().swapaxes(-1, -2) @ older + 1e-12 * np.eye(most)
    pencil = np.linalg.solve(system, older.conj().swapaxes(-1, -2) @ newer)
    poles: Complex128 = np.linalg.eigvals(pencil).astype(np.complex128)
    poles = poles / np.maximum(np.abs(poles), 1)
    return poles, np.abs(poles) > _LEAST_POLE  # columns that are no part of the basis make poles of 0


def continued(bins: Complex128, poles: Complex128, found: Bool, noise: Float, horizon: int) -> Complex128:
    """The next frames of bins [N, T, row, col, F] as sums of powers of their poles; see :func:`pencil_poles`."""
    steps = bins.shape[1]
    powers = found[..., None, :] * poles[..., None, :] ** np.arange(steps + horizon)[:, None]
    past, future = powers[..., :steps, :], powers[..., steps:, :]
    power = np.mean(np.abs(bins) ** 2, axis=1)
    ridge = noise[:, None, None, None] / np.where(power > 0, power, np.inf)
    ridge = np.maximum(ridge, _RIDGE)[..., None, None]
    adjoint = past.conj().swapaxes(-1, -2)
    right = adjoint @ np.moveaxis(bins, 1, -1)[..., None]
    amplitudes = np.linalg.solve(adjoint @ past + ridge * np.eye(poles.shape[-1]), right)
    return np.moveaxis((future @ amplitudes)[..., 0], -1, 1)
