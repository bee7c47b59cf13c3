"""The forward process, its schedules, and the samplers that reverse it; state is passed in and returned.

Nothing here knows a network: :func:`sample` takes any function of (noisy, step). A noise level is named by its step:
T - 1 is almost pure noise, 0 almost clean, and ``CLEAN`` = -1 is the sample itself.

Diffusers' schedulers are the reference in the tests, but are not used: its DDIM steps to t - T // n, which for many an
n that does not divide T (6, 7, 24, 64, ... of 1000) leaves 1 to 3 % of noise in the result; it takes one step for a
whole batch, where distillation needs one for each sample; and its import takes seconds.

Sources: seed 000 eq. (10), (12), (13); DDIM (Song et al. 2021); DPM-Solver++ (Lu et al. 2022); v-prediction
(Salimans and Ho 2022); cosine schedule (Nichol and Dhariwal 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from channelfm.config import Recipe
from channelfm.errors import InputError

Denoise = Callable[[Tensor, Tensor], Tensor]

CLEAN = -1  # the step after the last one: no noise is left
_COSINE_OFFSET, _LARGEST_BETA = 0.008, 0.999  # Nichol and Dhariwal


class DiffusionRecipe(Recipe):
    """The forward process and what the network predicts.

    ``linear`` is beta from ``beta_start`` to ``beta_end``; ``cosine`` is Nichol and Dhariwal's schedule. Neither ends
    in noise alone: of the signal's amplitude 0.6 % and 0.005 % are left. ``epsilon`` (the paper's) multiplies the
    network's error by up to 157 and 20,000 in the first clean estimate, and so needs many steps; ``sample`` and
    ``v_prediction`` work at every step. With ``sample``, one step gives the posterior mean that the network learned,
    on which further steps cannot improve in NMSE (measured: 1 to 50 steps agree to 0.2 dB). ``noise_skew`` >= 1 draws
    training steps as T * u^(1 / noise_skew), u uniform: 1 is uniform as in the paper, more spends training on noisy
    steps, where the observation alone must tell the channel.
    """

    steps: int = Field(default=1000, ge=2, le=100_000)
    schedule: Literal["linear", "cosine"] = "linear"
    beta_start: float = Field(default=1e-4, gt=0, lt=1)
    beta_end: float = Field(default=0.02, gt=0, lt=1)
    prediction: Literal["epsilon", "sample", "v_prediction"] = "epsilon"
    noise_skew: float = Field(default=1.0, ge=1)


class SamplerRecipe(Recipe):
    """The reverse process: sampler, number of network calls, and whether observed antennas are held to their values."""

    sampler: Literal["ddim", "dpm-solver++"] = "ddim"
    steps: int = Field(default=50, ge=1, le=100_000)
    data_consistency: bool = True


def levels(recipe: DiffusionRecipe, step: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Amplitudes sqrt(alpha-bar) of the signal and sqrt(1 - alpha-bar) of the noise at ``step`` (int64 [N], ``CLEAN``
    allowed): float64 [N, 1, ...], to be multiplied with samples ``like`` [N, ...]."""
    kept = _kept(recipe, like.device)[step + 1].reshape(-1, *[1] * (like.ndim - 1))
    return kept.sqrt(), (1 - kept).sqrt()


def draw_steps(recipe: DiffusionRecipe, uniform: Tensor) -> Tensor:
    """Training steps int64 [N] in [0, T) from uniform random numbers in [0, 1)."""
    return (uniform ** (1 / recipe.noise_skew) * recipe.steps).long().clamp_max(recipe.steps - 1)


