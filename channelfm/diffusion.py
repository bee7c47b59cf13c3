"""Noise schedules and samplers on diffusers' schedulers; state is passed in and returned.

Nothing here knows a network: :func:`sample` takes any function of (noisy, step). Diffusers is imported on first use.
Sources: seed 000 eq. (10), (12), (13); DDIM (Song et al. 2021); DPM-Solver++ (Lu et al. 2022); v-prediction
(Salimans and Ho 2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from channelfm.config import Recipe
from channelfm.errors import InputError

Denoise = Callable[[Tensor, Tensor], Tensor]


class DiffusionRecipe(Recipe):
    """The forward process and what the network predicts.

    ``linear`` is beta from ``beta_start`` to ``beta_end``; ``cosine`` is Nichol and Dhariwal's schedule.
    ``noise_skew`` >= 1 draws training steps as T * u^(1 / noise_skew), u uniform: 1 is uniform as in the paper, more
    spends training on noisy steps, where the observation alone must tell the channel.
    """

    steps: int = Field(default=1000, ge=2)
    schedule: Literal["linear", "cosine"] = "linear"
    beta_start: float = Field(default=1e-4, gt=0)
    beta_end: float = Field(default=0.02, gt=0, lt=1)
    prediction: Literal["epsilon", "sample", "v_prediction"] = "epsilon"
    noise_skew: float = Field(default=1.0, ge=1)


class SamplerRecipe(Recipe):
    """The reverse process: sampler, number of network calls, and whether observed antennas are held to their values."""

    sampler: Literal["ddim", "dpm-solver++"] = "ddim"
    steps: int = Field(default=50, ge=1)
    data_consistency: bool = True


@lru_cache(maxsize=8)
def training_scheduler(recipe: DiffusionRecipe) -> Any:
    """Diffusers' DDIMScheduler, used for what depends on the schedule alone (``add_noise``, ``get_velocity``)."""
    import diffusers

    scheduler: Any = diffusers.DDIMScheduler
    return scheduler(**_schedule_arguments(recipe), clip_sample=False, timestep_spacing="trailing")


def draw_steps(recipe: DiffusionRecipe, uniform: Tensor) -> Tensor:
    """Training steps int64 [N] in [0, T) from uniform random numbers in [0, 1)."""
    return (uniform ** (1 / recipe.noise_skew) * recipe.steps).long().clamp_max(recipe.steps - 1)


def noise_sample(recipe: DiffusionRecipe, clean: Tensor, noise: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Noisy sample at ``step`` [N] (eq. 10) and what the network shall predict of it, shapes as ``clean``."""
    scheduler = training_scheduler(recipe)
    noisy: Tensor = scheduler.add_noise(clean, noise, step)
    if recipe.prediction == "epsilon":
        return noisy, noise
    if recipe.prediction == "sample":
        return noisy, clean
    velocity: Tensor = scheduler.get_velocity(clean, noise, step)
    return noisy, velocity


def clean_estimate(recipe: DiffusionRecipe, noisy: Tensor, prediction: Tensor, step: int) -> Tensor:
    """Estimate of the clean sample that a prediction at one step means (first half of eq. 13)."""
    if recipe.prediction == "sample":
        return prediction
    kept = float(training_scheduler(recipe).alphas_cumprod[step])
    signal, noise = math.sqrt(kept), math.sqrt(1 - kept)
    if recipe.prediction == "epsilon":
        return (noisy - noise * prediction) / signal
    return signal * noisy - noise * prediction


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
    the result agrees with the observation exactly. Deterministic: all randomness is in ``noise``.
    """
    if sampler.steps > recipe.steps:
        raise InputError(f"sampler.steps = {sampler.steps}: give at most the {recipe.steps} steps of training")
    scheduler = _sampling_scheduler(recipe, sampler)
    scheduler.set_timesteps(sampler.steps, device=noise.device)
    state = noise
    for step in scheduler.timesteps:
        now = int(step)
        prediction = denoise(state, torch.full((len(state),), now, dtype=torch.int64, device=state.device))
        clean = clean_estimate(recipe, state, prediction, now)
        if sampler.data_consistency and known is not None and mask is not None:
            clean = torch.where(mask, known, clean)
        # The scheduler is told that the network predicts the clean sample, so that a corrected estimate steers it.
        state = scheduler.step(clean, step, state).prev_sample
    return state


def _sampling_scheduler(recipe: DiffusionRecipe, sampler: SamplerRecipe) -> Any:
    import diffusers

    arguments = _schedule_arguments(recipe) | {"prediction_type": "sample", "timestep_spacing": "trailing"}
    if sampler.sampler == "ddim":
        ddim: Any = diffusers.DDIMScheduler
        return ddim(**arguments, clip_sample=False, set_alpha_to_one=True)
    dpm_solver: Any = diffusers.DPMSolverMultistepScheduler
    return dpm_solver(**arguments, algorithm_type="dpmsolver++", final_sigmas_type="zero")


def _schedule_arguments(recipe: DiffusionRecipe) -> dict[str, Any]:
    return {
        "num_train_timesteps": recipe.steps,
        "beta_start": recipe.beta_start,
        "beta_end": recipe.beta_end,
        "beta_schedule": "linear" if recipe.schedule == "linear" else "squaredcos_cap_v2",
        "prediction_type": recipe.prediction,
    }
