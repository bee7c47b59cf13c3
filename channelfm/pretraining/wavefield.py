"""The objective of the wavefield model: the error of the whole field, from waves found ahead of the training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from channelfm.models.wavefield import normalized_waves
from channelfm.models.zoo import build
from channelfm.pretraining.batches import Batch, Examples
from channelfm.pretraining.recipe import PretrainRecipe
from channelfm.waves.greedy import FoundWaves

_LEAST_ERROR = 1e-6  # -60 dB: below that the wave model itself and single precision decide


@dataclass(frozen=True)
class WavefieldBatch(Batch):
    """A batch outside any frame: ``clean`` and ``observed`` are divided by the RMS of the channel, not moved. The rest
    are the fields of :class:`channelfm.waves.greedy.FoundWaves`, found from what was received."""

    sources: Tensor
    gains: Tensor
    present: Tensor
    covariance: Tensor
    centre: Tensor
    probability: Tensor


def with_waves(examples: Examples, recipe: PretrainRecipe) -> WavefieldBatch:
    """Find the waves of examples. The search has no weights to learn, so that it can run beside the training."""
    scale = examples.channel.abs().square().mean((1, 2), keepdim=True).sqrt()
    received = examples.received / scale
    waves = _limit(recipe)
    found = normalized_waves(received, examples.mask, waves, recipe.predictor.frame.spacing_wavelengths)
    return WavefieldBatch(
        torch.view_as_real(examples.channel / scale).contiguous(),
        torch.view_as_real(received).contiguous(),
        examples.mask,
        examples.noise[:0],
        torch.zeros(len(received), dtype=torch.int64, device=received.device),
        (received.abs().amax((1, 2)) > 0).float(),
        *found,
    )


def wavefield_loss(network: nn.Module, recipe: PretrainRecipe, batch: Batch) -> Tensor:
    """Mean of the logarithm of the amplitude of the relative error: a decibel counts alike in hopeless samples and in
    easy ones, down to -60 dB."""
    if not isinstance(batch, WavefieldBatch):
        raise NotImplementedError("the waves of a batch do not follow from its shape: its operations are not counted")
    found = FoundWaves(batch.sources, batch.gains, batch.present, batch.covariance, batch.centre, batch.probability)
    field: Tensor = network(
        torch.view_as_complex(batch.observed), batch.mask, recipe.predictor.frame.spacing_wavelengths, found
    )
    error = (torch.view_as_real(field) - batch.clean).square().sum(3).mean((1, 2))
    return ((error + _LEAST_ERROR).log() / 2 * batch.weight).mean()


def _limit(recipe: PretrainRecipe) -> int:
    """The largest number of waves of the recipe's model."""
    network: Any = build(recipe.predictor.model, **recipe.predictor.model_options)
    return int(network.waves)
