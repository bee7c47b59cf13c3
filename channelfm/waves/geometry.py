"""One spherical wave over a planar array: its path, its derivatives and its least-squares step, which all others use.

Sources are written as (u_y, u_z, q): two direction sines and the inverse range per wavelength, in which least squares
is close to linear and a plane wave is q = 0. All lengths are in wavelengths, in the array's local frame (boresight +x,
columns along +y, rows along +z; SPEC 1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LARGEST_SINE = 0.999  # keeps sources strictly in front of the array, where the derivatives are finite


def element_coordinates(
    rows: int,
    cols: int,
    spacing_wavelengths: float,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Element offsets from the array centre in wavelengths: y [1, cols] and z [rows, 1]."""
    y = (torch.arange(cols, dtype=dtype, device=device) - (cols - 1) / 2) * spacing_wavelengths
    z = (torch.arange(rows, dtype=dtype, device=device) - (rows - 1) / 2) * spacing_wavelengths
    return y[None, :], z[:, None]


def coordinates(
    rows: int,
    cols: int,
    spacing_wavelengths: float,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor]:
    """The same for every antenna, y and z [1, rows * cols] each, row by row."""
    axes = element_coordinates(rows, cols, spacing_wavelengths, device, dtype)
    return axes[0].expand(rows, cols).reshape(1, -1), axes[1].expand(rows, cols).reshape(1, -1)


