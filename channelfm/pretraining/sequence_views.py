"""Views of sequences that networks train on: physics-informed masks and augmentations (PI-MCM; seed 004, IV-A, IV-B),
and what linear predictors say of them, for mixtures.

One objective trains to reconstruct and to predict: "future" is a kind of mask that hides the last frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from channelfm.arrays import UPA
from channelfm.datasets.blocks import Blocks, unlabelled
from channelfm.estimator import NOMINAL_HZ
from channelfm.learned.estimator import mixture_input
from channelfm.learned.recipe import MixtureModel, SequenceModel
from channelfm.observation import Bool, Complex, Grid
from channelfm.pretraining.recipe import ESTIMATE, FUTURE, MixtureObjective, PretrainRecipe, SequenceObjective
from channelfm.pretraining.source import SequenceSource
from channelfm.pretraining.views import Batch, noisy
from channelfm.tasks.prediction import Past, Prediction
from channelfm.tokens.angle_delay import angle_delay_frames
from channelfm.tokens.patches import patch_counts
from channelfm.tokens.sequence_masks import SEQUENCE_MASKS

Generator = np.random.Generator

_BATCH, _SAMPLE, _DRAW, _MIXED = 4, 5, 6, 7  # what a generator is for; other than those of ``views``
_PREDICTED_AT_ONCE = 16
_HORIZONS = 2  # of those that are predicted, in one batch of a mixture


@dataclass(frozen=True)
class SequenceBatch(Batch):
    """``clean``, ``observed`` float32 [N, T, H, W, 2] in the network's domain, the latter with noise, and 0 where
    ``mask`` is False; ``asked`` bool [N, T, H, W] is what the loss counts."""

    clean: Tensor
    observed: Tensor
    asked: Tensor


@dataclass(frozen=True)
class MixtureBatch(Batch):
    """``candidates`` float32 [N, candidate, horizon, angle, delay, 2], ``noise`` [N], ``target`` [N, horizon, angle,
    delay, 2], ``ahead`` int64 [horizon]; nothing is hidden of them."""

    candidates: Tensor
    noise: Tensor
    target: Tensor
    ahead: Tensor

    shared: ClassVar[tuple[str, ...]] = ("ahead",)


class MixtureSource(SequenceSource):
    """Sequences that are predicted by all candidates, each ``draws`` times with another noise and comb.

    The candidates are asked when the first batch is drawn, so that a finished run costs nothing.
    """

    def __init__(self, recipe: PretrainRecipe, response: Complex) -> None:
        super().__init__(response)
        self.recipe = recipe

    def __len__(self) -> int:
        return _mixture(self.recipe)[0].draws * len(self.response)

    @cached_property
    def predicted(self) -> tuple[Tensor, Tensor, Tensor]:
        """What candidates predicted, complex64 [N, candidate, horizon, angle, delay], the noise [N] they met, and what
        came instead, complex64 [N, horizon, angle, delay]."""
        return _predicted(self.recipe, self.response)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"predicted": self.predicted}  # worker processes shall not do it again


def _mixture(recipe: PretrainRecipe) -> tuple[MixtureObjective, MixtureModel]:
    objective, model = recipe.objective, recipe.predictor
    assert isinstance(objective, MixtureObjective)
    assert isinstance(model, MixtureModel)
    return objective, model


def _predicted(recipe: PretrainRecipe, response: Complex) -> tuple[Tensor, Tensor, Tensor]:
    """Every sequence, ``draws`` times with another noise and comb."""
    objective, model = _mixture(recipe)
    candidates, context = model.predictors(), objective.frames - objective.horizon
    starts = [(draw, start) for draw in range(objective.draws) for start in range(0, len(response), _PREDICTED_AT_ONCE)]
    parts = []
    for draw, start in track(starts, "predicting linearly", transient=True):
        generator = np.random.default_rng((recipe.seed, _DRAW, draw, start))
        snr_db = None if generator.random() < objective.noiseless else float(generator.uniform(*objective.snr_db))
        case = Past(snr_db, int(generator.choice(objective.combs)))
        task = prediction_of(context, (objective.horizon,))
        blocks = aligned_blocks(response[start : start + _PREDICTED_AT_ONCE])
        asked = task.examples(blocks, case, int(generator.integers(2**31)))
        past, mask = asked.observation.values[:, :context], asked.observation.mask[:, :context]
        guesses, noise = mixture_input(candidates, past, mask, objective.horizon)
        future = torch.from_numpy(asked.target[:, context:])
        parts.append((guesses, noise, angle_delay_frames(future, future.shape[4])))
    guesses, noise, future = (torch.cat(part) for part in zip(*parts, strict=True))
    return guesses, noise, future


def sequence_views(
    source: SequenceSource, recipe: PretrainRecipe, step: int, numbers: range, device: torch.device
) -> SequenceBatch:
    """Draw sequences, augmentations, masks and noise of some samples of a step's batch.

    The kind of mask and the window in time are the batch's, all else is each sample's own.
    """
    objective, model = recipe.objective, recipe.predictor
    assert isinstance(objective, SequenceObjective)
    assert isinstance(model, SequenceModel)
    shared = np.random.default_rng((recipe.seed, step, _BATCH))
    kinds = sorted(objective.mask_kinds)
    weights = np.array([objective.mask_kinds[kind] for kind in kinds])
    kind = kinds[shared.choice(len(kinds), p=weights / weights.sum())]
    start = int(shared.integers(source.response.shape[1] - objective.frames + 1))
    generators = [np.random.default_rng((recipe.seed, step, _SAMPLE, number)) for number in numbers]
    chosen = [int(generator.integers(len(source))) for generator in generators]
    window = source.response[chosen, start : start + objective.frames]
    clean = np.stack([_augmented(part, objective, g) for part, g in zip(window, generators, strict=True)])
    channel = torch.from_numpy(clean).to(device)
    received = model.sequence.frames(noisy(channel, objective.snr_db, objective.noiseless, generators))
    target = model.sequence.frames(channel)
    ratio = objective.ratio_at(step / recipe.steps)
    masks = [_masks(kind, (target.shape[1:]), ratio, objective, generator) for generator in generators]
    seen, asked = (torch.from_numpy(np.stack(part)).to(device) for part in zip(*masks, strict=True))
    gains = torch.from_numpy(_gains(objective, generators)).to(device)
    observed, reference = model.sequence.enter(received, seen, gains)
    return SequenceBatch(
        clean=torch.view_as_real(target / reference).contiguous(),
        observed=observed,
        mask=seen,
        asked=asked,
        weight=torch.ones(len(chosen), device=device),
    )


def mixture_views(
    source: MixtureSource, recipe: PretrainRecipe, step: int, numbers: range, device: torch.device
) -> MixtureBatch:
    """Samples ``numbers`` of a step's batch, at a few horizons that the batch shares."""
    chosen = [int(np.random.default_rng((recipe.seed, step, _MIXED, n)).integers(len(source))) for n in numbers]
    shared = np.random.default_rng((recipe.seed, step, _MIXED))
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


