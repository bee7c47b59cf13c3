"""What pretraining minimises: losses as functions of (network, recipe, batch), and one step of each objective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from channelfm.diffusion import noise_sample
from channelfm.learned.recipe import DiffusionModel, OneShotModel, SequenceModel
from channelfm.models.zoo import build
from channelfm.posterior import average_velocity_target
from channelfm.pretraining.distillation import Teacher, distillation_loss, student_steps
from channelfm.pretraining.identity import start_from
from channelfm.pretraining.learner import CRITIC, NETWORK, Learner
from channelfm.pretraining.recipe import (
    AdversarialObjective,
    DistillationObjective,
    PretrainRecipe,
    RegressionObjective,
    SequenceObjective,
)
from channelfm.pretraining.sequence_views import MixtureBatch, SequenceBatch, mixture_views, sequence_views
from channelfm.pretraining.source import spacing_of
from channelfm.pretraining.views import Batch, FrameBatch, WavefieldBatch, masked_views, wavefield_views
from channelfm.pretraining.whole_views import ClusterBatch, PriorBatch, cluster_views, prior_views

Loss = Callable[[nn.Module, PretrainRecipe, Any], Tensor]  # of the objective's own batches
Networks = dict[str, tuple[nn.Module, float]]  # networks by name, with their peak learning rates

_LEAST_ERROR = 1e-6  # of an NMSE: better no longer counts


def diffusion_loss(network: nn.Module, recipe: PretrainRecipe, batch: FrameBatch) -> Tensor:
    """Weighted mean squared error of the prediction at the batch's diffusion steps (eq. 12), a scalar."""
    noisy, target = noise_sample(_diffusion(recipe).diffusion, batch.clean, batch.noise, batch.step)
    prediction = network(noisy, batch.step, batch.observed, batch.mask)
    return weighted_mean((prediction - target).square().mean((1, 2, 3)), batch)


def regression_loss(network: nn.Module, recipe: PretrainRecipe, batch: FrameBatch) -> Tensor:
    """Weighted mean squared error of the one-shot prediction, over all antennas or the hidden ones."""
    objective = recipe.objective
    assert isinstance(objective, RegressionObjective)
    error = (generated(network, recipe, batch) - batch.clean).square().sum(-1) / 2
    if not objective.hidden_only:
        return weighted_mean(error.mean((1, 2)), batch)
    hidden = ~batch.mask
    return weighted_mean((error * hidden).sum((1, 2)) / hidden.sum((1, 2)).clamp_min(1), batch)


def wavefield_loss(network: nn.Module, recipe: PretrainRecipe, batch: WavefieldBatch) -> Tensor:
    """Mean of the logarithm of the amplitude of the relative error: a decibel counts alike in hopeless samples and in
    easy ones, down to -60 dB, below which the wave model itself and single precision decide."""
    field = network(torch.view_as_complex(batch.observed), batch.mask, spacing_of(recipe), batch.waves)
    error = (torch.view_as_real(field) - batch.clean).square().sum(3).mean((1, 2))
    return weighted_mean((error + _LEAST_ERROR).log() / 2, batch)


def sequence_loss(network: nn.Module, recipe: PretrainRecipe, batch: SequenceBatch) -> Tensor:
    """Relative error of what is asked for, a scalar: of each token (eq. 12), of each sample, or its logarithm."""
    objective, model = recipe.objective, recipe.predictor
    assert isinstance(objective, SequenceObjective)
    assert isinstance(model, SequenceModel)
    answer = model.sequence.ask(network, batch.observed, batch.mask)
    error = (answer - batch.clean).square().sum(-1) * batch.asked
    power = batch.clean.square().sum(-1) * batch.asked
    if objective.loss == "token":
        error, power = (_over_patches(part, objective.mask_patch) for part in (error, power))
        tokens = _over_patches(batch.asked.float(), objective.mask_patch) > 0
        relative = (error / (power + objective.epsilon)).sum((1, 2, 3)) / tokens.sum((1, 2, 3)).clamp_min(1)
    else:
        relative = error.sum((1, 2, 3)) / power.sum((1, 2, 3)).clamp_min(1e-12)
        if objective.loss == "decibel":
            relative = (relative + objective.epsilon).log()
    return weighted_mean(relative, batch)


def mixture_loss(network: nn.Module, recipe: PretrainRecipe, batch: MixtureBatch) -> Tensor:
    """Mean logarithm of the NMSE of each frame: what is easy counts as much as what is hard; a scalar."""
    error = (network(batch.candidates, batch.noise, batch.ahead) - batch.target).square().sum((2, 3, 4))
    power = batch.target.square().sum((2, 3, 4)).clamp_min(1e-30)
    return weighted_mean((error / power + _LEAST_ERROR).log().mean(1), batch)


def cluster_loss(network: nn.Module, recipe: PretrainRecipe, batch: ClusterBatch) -> Tensor:
    """Mean logarithm of the NMSE after every step of the network: a decibel counts alike at every SNR; a scalar."""
    answers = network(batch.measured(), batch.noise, batch.centres, batch.detuned_hz)
    clean = torch.view_as_complex(batch.clean).flatten(1, 2)
    errors = torch.stack([torch.view_as_real(answer - clean).square().sum(3).mean((1, 2)) for answer in answers])
    return weighted_mean((errors + _LEAST_ERROR).log().mean(0), batch)


def prior_loss(network: nn.Module, recipe: PretrainRecipe, batch: PriorBatch) -> Tensor:
    """Mean logarithm of the error of the conditional mean; a scalar."""
    answer = network(batch.noisy, batch.sigma, batch.sigma)
    return weighted_mean((answer - batch.clean).square().sum(3).mean((1, 2)).add(_LEAST_ERROR).log(), batch)


