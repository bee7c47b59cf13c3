"""From data sets on disk to a source of training channels and a fixed set for validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from channelfm.datasets.dataset import Dataset, concatenate
from channelfm.datasets.storage import PathChannels
from channelfm.errors import InputError
from channelfm.pretraining.mixture import MixtureSource
from channelfm.pretraining.recipe import PretrainRecipe
from channelfm.pretraining.sequence_recipe import MixtureObjective, SequenceObjective
from channelfm.pretraining.sequences import SequenceSource, chosen_sequences, split_sequences
from channelfm.pretraining.source import ArraySource, PathSource, Source, TrainingSource, View

TRAIN, VALIDATION = "train", "val"


def training_data(recipe: PretrainRecipe, datasets: Sequence[Dataset]) -> tuple[TrainingSource, NDArray[np.complex64]]:
    """What a recipe trains on, and what it is validated with."""
    if isinstance(recipe.objective, SequenceObjective | MixtureObjective):
        return sequence_data(recipe, *split_sequences(datasets, recipe.objective.frames))
    return source_of(datasets), validation_grid(datasets, recipe.validation_links)


def sequence_data(
    recipe: PretrainRecipe, training: NDArray[np.complex64], validation: NDArray[np.complex64]
) -> tuple[TrainingSource, NDArray[np.complex64]]:
    """What a recipe of sequences trains on and is validated with, of all sequences complex64 [N, T, row, col, F]."""
    objective = recipe.objective
    assert isinstance(objective, SequenceObjective | MixtureObjective)
    training, validation = chosen_sequences(recipe, objective.samples, training, validation)
    if isinstance(objective, MixtureObjective):
        return MixtureSource(recipe, training), validation
    return SequenceSource(training), validation


def source_of(datasets: Sequence[Dataset], split: str = TRAIN) -> Source:
    """The links of a split of one or several data sets: their paths where all store paths, else their channels.

    Raises InputError for a data set without the split, for channels of different arrays, and where no link has a path.
    """
    if all(_holds_paths(dataset, split) for dataset in datasets):
        return PathSource([part for dataset in datasets for part in dataset.paths(split)])
    return ArraySource(concatenate([dataset.load(split) for dataset in datasets]).grid)


def validation_grid(datasets: Sequence[Dataset], count: int) -> NDArray[np.complex64]:
    """At most ``count`` links of the split "val", evenly spaced over the data sets that have it, as the largest array
    that fits all sees them: complex64 [N, rows, cols, 1]. Empty without such a split, or a path in it."""
    with_split = [dataset for dataset in datasets if VALIDATION in dataset.splits]
    try:
        source = source_of(with_split, VALIDATION) if with_split else None
    except InputError:  # no link of it has a path
        source = None
    if source is None:
        return np.zeros((0, 1, 1, 1), np.complex64)
    number = min(count, len(source))
    links = np.linspace(0, len(source) - 1, number).round().astype(np.int64)
    view = View(source.size, (0.5, 0.5))
    return source.channels(links, view, np.zeros(number), torch.device("cpu")).numpy()[..., None]


def _holds_paths(dataset: Dataset, split: str) -> bool:
    return all(shard.form == PathChannels.__name__ for shard in dataset.manifest.shards if shard.split == split)
