"""Cramer-Rao bounds of sums of spherical waves seen through any operator: what no unbiased estimator can beat."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from channelfm.errors import InputError
from channelfm.observation import Observation
from channelfm.waves.geometry import coordinates, path_and_slope

Complex128 = NDArray[np.complex128]
Float = NDArray[np.float64]

_RESOLVED = 1e-10  # share of the largest eigenvalue of the scaled Fisher matrix below which a direction is not seen


class SphericalWaves(NamedTuple):
    """Waves of N channels: ``sources`` float64 [N, L, 3] as (u_y, u_z, q), two direction sines and the inverse distance
    per wavelength; ``gains`` complex128 [N, L] at the array's centre, 0 for no wave."""

    sources: Float
    gains: Complex128

    def select(self, index: Any) -> SphericalWaves:
        """Those of the channels that a NumPy index picks."""
        return SphericalWaves(self.sources[index], self.gains[index])


def field_bound(waves: SphericalWaves, observation: Observation) -> Float:
    """Least expected NMSE (linear) float64 [N] of unbiased estimates of the whole array's channel, in white noise.

    Every wave has a complex gain, two direction sines and an inverse range unknown, all waves together. The Fisher
    matrix is 2 Re(J^H J) / noise over the measurements (Kay 1993, section 15.7), with their derivatives J; the bound on
    the field's error is trace(G F^-1 G^H), with the derivatives G at all antennas, over the field's energy. What is
    asked is the field, so that waves that nothing tells apart count together (pseudo-inverse), as long as their sum is
    seen. Raises InputError for several frames or frequencies, and where the noise is not told.
    """
    frames, rows, cols, frequencies = observation.grid.shape
    if frames * frequencies != 1:
        raise InputError(f"bound of {frames} frames and {frequencies} frequencies: it is known for one of each")
    if observation.noise is None:
        raise InputError("the bound needs the power of the noise, and the observation does not tell it")
    bounds = np.empty(len(observation))
    for link in range(len(observation)):
        there = waves.gains[link] != 0
        derivative, field = _derivatives(
            waves.sources[link][there],
            waves.gains[link][there],
            rows,
            cols,
            observation.grid.array.spacing_wavelengths,
        )
        seen = _measured(observation, link, derivative)
        covariance = _inverse(2 / observation.noise[link] * (seen.conj().T @ seen).real)
        error = np.einsum("mi,ij,mj->", derivative, covariance, derivative.conj(), optimize=True).real
        bounds[link] = error / np.sum(np.abs(field) ** 2)
    return bounds


def _derivatives(
    sources: Float, gains: Complex128, rows: int, cols: int, spacing: float
) -> tuple[Complex128, Complex128]:
    """Derivatives complex128 [antenna, parameter] of the field of waves [L], and the field [antenna]."""
    y, z = coordinates(rows, cols, spacing)
    path, slope = path_and_slope(torch.from_numpy(sources)[None], y, z)
    wave = np.exp(-2j * np.pi * path[0].numpy())
    resolved = [axis for axis, elements in enumerate((cols, rows)) if elements > 1] + [2] * (rows * cols > 2)
    phase = -2j * np.pi * gains[:, None, None] * slope[0].numpy()[:, resolved] * wave[:, None]
    columns = np.concatenate([wave, 1j * wave, phase.reshape(-1, rows * cols)])
    return columns.T, gains @ wave


def _measured(observation: Observation, link: int, derivative: Complex128) -> Complex128:
    """The derivatives [antenna, parameter] of one link as its operator measures them."""
    _, rows, cols, _ = observation.grid.shape
    operator = observation.operator.select(slice(link, link + 1))
    fields = derivative.T.reshape(-1, 1, rows, cols, 1)
    parts = [operator.forward(field[None].astype(np.complex64)).reshape(-1) for field in fields]
    return np.stack(parts, axis=1).astype(np.complex128)


def _inverse(fisher: Float) -> Float:
    """Pseudo-inverse of a Fisher matrix whose parameters have different units."""
    scale = 1 / np.sqrt(np.maximum(np.diag(fisher), 1e-300))
    return np.asarray(np.linalg.pinv(fisher * np.outer(scale, scale), rcond=_RESOLVED, hermitian=True)) * np.outer(
        scale, scale
    )
