"""Interpolation over the hidden antennas, after the coarse spherical wave is divided out."""

from __future__ import annotations

from abc import abstractmethod
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.interpolate import LinearNDInterpolator
from scipy.linalg import solveh_banded
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from channelfm.baselines.frame_estimator import FrameEstimator

Field = NDArray[np.complex128]
Mask = NDArray[np.bool_]

# Weights of the bending energy among which cross-validation chooses: from interpolation to a constant.
_SMOOTHINGS = (1e-5, 1e-3, 1e-1, 1e1, 1e3)


class _Interpolation(FrameEstimator):
    """Fields of one sample at a time, as NumPy arrays."""

    def estimate_rest(self, rest: Tensor, seen: Tensor) -> Tensor:
        """See :class:`FrameEstimator`."""
        filled = [self.fill(field, mask) for field, mask in zip(rest.numpy(), seen.numpy(), strict=True)]
        return torch.from_numpy(np.stack(filled))

    @abstractmethod
    def fill(self, field: Field, mask: Mask) -> Field:
        """``field`` [rows, cols], known where ``mask``, everywhere."""


class LinearInterpolation(_Interpolation):
    """Linear interpolation between the observed antennas, on a Delaunay triangulation of them.

    Outside their convex hull the nearest observed antenna counts. If all of them lie on a line (one row or column
    observed, a linear array, one antenna), the field is that of the nearest point of the segment that they span.
    """

    name = "linear-interpolation"

    def fill(self, field: Field, mask: Mask) -> Field:
        """See :class:`_Interpolation`."""
        places, hidden = np.argwhere(mask), np.argwhere(~mask)
        filled = field.copy()
        if not len(hidden):
            return filled
        if np.linalg.matrix_rank(places - places[0]) < 2:
            along = places[-1] - places[0]
            filled[~mask] = np.interp((hidden - places[0]) @ along, (places - places[0]) @ along, field[mask])
            return filled
        between = LinearNDInterpolator(places, field[mask])(hidden)
        nearest = distance_transform_edt(~mask, return_distances=False, return_indices=True)
        filled[~mask] = np.where(np.isnan(between), field[tuple(nearest)][~mask], between)
        return filled


class SplineInterpolation(_Interpolation):
    """Thin-plate smoothing spline in tension on the antennas' own grid, smoothed by generalised cross-validation.

    It minimises sum over observed antennas |f - observation|^2 + w (sum |second differences|^2 + ``tension`` sum
    |first differences|^2), the discrete form of Wahba's thin-plate spline (1990, section 2.4) with the tension of
    Smith & Wessel (1990), which keeps it from overshooting where few antennas are observed and determines it for any
    mask. The system is banded and solved directly. The weight w is the one of a few, from 1e-5 to 1e3, with the least
    generalised cross-validation score (Craven & Wahba 1979), whose trace is estimated from one random probe
    (Girard 1989), the same for all samples.

    Parameters
    ----------
    spacing_wavelengths : element spacing in wavelengths where ``predict`` is not told any.
    tension : of the plate; near 0, fields that are linear over the array are reproduced to its edges.
    """

    name = "spline-interpolation"

    def __init__(self, spacing_wavelengths: float | None = None, tension: float = 0.1) -> None:
        super().__init__(spacing_wavelengths)
        self.tension = tension

    def fill(self, field: Field, mask: Mask) -> Field:
        """See :class:`_Interpolation`."""
        if field.shape[0] < field.shape[1]:  # the band is as wide as the axis that runs fastest
            return self.fill(field.T, mask.T).T
        observed = mask.reshape(-1).astype(np.float64)
        probe = observed * np.random.default_rng(0).choice([-1.0, 1.0], observed.shape)
        values = field.reshape(-1)
        right = np.stack([values.real, values.imag, probe], axis=1) * observed[:, None]
        best, least = values, np.inf
        for smoothing in _SMOOTHINGS:
            system = smoothing * _bending_energy(*field.shape, self.tension)
            system[0] += observed
            solution = solveh_banded(system, right, lower=True, overwrite_ab=True, check_finite=False)
            misfit = ((right - solution)[:, :2] ** 2 * observed[:, None]).sum()
            freedom = probe @ (probe - solution[:, 2]) / observed.sum()  # share of the data that is not fitted
            score = misfit / max(freedom, 1e-12) ** 2
            if score < least:
                best, least = solution[:, 0] + 1j * solution[:, 1], score
        return best.reshape(field.shape)


@lru_cache(maxsize=4)
def _bending_energy(rows: int, cols: int, tension: float) -> NDArray[np.float64]:
    """Lower bands [cols * 2 + 1 at most, rows * cols] of the quadratic form of the spline's energy."""
    along, across = sparse.identity(rows), sparse.identity(cols)
    terms = [
        (1.0, sparse.kron(_differences(rows, 2), across)),
        (1.0, sparse.kron(along, _differences(cols, 2))),
        (2.0, sparse.kron(_differences(rows, 1), _differences(cols, 1))),
        (tension, sparse.kron(_differences(rows, 1), across)),
        (tension, sparse.kron(along, _differences(cols, 1))),
    ]
    energy = sparse.tril(sum(weight * (term.T @ term) for weight, term in terms)).tocoo()
    offset = energy.row - energy.col
    bands = np.zeros((int(offset.max(initial=0)) + 1, rows * cols))
    bands[offset, energy.col] = energy.data
    return bands


def _differences(elements: int, order: int) -> sparse.csr_matrix:
    """Finite differences of an axis, [elements - order, elements]; none where the axis is too short."""
    return sparse.csr_matrix(np.diff(np.eye(elements), n=order, axis=0))