def _augmented(sequence: Complex, objective: SequenceObjective, generator: Generator) -> Complex:
    """A sequence [T, row, col, F] as another channel might be."""
    sequence = sequence * np.exp(2j * np.pi * generator.random())
    if objective.mirror:
        rows, cols, backwards, conjugate = generator.random(4) < 0.5
        sequence = sequence[:, ::-1] if rows else sequence
        sequence = sequence[:, :, ::-1] if cols else sequence
        sequence = sequence[::-1] if backwards else sequence
        # delays keep their sign: conj(exp(-j 2 pi f tau)) at -f
        sequence = sequence[..., ::-1].conj() if conjugate else sequence
    return np.ascontiguousarray(sequence, dtype=np.complex64)


def _gains(objective: SequenceObjective, generators: Sequence[Generator]) -> NDArray[np.float32]:
    """Amplitudes float32 [N, 1, 1, 1] by which samples are scaled."""
    gains = [10 ** (objective.amplitude_db * g.uniform(-1, 1) / 20) for g in generators]
    return np.array(gains, np.float32).reshape(-1, 1, 1, 1)


def _masks(
    kind: str, shape: Sequence[int], ratio: float, objective: SequenceObjective, generator: Generator
) -> tuple[Bool, Bool]:
    """What is seen and what is asked for, bool [T, H, W] each; what dropout loses is not seen."""
    grid = (shape[0], *patch_counts(shape[1], shape[2], objective.mask_patch))
    tokens = SEQUENCE_MASKS[kind](generator, grid, ratio) if kind in SEQUENCE_MASKS else np.ones(grid, np.bool_)
    if kind == FUTURE:
        tokens[-objective.horizon :] = False
    wanted = np.ones(grid, np.bool_) if kind == ESTIMATE else ~tokens
    lost = generator.random(grid) < objective.dropout * generator.random()
    lost &= (tokens & ~lost).any()  # never all
    seen, asked = (_entries(part, shape, objective.mask_patch) for part in (tokens & ~lost, wanted))
    return seen, asked


def _entries(tokens: Bool, shape: Sequence[int], patch: tuple[int, int]) -> Bool:
    """A mask of tokens [T, h, w] as one of entries [T, H, W]."""
    return tokens.repeat(patch[0], axis=1).repeat(patch[1], axis=2)[:, : shape[1], : shape[2]]


def aligned_blocks(response: Complex) -> Blocks:
    """Aligned sequences complex64 [N, T, row, col, F], of which nothing else is known, as blocks."""
    _, frames, rows, cols, frequencies = response.shape
    grid = Grid(UPA(rows, cols, NOMINAL_HZ), np.arange(float(frames)), NOMINAL_HZ + np.arange(float(frequencies)))
    return unlabelled(response, grid)


def prediction_of(context: int, horizons: tuple[int, ...], snr_db: tuple[float | None, ...] = (None,)) -> Prediction:
    """The task of predicting sequences that are aligned already."""
    return Prediction(context=context, horizons=horizons, snr_db=snr_db, alignment="clean")
