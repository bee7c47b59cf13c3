"""Validation at fixed masks: the same links, masks and noise whenever it is asked."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from channelfm.learned.methods import predictor_of
from channelfm.pretraining.recipe import PretrainRecipe
from channelfm.tasks.extrapolation import examples, usable_snapshots

VALIDATION_RATIOS = (0.5, 0.75, 0.9)


def validate(network: torch.nn.Module, recipe: PretrainRecipe, grid: NDArray[np.complex64]) -> dict[str, float]:
    """NMSE in dB (of the linear mean) of channels [S, rows, cols, F] at fixed random masks of each validation ratio.

    At most ``recipe.validation_links`` snapshots with a path, evenly spaced; empty without any. The network is left in
    evaluation mode.
    """
    grid = usable_snapshots(grid)
    if not len(grid):
        return {}
    chosen = np.linspace(0, len(grid) - 1, min(len(grid), recipe.validation_links)).round().astype(int)
    predictor = predictor_of(network, recipe.predictor, spacing_wavelengths=recipe.predictor.frame.spacing_wavelengths)
    scores = {}
    for ratio in VALIDATION_RATIOS:
        task = examples(grid[chosen], ratio, recipe.seed)
        error = np.abs(predictor.predict(task.observed, task.mask) - task.target) ** 2
        nmse = error.sum((1, 2, 3)) / (np.abs(task.target) ** 2).sum((1, 2, 3))
        scores[str(ratio)] = round(float(10 * np.log10(nmse.mean())), 3)
    return scores
