"""Networks tuned on shares of the training sequences, each trained once and kept."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from pathlib import Path

from channelfm.benchmarking.entries import Entry, find_entry
from channelfm.benchmarking.recipe import TuningRecipe
from channelfm.benchmarking.sets import open_set
from channelfm.config import load_recipe
from channelfm.errors import InputError
from channelfm.pretraining.data import sequence_data, split_sequences
from channelfm.pretraining.loop import pretrain_from
from channelfm.pretraining.recipe import MixtureObjective, PretrainRecipe, SequenceObjective


def tuned_networks(tuning: TuningRecipe, folder: Path, progress: bool = True) -> list[Entry]:
    """All networks of a ``tuning`` on its data sets, trained where they are not there yet; 0 % is where they start.

    Raises InputError for a recipe without ``start_from`` and for a data set without a split "train".
    """
    found: list[Entry] = []
    datasets = {item.name: open_set(item, progress) for item in tuning.sets}
    loaded = cache(lambda name, frames: split_sequences([datasets[name]], frames))
    for source in tuning.recipes:
        plain = load_recipe(PretrainRecipe, source)
        if plain.start_from is None:
            raise InputError(f"tuning.recipes: '{source}' has no start_from: name the checkpoint that is tuned")
        for name in datasets:
            sequences = loaded(name, _objective(plain).frames)
            for percent in tuning.percent:
                if percent == 0:
                    checkpoint = plain.start_from
                else:
                    samples = max(1, round(len(sequences[0]) * percent / 100))
                    recipe = _few(plain, samples)
                    data = datasets[name].manifest.content_hash()
                    key = hashlib.sha256((recipe.identity() + data).encode()).hexdigest()[:8]
                    out = folder / f"{plain.predictor.name}--{name}--{percent:g}--{key}"
                    checkpoint = str(pretrain_from(recipe, *sequence_data(recipe, *sequences), out))
                row = f"{plain.predictor.name} + {percent:g} % {name}"
                found.append(replace(find_entry(checkpoint), name=row, tuned=(name, percent)))
    return found


def _few(recipe: PretrainRecipe, samples: int) -> PretrainRecipe:
    """The recipe on so many sequences only."""
    objective = _objective(recipe).model_copy(update={"samples": samples})
    return recipe.model_copy(update={"objective": objective})


def _objective(recipe: PretrainRecipe) -> SequenceObjective | MixtureObjective:
    """The recipe's objective; InputError where it does not train on sequences."""
    if not isinstance(recipe.objective, SequenceObjective | MixtureObjective):
        raise InputError(f"objective.kind {recipe.objective.kind} does not train on sequences: tune another recipe")
    return recipe.objective
