"""From data sets on disk to a source of training channels and a fixed set for validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from channelfm.datasets.blocks import holds_paths, join_blocks, link_blocks, spread
from channelfm.datasets.dataset import Dataset
from channelfm.datasets.sequences import aligned, sequence_blocks
from channelfm.errors import InputError
from channelfm.observation import Complex
from channelfm.pretraining.recipe import OF_WHOLE_CHANNELS, MixtureObjective, PretrainRecipe, SequenceObjective
from channelfm.pretraining.sequence_views import MixtureSource
from channelfm.pretraining.source import (
    ArraySource,
    PathSource,
    SequenceSource,
    Source,
    TrainingSource,
    View,
    WholeSource,
    spread_evenly,
)

TRAIN, VALIDATION = "train", "val"


def training_data(recipe: PretrainRecipe, datasets: Sequence[Dataset]) -> tuple[TrainingSource, Complex]:
    """What a recipe trains on, and what it is validated with."""
    if isinstance(recipe.objective, SequenceObjective | MixtureObjective):
        return sequence_data(recipe, *split_sequences(datasets, recipe.objective.frames))
    if isinstance(recipe.objective, OF_WHOLE_CHANNELS):
        return whole_source(datasets), np.zeros((0, 1, 1, 1), np.complex64)
    return source_of(datasets), validation_grid(datasets, recipe.validation_links)


def split_sequences(datasets: Sequence[Dataset], frames: int) -> tuple[Complex, Complex]:
    """All sequences complex64 [N, T, row, col, F] of the splits "train" and "val" (empty where no data set has one)."""
    training = _sequences(datasets, TRAIN, frames)
    with_split = [dataset for dataset in datasets if VALIDATION in dataset.splits]
    return training, _sequences(with_split, VALIDATION, frames) if with_split else training[:0]


def sequence_data(recipe: PretrainRecipe, training: Complex, validation: Complex) -> tuple[TrainingSource, Complex]:
    """What a recipe of sequences trains on and is validated with, of all sequences complex64 [N, T, row, col, F]:
    ``objective.samples`` of them, evenly spaced, or all; and up to ``validation_links``."""
    objective = recipe.objective
    assert isinstance(objective, SequenceObjective | MixtureObjective)
    samples = objective.samples or len(training)
    if samples > len(training):
        raise InputError(f"objective.samples = {samples}: there are {len(training)} sequences to train on")
    training, validation = spread_evenly(training, samples), spread_evenly(validation, recipe.validation_links)
    if isinstance(objective, MixtureObjective):
        return MixtureSource(recipe, training), validation
    return SequenceSource(training), validation


def source_of(datasets: Sequence[Dataset], split: str = TRAIN) -> Source:
    """The links of a split of one or several data sets: their paths where all store paths, else their channels.

    Raises InputError for a data set without the split, for channels of different arrays, and where no link has a path.
    """
    if all(holds_paths(dataset, split) for dataset in datasets):
        return PathSource([part for dataset in datasets for part in dataset.paths(split)])
    return ArraySource(join_blocks([link_blocks(dataset, split) for dataset in datasets]).channel[:, 0])


def whole_source(datasets: Sequence[Dataset]) -> WholeSource:
    """The links of the split "train" of one or several data sets, with all subcarriers, each polarisation a link of its
    own. Raises what :func:`source_of` does."""
    blocks = join_blocks([link_blocks(dataset, TRAIN) for dataset in datasets])
    array, channels = blocks.grid.array, blocks.channel[:, 0]
    channels = np.concatenate(np.split(channels, array.num_polarizations, axis=3))
    tones = blocks.grid.frequencies_hz[: channels.shape[3]]
    return WholeSource(channels, tones - array.carrier_hz, array.spacing_wavelengths)


def validation_grid(datasets: Sequence[Dataset], count: int) -> Complex:
    """At most ``count`` links of the split "val", evenly spaced over the data sets that have it, as the largest array
    that fits all sees them: complex64 [N, rows, cols, 1]. Empty without such a split, or a path in it."""
    with_split = [dataset for dataset in datasets if VALIDATION in dataset.splits]
    try:
        source = source_of(with_split, VALIDATION) if with_split else None
    except InputError:  # no link of it has a path
        source = None
    if source is None:
        return np.zeros((0, 1, 1, 1), np.complex64)
    links = spread(np.arange(len(source)), count)
    view = View(source.size, (0.5, 0.5))
    return source.channels(links, view, np.zeros(len(links)), torch.device("cpu")).numpy()[..., None]


def _sequences(datasets: Sequence[Dataset], split: str, frames: int) -> Complex:
    """The sequences of a split of one or several data sets, in order, aligned in delay."""
    blocks = join_blocks([sequence_blocks(dataset, split, frames)[0] for dataset in datasets])
    return aligned(blocks.channel, blocks.grid.frequencies_hz)
