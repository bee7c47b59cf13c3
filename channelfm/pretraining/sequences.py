"""Masked modelling of sequences: physics-informed masks, augmentations and the loss (PI-MCM; seed 004, IV-A, IV-B).

One objective trains to reconstruct and to predict: "future" is a kind of mask that hides the last frames.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from channelfm.datasets.dataset import Dataset
from channelfm.datasets.sequences import Sequences, join_sequences, load_sequences
from channelfm.errors import InputError
from channelfm.learned.methods import sequence_predictor_of
from channelfm.metrics import bounded_db, nmse
from channelfm.pretraining.sequence_recipe import ESTIMATE, FUTURE, SequenceObjective
from channelfm.tasks.prediction import SequencePredictor, prediction_examples
from channelfm.tokens.patches import patch_counts
from channelfm.tokens.sequence_masks import SEQUENCE_MASKS

if TYPE_CHECKING:
    from channelfm.pretraining.recipe import PretrainRecipe

Complex = NDArray[np.complex64]
Bool = NDArray[np.bool_]
Generator = np.random.Generator

_BATCH, _SAMPLE = 4, 5  # what a generator is for; other than those of ``batches``
_CONTEXT = 10  # frames of the past in validation


@dataclass(frozen=True)
class SequenceBatch:
    """``clean``, ``observed`` float32 [N, T, H, W, 2] in the network's domain, the latter with noise, and 0 where
    ``mask`` bool [N, T, H, W] (True = observed) is False; ``asked`` bool [N, T, H, W] is what the loss counts;
    ``weight`` float32 [N]."""

    clean: Tensor
    observed: Tensor
    mask: Tensor
    asked: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.clean)


class SequenceSource:
    """Sequences complex64 [N, T, row, col, F] to train on."""

    def __init__(self, response: Complex) -> None:
        self.response = response

    def __len__(self) -> int:
        return len(self.response)

    def fingerprint(self) -> str:
        """SHA-256 over all sequences."""
        return fingerprint_of(self.response)


def fingerprint_of(response: Complex) -> str:
    """SHA-256 over sequences."""
    content = f"{response.shape}".encode() + np.ascontiguousarray(response).tobytes()
    return hashlib.sha256(content).hexdigest()


def objective_of(recipe: PretrainRecipe) -> SequenceObjective:
    """The recipe's objective, which must be this one."""
    objective = recipe.objective
    assert isinstance(objective, SequenceObjective)
    return objective


def check_sequences(source: SequenceSource, recipe: PretrainRecipe) -> None:
    """InputError if the sequences are shorter than the recipe's."""
    needed = objective_of(recipe).frames
    if source.response.shape[1] < needed:
        raise InputError(f"objective.frames = {needed}, but sequences have {source.response.shape[1]} frames")


def sequences_of(datasets: Sequence[Dataset], split: str, frames: int) -> Sequences:
    """The sequences of a split of one or several data sets, in order."""
    return join_sequences([load_sequences(dataset, split, frames) for dataset in datasets])


def split_sequences(datasets: Sequence[Dataset], frames: int) -> tuple[Complex, Complex]:
    """All sequences of the splits "train" and "val" (empty where no data set has one)."""
    training = sequences_of(datasets, "train", frames).response
    with_split = [dataset for dataset in datasets if "val" in dataset.splits]
    return training, sequences_of(with_split, "val", frames).response if with_split else training[:0]


def chosen_sequences(
    recipe: PretrainRecipe, samples: int | None, training: Complex, validation: Complex
) -> tuple[Complex, Complex]:
    """Of sequences, ``samples`` to train on, evenly spaced, or all, and up to ``validation_links`` to validate with."""
    if samples is not None and samples > len(training):
        raise InputError(f"objective.samples = {samples}: there are {len(training)} sequences to train on")
    return _spread(training, samples or len(training)), _spread(validation, recipe.validation_links)


def _spread(sequences: Complex, most: int) -> Complex:
    """At most so many sequences, evenly spaced."""
    return np.asarray(sequences[np.linspace(0, len(sequences) - 1, min(len(sequences), most)).round().astype(int)])


