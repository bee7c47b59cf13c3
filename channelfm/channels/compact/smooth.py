"""Smooth functions over an aperture, fitted to what its antennas see, batched over paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.polynomial.legendre import legvander
from numpy.typing import NDArray

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

LEAST_EIGENVALUE = 1e-10  # of the normal matrix, against its largest: what the antennas do not resolve stays as it is
GAIN_DEGREES = (0, 1, 2, 3, 4, 5)
BEND_DEGREES = (0, 2, 3, 4, 5, 6)  # 0: a spherical wave is enough
EASY_DEGREE = 1  # enough for most fits: moments of higher degrees are taken of the others alone


def smooth_basis(y: Float, z: Float, degree: int) -> Float:
    """Products of Legendre polynomials [K, M] of total degree up to ``degree``, at coordinates y, z in [-1, 1].

    Lower degrees come first: the first (n + 1)(n + 2) / 2 functions are those of degree n.
    """
    along_y, along_z = legvander(y, degree), legvander(z, degree)
    orders = [(total - k, k) for total in range(degree + 1) for k in range(total + 1)]
    return np.stack([along_y[:, i] * along_z[:, k] for i, k in orders])


def basis_size(degree: Any) -> Any:
    """Number of functions of a basis of this total degree (a number, or an array of them)."""
    return (degree + 1) * (degree + 2) // 2


@dataclass(frozen=True)
class SmoothFit:
    """Sums of smooth functions: ``degree`` uint8 [R], ``coefficients`` [R, Q, K] (0 beyond the degree) and ``error``
    float64 [R], the energy that they leave of what they were fitted to."""

    degree: NDArray[np.uint8]
    coefficients: NDArray[Any]
    error: Float

    def select(self, index: NDArray[np.intp]) -> SmoothFit:
        """The rows that a NumPy index picks."""
        return SmoothFit(self.degree[index], self.coefficients[index], self.error[index])


def fit_smooth(
    values: NDArray[Any], seen: Bool, basis: Float, degrees: Sequence[int], allowed: Float, stored_as: type
) -> SmoothFit:
    """Weighted sums of smooth functions that fit values [R, Q, M] over the seen antennas [R, M], Q fits for each row.

    Values are 0 where unseen. Coefficients are rounded to real numbers of the type ``stored_as`` (relative to the
    largest where that is float16). The degree is the lowest of ``degrees`` whose error energy, summed over Q, is within
    ``allowed`` [R] or, where none is, the lowest within twice the best: past that point a higher one follows noise.
    """
    size = basis_size(max(degrees))
    errors = np.full((len(degrees), len(values)), np.inf)
    coefficients = np.zeros((len(degrees), *values.shape[:2], size), values.dtype)
    open_rows = np.arange(len(values))
    easy = [degree for degree in degrees if degree <= EASY_DEGREE]
    for stage in (easy, degrees[len(easy) :]):
        if not stage or not len(open_rows):
            continue
        stage_rows, moments = open_rows, Moments.of(values[open_rows], seen[open_rows], basis[: basis_size(stage[-1])])
        for degree in stage:
            index = degrees.index(degree)
            within = np.searchsorted(stage_rows, open_rows)
            solved, errors[index, open_rows] = moments.select(within).solved(degree, stored_as)
            coefficients[index, open_rows, :, : solved.shape[2]] = solved
            open_rows = open_rows[errors[index, open_rows] > allowed[open_rows]]
    chosen = np.argmax(errors <= np.maximum(allowed, 2.0 * errors.min(axis=0)), axis=0)
    rows = np.arange(len(values))
    return SmoothFit(np.asarray(degrees, np.uint8)[chosen], coefficients[chosen, rows], errors[chosen, rows])


@dataclass(frozen=True)
class Moments:
    """All that a least-squares fit needs of R rows: sums over antennas, so that those of a region and its parts add up.

    ``energy`` float64 [R] of the values; ``right`` [R, Q, K], their products with the functions; ``normal`` float64
    [U, K, K], products of functions with each other, and the one ``pattern`` [R] of them that belongs to a row.
    """

    energy: Float
    right: NDArray[Any]
    normal: Float
    pattern: NDArray[np.intp]

    @classmethod
    def of(cls, values: NDArray[Any], seen: Bool, functions: Float) -> Moments:
        """Of values [R, Q, M], 0 where unseen, and functions [K, M]; rows that see all share their normal matrix."""
        partly = ~seen.all(axis=1)
        weighted = np.concatenate([functions[None], seen[partly, None] * functions])
        real = [values.real, values.imag] if np.iscomplexobj(values) else [values]
        right = [np.ascontiguousarray(part) @ functions.T for part in real]
        return cls(
            energy=np.sum([np.einsum("rqm,rqm->r", part, part) for part in real], axis=0),
            right=right[0] + 1j * right[1] if len(right) == 2 else right[0],
            normal=weighted @ functions.T,
            pattern=np.where(partly, np.cumsum(partly), 0),
        )

    def select(self, index: NDArray[np.intp]) -> Moments:
        """The rows that a NumPy index picks."""
        used, pattern = np.unique(self.pattern[index], return_inverse=True)
        return Moments(self.energy[index], self.right[index], self.normal[used], pattern.reshape(-1))

    def solved(self, degree: int, stored_as: type) -> tuple[NDArray[Any], Float]:
        """Coefficients [R, Q, k] of the best fit of a degree, of least norm, rounded; the energy [R] that it leaves."""
        size = basis_size(degree)
        normal, right = self.normal[:, :size, :size], self.right[..., :size]
        inverse = np.linalg.pinv(normal, rcond=LEAST_EIGENVALUE, hermitian=True)
        solved = rounded(right @ inverse[self.pattern], stored_as)
        return solved, self._left(solved, right, normal[self.pattern])

    def _left(self, solved: NDArray[Any], right: NDArray[Any], normal: Float) -> Float:
        left = self.energy + np.sum((solved.conj() * (solved @ normal - 2.0 * right)).real, axis=(1, 2))
        return np.asarray(np.maximum(left, 0.0))


def gain_scale(coefficients: NDArray[Any]) -> NDArray[np.float32]:
    """Largest modulus [R] of a real or imaginary part among coefficients [R, Q, K]; 1 where all are 0."""
    largest = np.maximum(np.abs(coefficients.real), np.abs(coefficients.imag)).max(axis=(1, 2), initial=0.0)
    return np.where(largest > 0, largest, 1.0).astype(np.float32)


def rounded(coefficients: NDArray[Any], stored_as: type) -> NDArray[Any]:
    """Coefficients [R, Q, K] as they come back from storage."""
    if stored_as is not np.float16:
        return coefficients.astype(stored_as).astype(coefficients.dtype)
    scale = gain_scale(coefficients)[:, None, None]
    scaled = coefficients / scale
    return np.asarray(scale * (scaled.real.astype(np.float16) + 1j * scaled.imag.astype(np.float16)))
