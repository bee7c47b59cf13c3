"""Validation: the tasks that models are trained for, on the same links, masks and noise whenever it is asked."""

from __future__ import annotations

from typing import Any

from torch import nn

from channelfm.datasets.blocks import Blocks
from channelfm.estimator import Examples
from channelfm.learned.estimator import estimator_of
from channelfm.metrics import bounded_db
from channelfm.observation import Complex, usable_snapshots
from channelfm.pretraining.recipe import MixtureObjective, PretrainRecipe, SequenceObjective
from channelfm.pretraining.sequence_views import aligned_blocks, prediction_of
from channelfm.pretraining.source import spacing_of, spread_evenly
from channelfm.tasks.base import Task
from channelfm.tasks.extrapolation import Extrapolation
from channelfm.tasks.observing import MaskRecipe

VALIDATION_RATIOS = (0.5, 0.75, 0.9)
_CONTEXT = 10  # frames of the past
_SNR_DB = 10.0


def validate(network: nn.Module, recipe: PretrainRecipe, channels: Complex) -> dict[str, float]:
    """NMSE in dB (of the linear mean); empty where there is nothing to validate with.

    Of channels complex64 [S, rows, cols, F]: at random masks of each validation ratio, at most
    ``recipe.validation_links`` snapshots with a path. Of sequences [S, T, rows, cols, F]: 1 frame ahead and furthest
    ahead, of clean pasts and of such at 10 dB. The network stays as it is.
    """
    if not len(channels) or (channels.ndim == 4 and not len(usable_snapshots(channels))):
        return {}
    task, blocks = _sequences(recipe, channels) if channels.ndim == 5 else _links(recipe, channels)
    model, scores = estimator_of(network, recipe.predictor), {}
    for case in task.cases():
        examples = task.examples(blocks, case, recipe.seed)
        values = task.score(model.estimate(examples.observation), examples)
        for name, errors in values.items():
            if name.startswith("nmse"):
                scores[_label(case, name)] = round(bounded_db(errors.mean()), 3)
    return scores


def _links(recipe: PretrainRecipe, channels: Complex) -> tuple[Task, Blocks]:
    chosen = spread_evenly(usable_snapshots(channels), recipe.validation_links)
    task = Extrapolation(masks=(MaskRecipe(ratios=VALIDATION_RATIOS),))
    return task, Examples.of_channels(chosen, spacing_of(recipe)).blocks


def _sequences(recipe: PretrainRecipe, sequences: Complex) -> tuple[Task, Blocks]:
    objective, frames = recipe.objective, sequences.shape[1]
    assert isinstance(objective, SequenceObjective | MixtureObjective)
    horizon = min(objective.horizon, frames - 1)
    context = min(_CONTEXT, frames - horizon)
    return prediction_of(context, tuple(sorted({1, horizon})), (None, _SNR_DB)), aligned_blocks(sequences)


def _label(case: Any, name: str) -> str:
    """How history and checkpoints name a score."""
    _, _, ahead = name.partition("@")
    if not ahead:
        return str(case.mask_ratio)
    return f"{'clean' if case.snr_db is None else f'{case.snr_db:g} dB'}, {ahead} ahead"