def mean_flow_loss(network: nn.Module, recipe: PretrainRecipe, batch: PriorBatch) -> Tensor:
    """Mean logarithm of the error of the average velocity, in units of the noise; a scalar.

    The velocity is twice the noise that is expected, which ends at the conditional mean of a Gaussian channel
    (:func:`channelfm.posterior.truncated`).
    """

    def velocity(noisy: Tensor, sigma: Tensor, until: Tensor) -> Tensor:
        answer: Tensor = (noisy - network(noisy, sigma, until)) / sigma[:, None, None, None]
        return answer

    noise = (batch.noisy - batch.clean) / batch.sigma[:, None, None, None]
    answer, target = average_velocity_target(velocity, batch.noisy, 2 * noise, batch.sigma, batch.until)
    return weighted_mean((answer - target).square().sum(3).mean((1, 2)).add(_LEAST_ERROR).log(), batch)


def weighted_mean(values: Tensor, batch: Batch) -> Tensor:
    """Mean of ``values`` [N] with the batch's weights, whose mean over all processes is 1."""
    return (values * batch.weight).mean()


def _over_patches(values: Tensor, patch: tuple[int, int]) -> Tensor:
    """Sums [N, T, h, w] over patches of values [N, T, H, W]; what does not fill a patch counts as one."""
    return F.avg_pool2d(values.float(), patch, ceil_mode=True, count_include_pad=False, divisor_override=1)


def generated(network: nn.Module, recipe: PretrainRecipe, batch: FrameBatch) -> Tensor:
    """What a one-shot network answers: float32 [N, rows, cols, 2]."""
    assert isinstance(recipe.predictor, OneShotModel)
    start = batch.noise if recipe.predictor.latent else torch.zeros_like(batch.clean)
    answer: Tensor = network(start, torch.zeros_like(batch.step), batch.observed, batch.mask)
    return answer


def descend(loss: Loss) -> Callable[[Learner, Batch], dict[str, Tensor]]:
    """The step of an objective that is one loss of one network."""

    def step(learner: Learner, batch: Batch) -> dict[str, Tensor]:
        value = loss(learner.networks[NETWORK], learner.recipe, batch)
        return {"loss": value.detach(), "gradient_norm": learner.descend(NETWORK, value)}

    return step


def adversarial_step(learner: Learner, batch: FrameBatch) -> dict[str, Tensor]:
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


def distillation_step(learner: Learner, batch: FrameBatch) -> dict[str, Tensor]:
    """The student learns to do with the step's number of sampling steps what the teacher does with its own."""
    recipe, model = learner.recipe, _diffusion(learner.recipe)
    assert isinstance(recipe.objective, DistillationObjective)
    assert learner.teacher is not None
    loss = distillation_loss(
        learner.networks[NETWORK],
        Teacher(learner.teacher.network, learner.teacher.recipe.diffusion, recipe.objective.teacher_steps),
        model.diffusion,
        student_steps(learner.state.step, model.sampler.steps),
        batch,
        model.sampler.data_consistency,
    )
    return {"loss": loss.detach(), "gradient_norm": learner.descend(NETWORK, loss)}


def _diffusion(recipe: PretrainRecipe) -> DiffusionModel:
    assert isinstance(recipe.predictor, DiffusionModel)
    return recipe.predictor


def critic_of(recipe: PretrainRecipe) -> Networks:
    """The critic that is trained beside the network."""
    objective = recipe.objective
    assert isinstance(objective, AdversarialObjective)
    return {CRITIC: (build(objective.critic, **objective.critic_options), objective.critic_learning_rate)}


@dataclass(frozen=True)
class Objective:
    """How one kind of objective trains: views and a loss.

    ``views`` draws samples ``numbers`` of the batch of a step from a source: (source, recipe, step, numbers, device);
    ``step`` descends on one batch and returns scalars to log, among them "loss" and "gradient_norm"; ``companions``
    builds networks that are trained beside the recipe's and saved with the state, but not kept in the end. A step finds
    the networks as ``learner.networks``, the teacher of objectives that name one as ``learner.teacher``, the moving
    average and the number of the step in ``learner.state``. Steps of another ``phase`` cost another number of
    operations.
    """

    views: Callable[..., Any]
    step: Callable[[Learner, Any], dict[str, Tensor]]
    companions: Callable[[PretrainRecipe], Networks] = lambda recipe: {}
    phase: Callable[[PretrainRecipe, int], int] = lambda recipe, step: 0


def fresh_networks(recipe: PretrainRecipe) -> Networks:
    """Networks initialised from the recipe's seed (the first from ``start_from``, if given), without touching the
    global generator, and their peak rates."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = recipe.predictor.network()
        if recipe.start_from is not None:
            start_from(network, recipe.start_from)
        return {NETWORK: (network, recipe.learning_rate)} | OBJECTIVES[recipe.objective.kind].companions(recipe)


# PretrainRecipe.objective.kind -> how it trains
OBJECTIVES: dict[str, Objective] = {
    "diffusion": Objective(masked_views, descend(diffusion_loss)),
    "regression": Objective(masked_views, descend(regression_loss)),
    "wavefield": Objective(wavefield_views, descend(wavefield_loss)),
    "distillation": Objective(
        masked_views,
        distillation_step,
        phase=lambda recipe, step: student_steps(step, _diffusion(recipe).sampler.steps),
    ),
    "adversarial": Objective(masked_views, adversarial_step, companions=critic_of),
    "masked-sequence": Objective(sequence_views, descend(sequence_loss)),
    "mixture": Objective(mixture_views, descend(mixture_loss)),
    "clusters": Objective(cluster_views, descend(cluster_loss)),
    "prior": Objective(prior_views, descend(prior_loss)),
    "mean-flow": Objective(prior_views, descend(mean_flow_loss)),
}
