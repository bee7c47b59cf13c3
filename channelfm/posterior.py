"""What a learned prior says of a channel once it was measured: samplers of the posterior, which know no network.

A prior is a ``Denoise``: of noisy = clean + sigma * n, n white complex normal of unit power, it gives the conditional
mean E[clean | noisy], whatever made it. Its score is (mean - noisy) / sigma^2 (Tweedie), which is all that is needed.
Samples are complex [N, ...], noise levels float [N] or a number; measurements are a :class:`Measured`. All noise is
the caller's, so that answers are as deterministic as it is.

Sources: annealed Langevin posterior sampling (Arvinte & Tamir 2023; seed 001, III-B); truncated denoiser from the
pilots' SNR (Fesl et al. 2024); conditioning by the gradient through the denoiser (DPS, Chung et al. 2023) with the
covariance that this gradient is (Rozet et al. 2024), or by projection alone (DDRM, Kawar et al. 2022); average
velocity (mean flow, Geng et al. 2025).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]
Linear = Callable[[Tensor], Tensor]
Draw = Callable[[Tensor], Tensor]  # noise in the shape, precision and place of some samples
Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]  # (noisy, sigma, until): average velocity from sigma to until

_TINY = 1e-30


@dataclass(frozen=True)
class Measured:
    """``values`` complex [N, ...] = forward(clean) + white noise of power ``noise`` float [N]; ``adjoint`` of
    ``forward``, and ``norm``, at least the largest singular value of it squared."""

    values: Tensor
    forward: Linear
    adjoint: Linear
    noise: Tensor
    norm: float = 1.0


def geometric(first: float, last: float, count: int) -> Tensor:
    """``count`` noise levels float64 from the first to the last, each the same share of the one before, and 0."""
    levels = torch.logspace(0, 1, count, base=last / first, dtype=torch.float64) * first
    return torch.cat([levels, levels.new_zeros(1)])


def truncated(denoise: Denoise, noisy: Tensor, levels: Tensor) -> Tensor:
    """Clean samples from ``noisy``, whose noise is that of the first of ``levels`` [K + 1, N], the last of which is 0.

    Each step goes on with the mean of the reverse process and draws nothing: the noise of the pilots is the noise that
    diffusion starts at. One step is the conditional mean itself, as the prior knows it; of a Gaussian prior so are many
    in their limit, where those of DDIM, which go half as fast, end at a sample (:func:`channelfm.diffusion.ddim_step`).
    """
    for sigma, following in pairwise(levels):
        share = _as((following / sigma).square(), noisy)
        noisy = share * noisy + (1 - share) * denoise(noisy, sigma)
    return noisy


def langevin(
    denoise: Denoise,
    measured: Measured,
    start: Tensor,
    levels: Sequence[float],
    steps: int,
    size: float,
    draw: Draw,
) -> Tensor:
    """Expected clean samples [N, ...]: the mean over the second half of the steps at the last of the noise ``levels``.

    Annealed: ``steps`` of Langevin dynamics at each level from ``start`` on, towards what the prior and the
    measurement say; the measurement counts as if it had the noise of the level as well, which it would have of a
    sample of that noise. Steps are ``size`` times the largest that is stable. ``draw`` gives white complex normal noise
    of unit power for samples such as it is given.
    """
    state, kept = start, []
    for number, sigma in enumerate(levels):
        level = torch.full_like(measured.noise, sigma)
        doubt = measured.noise + sigma**2 * measured.norm
        step = size / (1 / level.square() + measured.norm / doubt)
        for turn in range(steps):
            score = (denoise(state, level) - state) / _as(level.square(), state)
            pull = measured.adjoint(measured.values - measured.forward(state)) / _as(doubt, state)
            state = state + _as(step, state) * (score + pull) + _as((2 * step).sqrt(), state) * draw(state)
            if number == len(levels) - 1 and 2 * turn >= steps:
                kept.append(denoise(state, level))
    return torch.stack(kept).mean(0)


def guided(denoise: Denoise, measured: Measured, solves: int = 8) -> Denoise:
    """The conditional mean given what was measured, too, through any operator; torch differentiates the denoiser.

    E[clean | noisy, values] = mean + C A^H (A C A^H + noise)^-1 (values - A mean), exact for Gaussian priors, where C,
    the covariance of clean given noisy, is sigma^2 times the derivative of the mean; ``solves`` steps of conjugate
    gradients invert.
    """

    def conditioned(noisy: Tensor, sigma: Tensor) -> Tensor:
        with torch.enable_grad():
            point = noisy.detach().requires_grad_()
            mean = denoise(point, sigma)

        def covariance(direction: Tensor) -> Tensor:
            (product,) = torch.autograd.grad(mean, point, direction, retain_graph=True)
            return product * _as(sigma.square(), product)

        return _conditioned(measured, mean.detach(), covariance, solves)

    return conditioned


def projected(denoise: Denoise, measured: Measured, solves: int = 8) -> Denoise:
    """As :func:`guided`, without any gradient: the clean samples are taken to be uncorrelated about their mean, with
    the variance sigma^2 / (1 + sigma^2) that samples of unit power would have."""

    def conditioned(noisy: Tensor, sigma: Tensor) -> Tensor:
        variance = sigma.square() / (1 + sigma.square())
        return _conditioned(measured, denoise(noisy, sigma), lambda some: some * _as(variance, some), solves)

    return conditioned


def one_step(velocity: Velocity, noisy: Tensor, sigma: Tensor) -> Tensor:
    """The clean samples to which ``noisy`` flows: one step of its average velocity, from ``sigma`` [N] to none."""
    return noisy - _as(sigma, noisy) * velocity(noisy, sigma, torch.zeros_like(sigma))


def average_velocity_target(
    velocity: Velocity, noisy: Tensor, direction: Tensor, sigma: Tensor, until: Tensor
) -> tuple[Tensor, Tensor]:
    """What a network says of the velocity and what it should say: real [N, ...], the target without gradient.

    The average over [until, sigma] of a velocity v obeys u = v - (sigma - until) (v d/dnoisy + d/dsigma) u, in which v
    may be any ``direction`` of which the velocity is the conditional mean: the noise for the flow that ends at samples
    (:func:`channelfm.diffusion.ddim_step` at its finest), twice the noise for that of :func:`truncated`. Networks
    are functions of real numbers here, complex ones seen as pairs.
    """
    now, ways = (noisy, sigma, until), (direction, torch.ones_like(sigma), torch.zeros_like(until))
    answer, change = cast(tuple[Tensor, Tensor], torch.func.jvp(velocity, now, ways))
    span = (sigma - until).reshape(-1, *[1] * (noisy.ndim - 1))
    return answer, (direction - span * change).detach()


def _conditioned(measured: Measured, mean: Tensor, covariance: Linear, solves: int) -> Tensor:
    """The mean corrected by what was measured."""

    def system(values: Tensor) -> Tensor:
        back = measured.forward(covariance(measured.adjoint(values)))
        return back + _as(measured.noise, values) * values

    surprise = measured.values - measured.forward(mean)
    return mean + covariance(measured.adjoint(_conjugate_gradients(system, surprise, solves)))


def _conjugate_gradients(system: Linear, right: Tensor, steps: int) -> Tensor:
    """Solutions of positive definite systems, one for each sample."""
    solution, rest, way = torch.zeros_like(right), right, right
    energy = _energy(rest)
    for _ in range(steps):
        image = system(way)
        curvature = (way.conj() * image).real.flatten(1).sum(1)
        # What a network derives is no covariance to the last digit: where it is not positive, nothing is gained.
        length = _as(torch.where(curvature > _TINY, energy / curvature.clamp_min(_TINY), 0), right)
        solution, rest = solution + length * way, rest - length * image
        before, energy = energy, _energy(rest)
        way = rest + _as(energy / before.clamp_min(_TINY), right) * way
    return solution


def _energy(values: Tensor) -> Tensor:
    return values.abs().square().flatten(1).sum(1)


def _as(numbers: Tensor, like: Tensor) -> Tensor:
    """Numbers [N] to be multiplied with samples [N, ...]."""
    return numbers.reshape(-1, *[1] * (like.ndim - 1)).to(like.real.dtype)
