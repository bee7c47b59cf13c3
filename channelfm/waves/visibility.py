"""Which part of the array a wave reaches: straight shadow edges, found from a fit's residual.

A wave that a roof or wall cuts, or that is reflected by a wall's edge, reaches one side of a straight line on the
array, since the shadow of a straight edge seen from one source is straight.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from channelfm.waves.fit import Fit, GainBasis
from channelfm.waves.gathered import Gathered
from channelfm.waves.geometry import waves_at

_CELLS = 16  # per side, of the coarse search
_COARSE_ANGLES, _COARSE_OFFSETS = 36, 21
_FINE_STEPS_RAD = tuple(math.radians(step) for step in (2.0, 0.5, 0.12))
_FINE_ANGLES = 9
_LEAST_ANTENNAS = 4


def propose_edge(observation: Gathered, fit: Fit, basis: GainBasis) -> tuple[Tensor, Tensor]:
    """The best straight edge for one wave of each sample, among the waves that have none yet, on a coarse grid.

    Returns all edges of the sample with that one put in, float64 [N, L, 3] (see ``Waves``), and the residual energy
    float64 [N] that it would save if gains were constant.
    """
    proposed, saving = _coarse_edges(observation, _alone(observation, fit, basis), basis)
    saving, wave = saving.masked_fill(fit.waves.has_edge, -torch.inf).max(dim=1)
    chosen = torch.arange(len(observation)), wave
    edges = fit.waves.edges.clone()
    edges[chosen] = proposed[chosen]
    return edges, saving


def sharpen_edges(observation: Gathered, fit: Fit, basis: GainBasis) -> Tensor:
    """The fit's edges [N, L, 3], each moved to where it explains most, with the gains as they are."""
    seen_alone = _alone(observation, fit, basis)
    gains = fit.gains @ basis.evaluate(observation.y, observation.z).to(fit.gains.dtype)
    edges = fit.waves.edges.clone()
    for wave in range(fit.waves.count):
        cut = fit.waves.has_edge[:, wave]
        if bool(cut.any()):
            some = observation.select(cut)
            edges[cut, wave] = _sharpened(some, seen_alone[cut, wave], gains[cut, wave], edges[cut, wave])
    return edges


def _sharpened(observation: Gathered, alone: Tensor, gain: Tensor, edge: Tensor) -> Tensor:
    """One edge per sample [N, 3], turned by small angles and moved over all offsets between observed antennas.

    ``alone`` [N, n] is what the antennas see of the wave, its phase removed; ``gain`` [N, n] what they should see.
    """
    y, z, weight = observation.y.double(), observation.z.double(), observation.weight.double()
    evidence = (2 * (gain.conj() * alone).real - gain.abs().square()).double() * weight
    angle = torch.atan2(edge[:, 1], edge[:, 0])
    offset = edge[:, 2]
    for step in _FINE_STEPS_RAD:
        turned = angle[:, None] + step * torch.linspace(-(_FINE_ANGLES // 2), _FINE_ANGLES // 2, _FINE_ANGLES)
        along = turned.cos()[..., None] * y[:, None] + turned.sin()[..., None] * z[:, None]
        ordered, order = along.sort(dim=2, descending=True)
        explained = evidence[:, None].expand_as(along).gather(2, order).cumsum(2)
        best, last = explained[..., _LEAST_ANTENNAS - 1 :].max(dim=2)
        last = last + _LEAST_ANTENNAS - 1
        after = (last + 1).clamp_max(along.shape[2] - 1)
        middle = (ordered.gather(2, last[..., None]) + ordered.gather(2, after[..., None]))[..., 0] / 2
        middle = torch.where(last == after, ordered[..., -1] - 1, middle)
        chosen = torch.arange(len(edge)), best.argmax(1)
        angle, offset = turned[chosen], middle[chosen]
    return torch.stack([angle.cos(), angle.sin(), offset], dim=1)


def _alone(observation: Gathered, fit: Fit, basis: GainBasis) -> Tensor:
    """What the observed antennas see of each wave once all others are taken away and its phase removed, [N, L, n]."""
    parts = fit.parts(observation.y, observation.z, basis)
    rest = (observation.field - parts.sum(1) * observation.weight)[:, None]
    waves = waves_at(fit.waves.sources, observation.y, observation.z)
    return (rest + parts * observation.weight[:, None]) * waves.conj()


def _coarse_edges(observation: Gathered, alone: Tensor, basis: GainBasis) -> tuple[Tensor, Tensor]:
    """Best of a grid of half-planes for each wave: edges float64 [N, L, 3] and the energy saved [N, L].

    Antennas are summed in cells first, so that all half-planes are one matrix product.
    """
    cell_y = ((observation.y / basis.half_y + 1) / 2 * _CELLS).long().clamp(0, _CELLS - 1)
    cell_z = ((observation.z / basis.half_z + 1) / 2 * _CELLS).long().clamp(0, _CELLS - 1)
    cell = cell_z * _CELLS + cell_y
    shape = (len(alone), alone.shape[1], _CELLS**2)
    spread = cell[:, None].expand_as(alone)
    sums = [
        torch.zeros(shape, dtype=alone.real.dtype).scatter_add_(2, spread, part) for part in (alone.real, alone.imag)
    ]
    counts = torch.zeros(shape[0], shape[2], dtype=alone.real.dtype).scatter_add_(1, cell, observation.weight)
    halves, edges = _half_planes(basis)
    halves = halves.to(alone.real.dtype)
    number = (counts @ halves.T)[:, None]
    energy = (sums[0] @ halves.T).square() + (sums[1] @ halves.T).square()
    explained = torch.where(number >= _LEAST_ANTENNAS, energy / number.clamp_min(1), 0)
    saving, best = explained.max(dim=2)
    everywhere = alone.sum(2).abs().square() / observation.weight.sum(1)[:, None]
    return edges[best], (saving - everywhere).double()


def _half_planes(basis: GainBasis) -> tuple[Tensor, Tensor]:
    """Half-planes over the cells, 1 or 0 [K, cells], and their edges float64 [K, 3]."""
    centre = (torch.arange(_CELLS, dtype=torch.float64) + 0.5) / _CELLS * 2 - 1
    y, z = (centre * basis.half_y).repeat(_CELLS), (centre * basis.half_z).repeat_interleave(_CELLS)
    angle = (torch.arange(_COARSE_ANGLES, dtype=torch.float64) * 2 * math.pi / _COARSE_ANGLES)[:, None]
    e_y, e_z = angle.cos(), angle.sin()
    reach = e_y.abs() * basis.half_y + e_z.abs() * basis.half_z
    offset = reach * torch.linspace(-0.95, 0.95, _COARSE_OFFSETS, dtype=torch.float64)
    edges = torch.stack([e_y.expand_as(offset), e_z.expand_as(offset), offset], dim=-1).reshape(-1, 3)
    return (edges[:, :1] * y + edges[:, 1:2] * z > edges[:, 2:]).double(), edges
