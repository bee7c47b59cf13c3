"""Gridless spherical waves with a free gain on every subcarrier (P-SIGW: Cui & Dai 2022, section V)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from channelfm.baselines.simultaneous_pursuit import Dictionary, PolarSOMP
from channelfm.waves.codebook import largest_curvature
from channelfm.waves.geometry import coordinates, move_in_front, path_and_slope, phasors
from channelfm.waves.received import FreeGains, Received, free_gains

_STEPS, _LAST_STEPS = 4, 8  # after each new wave, and of the final set
_DAMPING = 1e-2
_NEARER = 1.5  # than the nearest ring, which a wave may come


class PolarSIGW(PolarSOMP):
    """Maximum likelihood over direction and range of several waves, whose gains are free on every subcarrier.

    Waves are added one at a time from the polar codebook, each where the others leave most, and all move together
    after each addition by Levenberg-Marquardt steps with the gains eliminated (variable projection, with Kaufman's
    Jacobian). The paper's descent starts from the atoms of P-SOMP and moves the same likelihood. Without a number of
    ``atoms``, the rule of :class:`SimultaneousPursuit` says how many waves there are.
    """

    name = "polar-sigw"

    def picked(self, received: Received) -> tuple[Tensor, Tensor]:
        """See :class:`SimultaneousPursuit`: the sources, off the grid."""
        ((codebook, _),) = self.codebooks(received.rows, received.cols, received.spacing)
        dictionary = Dictionary.of(codebook, received)
        count, most = len(received), self.most(received)
        sources, there = torch.zeros(count, most, 3, dtype=torch.float64), torch.zeros(count, most, dtype=torch.bool)
        growing, part = torch.arange(count), received
        state = _State.of(received, sources[:, :0])
        for taken in range(most):
            best = torch.view_as_real(dictionary.strengths(state.fit.residual)).square().sum((2, 3)).argmax(1)
            larger = _refined(part, torch.cat([state.sources, codebook[best][:, None]], dim=1), _STEPS)
            worth_it = state.fit.cost - larger.fit.cost > dictionary.noise_level(larger.fit.residual, taken + 1)
            if self.atoms is not None or taken == 0:
                worth_it = torch.ones_like(worth_it)
            growing, part, state = growing[worth_it], part.select(worth_it), larger.select(worth_it)
            if not len(growing):
                break
            sources[growing, : taken + 1] = state.sources
            there[growing, : taken + 1] = True
        return _settled(received, sources, there), there


@dataclass(frozen=True)
class _State:
    """Sources float64 [n, L, 3] and their gains."""

    sources: Tensor
    fit: FreeGains

    @classmethod
    def of(cls, received: Received, sources: Tensor) -> _State:
        return cls(sources, free_gains(received, sources))

    def select(self, index: Tensor) -> _State:
        parts = (self.fit.gains, self.fit.residual, self.fit.columns, self.fit.inverse)
        return _State(self.sources[index], FreeGains(*(part[index] for part in parts)))

    def replaced(self, where: Tensor, other: _State) -> _State:
        """``other`` for the links that bool ``where`` [n] picks, in place of these."""

        def put(old: Tensor, new: Tensor) -> Tensor:
            return torch.where(where.reshape(-1, *[1] * (old.ndim - 1)), new, old)

        fit = FreeGains(*(put(getattr(self.fit, name), getattr(other.fit, name)) for name in vars(self.fit)))
        return _State(put(self.sources, other.sources), fit)


def _settled(received: Received, sources: Tensor, there: Tensor) -> Tensor:
    """The sources after the last steps, links with the same number of waves together."""
    number = there.sum(1)
    for waves in sorted(set(number.tolist())):
        chosen = torch.nonzero(number == waves)[:, 0]
        sources[chosen, :waves] = _refined(received.select(chosen), sources[chosen, :waves], _LAST_STEPS).sources
    return sources


def _refined(received: Received, sources: Tensor, steps: int) -> _State:
    """Levenberg-Marquardt steps on all sources of a link together; never worse than at the start."""
    largest = _NEARER * largest_curvature(received.rows, received.cols, received.spacing)
    state = _State.of(received, sources)
    damping = torch.full((len(received),), _DAMPING, dtype=torch.float64)
    for _ in range(steps):
        step = _step(received, state, damping)
        other = _State.of(received, move_in_front(state.sources + step, largest))
        better = other.fit.cost < state.fit.cost
        state = state.replaced(better, other)
        damping = torch.where(better, damping / 5, damping * 5).clamp(1e-9, 1e6)
    return state


def _step(received: Received, state: _State, damping: Tensor) -> Tensor:
    """The step of the sources [n, L, 3], 0 in what the array does not resolve.

    The derivatives of the measurements in the sources are D_p x_l, with the part of D_p that the waves' columns do not
    span and the gains x_l [F] of its wave: all products of them are those of D times those of x.
    """
    count, waves, _ = state.sources.shape
    y, z = coordinates(received.rows, received.cols, received.spacing)
    path, slope = path_and_slope(state.sources, y, z)
    fields = (-2j * math.pi * phasors(path)[:, :, None] * slope).flatten(1, 2)
    moved = received.measured(fields)
    columns, gains = state.fit.columns, state.fit.gains.repeat_interleave(3, 1)
    moved = moved - columns @ (state.fit.inverse @ (columns.mH @ moved))
    normal = ((moved.mH @ moved) * (gains @ gains.mH).mT).real
    slope_of_cost = ((moved.mH @ state.fit.residual) * gains.conj()).sum(2).real
    diagonal = normal.diagonal(dim1=1, dim2=2)
    floor = 1e-9 * diagonal.amax(1, keepdim=True) + torch.finfo(torch.float64).tiny
    loaded = normal + torch.diag_embed(damping[:, None] * diagonal + floor)
    step: Tensor = torch.linalg.solve_ex(loaded, slope_of_cost[..., None])[0][..., 0]
    return step.nan_to_num(0.0, 0.0, 0.0).reshape(count, waves, 3)
