"""Channels with closed forms, the known answers that tracers are tested against.

All antennas are isotropic and vertically polarised, and the user looks at the array, as in
:func:`channelfm.tracing.images.trace_images`. Results are complex scalars h(f) with the carrier phase.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc, hankel2e

from channelfm.tracing.fresnel import slab_reflection, slab_thickness_wavelengths
from channelfm.units import SPEED_OF_LIGHT

Place = tuple[float, float]  # distance along the ground, and height, in m


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


def knife_edge_loss_db(
    user_range_m: float, array_range_m: float, shadow_angle_rad: float, frequency_hz: float
) -> float:
    """Loss [dB] over free space behind a single knife edge, ``shadow_angle_rad`` beyond its shadow boundary.

    Ranges are those of user and array from the edge. ITU-R P.526-15, section 4.1, eq. 26 and 31, for nu > -0.78.
    """
    wavelength_m = SPEED_OF_LIGHT / frequency_hz
    together = 1 / user_range_m + 1 / array_range_m
    nu = shadow_angle_rad * np.sqrt(2 / (wavelength_m * together))
    return float(6.9 + 20 * np.log10(np.hypot(nu - 0.1, 1) + nu - 0.1))


def wedge_channel(
    user_range_m: float,
    array_range_m: float,
    user_angle_rad: float,
    array_angle_rad: float,
    exterior_angle_rad: float,
    frequency_hz: float,
    hard: bool,
) -> complex:
    """The wave diffracted by the edge of a perfectly conducting wedge, in a plane across the edge.

    Ranges are those of user and array from the edge, angles are measured at the edge from one face through the
    outside; ``hard``: the electric field lies in the plane, else along the edge. Uniform theory of diffraction:
    R. G. Kouyoumjian and P. H. Pathak, Proc. IEEE 62(11), 1974, eq. 25-29.
    """
    wavenumber = 2 * np.pi * frequency_hz / SPEED_OF_LIGHT
    n = exterior_angle_rad / np.pi
    distance = user_range_m * array_range_m / (user_range_m + array_range_m)

    def term(beta: float, sign: int) -> complex:
        nearest = round((beta + sign * np.pi) / (2 * np.pi * n))
        cotangent = 1 / np.tan((np.pi + sign * beta) / (2 * n))
        clearance = 2 * np.cos((2 * np.pi * n * nearest - beta) / 2) ** 2
        return complex(cotangent * _transition(wavenumber * distance * clearance))

    apart, together = array_angle_rad - user_angle_rad, array_angle_rad + user_angle_rad
    reflected = term(together, 1) + term(together, -1)
    total = term(apart, 1) + term(apart, -1) + (reflected if hard else -reflected)
    coefficient = -np.exp(-0.25j * np.pi) / (2 * n * np.sqrt(2 * np.pi * wavenumber)) * total
    length = user_range_m + array_range_m
    spread = 1 / np.sqrt(user_range_m * array_range_m * length)
    return complex(coefficient * spread / (2 * wavenumber) * np.exp(-1j * wavenumber * length))


def half_plane_channel(
    user_range_m: float,
    array_range_m: float,
    user_angle_rad: float,
    array_angle_rad: float,
    frequency_hz: float,
    hard: bool,
) -> complex:
    """All waves beside a perfectly conducting half-plane: exact, after Sommerfeld, for a source at a point.

    In a plane across the edge; ranges, angles in [0, 2 pi] and ``hard`` as for :func:`wedge_channel`. H. M. Macdonald,
    Proc. London Math. Soc. s2-14, 1915; J. J. Bowman, T. B. A. Senior and P. L. E. Uslenghi, "Electromagnetic and
    acoustic scattering by simple shapes", 1987, section 8.3.
    """
    wavenumber = 2 * np.pi * frequency_hz / SPEED_OF_LIGHT
    wavelength_m = SPEED_OF_LIGHT / frequency_hz
    over_edge = user_range_m + array_range_m

    def wave(angle: float) -> complex:
        """What is there of the wave from a source at an angle from the array: itself, or its image."""
        distance = np.sqrt(over_edge**2 - 4 * user_range_m * array_range_m * np.cos(angle / 2) ** 2)
        detour = np.sqrt(wavenumber * (over_edge - distance))
        beyond = wavenumber * distance / 1j * _macdonald(float(detour), float(wavenumber * distance))
        share = 1 - beyond if np.cos(angle / 2) >= 0 else beyond
        return complex(share * np.exp(-1j * wavenumber * distance) / distance)

    reflected = wave(array_angle_rad + user_angle_rad)
    direct = wave(array_angle_rad - user_angle_rad)
    return wavelength_m / (4 * np.pi) * (direct + (reflected if hard else -reflected))


def _macdonald(start: float, phase: float) -> complex:
    """Integral of H_1^(2)(phase + m^2) / sqrt(2 phase + m^2) exp(j phase) over m from a start >= 0 on, along the line
    on which it falls."""
    node, weight = np.polynomial.legendre.leggauss(200)
    m = start + 4.0 * (node + 1.0) * np.exp(-0.25j * np.pi)
    values = hankel2e(1, phase + m**2) * np.exp(-1j * m**2) / np.sqrt(2 * phase + m**2)
    return complex(4.0 * np.exp(-0.25j * np.pi) * np.sum(weight * values))


def screens_channel(user: Place, screens: list[Place], array: Place, frequency_hz: float) -> complex:
    """The field behind thin absorbing screens in turn, over that of free space, by the parabolic equation.

    ``screens`` are (distance, height of the upper edge), with distances that grow from the user's to the array's. From
    screen to screen the field over all heights is propagated by Fourier transforms (M. Levy, "Parabolic equation
    methods for electromagnetic wave propagation", 2000, section 2.3), so small angles only.
    """
    wavelength_m = SPEED_OF_LIGHT / frequency_hz
    wavenumber = 2 * np.pi / wavelength_m
    distance = [place[0] for place in (user, *screens, array)]
    reach = 12 * np.sqrt(wavelength_m * (distance[-1] - distance[0]))  # of heights that matter, in Fresnel zones
    step = wavelength_m * min(np.diff(distance)) / (8 * reach)
    count = 1 << int(np.ceil(np.log2(4 * reach / step)))
    height = (np.arange(count) - count // 2) * step
    taper = np.cos(np.clip(np.abs(height) / reach - 1, 0, 1) * np.pi / 2) ** 2
    spatial = 2 * np.pi * np.fft.fftfreq(count, step)

    def spherical(heights: NDArray[np.float64], source: float, apart: float) -> NDArray[np.complex128]:
        return np.asarray(
            np.exp(-0.5j * wavenumber * (heights - source) ** 2 / apart) / np.sqrt(1j * wavelength_m * apart)
        )

    def above(edge: float) -> NDArray[np.float64]:
        return np.asarray(np.clip((height - edge) / step + 0.5, 0, 1) * taper)

    field = spherical(height, user[1], distance[1] - distance[0]) * above(screens[0][1])
    for (here, _), (there, edge) in pairwise(screens):
        turn = np.exp(0.5j * spatial**2 * (there - here) / wavenumber)
        field = np.fft.ifft(np.fft.fft(field) * turn) * above(edge)
    behind = np.sum(spherical(height, array[1], distance[-1] - distance[-2]) * field * taper) * step
    return complex(behind / spherical(np.array(array[1]), user[1], distance[-1] - distance[0]))


def _transition(x: float) -> complex:
    """Kouyoumjian and Pathak's F(x) = 2 j sqrt(x) exp(jx) times the integral of exp(-j t^2) from sqrt(x) on."""
    root = np.sqrt(x)
    integral = np.sqrt(np.pi) / 2 * np.exp(-0.25j * np.pi) * erfc(np.exp(0.25j * np.pi) * root)
    return complex(2j * root * np.exp(1j * x) * integral)
