"""Physical constants and the only unit conversions of the package (SI units throughout)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

SPEED_OF_LIGHT = 299_792_458.0  # m/s, exact by definition of the metre
VACUUM_PERMITTIVITY = 8.8541878128e-12  # F/m, CODATA 2018


def wavelength(frequency_hz: float) -> float:
    """Free-space wavelength [m] of a frequency [Hz]."""
    return SPEED_OF_LIGHT / frequency_hz


def power_to_db(ratio: ArrayLike) -> NDArray[np.float64]:
    """Power ratio (any shape, >= 0) to decibels; zero becomes -inf without a warning."""
    with np.errstate(divide="ignore"):
        return np.asarray(10.0 * np.log10(np.asarray(ratio, dtype=np.float64)))


def db_to_power(decibel: ArrayLike) -> NDArray[np.float64]:
    """Decibels (any shape) to a power ratio."""
    return np.asarray(10.0 ** (np.asarray(decibel, dtype=np.float64) / 10.0))


def rayleigh_distance(aperture_m: float, wavelength_m: float) -> float:
    """Rayleigh distance 2 D^2 / lambda [m]: nearer than this, an array sees curved wavefronts."""
    return 2.0 * aperture_m**2 / wavelength_m


def wrap_angle(angle_rad: ArrayLike) -> NDArray[np.float64]:
    """Angle [rad], any shape, wrapped into [-pi, pi)."""
    angle: NDArray[Any] = np.asarray(angle_rad, dtype=np.float64)
    return np.asarray((angle + np.pi) % (2.0 * np.pi) - np.pi)