def path_difference(sources: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Path differences |s - e| - |s| [N, K, n] of sources [N, K, 3] at antennas y, z [N, n] (or [1, n] for all).

    Written as (q |e|^2 - 2 u.e) / (1 + |s - e| / |s|), which loses no digits for distant sources and holds for plane
    waves as it stands.
    """
    along, _, bend = _bend(sources, y, z)
    return (bend - 2 * along) / (1 + _ratio(sources, along, bend))


def path_and_slope(sources: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`path_difference` and its derivatives in (u_y, u_z, q) [N, K, 3, n]."""
    along, square, bend = _bend(sources, y, z)
    ratio = _ratio(sources, along, bend)
    inverse = 1 / ratio
    path = (bend - 2 * along) / (1 + ratio)
    slope_q = (square - path * (bend - along) * inverse) / (1 + ratio)
    return path, torch.stack([-y[:, None] * inverse, -z[:, None] * inverse, slope_q], dim=2)


def _bend(sources: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """u.e, |e|^2 and q |e|^2."""
    u_y, u_z, q = (sources[:, :, i, None].to(y.dtype) for i in range(3))
    y, z = y[:, None], z[:, None]
    square = y**2 + z**2
    return u_y * y + u_z * z, square, q * square


def _ratio(sources: Tensor, along: Tensor, bend: Tensor) -> Tensor:
    """|s - e| / |s|."""
    return torch.sqrt((1 - sources[:, :, 2, None].to(along.dtype) * (2 * along - bend)).clamp_min(1e-12))


def phasors(path: Tensor) -> Tensor:
    """exp(-j 2 pi path)."""
    angle = -2 * math.pi * path
    return torch.complex(angle.cos(), angle.sin())


def waves_at(sources: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Unit-modulus waves [N, K, n] of sources [N, K, 3] at antennas y, z [N, n], phase zero at the array centre."""
    return phasors(path_difference(sources, y, z))


def wave_of(sources: Tensor, rows: int, cols: int, spacing_wavelengths: float) -> Tensor:
    """Unit-modulus waves complex64 [N, rows, cols] of sources [N, 3] over a whole array."""
    y, z = coordinates(rows, cols, spacing_wavelengths, sources.device, torch.float32)
    path = path_difference(sources[None], y, z)[0]
    return torch.polar(torch.ones_like(path), -2 * math.pi * path).reshape(-1, rows, cols)


def largest_inverse_range(rows: int, cols: int, spacing_wavelengths: float) -> float:
    """Inverse of the reactive near-field limit 0.62 sqrt(D^3 / lambda) of the diagonal aperture, per wavelength."""
    aperture = math.hypot(rows - 1, cols - 1) * spacing_wavelengths
    return 1.0 / max(0.62 * aperture * math.sqrt(aperture), 1.0)


def move_in_front(sources: Tensor, largest: float, largest_sine: float = LARGEST_SINE) -> Tensor:
    """Sources [..., 3] moved back in front of the array, and no nearer than an inverse range of ``largest``."""
    sine = sources[..., :2].norm(dim=-1, keepdim=True)
    sines = sources[..., :2] * (largest_sine / sine.clamp_min(largest_sine))
    return torch.cat([sines, sources[..., 2:].clamp(0.0, largest)], dim=-1)


def gauss_newton_step(field: Tensor, weight: Tensor, source: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Gain [N] of the wave of ``source`` [N, 3] as it is, and the step [N, 3] towards the least-squares wave.

    ``field`` complex [N, n] is 0 where ``weight`` [N, n] is, else that is 1. With the wave's phase removed, field /
    gain - 1 = -j 2 pi (derivative of the path) . step + constant, whose imaginary part is a linear least-squares
    problem of three unknowns. Steps are 0 where the system is singular, and never beyond the horizon.
    """
    path, slope = path_and_slope(source[:, None], y, z)
    flat = field * phasors(path)[:, 0].conj()
    number = weight.sum(1).clamp_min(1)
    gain = flat.sum(1) / number
    error = (flat * gain.conj()[:, None]).imag / gain.abs().square().clamp_min(1e-30)[:, None]
    jacobian = slope[:, 0] * weight[:, None]
    jacobian = jacobian - (jacobian.sum(2) / number[:, None])[..., None] * weight[:, None]
    normal = jacobian @ jacobian.mT
    diagonal = normal.diagonal(dim1=1, dim2=2)
    # A direction that the observed antennas do not resolve (one row, few antennas) has a zero column: no step there.
    normal = normal + torch.diag_embed(1e-4 * diagonal + 1e-6 * diagonal.amax(1, keepdim=True) + 1e-12)
    step = torch.linalg.solve_ex(normal, (jacobian @ error[..., None]) / (-2 * math.pi))[0][..., 0]
    return gain, finite_step(step)


def nearest_wave(
    field: Tensor, weight: Tensor, start: Tensor, y: Tensor, z: Tensor, steps: int, largest: float
) -> tuple[Tensor, Tensor]:
    """The wave [N, 3] after Gauss-Newton ``steps`` from ``start`` towards that which explains most of ``field``, and
    its gain [N]; a step that explains less is tried again at a third of its size (see :func:`gauss_newton_step`)."""
    best = move_in_front(start, largest)
    gain, step = gauss_newton_step(field, weight, best, y, z)
    for _ in range(steps):
        trial = move_in_front(best + step, largest)
        trial_gain, trial_step = gauss_newton_step(field, weight, trial, y, z)
        better = trial_gain.abs() > gain.abs()
        best = torch.where(better[:, None], trial, best)
        step = torch.where(better[:, None], trial_step, step / 3)
        gain = torch.where(better, trial_gain, gain)
    return best, gain


def phase_derivatives(columns: Tensor, gains: Tensor, slopes: Tensor) -> Tensor:
    """Derivatives [N, 3 K, n] of the fields of K waves in their sources, from ``slopes`` [N, K, 3, n] of their paths,
    the ``columns`` [N, K P, n] of their gains, and these ``gains`` [N, K P]."""
    count, waves, _, antennas = slopes.shape
    by_wave = columns.reshape(count, waves, -1, antennas)
    fitted = gains.reshape(count, waves, 1, -1).to(columns.dtype) @ by_wave
    return (-2j * math.pi * fitted * slopes).flatten(1, 2)


def finite_step(step: Tensor) -> Tensor:
    """A step of sines and inverse ranges, 0 where its system was singular, and never beyond the horizon."""
    return torch.nan_to_num(step, 0.0, 0.0, 0.0).clamp(-0.5, 0.5)
