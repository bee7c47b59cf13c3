"""How the learning rate and the moving average go with the steps."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from channelfm.pretraining.recipe import PretrainRecipe


def rate_factor(recipe: PretrainRecipe, step: int) -> float:
    """The learning rate of a step over its peak: linear warm-up, then half a cosine down to 1 %."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Exponential moving average, shorter in the first steps so that it forgets the initialisation."""
    now = min(decay, (1 + step) / (10 + step))
    means: list[Tensor] = list(average.parameters())
    weights = [weight.to(mean.dtype) for weight, mean in zip(network.parameters(), means, strict=True)]
    torch._foreach_lerp_(means, weights, 1 - now)
