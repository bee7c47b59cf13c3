"""Cramer-Rao bounds: what no unbiased estimator can beat; the one door to all of them.

On the channel (NMSE): :func:`field_bound` of all waves together, with their delays where there are several
subcarriers, through any operator; :func:`best_order_bound`, of as many waves as are worth it; :func:`free_gain_bound`,
of methods that ignore what a delay ties together. On where the strongest wave comes from: :func:`source_bound`
(direction sines and inverse range) and :func:`place_bound` (distance, azimuth, elevation, place).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from channelfm.errors import InputError
from channelfm.estimator import antennas_seen
from channelfm.units import db_to_power
from channelfm.waves.bounds import SphericalWaves, best_order_bound, field_bound, free_gain_bound
from channelfm.waves.source_bounds import PlaceBound, place_bound, source_bound

__all__ = [
    "PlaceBound",
    "SphericalWaves",
    "best_order_bound",
    "field_bound",
    "free_gain_bound",
    "place_bound",
    "source_bound",
    "spherical_wave_bound",
]


def spherical_wave_bound(
    source_wavelengths: NDArray[np.float64],
    mask: NDArray[np.bool_],
    snr_db: float,
    spacing_wavelengths: float = 0.5,
) -> float:
    """Least expected NMSE (linear) of one spherical wave of unknown constant gain and source, in white noise
    (:func:`channelfm.waves.bounds.field_bound`).

    Parameters
    ----------
    source_wavelengths : float64 [3], position in wavelengths in the array's frame.
    mask : bool [rows, cols], True = observed.
    snr_db : power of the wave over the noise power at one antenna.

    Raises InputError if the observed antennas do not determine the parameters. A linear array (one row or column)
    has one direction sine fewer.
    """
    distance = np.linalg.norm(source_wavelengths)
    source = np.array([source_wavelengths[1], source_wavelengths[2], 1.0]) / distance
    seen = antennas_seen(np.zeros((1, *mask.shape, 1), np.complex64), mask[None, ..., None], spacing_wavelengths)
    observation = replace(seen, noise=np.array([1 / db_to_power(snr_db)]))
    bound = float(field_bound(SphericalWaves(source[None, None], np.ones((1, 1), np.complex128)), observation)[0])
    if not np.isfinite(bound):
        raise InputError(f"{int(mask.sum())} observed antennas do not determine a spherical wave: observe more of them")
    return bound
