"""MUSIC on sub-arrays, whose directions are triangulated to a place."""

from __future__ import annotations

import torch
from torch import Tensor

from channelfm.baselines.places.base import Float, PlaceEstimator, Samples
from channelfm.waves.geometry import element_coordinates
from channelfm.waves.places import places_of
from channelfm.waves.spherical import search_grid

_SIDE = 4  # sub-arrays along each side of the array
_LEAST_ELEMENTS = 4  # along the side of a sub-array
_WINDOW = 6  # elements along the side of what a correlation matrix is of
_SIGNALS = 2  # dimension of the signal space
_DIRECTIONS = 33  # along each axis of the pseudo-spectrum about the strongest beam of the whole array
_STEPS = 4  # Gauss-Newton steps of the triangulation


class SubarrayMusic(PlaceEstimator):
    """Each sub-array hears a plane wave; where the directions that all of them say meet stands the user.

    A sub-array's correlations by their lag are means over all pairs of observed antennas that are so far apart, which
    bridges gaps; MUSIC (Schmidt 1986) looks for the direction near the strongest beam of the whole array.
    """

    name = "subarray-music"

    @torch.inference_mode()
    def places(self, samples: Samples) -> Float:
        """See :class:`PlaceEstimator`."""
        beam, _ = search_grid(samples.field, samples.spacing, 4, 1.0, 1)
        sides = [_parts(elements) for elements in samples.field.shape[1:]]
        rows, cols = (size // number for size, number in zip(samples.field.shape[1:], sides, strict=True))
        y, z = element_coordinates(samples.array.rows, samples.array.cols, samples.spacing, dtype=torch.float64)
        sines, centres = [], []
        for row in range(sides[0]):
            for col in range(sides[1]):
                part = slice(row * rows, (row + 1) * rows), slice(col * cols, (col + 1) * cols)
                field, seen = samples.field[:, part[0], part[1]], samples.seen[:, part[0], part[1]]
                sines.append(_direction(field, seen, beam[:, 0], samples.spacing))
                centres.append(torch.stack([y[0, part[1]].mean(), z[part[0], 0].mean()]))
        source = _meeting(torch.stack(sines, dim=1).double(), torch.stack(centres))
        return places_of(source.numpy(), samples.array)


def _parts(elements: int) -> int:
    """Sub-arrays along a side."""
    return min(_SIDE, max(elements // _LEAST_ELEMENTS, 1))


def _direction(field: Tensor, seen: Tensor, beam: Tensor, spacing: float) -> Tensor:
    """Sines [n, 2] along y and z of the wave that a sub-array hears."""
    _, rows, cols = field.shape
    window = min(_WINDOW, rows), min(_WINDOW, cols)
    noise = _noise_space(_lags(field, seen), window)
    reach = 1 / (spacing * torch.tensor([max(cols, 2), max(rows, 2)]))  # a beam of the sub-array
    grid = torch.linspace(-1, 1, _DIRECTIONS)
    u_y = beam[:, :1] + grid * reach[0] * (cols > 1)
    u_z = beam[:, 1:] + grid * reach[1] * (rows > 1)
    along_y = torch.exp(2j * torch.pi * spacing * torch.arange(window[1]) * u_y[..., None])  # [n, direction, element]
    along_z = torch.exp(2j * torch.pi * spacing * torch.arange(window[0]) * u_z[..., None])
    steering = torch.einsum("nar,nbc->nabrc", along_z, along_y).flatten(3).flatten(1, 2)
    outside = (steering.conj() @ noise).abs().square().sum(2)
    best = outside.argmin(1)
    place = torch.arange(len(field))
    return torch.stack([u_y[place, best % _DIRECTIONS], u_z[place, best // _DIRECTIONS]], dim=1)


def _lags(field: Tensor, seen: Tensor) -> Tensor:
    """Mean of h(k + lag) conj(h(k)) over pairs of observed antennas, complex64 [n, 2 rows, 2 cols], lags modulo the
    size; 0 where there is no such pair."""
    size = 2 * field.shape[1], 2 * field.shape[2]
    power = torch.fft.ifft2(torch.fft.fft2(field, s=size).abs().square())
    pairs = torch.fft.ifft2(torch.fft.fft2(seen.float(), s=size).abs().square()).real
    return torch.where(pairs > 0.5, power / pairs.clamp_min(0.5), 0)


def _noise_space(lags: Tensor, window: tuple[int, int]) -> Tensor:
    """Noise space [n, W, W - signals] of the correlations of a window of W antennas."""
    row, col = (axis.flatten() for axis in torch.meshgrid(*(torch.arange(n) for n in window), indexing="ij"))
    matrix = lags[:, row[:, None] - row, col[:, None] - col]
    _, vectors = torch.linalg.eigh(matrix.to(torch.complex128))
    noise: Tensor = vectors[..., : max(len(row) - _SIGNALS, 1)].to(torch.complex64)
    return noise


def _meeting(sines: Tensor, centres: Tensor) -> Tensor:
    """The source float64 [n, 3] as (u_y, u_z, q) whose directions from ``centres`` [S, 2] (wavelengths) are nearest to
    ``sines`` [n, S, 2]: to first order u(c) = u - q (c - (u c) u), then Gauss-Newton steps."""
    source = torch.cat([sines.mean(1), torch.zeros(len(sines), 1, dtype=torch.float64)], dim=1)
    for _ in range(_STEPS):
        u, q = source[:, None, :2], source[:, None, 2:]
        across, square = (u @ centres.mT).mT, centres.square().sum(1)[:, None]
        ratio = (1 - 2 * q * across + q**2 * square).clamp_min(1e-6).sqrt()
        away = (u - q * centres) / ratio
        # Derivatives of the direction that a centre sees, [n, S, 2, 3].
        turned = (away * q / ratio**2)[..., None] * centres[:, None]
        by_u = torch.eye(2, dtype=torch.float64) / ratio[..., None] + turned
        by_q = -centres / ratio + away * (across - q * square) / ratio**2
        slope = torch.cat([by_u, by_q[..., None]], dim=3).flatten(1, 2)
        normal = slope.mT @ slope + 1e-9 * torch.eye(3, dtype=torch.float64)
        step = torch.linalg.solve(normal, slope.mT @ (sines - away).flatten(1)[..., None])[..., 0]
        source = source + step
        source = torch.cat([source[:, :2].clamp(-0.9999, 0.9999), source[:, 2:].clamp(0, 1)], dim=1)
    return source
