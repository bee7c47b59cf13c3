"""Channels with closed forms, the known answers that tracers are tested against.

All antennas are isotropic and vertically polarised, and the user looks at the array, as in
:func:`channelfm.tracing.images.trace_images`. Results are complex scalars h(f) with the carrier phase.
"""

from __future__ import annotations

import numpy as np

from channelfm.tracing.fresnel import slab_reflection, slab_thickness_wavelengths
from channelfm.units import SPEED_OF_LIGHT


def free_space_channel(distance_m: float, frequency_hz: float) -> complex:
    """lambda / (4 pi d) exp(-j 2 pi d / lambda): Friis' equation with its phase."""
    wavelength_m = SPEED_OF_LIGHT / frequency_hz
    phase = np.exp(-2j * np.pi * distance_m / wavelength_m)
    return complex(wavelength_m / (4 * np.pi * distance_m) * phase)


def two_ray_channel(
    user_height_m: float,
    array_height_m: float,
    separation_m: float,
    frequency_hz: float,
    permittivity: complex,
    thickness_m: float,
) -> complex:
    """Line of sight and the reflection from flat ground, over a horizontal separation [m].

    Everything lies in one vertical plane, so the reflection is TM. ``permittivity`` is complex and relative,
    the ground a slab of ``thickness_m`` (infinity: a half-space).
    """
    direct = np.hypot(separation_m, array_height_m - user_height_m)
    reflected = np.hypot(separation_m, array_height_m + user_height_m)
    cosine = np.array((array_height_m + user_height_m) / reflected)
    _, tm = slab_reflection(cosine, permittivity, slab_thickness_wavelengths(thickness_m, frequency_hz))
    # The zenith vectors at both ends make equal angles with the TM basis, and with each other on the direct path.
    return free_space_channel(float(direct), frequency_hz) + complex(tm) * free_space_channel(
        float(reflected), frequency_hz
    )


def wall_channel(
    user_range_m: float,
    array_range_m: float,
    separation_m: float,
    frequency_hz: float,
    permittivity: complex,
    thickness_m: float,
) -> complex:
    """Line of sight and the reflection from one vertical wall, user and array at the same height.

    ``user_range_m`` and ``array_range_m`` are the distances from the wall, ``separation_m`` is measured along
    it. Everything lies in a horizontal plane, so the reflection is TE.
    """
    direct = np.hypot(separation_m, array_range_m - user_range_m)
    reflected = np.hypot(separation_m, array_range_m + user_range_m)
    cosine = np.array((array_range_m + user_range_m) / reflected)
    te, _ = slab_reflection(cosine, permittivity, slab_thickness_wavelengths(thickness_m, frequency_hz))
    return free_space_channel(float(direct), frequency_hz) + complex(te) * free_space_channel(
        float(reflected), frequency_hz
    )
