"""What pretraining minimises: losses as functions of (network, recipe, batch), and one step of each objective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from channelfm.diffusion import noise_sample
from channelfm.models.zoo import build
from channelfm.pretraining.batches import Batch, draw_examples, in_frame
from channelfm.pretraining.distillation import Teacher, distillation_loss, student_steps
from channelfm.pretraining.learner import CRITIC, NETWORK, Learner
from channelfm.pretraining.mixture import draw_mixture, mixture_loss, validate_mixture
from channelfm.pretraining.origins import start_from
from channelfm.pretraining.recipe import (
    AdversarialObjective,
    DistillationObjective,
    PretrainRecipe,
    RegressionObjective,
)
from channelfm.pretraining.sequences import check_sequences, draw_sequences, sequence_loss, validate_sequences
from channelfm.pretraining.source import check_links
from channelfm.pretraining.validation import validate
from channelfm.pretraining.wavefield import wavefield_loss, with_waves

Loss = Callable[[nn.Module, PretrainRecipe, Any], Tensor]  # of the objective's own batches
Complex = NDArray[np.complex64]
Networks = dict[str, tuple[nn.Module, float]]  # networks by name, with their peak learning rates


def diffusion_loss(network: nn.Module, recipe: PretrainRecipe, batch: Batch) -> Tensor:
    """Weighted mean squared error of the prediction at the batch's diffusion steps (eq. 12), a scalar."""
    noisy, target = noise_sample(recipe.predictor.diffusion, batch.clean, batch.noise, batch.step)
    prediction = network(noisy, batch.step, batch.observed, batch.mask)
    return weighted_mean((prediction - target).square().mean((1, 2, 3)), batch)


def regression_loss(network: nn.Module, recipe: PretrainRecipe, batch: Batch) -> Tensor:
    """Weighted mean squared error of the one-shot prediction, over all antennas or the hidden ones."""
    objective = recipe.objective
    assert isinstance(objective, RegressionObjective)
    error = (generated(network, recipe, batch) - batch.clean).square().sum(-1) / 2
    if not objective.hidden_only:
        return weighted_mean(error.mean((1, 2)), batch)
    hidden = ~batch.mask
    return weighted_mean((error * hidden).sum((1, 2)) / hidden.sum((1, 2)).clamp_min(1), batch)


def weighted_mean(values: Tensor, batch: Batch) -> Tensor:
    """Mean of ``values`` [N] with the batch's weights, whose mean over all processes is 1."""
    return (values * batch.weight).mean()


def generated(network: nn.Module, recipe: PretrainRecipe, batch: Batch) -> Tensor:
    """What a one-shot network answers: float32 [N, rows, cols, 2]."""
    start = batch.noise if recipe.predictor.latent else torch.zeros_like(batch.clean)
    answer: Tensor = network(start, torch.zeros_like(batch.step), batch.observed, batch.mask)
    return answer


def descend(loss: Loss) -> Callable[[Learner, Batch], dict[str, Tensor]]:
    """The step of an objective that is one loss of one network."""

    def step(learner: Learner, batch: Batch) -> dict[str, Tensor]:
        value = loss(learner.networks[NETWORK], learner.recipe, batch)
        return {"loss": value.detach(), "gradient_norm": learner.descend(NETWORK, value)}

    return step


def adversarial_step(learner: Learner, batch: Batch) -> dict[str, Tensor]:
    """The critic learns to tell channels from generated ones, then the generator to please it (hinge losses).

    The critic sees generated channels as they are used: with the observed antennas as they are.
    """
    objective = learner.recipe.objective
    assert isinstance(objective, AdversarialObjective)
    answer = generated(learner.networks[NETWORK], learner.recipe, batch)
    shown = torch.where(batch.mask[..., None], batch.clean, answer)
    both = torch.cat([batch.clean, shown.detach()])
    logits = learner.networks[CRITIC](both, batch.observed.repeat(2, 1, 1, 1), batch.mask.repeat(2, 1, 1))
    real, fake = logits.chunk(2)
    doubt = F.relu(1 - real).mean((1, 2)) + F.relu(1 + fake).mean((1, 2))
    critic_loss = weighted_mean(doubt, batch)
    learner.descend(CRITIC, critic_loss)
    with learner.frozen(CRITIC) as critic:
        praise = weighted_mean(critic(shown, batch.observed, batch.mask).mean((1, 2)), batch)
    error = weighted_mean((answer - batch.clean).abs().mean((1, 2, 3)), batch)
    loss = objective.reconstruction * error - praise
    norm = learner.descend(NETWORK, loss)
    return {"loss": loss.detach(), "gradient_norm": norm, "critic": critic_loss.detach(), "error": error.detach()}


