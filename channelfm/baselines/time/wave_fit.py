"""Sums of separable waves, fitted to sequences of frames by damped Gauss-Newton steps.

A wave is g exp(j 2 pi (a(antenna) + b(frequency) + c(frame))), where a, b and c are linear in the wave's parameters,
each over its own axis. So inner products of waves and of their derivatives are products of three short ones, and the
normal equations of all parameters of all waves cost less than one residual.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

_TURN = 2 * math.pi
_FIRST_DAMPING = 1e-3


@dataclass(frozen=True)
class Axes:
    """Phases in cycles per unit of each parameter, one matrix for each axis: time [T, P_t], antenna [M, P_a] and
    frequency [F, P_f], float64. ``precision`` [P_t + P_a + P_f]: inverse variances that parameters have beforehand.
    """

    phases: tuple[Tensor, Tensor, Tensor]
    precision: Tensor

    @property
    def parameters(self) -> int:
        """Parameters of one wave: those of time, then antenna, then frequency."""
        return sum(matrix.shape[1] for matrix in self.phases)

    def factors(self, parameters: Tensor, active: Tensor) -> list[Tensor]:
        """Factors complex128 [B, n, K] of waves [B, K, P] on each axis; 0 where not ``active`` [B, K]."""
        first, result = 0, []
        for matrix in self.phases:
            cycles = torch.einsum("np,bkp->bnk", matrix, parameters[..., first : first + matrix.shape[1]])
            result.append(torch.polar(torch.ones_like(cycles), _TURN * cycles) * active[:, None])
            first += matrix.shape[1]
        return result


@dataclass(frozen=True)
class Waves:
    """Waves of B sequences: ``gains`` complex128 [B, K], ``parameters`` float64 [B, K, P], ``active`` bool [B, K]."""

    gains: Tensor
    parameters: Tensor
    active: Tensor

    @staticmethod
    def none(sequences: int, parameters: int) -> Waves:
        """No wave in any of B sequences."""
        gains = torch.zeros(sequences, 0, dtype=torch.complex128)
        return Waves(gains, torch.zeros(sequences, 0, parameters, dtype=torch.float64), gains.abs() > 0)

    @property
    def number(self) -> int:
        """K, with waves that are not active."""
        return self.gains.shape[1]

    def joined(self, parameters: Tensor, active: Tensor) -> Waves:
        """These waves and others [B, k, P], ``active`` [B, k], whose gains are 0."""
        gains = self.gains.new_zeros(active.shape)
        return Waves(
            torch.cat([self.gains, gains], 1),
            torch.cat([self.parameters, parameters], 1),
            torch.cat([self.active, active], 1),
        )


def superposition(axes: Axes, waves: Waves) -> Tensor:
    """Sum complex64 [B, T, M, F] of the waves."""
    time, antenna, frequency = axes.factors(waves.parameters, waves.active)
    left = ((time * waves.gains[:, None])[:, :, None] * antenna[:, None]).flatten(1, 2).to(torch.complex64)
    total: Tensor = left @ frequency.mT.to(torch.complex64)
    return total.reshape(len(left), time.shape[1], antenna.shape[1], -1)


def solve_gains(axes: Axes, waves: Waves, samples: Tensor, noise: Tensor) -> Waves:
    """The waves with the gains that fit ``samples`` [B, T, M, F] best, under a ridge of their noise power [B]."""
    gram, right = _gram(axes, waves)[:, 0, :, 0], _correlations(axes, waves, samples)[:, 0]
    gains = torch.linalg.solve(gram + torch.diag_embed(_ridge(waves, noise)), right)
    return replace(waves, gains=gains * waves.active)


def refine(axes: Axes, waves: Waves, samples: Tensor, noise: Tensor, steps: int) -> tuple[Waves, Tensor]:
    """The waves after ``steps`` Levenberg-Marquardt steps on all gains and parameters, and the residual [B, T, M, F].

    ``samples`` [B, T, M, F] have unit power, of which ``noise`` [B] is noise: the scale of what is known beforehand.
    A step that does not lower a sequence's cost is not taken there, and its next one is damped more.
    """
    residual = samples - superposition(axes, waves)
    cost = _cost(axes, waves, residual, noise)
    damping = torch.full_like(noise, _FIRST_DAMPING)
    for _ in range(steps):
        trial = _stepped(axes, waves, residual, noise, damping)
        left = samples - superposition(axes, trial)
        trial_cost = _cost(axes, trial, left, noise)
        better = trial_cost < cost
        waves = Waves(
            torch.where(better[:, None], trial.gains, waves.gains),
            torch.where(better[:, None, None], trial.parameters, waves.parameters),
            waves.active,
        )
        residual = torch.where(better[:, None, None, None], left, residual)
        cost = torch.where(better, trial_cost, cost)
        damping = torch.where(better, damping / 10, damping * 10)
    return waves, residual


def _cost(axes: Axes, waves: Waves, residual: Tensor, noise: Tensor) -> Tensor:
    prior = (axes.precision * waves.parameters**2).sum(2) * waves.active
    gains = _ridge(waves, noise) * waves.gains.abs().square() * waves.active
    return residual.abs().square().sum((1, 2, 3), dtype=torch.float64) + noise * prior.sum(1) + gains.sum(1)


def _ridge(waves: Waves, noise: Tensor) -> Tensor:
    """Ridge [B, K] on gains: the noise over their variance, which is 1 as the power is; 1 for waves that are none."""
    return torch.where(waves.active, noise[:, None], 1.0)


def _stepped(axes: Axes, waves: Waves, residual: Tensor, noise: Tensor, damping: Tensor) -> Waves:
    """Waves after one damped Gauss-Newton step."""
    count, number, parameters = waves.parameters.shape
    scale = torch.cat([waves.gains.new_ones(count, 1, number), 1j * waves.gains.new_ones(count, 1, number)], 1)
    scale = torch.cat([scale, (1j * _TURN * waves.gains)[:, None].expand(-1, parameters, -1)], 1)
    atoms = torch.tensor([0, *range(parameters + 1)])
    gram = _gram(axes, waves)[:, atoms][:, :, :, atoms]
    normal = (scale.conj()[..., None, None] * gram * scale[:, None, None]).real
    right = (scale.conj() * _correlations(axes, waves, residual)[:, atoms]).real
    ridge = _ridge(waves, noise)
    prior = torch.cat([ridge[:, None].expand(-1, 2, -1), _prior(axes, waves, noise).mT], 1)
    present = torch.cat([waves.gains.real, waves.gains.imag]).reshape(2, count, number).movedim(0, 1)
    present = torch.cat([present, waves.parameters.mT], 1)
    right = (right - prior * present).flatten(1)
    normal = normal.flatten(3).flatten(1, 2)
    normal = normal + torch.diag_embed(prior.flatten(1))
    diagonal = normal.diagonal(dim1=1, dim2=2)
    floor = 1e-12 * diagonal.amax(1, keepdim=True)
    step = torch.linalg.solve(normal + torch.diag_embed(damping[:, None] * diagonal + floor), right)
    step = step.reshape(count, -1, number) * waves.active[:, None]
    return replace(
        waves, gains=waves.gains + torch.complex(step[:, 0], step[:, 1]), parameters=waves.parameters + step[:, 2:].mT
    )


def _prior(axes: Axes, waves: Waves, noise: Tensor) -> Tensor:
    """Precision [B, K, P] of the parameters times the noise; 1 for waves that are none."""
    weighted = noise[:, None, None] * axes.precision
    return torch.where(waves.active[..., None], weighted.expand(-1, waves.active.shape[1], -1), 1.0)


def _local(axes: Axes) -> list[Tensor]:
    """For each axis, the column of its derivative factors that the value and each parameter take: 0 is the value."""
    rows, first = [], 1
    for matrix in axes.phases:
        index = torch.zeros(1 + axes.parameters, dtype=torch.long)
        index[first : first + matrix.shape[1]] = torch.arange(1, matrix.shape[1] + 1)
        rows.append(index)
        first += matrix.shape[1]
    return rows


def _with_derivatives(axes: Axes, waves: Waves) -> list[Tensor]:
    """Factors [B, n, 1 + P_axis, K] of each axis: the value, and the value times the phase of each parameter."""
    factors = axes.factors(waves.parameters, waves.active)
    return [
        torch.cat([factor[:, :, None], matrix[None, :, :, None] * factor[:, :, None]], 2)
        for factor, matrix in zip(factors, axes.phases, strict=True)
    ]


def _gram(axes: Axes, waves: Waves) -> Tensor:
    """Inner products complex128 [B, 1 + P, K, 1 + P, K] of the waves' values and derivatives."""
    product = waves.gains.new_ones(())
    for factor, index in zip(_with_derivatives(axes, waves), _local(axes), strict=True):
        size, number = factor.shape[2:]
        flat = factor.flatten(2)
        gram = (flat.mH @ flat).reshape(len(flat), size, number, size, number)
        product = product * gram[:, index][:, :, :, index]
    return product


def _correlations(axes: Axes, waves: Waves, samples: Tensor) -> Tensor:
    """Inner products complex128 [B, 1 + P, K] of the waves' values and derivatives with ``samples``."""
    time, antenna, frequency = (factor.to(torch.complex64).conj() for factor in _with_derivatives(axes, waves))
    count, steps, antennas, frequencies = samples.shape
    number = frequency.shape[3]
    narrow = samples.reshape(count, steps * antennas, frequencies) @ frequency.flatten(2)
    narrow = narrow.reshape(count, steps, antennas, frequency.shape[2], number).permute(
        0, 4, 3, 1, 2
    )  # [B, K, 1 + P_f, T, M]
    beams = narrow @ antenna.permute(0, 3, 1, 2)[:, :, None]  # [B, K, 1 + P_f, T, 1 + P_a]
    inner = time.permute(0, 3, 2, 1)[:, :, None] @ beams  # [B, K, 1 + P_f, 1 + P_t, 1 + P_a]
    values = inner[:, :, 0]
    columns = [values[:, :, :, 0], values[:, :, 0, 1:], inner[:, :, 1:, 0, 0]]
    return torch.cat(columns, 2).mT.to(torch.complex128)