def noise_sample(recipe: DiffusionRecipe, clean: Tensor, noise: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Noisy sample at ``step`` [N] (eq. 10) and what the network shall predict of it, shapes as ``clean``."""
    signal, sigma = (level.to(clean.dtype) for level in levels(recipe, step, clean))
    noisy = signal * clean + sigma * noise
    if recipe.prediction == "epsilon":
        return noisy, noise
    if recipe.prediction == "sample":
        return noisy, clean
    return noisy, signal * noise - sigma * clean


def clean_estimate(recipe: DiffusionRecipe, noisy: Tensor, prediction: Tensor, step: Tensor) -> Tensor:
    """Estimate of the clean sample that a prediction at ``step`` [N] means (first half of eq. 13)."""
    if recipe.prediction == "sample":
        return prediction
    signal, sigma = (level.to(noisy.dtype) for level in levels(recipe, step, noisy))
    if recipe.prediction == "epsilon":
        return (noisy - sigma * prediction) / signal
    return signal * noisy - sigma * prediction


def ddim_step(recipe: DiffusionRecipe, state: Tensor, clean: Tensor, step: Tensor, following: Tensor) -> Tensor:
    """The state at step ``following`` [N] from that at ``step`` [N] and the clean sample that it leads to.

    Second half of eq. 13, with the noise that ``clean`` implies; exact (``clean`` itself) where ``following`` is CLEAN.
    """
    (signal, sigma), (signal_after, sigma_after) = (levels(recipe, which, state) for which in (step, following))
    left = sigma_after / sigma
    return left.to(state.dtype) * state + (signal_after - left * signal).to(state.dtype) * clean


def step_target(recipe: DiffusionRecipe, state: Tensor, after: Tensor, step: Tensor, following: Tensor) -> Tensor:
    """The clean sample with which :func:`ddim_step` leads from ``state`` to ``after``: its inverse."""
    (signal, sigma), (signal_after, sigma_after) = (levels(recipe, which, state) for which in (step, following))
    left = sigma_after / sigma
    weight = signal_after - left * signal
    return (1 / weight).to(state.dtype) * after - (left / weight).to(state.dtype) * state


def sampling_steps(recipe: DiffusionRecipe, count: int) -> list[int]:
    """The ``count`` steps at which a sampler calls the network, from T - 1 down, evenly spaced, then ``CLEAN``.

    Those of n are among those of every multiple of n. Raises InputError for more than T.
    """
    if count > recipe.steps:
        raise InputError(f"sampler.steps = {count}: give at most the {recipe.steps} steps of training")
    return [(2 * recipe.steps * left + count) // (2 * count) - 1 for left in range(count, 0, -1)] + [CLEAN]


def sample(
    denoise: Denoise,
    recipe: DiffusionRecipe,
    sampler: SamplerRecipe,
    noise: Tensor,
    known: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Run the reverse process from ``noise`` [N, ...] to a clean sample of the same shape.

    ``denoise(noisy, step)`` gives the network's prediction for int64 ``step`` [N]. With data consistency, each clean
    estimate takes the values ``known`` where ``mask`` (broadcastable bool) is True before the step is made, so that
    it steers the step and the result agrees with the observation exactly. Deterministic: all randomness is in
    ``noise``.

    DPM-Solver++ is of second order, multistep (2M): DDIM steps towards a clean estimate extrapolated over half a step
    of log-SNR. Its last step, to log-SNR infinity, is DDIM's, and so are both of two.
    """
    timeline = [torch.full((len(noise),), step, device=noise.device) for step in sampling_steps(recipe, sampler.steps)]
    state, before = noise, None
    for number, (step, following) in enumerate(pairwise(timeline)):
        clean = clean_estimate(recipe, state, denoise(state, step), step)
        if sampler.data_consistency and known is not None and mask is not None:
            clean = torch.where(mask, known, clean)
        target = clean
        if sampler.sampler == "dpm-solver++" and before is not None and number < sampler.steps - 1:
            target = clean + _extrapolation(recipe, timeline[number - 1 : number + 2], state) * (clean - before)
        state, before = ddim_step(recipe, state, target, step, following), clean
    return state


def _extrapolation(recipe: DiffusionRecipe, steps: list[Tensor], like: Tensor) -> Tensor:
    """1 / (2 r) of DPM-Solver++ (algorithm 2): half the coming change of log-SNR over the past one."""
    past, now, following = (torch.sub(*(level.log() for level in levels(recipe, step, like))) for step in steps)
    return ((following - now) / (now - past) / 2).to(like.dtype)


@lru_cache(maxsize=8)
def _kept(recipe: DiffusionRecipe, device: torch.device) -> Tensor:
    """Alpha-bar, float64 [T + 1]: entry 0 is 1 (the clean sample), entry t + 1 belongs to step t."""
    if recipe.schedule == "linear":
        beta = torch.linspace(recipe.beta_start, recipe.beta_end, recipe.steps, dtype=torch.float64)
    else:
        time = torch.linspace(0, 1, recipe.steps + 1, dtype=torch.float64)
        ideal = ((time + _COSINE_OFFSET) / (1 + _COSINE_OFFSET) * math.pi / 2).cos().square()
        beta = (1 - ideal[1:] / ideal[:-1]).clamp_max(_LARGEST_BETA)
    return torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta).cumprod(0)]).to(device)
