"""Training of a mixture of linear predictors, whose predictions are computed once for each sequence and its noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn

from channelfm.baselines import sequence_baselines
from channelfm.learned.mixture import MixturePredictor, mixture_input
from channelfm.pretraining.sequence_recipe import MixtureObjective
from channelfm.pretraining.sequences import fingerprint_of, score_prediction
from channelfm.tasks.prediction import prediction_examples
from channelfm.tokens.angle_delay import angle_delay_frames

if TYPE_CHECKING:
    from channelfm.pretraining.recipe import PretrainRecipe

Complex = NDArray[np.complex64]

_BATCH, _DRAW, _SAMPLE = 16, 6, 7
_HORIZONS = 2  # of those that are predicted, in one batch
_LEAST_ERROR = 1e-6  # NMSE below which better no longer counts


@dataclass(frozen=True)
class MixtureBatch:
    """``candidates`` float32 [N, candidate, horizon, angle, delay, 2], ``noise`` [N], ``target`` [N, horizon, angle,
    delay, 2], ``ahead`` int64 [horizon], ``mask`` bool [N, horizon, angle, delay] (all True: nothing is hidden of
    them), ``weight`` [N]."""

    candidates: Tensor
    noise: Tensor
    target: Tensor
    ahead: Tensor
    mask: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.target)


class Predicted(NamedTuple):
    """What candidates predicted, complex64 [N, candidate, horizon, angle, delay], the noise [N] they met, and what came
    instead, complex64 [N, horizon, angle, delay]."""

    candidates: Tensor
    noise: Tensor
    target: Tensor


class MixtureSource:
    """Sequences complex64 [S, T, row, col, F] to train on, each ``draws`` times with another noise and comb.

    The candidates are asked when the first batch is drawn, so that a finished run costs nothing.
    """

    def __init__(self, recipe: PretrainRecipe, response: Complex) -> None:
        self.recipe, self.response = recipe, response

    def __len__(self) -> int:
        return mixture_of(self.recipe).draws * len(self.response)

    def fingerprint(self) -> str:
        """SHA-256 over the sequences; what is predicted follows from them, the recipe and the code."""
        return fingerprint_of(self.response)

    @cached_property
    def predicted(self) -> Predicted:
        """What all candidates predict."""
        return _predicted(self.recipe, self.response)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"predicted": self.predicted}  # worker processes shall not do it again


def mixture_of(recipe: PretrainRecipe) -> MixtureObjective:
    """The recipe's objective, which must be this one."""
    objective = recipe.objective
    assert isinstance(objective, MixtureObjective)
    return objective


def _predicted(recipe: PretrainRecipe, response: Complex) -> Predicted:
    """Every sequence, ``draws`` times with another noise and comb."""
    objective = mixture_of(recipe)
    candidates = sequence_baselines(recipe.predictor.candidates)
    context = objective.frames - objective.horizon
    starts = [(draw, start) for draw in range(objective.draws) for start in range(0, len(response), _BATCH)]
    parts = []
    for draw, start in track(starts, "predicting linearly", transient=True):
        generator = np.random.default_rng((recipe.seed, _DRAW, draw, start))
        snr_db = None if generator.random() < objective.noiseless else float(generator.uniform(*objective.snr_db))
        comb = int(generator.choice(objective.combs))
        case = prediction_examples(
            response[start : start + _BATCH], context, objective.horizon, comb, snr_db, int(generator.integers(2**31))
        )
        mask = np.broadcast_to(case.mask, case.past.shape)
        guesses, noise = mixture_input(candidates, case.past, mask, objective.horizon)
        future = torch.from_numpy(case.future)
        parts.append((guesses, noise, angle_delay_frames(future, future.shape[4])))
    return Predicted(*(torch.cat(part) for part in zip(*parts, strict=True)))


def draw_mixture(
    source: MixtureSource, recipe: PretrainRecipe, step: int, numbers: range, device: torch.device
) -> MixtureBatch:
    """Samples ``numbers`` of a step's batch, at a few horizons that the batch shares."""
    chosen = [int(np.random.default_rng((recipe.seed, step, _SAMPLE, n)).integers(len(source))) for n in numbers]
    shared = np.random.default_rng((recipe.seed, step, _SAMPLE))
    candidates, noise, target = source.predicted
    horizons = np.sort(shared.choice(target.shape[1], min(_HORIZONS, target.shape[1]), replace=False))
    target = target[chosen][:, horizons]
    return MixtureBatch(
        candidates=torch.view_as_real(candidates[chosen][:, :, horizons]).to(device),
        noise=noise[chosen].to(device),
        target=torch.view_as_real(target).to(device),
        ahead=torch.from_numpy(horizons + 1).to(device),
        mask=torch.ones(target.shape, dtype=torch.bool, device=device),
        weight=torch.ones(len(chosen), device=device),
    )


def mixture_loss(network: nn.Module, recipe: PretrainRecipe, batch: MixtureBatch) -> Tensor:
    """Mean logarithm of the NMSE of each frame: what is easy counts as much as what is hard; a scalar."""
    if not isinstance(batch, MixtureBatch):
        raise NotImplementedError("complex operations have no count")
    error = (network(batch.candidates, batch.noise, batch.ahead) - batch.target).square().sum((2, 3, 4))
    power = batch.target.square().sum((2, 3, 4)).clamp_min(1e-30)
    loss: Tensor = ((error / power + _LEAST_ERROR).log().mean(1) * batch.weight).mean()
    return loss


def validate_mixture(network: nn.Module, recipe: PretrainRecipe, sequences: Complex) -> dict[str, float]:
    """NMSE in dB (of the linear mean) of predictions 1 and furthest ahead, of clean pasts and of such at 10 dB."""
    if not len(sequences):
        return {}
    objective = mixture_of(recipe)
    candidates = sequence_baselines(recipe.predictor.candidates)
    predictor = MixturePredictor(recipe.predictor.name, network, candidates)
    return score_prediction(predictor, sequences, objective.frames - objective.horizon, objective.horizon, recipe.seed)
