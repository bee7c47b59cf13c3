"""Cramer-Rao bounds: what no unbiased estimator can beat."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from channelfm.errors import InputError
from channelfm.units import db_to_power
from channelfm.waves.geometry import coordinates, path_and_slope


def spherical_wave_bound(
    source_wavelengths: NDArray[np.float64],
    mask: NDArray[np.bool_],
    snr_db: float,
    spacing_wavelengths: float = 0.5,
) -> float:
    """Least expected NMSE (linear) of one spherical wave of unknown constant gain and source, in white noise.

    The five real parameters are the complex gain, two direction sines and the inverse range. Their Fisher matrix is
    2 Re(J^H J) / sigma^2 over the observed antennas (Kay 1993, section 15.7), and the bound on the field's error is
    trace(G F^-1 G^H), with the derivatives G at all antennas, divided by the field's energy.

    Parameters
    ----------
    source_wavelengths : float64 [3], position in wavelengths in the array's frame.
    mask : bool [rows, cols], True = observed.
    snr_db : power of the wave over the noise power at one antenna.

    Raises InputError if the observed antennas do not determine the parameters. A linear array (one row or column)
    has one direction sine fewer.
    """
    rows, cols = mask.shape
    y, z = coordinates(rows, cols, spacing_wavelengths)
    distance = np.linalg.norm(source_wavelengths)
    sources = np.array([source_wavelengths[1] / distance, source_wavelengths[2] / distance, 1 / distance])
    _, slope = path_and_slope(torch.from_numpy(sources)[None, None], y, z)
    # Derivatives with the common phasor removed, which changes neither J^H J nor the trace; gain 1.
    phase = -2j * np.pi * slope[0, 0].numpy()
    resolved = [axis for axis, elements in enumerate((cols, rows)) if elements > 1] + [2]
    derivative = np.concatenate([np.ones((1, rows * cols)), 1j * np.ones((1, rows * cols)), phase[resolved]]).T
    seen = derivative[mask.reshape(-1)]
    fisher = 2 * db_to_power(snr_db) * (seen.conj().T @ seen).real
    scale = 1 / np.sqrt(np.maximum(np.diag(fisher), 1e-300))
    scaled = fisher * np.outer(scale, scale)
    if np.linalg.matrix_rank(scaled, tol=1e-12) < len(scaled):
        raise InputError(f"{int(mask.sum())} observed antennas do not determine a spherical wave: observe more of them")
    covariance = np.linalg.inv(scaled) * np.outer(scale, scale)
    return float(np.einsum("mi,ij,mj->", derivative, covariance, derivative.conj()).real / mask.size)
