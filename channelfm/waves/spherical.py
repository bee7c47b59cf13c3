"""Search for the single spherical wave that explains a partial observation of a planar array best.

Two stages, batched over samples. A coarse one removes the boresight chirp of a few ranges (uniform in inverse
range, from the reactive limit to infinity) and takes a zero-padded 2-D FFT of each (SPEC 3). Its winners, whose
paraxial chirp ignores the direction, start a few Gauss-Newton steps on the exact spherical wave, which also move
them off the grid. Everything is in wavelengths and in the array's local frame (boresight +x, columns +y, rows +z).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from channelfm.errors import InputError
from channelfm.waves.geometry import LARGEST_SINE, coordinates, element_coordinates, largest_inverse_range, nearest_wave

# A plane wave is written as a source this many wavelengths away, which float64 still resolves to 1e-7 cycles.
FARTHEST_SOURCE = 1e8
# Bytes of spectra that the coarse search holds at once; small enough to stay in a CPU's cache hierarchy.
_CHUNK_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class CoarseWave:
    """One spherical wave per sample.

    ``source`` float64 [N, 3]: position in wavelengths in the array's local frame (x >= 0), at most
    ``FARTHEST_SOURCE`` away; ``amplitude`` complex64 [N]: least-squares gain of the wave, referred to the
    array centre; ``score`` float32 [N]: share of the observed energy that the wave explains, in [0, 1]
    (0 where nothing or only zeros were observed). ``direction`` float32 [N, 3] is the unit vector to the source
    and ``inverse_range`` float32 [N] its inverse distance per wavelength (0 for a plane wave).
    """

    source: Tensor
    amplitude: Tensor
    score: Tensor
    direction: Tensor
    inverse_range: Tensor


def coarse_spherical_wave(
    observed: Tensor,
    mask: Tensor,
    spacing_wavelengths: float = 0.5,
    num_ranges: int = 8,
    oversampling: float = 1.0,
    starts: int = 3,
    iterations: int = 5,
) -> CoarseWave:
    """The best single spherical wave of each sample, from the observed antennas alone.

    Parameters
    ----------
    observed : complex64 [N, rows, cols]; entries where ``mask`` is False are ignored.
    mask : bool, broadcastable to ``observed``; True = observed.
    spacing_wavelengths : element spacing in wavelengths. Beyond 0.5 the direction is the principal alias.
    num_ranges, oversampling : coarse grid in inverse range, and zero padding of the FFT.
    starts, iterations : how many winners of the coarse grid are refined, and by how many steps.

    Raises InputError if the shapes do not fit.
    """
    if observed.ndim != 3:
        raise InputError(f"observed has shape {tuple(observed.shape)}: give [sample, row, column]")
    visible = mask.expand_as(observed)
    field = torch.where(visible, observed, 0).to(torch.complex64)
    parts = []
    chunk = (
        max(1, int(_CHUNK_BYTES / (8 * num_ranges * oversampling**2 * max(field[0].numel(), 1)))) if len(field) else 1
    )
    for start in range(0, max(len(field), 1), chunk):
        part, seen = field[start : start + chunk], visible[start : start + chunk].to(torch.float32)
        candidates = search_grid(part, spacing_wavelengths, num_ranges, oversampling, starts)
        parts.append(_refine(part, seen, candidates, spacing_wavelengths, iterations))
    return CoarseWave(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def search_grid(
    field: Tensor, spacing: float, num_ranges: int, oversampling: float, starts: int
) -> tuple[Tensor, Tensor]:
    """Best grid points of each sample: sines (u_y, u_z) [N, starts, 2] and inverse ranges [N, starts]."""
    count, rows, cols = field.shape
    y, z = element_coordinates(rows, cols, spacing, field.device)
    inverse_ranges = torch.linspace(0, largest_inverse_range(rows, cols, spacing), num_ranges, device=field.device)
    chirp = torch.polar(
        torch.ones(num_ranges, rows, cols, device=field.device),
        math.pi * inverse_ranges[:, None, None] * (y**2 + z**2),
    )
    bins = (_padded(rows, oversampling), _padded(cols, oversampling))
    spectrum = torch.fft.fft2(field[:, None] * chirp, s=bins)
    power = spectrum.real.square().add_(spectrum.imag.square())
    sine_z = torch.fft.fftfreq(bins[0], device=field.device) / spacing
    sine_y = torch.fft.fftfreq(bins[1], device=field.device) / spacing
    # The peak of a grazing wave may fall on a bin just beyond the horizon: half a bin is forgiven.
    nearest_z = (sine_z.abs() - 0.5 / (bins[0] * spacing)).clamp_min(0) if rows > 1 else sine_z
    nearest_y = (sine_y.abs() - 0.5 / (bins[1] * spacing)).clamp_min(0) if cols > 1 else sine_y
    invisible = nearest_z[:, None] ** 2 + nearest_y[None, :] ** 2 > 1
    # One winner per direction: the runners-up must be other directions, since refinement moves the range freely.
    best = power.amax(dim=1).masked_fill_(invisible, -1.0)
    _, place = best.reshape(count, -1).topk(min(starts, bins[0] * bins[1]), dim=1)
    nearest = power.flatten(2).gather(2, place[:, None].expand(-1, num_ranges, -1)).argmax(dim=1)
    sines = torch.stack([sine_y[place % bins[1]], sine_z[place // bins[1]]], dim=-1)
    sines = sines / (sines.norm(dim=-1, keepdim=True) / LARGEST_SINE).clamp_min(1)
    return sines, inverse_ranges[nearest]


def _padded(elements: int, oversampling: float) -> int:
    """Even FFT length for one axis; a single row or column has a single frequency."""
    return 1 if elements == 1 else 2 * math.ceil(elements * oversampling / 2)


def _refine(
    field: Tensor, seen: Tensor, candidates: tuple[Tensor, Tensor], spacing: float, iterations: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gauss-Newton on (u_y, u_z, 1/r) of each candidate; returns the fields of the best as ``CoarseWave`` has them."""
    count, rows, cols = field.shape
    sines, inverse_range = candidates
    starts = sines.shape[1]
    field, seen = field.flatten(1), seen.flatten(1)
    y, z = coordinates(rows, cols, spacing, field.device, field.real.dtype)
    found, gain = nearest_wave(
        field.repeat_interleave(starts, 0),
        seen.repeat_interleave(starts, 0),
        torch.cat([sines, inverse_range[..., None]], dim=-1).flatten(0, 1),
        y,
        z,
        iterations,
        largest_inverse_range(rows, cols, spacing),
    )
    winner = gain.abs().reshape(count, starts).argmax(dim=1) + torch.arange(count, device=field.device) * starts
    best, gain = found[winner], gain[winner]
    score = gain.abs().square() * seen.sum(1) / field.abs().square().sum(1).clamp_min(1e-30)
    forward = torch.sqrt((1 - best[:, :2].square().sum(1)).clamp_min(0.0))
    direction = torch.stack([forward, best[:, 0], best[:, 1]], dim=1)
    distance = (1 / best[:, 2].double().clamp_min(1 / FARTHEST_SOURCE))[:, None]
    return direction.double() * distance, gain, score, direction, best[:, 2]


def parameters_of(found: CoarseWave) -> Tensor:
    """(u_y, u_z, 1/r) float32 [N, 3] of waves, as :func:`channelfm.waves.geometry.wave_of` takes them."""
    return torch.cat([found.direction[:, 1:], found.inverse_range[:, None]], dim=1)