def draw_sequences(
    source: SequenceSource, recipe: PretrainRecipe, step: int, numbers: range, device: torch.device
) -> SequenceBatch:
    """Draw sequences, augmentations, masks and noise of some samples of a step's batch.

    The kind of mask and the window in time are the batch's, all else is each sample's own.
    """
    objective, domain = objective_of(recipe), recipe.predictor.sequence
    shared = np.random.default_rng((recipe.seed, step, _BATCH))
    kinds = sorted(objective.mask_kinds)
    weights = np.array([objective.mask_kinds[kind] for kind in kinds])
    kind = kinds[shared.choice(len(kinds), p=weights / weights.sum())]
    start = int(shared.integers(source.response.shape[1] - objective.frames + 1))
    generators = [np.random.default_rng((recipe.seed, step, _SAMPLE, number)) for number in numbers]
    chosen = [int(generator.integers(len(source))) for generator in generators]
    window = source.response[chosen, start : start + objective.frames]
    clean = np.stack([_augmented(part, objective, g) for part, g in zip(window, generators, strict=True)])
    noisy = np.stack([_noisy(part, objective, g) for part, g in zip(clean, generators, strict=True)])
    target, received = (domain.frames(torch.from_numpy(part).to(device)) for part in (clean, noisy))
    ratio = objective.ratio_at(step / recipe.steps)
    masks = [_masks(kind, (target.shape[1:]), ratio, objective, generator) for generator in generators]
    seen, asked = (torch.from_numpy(np.stack(part)).to(device) for part in zip(*masks, strict=True))
    reference = domain.reference(received, seen) / torch.from_numpy(_gains(objective, generators)).to(device)
    return SequenceBatch(
        clean=torch.view_as_real(target / reference).contiguous(),
        observed=torch.view_as_real(torch.where(seen, received / reference, 0)).contiguous(),
        mask=seen,
        asked=asked,
        weight=torch.ones(len(chosen), device=device),
    )


def sequence_loss(network: nn.Module, recipe: PretrainRecipe, batch: SequenceBatch) -> Tensor:
    """Relative error of what is asked for, a scalar: of each token (eq. 12), of each sample, or its logarithm."""
    if batch.clean.is_meta:
        raise NotImplementedError("sparse attention has no count of operations")
    objective = objective_of(recipe)
    answer = recipe.predictor.sequence.ask(network, batch.observed, batch.mask)
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
    return (relative * batch.weight).mean()


def validate_sequences(network: nn.Module, recipe: PretrainRecipe, sequences: Complex) -> dict[str, float]:
    """NMSE in dB (of the linear mean) of predictions 1 and 8 frames ahead, of clean pasts and of such at 10 dB."""
    if not len(sequences):
        return {}
    objective = objective_of(recipe)
    horizon = min(objective.horizon, sequences.shape[1] - 1)
    context = min(_CONTEXT, sequences.shape[1] - horizon)
    return score_prediction(sequence_predictor_of(network, recipe.predictor), sequences, context, horizon, recipe.seed)


def score_prediction(
    predictor: SequencePredictor, sequences: Complex, context: int, horizon: int, seed: int
) -> dict[str, float]:
    """NMSE in dB (of the linear mean) of predictions 1 and ``horizon`` frames ahead, of clean pasts and at 10 dB."""
    scores = {}
    for label, snr_db in (("clean", None), ("10 dB", 10.0)):
        case = prediction_examples(sequences, context, horizon, 1, snr_db, seed)
        predicted = predictor.predict(case.past, case.mask, horizon)
        for ahead in sorted({1, horizon}):
            errors = nmse(predicted[:, ahead - 1], case.future[:, ahead - 1])
            scores[f"{label}, {ahead} ahead"] = round(bounded_db(errors.mean()), 3)
    return scores


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


def _noisy(sequence: Complex, objective: SequenceObjective, generator: Generator) -> Complex:
    if objective.snr_db is None:
        return sequence
    ratio_db = generator.uniform(*objective.snr_db)
    sigma = 10 ** (-ratio_db / 20) * (generator.random() >= objective.noiseless)
    parts = generator.standard_normal((*sequence.shape, 2), dtype=np.float32)
    scale = sigma * np.sqrt(np.mean(np.abs(sequence) ** 2) / 2)
    return np.asarray(sequence + scale * (parts[..., 0] + 1j * parts[..., 1]), dtype=np.complex64)


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


def _over_patches(values: Tensor, patch: tuple[int, int]) -> Tensor:
    """Sums [N, T, h, w] over patches of values [N, T, H, W]; what does not fill a patch counts as one."""
    pooled = torch.nn.functional.avg_pool2d(
        values.float(), patch, ceil_mode=True, count_include_pad=False, divisor_override=1
    )
    return pooled
