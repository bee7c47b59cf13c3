"""Few-step samplers by distillation: one DDIM step of the student does what several of a finished network do.

The loss is that of progressive distillation (Salimans and Ho 2022, algorithm 2) with observed antennas held to their
values in every step, as in use. Two things differ, both measured on ray-traced channels at equal compute: the teacher
stays the finished network, at its own number of steps, instead of becoming the student again and again (as accurate,
and nothing is lost on the way from stage to stage); and the numbers of steps take turns instead of being halved, so
that one student works with any of them. Consistency distillation (Song et al. 2023) came out 3 dB behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from channelfm.diffusion import (
    DiffusionRecipe,
    clean_estimate,
    ddim_step,
    noise_sample,
    sampling_steps,
    step_target,
)
from channelfm.errors import InputError
from channelfm.pretraining.views import FrameBatch


@dataclass(frozen=True)
class Teacher:
    """A finished network, the forward process that it learned, and the DDIM ``steps`` that it takes in all."""

    network: nn.Module
    diffusion: DiffusionRecipe
    steps: int


def student_steps(step: int, largest: int) -> int:
    """How many sampling steps a student learns to do with at a training step: 1, 2, 4, ... ``largest`` in turn.

    Raises InputError unless ``largest`` is a power of two.
    """
    if largest < 1 or largest & (largest - 1):
        raise InputError(f"sampler.steps = {largest}: a distilled network has 1, 2, 4, 8, ... steps; give one of these")
    return 1 << step % largest.bit_length()


def distillation_loss(
    student: nn.Module,
    teacher: Teacher,
    diffusion: DiffusionRecipe,
    sampler_steps: int,
    batch: FrameBatch,
    data_consistency: bool = True,
) -> Tensor:
    """Weighted mean squared error of the student's clean estimate, a scalar; gradients reach the student alone.

    A sample starts at the beginning of that of the student's ``sampler_steps`` equal steps in which ``batch.step``
    lies. The target is the clean sample with which one DDIM step leads where the teacher's steps lead. With
    ``data_consistency`` all clean estimates keep the observed antennas, at which there is then nothing to learn.

    Teacher and student may predict different things: a student that predicts the clean sample learns from a teacher
    that predicts noise. Raises InputError where they do not share the forward process, where the teacher's steps are
    no multiple of the student's, and for a student that predicts noise, which no few steps can work with.
    """
    _check(teacher, diffusion, sampler_steps)
    timeline = torch.tensor(sampling_steps(diffusion, teacher.steps), device=batch.step.device)
    each = teacher.steps // sampler_steps
    first = (diffusion.steps - 1 - batch.step) * sampler_steps // diffusion.steps * each
    visited = [timeline[first + number] for number in range(each + 1)]
    noisy, _ = noise_sample(diffusion, batch.clean, batch.noise, visited[0])

    def estimate(network: nn.Module, recipe: DiffusionRecipe, state: Tensor, step: Tensor) -> Tensor:
        clean = clean_estimate(recipe, state, network(state, step, batch.observed, batch.mask), step)
        return torch.where(batch.mask[..., None], batch.observed, clean) if data_consistency else clean

    with torch.no_grad():
        state = noisy
        for step, following in pairwise(visited):
            clean = estimate(teacher.network, teacher.diffusion, state, step)
            state = ddim_step(diffusion, state, clean, step, following)
        target = step_target(diffusion, noisy, state, visited[0], visited[-1])
    error = (estimate(student, diffusion, noisy, visited[0]) - target).square().mean((1, 2, 3))
    return (error * batch.weight).mean()


def _check(teacher: Teacher, diffusion: DiffusionRecipe, sampler_steps: int) -> None:
    own = {"prediction": diffusion.prediction, "noise_skew": diffusion.noise_skew}
    if teacher.diffusion.model_copy(update=own) != diffusion:
        raise InputError(
            f"predictor.diffusion ({diffusion.schedule}, {diffusion.steps} steps) is another forward process than the "
            f"teacher's ({teacher.diffusion.schedule}, {teacher.diffusion.steps} steps): give the student the "
            "teacher's steps, schedule and betas"
        )
    if diffusion.prediction == "epsilon":
        raise InputError(
            "predictor.diffusion.prediction = epsilon: from noise alone, a noise prediction says next to nothing "
            "about the channel, so few steps cannot work; give the student 'sample' or 'v_prediction'"
        )
    if sampler_steps < 1 or teacher.steps % sampler_steps:
        raise InputError(
            f"the teacher's {teacher.steps} steps are no multiple of the student's {sampler_steps}: change one of them"
        )
