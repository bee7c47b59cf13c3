"""Views of links that networks train on: what is drawn of them, and how it looks in the network's domain.

Every random number of a sample comes from (seed, step, number of the sample in the whole batch), and the size of the
array from (seed, step). So a resumed run needs no generator state, a batch is the same whoever prepares it, and the
same recipe trains on the same batches on any number of processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channelfm.diffusion import draw_steps
from channelfm.errors import InputError
from channelfm.learned.domains import enter_frame
from channelfm.learned.recipe import DiffusionModel, OneShotModel, WavefieldModel
from channelfm.models.wavefield import Wavefield, normalized_waves
from channelfm.pretraining.recipe import PretrainRecipe, SourceRecipe
from channelfm.pretraining.source import Source, View, spacing_of
from channelfm.tokens.canonical import FrameRecipe
from channelfm.tokens.masks import MASKS
from channelfm.waves.greedy import FoundWaves

Generator = np.random.Generator

SAME_VIEW = 8  # neighbours in a batch that share place, roll and frequency: expanding them together takes a third
DRAWS = 50  # of links, until one is seen by the view
_SIZE, _VIEW, _SAMPLE = 1, 2, 3  # what a generator is for; never 0, which a seed sequence does not tell from nothing


@dataclass(frozen=True)
class Examples:
    """Drawn samples before any frame: ``channel`` complex64 [N, rows, cols], clean; ``received`` the same with noise
    on the observed antennas and 0 on the others; ``mask`` bool, True = observed; ``noise`` float32 [N, rows, cols, 2],
    standard normal; ``uniform`` float64 [N] in [0, 1)."""

    channel: Tensor
    received: Tensor
    mask: Tensor
    noise: Tensor
    uniform: Tensor


@dataclass(frozen=True)
class Batch:
    """What all batches have: ``mask`` bool [N, ...], True = observed; ``weight`` float32 [N], with which samples count.
    Fields are tensors [N, ...], but for those that samples ``share``."""

    mask: Tensor
    weight: Tensor

    shared: ClassVar[tuple[str, ...]] = ()

    def __len__(self) -> int:
        return len(self.weight)

    def first(self, most: int) -> Self:
        """At most so many of the samples."""
        own = (item.name for item in fields(self) if item.name not in self.shared)
        return replace(self, **{name: getattr(self, name)[:most] for name in own})


@dataclass(frozen=True)
class FrameBatch(Batch):
    """Channels in the frame: ``clean``, ``observed`` (0 where hidden), ``noise`` float32 [N, rows, cols, 2]; ``step``
    int64 [N] of the diffusion. The ``weight`` is :func:`sample_weights`, 0 where nothing was received."""

    clean: Tensor
    observed: Tensor
    noise: Tensor
    step: Tensor


@dataclass(frozen=True)
class WavefieldBatch(Batch):
    """Channels outside any frame: ``clean`` and ``observed`` float32 [N, rows, cols, 2] are divided by the RMS of the
    channel, not moved. The rest are the fields of :class:`channelfm.waves.greedy.FoundWaves`, found from what was
    received."""

    clean: Tensor
    observed: Tensor
    sources: Tensor
    gains: Tensor
    present: Tensor
    covariance: Tensor
    centre: Tensor
    probability: Tensor

    @property
    def waves(self) -> FoundWaves:
        """The waves."""
        return FoundWaves(*(getattr(self, name) for name in FoundWaves._fields))


def draw_examples(source: Source, recipe: PretrainRecipe, step: int, numbers: range, device: torch.device) -> Examples:
    """Draw links, views, masks and noise of some samples of a step's batch. InputError if a view sees no link."""
    generators = [np.random.default_rng((recipe.seed, step, _SAMPLE, number)) for number in numbers]
    size = draw_size(recipe.source, source.size, np.random.default_rng((recipe.seed, step, _SIZE)))
    parts = []
    for group in sorted({number // SAME_VIEW for number in numbers}):
        view = draw_view(recipe.source, size, np.random.default_rng((recipe.seed, step, _VIEW, group)))
        members = [g for number, g in zip(numbers, generators, strict=True) if number // SAME_VIEW == group]
        parts.append(_draw_channels(source, recipe.source, view, members, device))
    channel = torch.cat(parts)
    if recipe.source.mirror:
        for axis in (1, 2):
            flip = _stacked([g.random() < 0.5 for g in generators], device)[:, None, None]
            channel = torch.where(flip, channel.flip(axis), channel)
    if not isinstance(recipe.predictor, WavefieldModel) and frame_of(recipe).kind == "raw":
        # the canonical frame takes the phase out
        phase = _stacked([2 * np.pi * g.random() for g in generators], device).float()
        channel = channel * torch.polar(torch.ones_like(phase), phase)[:, None, None]
    mask = torch.from_numpy(np.stack([draw_mask(recipe, size, g) for g in generators])).to(device)
    received = torch.where(mask, noisy(channel, recipe.source.snr_db, recipe.source.noiseless, generators), 0)
    noise = _normal(generators, size, device)
    return Examples(channel, received, mask, noise, _stacked([g.random() for g in generators], device))


def masked_views(source: Source, recipe: PretrainRecipe, step: int, numbers: range, device: torch.device) -> FrameBatch:
    """Samples ``numbers`` of the batch of a step, ready to train on, on ``device``."""
    return in_frame(draw_examples(source, recipe, step, numbers, device), recipe)


def in_frame(examples: Examples, recipe: PretrainRecipe) -> FrameBatch:
    """Move examples into the recipe's frame, which is found from what was received alone, as in use."""
    model = recipe.predictor
    inside = enter_frame(examples.received, examples.mask, frame_of(recipe))
    clean = inside.place(examples.channel)
    heard = examples.received.abs().amax((1, 2)) > 0
    steps = torch.zeros_like(examples.uniform, dtype=torch.int64)
    return FrameBatch(
        clean=clean,
        observed=inside.known,
        mask=examples.mask,
        noise=examples.noise,
        step=draw_steps(model.diffusion, examples.uniform) if isinstance(model, DiffusionModel) else steps,
        weight=torch.where(heard, sample_weights(torch.view_as_complex(clean)), 0),
    )


def wavefield_views(
    source: Source, recipe: PretrainRecipe, step: int, numbers: range, device: torch.device
) -> WavefieldBatch:
    """Samples of a step's batch with their waves, whose search has no weights to learn, so that it can run beside the
    training."""
    examples = draw_examples(source, recipe, step, numbers, device)
    scale = examples.channel.abs().square().mean((1, 2), keepdim=True).sqrt()
    received = examples.received / scale
    with torch.device("meta"):
        most = cast(Wavefield, recipe.predictor.network()).waves
    return WavefieldBatch(
        clean=torch.view_as_real(examples.channel / scale).contiguous(),
        observed=torch.view_as_real(received).contiguous(),
        mask=examples.mask,
        weight=(received.abs().amax((1, 2)) > 0).float(),
        **normalized_waves(received, examples.mask, most, spacing_of(recipe))._asdict(),
    )


def frame_of(recipe: PretrainRecipe) -> FrameRecipe:
    """The frame that a recipe trains in."""
    assert isinstance(recipe.predictor, DiffusionModel | OneShotModel)
    return recipe.predictor.frame


def sample_weights(clean: Tensor) -> Tensor:
    """Weights float32 [N] with which the errors of ``clean`` [N, rows, cols] in the frame count: 1 / its mean power.

    No more than 1, which is the power of the observed antennas. Where few observed antennas fit the frame's waves by
    chance, hidden ones are far off in the frame, and errors relative to them keep such samples from drowning the batch.
    """
    return 1 / clean.abs().square().mean((1, 2)).clamp_min(1.0)


def draw_size(recipe: SourceRecipe, whole: tuple[int, int], generator: Generator) -> tuple[int, int]:
    """Rows and columns of a batch's arrays."""
    sizes = recipe.arrays or (whole,)
    weights = np.asarray(recipe.array_weights or np.ones(len(sizes)))
    return sizes[generator.choice(len(sizes), p=weights / weights.sum())]


def draw_view(recipe: SourceRecipe, size: tuple[int, int], generator: Generator) -> View:
    """Place, roll and frequency of an array of ``size``."""
    place, (roll, detune) = generator.random(2), generator.uniform(-1, 1, 2)
    return View(
        size, (place[0], place[1]), float(np.deg2rad(roll * recipe.roll_deg)), float(detune * recipe.bandwidth_hz / 2)
    )


def draw_mask(recipe: PretrainRecipe, size: tuple[int, int], generator: Generator) -> NDArray[np.bool_]:
    """A mask bool [rows, cols] of a random kind; its ratio is low + (high - low) u^(1 / skew), u uniform."""
    kinds = sorted(recipe.mask_kinds)
    weights = np.array([recipe.mask_kinds[kind] for kind in kinds])
    kind = kinds[generator.choice(len(kinds), p=weights / weights.sum())]
    low, high = recipe.mask_ratio
    ratio = low + (high - low) * generator.random() ** (1 / recipe.mask_ratio_skew)
    return MASKS[kind](generator, 1, *size, ratio)[0, :, :, 0]


def _draw_channels(
    source: Source, recipe: SourceRecipe, view: View, generators: Sequence[Generator], device: torch.device
) -> Tensor:
    """One link [rows, cols] for each generator; those of which the view sees nothing are drawn again."""
    channel = torch.zeros((len(generators), *view.size), dtype=torch.complex64, device=device)
    left = np.arange(len(generators))
    for _ in range(DRAWS):
        links = np.array([generators[index].integers(len(source)) for index in left.tolist()])
        offset_s = np.array([recipe.latest_s * generators[index].random() for index in left.tolist()])
        channel[torch.from_numpy(left).to(device)] = source.channels(links, view, offset_s, device)
        left = np.flatnonzero(~channel.abs().sum((1, 2)).cpu().numpy().astype(bool))
        if not len(left):
            return channel
    raise InputError(
        f"source.arrays: an array of {view.size[0]} x {view.size[1]} saw none of {DRAWS} links; give larger ones"
    )


def noisy(
    channel: Tensor, snr_db: tuple[float, float] | None, noiseless: float, generators: Sequence[Generator]
) -> Tensor:
    """Channels complex64 [N, ...] with white noise, but for a share ``noiseless`` of them; ``snr_db`` is the range of
    their mean power to the noise's, drawn for each (None: all stay clean)."""
    if snr_db is None:
        return channel
    ratios = [10 ** (-g.uniform(*snr_db) / 20) * (g.random() >= noiseless) for g in generators]
    power = channel.abs().square().mean(tuple(range(1, channel.ndim)))
    sigma = _stacked(ratios, channel.device).float() * (power / 2).sqrt()
    noise = torch.view_as_complex(_normal(generators, channel.shape[1:], channel.device))
    return channel + sigma.reshape(-1, *[1] * (channel.ndim - 1)) * noise


def _normal(generators: Sequence[Generator], size: Sequence[int], device: torch.device) -> Tensor:
    drawn = np.stack([g.standard_normal((*size, 2), dtype=np.float32) for g in generators])
    return torch.from_numpy(drawn).to(device)


def _stacked(values: Sequence[float | bool], device: torch.device) -> Tensor:
    return torch.from_numpy(np.array(values)).to(device)
