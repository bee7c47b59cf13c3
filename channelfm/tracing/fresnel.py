"""Reflection coefficients of flat surfaces: half-spaces and single-layer slabs.

Time dependence is exp(+j omega t), so lossy media have a permittivity with a negative imaginary part
(ITU-R P.2040-3, section 2.1). Fields are split into TE, along ``k x n``, and TM, along ``k x (k x n)``, with the
direction ``k`` of the wave before and after the reflection in turn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from channelfm.units import SPEED_OF_LIGHT, VACUUM_PERMITTIVITY

Float = NDArray[np.float64]
Complex128 = NDArray[np.complex128]

DEFAULT_THICKNESS_M = 0.1  # of every radio material in Sionna RT, unless a scene says otherwise


def complex_permittivity(relative_permittivity: float, conductivity_s_per_m: float, frequency_hz: float) -> complex:
    """Complex relative permittivity eps_r - j sigma / (omega eps_0) (ITU-R P.2040-3, section 2.1)."""
    return relative_permittivity - 1j * conductivity_s_per_m / (2 * np.pi * frequency_hz * VACUUM_PERMITTIVITY)


def half_space_reflection(cos_incidence: Float, permittivity: Complex128 | complex) -> tuple[Complex128, Complex128]:
    """Fresnel coefficients (TE, TM) of a half-space seen from vacuum (ITU-R P.2040-3, eq. 37a, 37b).

    ``cos_incidence`` is the cosine of the angle between the wave and the normal, in [0, 1], any shape that
    broadcasts with the complex relative ``permittivity``.
    """
    cosine = np.asarray(cos_incidence, dtype=np.float64)
    medium = np.asarray(permittivity, dtype=np.complex128)
    root = np.sqrt(medium - (1.0 - cosine**2))
    te = (cosine - root) / (cosine + root)
    tm = (medium * cosine - root) / (medium * cosine + root)
    return np.asarray(te), np.asarray(tm)


def slab_reflection(
    cos_incidence: Float, permittivity: Complex128 | complex, thickness_wavelengths: float
) -> tuple[Complex128, Complex128]:
    """Reflection coefficients (TE, TM) of a slab in vacuum (ITU-R P.2040-3, section 2.2.2, eq. 43a and 44).

    ``thickness_wavelengths`` is the slab's thickness in vacuum wavelengths. An infinite one gives the
    half-space, a zero one no reflection. Shapes as in :func:`half_space_reflection`.
    """
    te, tm = half_space_reflection(cos_incidence, permittivity)
    if np.isinf(thickness_wavelengths):
        return te, tm
    sine_squared = 1.0 - np.asarray(cos_incidence, dtype=np.float64) ** 2
    root = np.sqrt(np.asarray(permittivity, dtype=np.complex128) - sine_squared)
    round_trip = np.exp(-4j * np.pi * thickness_wavelengths * root)
    return te * (1 - round_trip) / (1 - te**2 * round_trip), tm * (1 - round_trip) / (1 - tm**2 * round_trip)


def slab_thickness_wavelengths(thickness_m: float, frequency_hz: float) -> float:
    """A thickness [m] in vacuum wavelengths."""
    return thickness_m * frequency_hz / SPEED_OF_LIGHT


def reflect_field(
    field: Complex128, before: Float, after: Float, normal: Float, te: Complex128, tm: Complex128
) -> Complex128:
    """Electric field [N, 3] after a reflection, from the field [N, 3] before it.

    ``before``, ``after`` [N, 3] are unit directions of propagation, ``normal`` [N, 3] the surface's unit
    normal (either side), ``te``, ``tm`` [N] its coefficients.
    """
    transverse = np.cross(before, normal)
    length = np.linalg.norm(transverse, axis=-1, keepdims=True)
    # At normal incidence any transverse direction serves, since both coefficients agree up to the basis' sign.
    axis = np.where(np.abs(before[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    substitute = np.cross(before, axis)
    transverse = np.where(length > 1e-9, transverse, substitute)
    transverse /= np.linalg.norm(transverse, axis=-1, keepdims=True)
    along_te = np.sum(field * transverse, axis=-1) * te
    along_tm = np.sum(field * np.cross(before, transverse), axis=-1) * tm
    return np.asarray(along_te[:, None] * transverse + along_tm[:, None] * np.cross(after, transverse))