def distillation_step(learner: Learner, batch: Batch) -> dict[str, Tensor]:
    """The student learns to do with the step's number of sampling steps what the teacher does with its own."""
    recipe = learner.recipe
    assert isinstance(recipe.objective, DistillationObjective)
    if batch.clean.is_meta:
        raise NotImplementedError("the teacher's steps change from step to step: operations are not counted")
    assert learner.teacher is not None
    teacher = Teacher(learner.teacher.network, learner.teacher.recipe.diffusion, recipe.objective.teacher_steps)
    loss = distillation_loss(
        learner.networks[NETWORK],
        teacher,
        recipe.predictor.diffusion,
        student_steps(learner.state.step, recipe.predictor.sampler.steps),
        batch,
        recipe.predictor.sampler.data_consistency,
    )
    return {"loss": loss.detach(), "gradient_norm": learner.descend(NETWORK, loss)}


def critic_of(recipe: PretrainRecipe) -> Networks:
    """The critic that is trained beside the network."""
    objective = recipe.objective
    assert isinstance(objective, AdversarialObjective)
    return {CRITIC: (build(objective.critic, **objective.critic_options), objective.critic_learning_rate)}


@dataclass(frozen=True)
class Objective:
    """How one kind of objective trains.

    ``step`` descends on one batch and returns scalars to log, among them "loss" and "gradient_norm"; ``check``
    refuses a source that does not fit; ``draw`` takes examples from it, ``prepare`` makes batches of them;
    ``validate`` scores a network on channels that were kept for it; ``companions`` builds networks that are trained
    beside the recipe's and saved with the state, but not kept in the end. A step finds the networks as
    ``learner.networks``, the teacher of objectives that name one as ``learner.teacher``, the moving average and the
    number of the step in ``learner.state``.
    """

    step: Callable[[Learner, Any], dict[str, Tensor]]
    draw: Callable[..., Any] = draw_examples
    prepare: Callable[[Any, PretrainRecipe], Any] = in_frame
    check: Callable[[Any, PretrainRecipe], None] = check_links
    validate: Callable[[nn.Module, PretrainRecipe, Complex], dict[str, float]] = validate
    companions: Callable[[PretrainRecipe], Networks] = lambda recipe: {}


def fresh_networks(recipe: PretrainRecipe) -> Networks:
    """Networks initialised from the recipe's seed (the first from ``start_from``, if given), without touching the
    global generator, and their peak rates."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = build(recipe.predictor.model, **recipe.predictor.model_options)
        if recipe.start_from is not None:
            start_from(network, recipe.start_from)
        return {NETWORK: (network, recipe.learning_rate)} | OBJECTIVES[recipe.objective.kind].companions(recipe)


# PretrainRecipe.objective.kind -> how it trains
OBJECTIVES: dict[str, Objective] = {
    "diffusion": Objective(descend(diffusion_loss)),
    "regression": Objective(descend(regression_loss)),
    "wavefield": Objective(descend(wavefield_loss), prepare=with_waves),
    "distillation": Objective(distillation_step),
    "adversarial": Objective(adversarial_step, companions=critic_of),
    "masked-sequence": Objective(
        descend(sequence_loss),
        draw=draw_sequences,
        prepare=lambda batch, recipe: batch,
        check=check_sequences,
        validate=validate_sequences,
    ),
    "mixture": Objective(
        descend(mixture_loss),
        draw=draw_mixture,
        prepare=lambda batch, recipe: batch,
        check=lambda source, recipe: None,
        validate=validate_mixture,
    ),
}
