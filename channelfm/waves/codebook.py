"""Grids of sources as the literature's codebooks hold them: plane waves, and spherical ones on rings."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_OVERSAMPLING = 2.0  # of the direction sines
_BETA = 1.2  # of the rings: neighbours correlate by 0.6 or so
_NEAREST_APERTURES = 2.0  # the nearest ring


def angular_codebook(rows: int, cols: int, spacing: float) -> Tensor:
    """Plane waves float64 [G, 3] as (u_y, u_z, 0), uniform in both direction sines, in front of the array.

    Sines are half a step off 0. Where antennas are further apart than half a wavelength, they are the principal ones.
    """
    u_y, u_z = (_sines(elements, spacing) for elements in (cols, rows))
    sines = torch.cartesian_prod(u_y, u_z)
    return torch.nn.functional.pad(sines[sines.norm(dim=1) < 1], (0, 1))


def polar_codebook(rows: int, cols: int, spacing: float) -> Tensor:
    """The same directions on rings, float64 [G, 3] as (u_y, u_z, q), the plane wave among them (Cui & Dai 2022, eq. 18
    to 21).

    Rings lie at distances Z (1 - sin^2) / k for k = 0, 1, ..., with Z = D^2 / (2 beta^2 lambda) and beta = 1.2, down to
    two apertures; D is the aperture, of a planar array its diagonal. There the curvature is seen in full from every
    direction, namely across it, so that 1 - sin^2 is left out.
    """
    plane = angular_codebook(rows, cols, spacing)
    sides = [elements * spacing for elements in (rows, cols) if elements > 1]
    if not sides:
        return plane
    flat = 1 - plane.square().sum(1) if len(sides) == 1 else torch.ones(len(plane), dtype=plane.dtype)
    step = 2 * _BETA**2 / sum(side**2 for side in sides) / flat
    rings = torch.floor(largest_curvature(rows, cols, spacing) / step).long() + 1
    ring = torch.arange(int(rings.sum())) - (rings.cumsum(0) - rings).repeat_interleave(rings)
    sources = plane.repeat_interleave(rings, 0)
    sources[:, 2] = ring * step.repeat_interleave(rings)
    return sources


def largest_curvature(rows: int, cols: int, spacing: float) -> float:
    """Inverse distance per wavelength of the nearest ring, two apertures away."""
    return 1 / max(_NEAREST_APERTURES * math.hypot(rows - 1, cols - 1) * spacing, 1.0)


def _sines(elements: int, spacing: float) -> Tensor:
    """Direction sines of one axis; a single row or column has none to tell."""
    if elements == 1:
        return torch.zeros(1, dtype=torch.float64)
    step = 1 / (spacing * _OVERSAMPLING * elements)
    half = max(math.floor(min(1.0, 0.5 / spacing) / step + 1e-9), 1)
    return (torch.arange(-half, half, dtype=torch.float64) + 0.5) * step
