"""The sets that a benchmark measures: chosen by their labels, and read alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from channelfm.arrays import UPA
from channelfm.benchmarking.recipe import DataRecipe, KeepRecipe, SetRecipe
from channelfm.config import load_recipe
from channelfm.datasets.blocks import Blocks, holds_paths, link_blocks, scene_names, spread
from channelfm.datasets.dataset import Dataset, open_dataset
from channelfm.datasets.generate import generate
from channelfm.datasets.packaged import packaged_folder, packaged_sets
from channelfm.datasets.recipe import DatasetRecipe
from channelfm.datasets.sequences import sequence_blocks
from channelfm.errors import InputError
from channelfm.observation import Bool
from channelfm.records import Channels

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class MeasuredSet:
    """One set: its ``settings``, the ``dataset`` that it is of, the ``teacher``, whose train split is for those who
    learn, and its ``blocks``, single links or sequences of so many ``frames``.

    ``left_out``: snapshots of the split that no path reaches, or sequences with such a frame. ``identity``: a hash of
    data, choice and channels.
    """

    settings: SetRecipe
    dataset: Dataset
    teacher: Dataset
    blocks: Blocks
    frames: int | None
    left_out: int
    identity: str

    @property
    def name(self) -> str:
        """Its name in the tables."""
        return self.settings.name

    @property
    def scenes(self) -> tuple[str, ...]:
        """Names of the scenes that its links are in, in their order."""
        return tuple(dict.fromkeys(self.blocks.scene.tolist()))

    @property
    def shown(self) -> int:
        """The link that stands for the set in figures: a quarter of those in the near field (or of all, if none is) are
        closer to the array, so that the curvature of its waves shows."""
        labels = self.blocks.labels
        candidates = np.flatnonzero(labels.near_field if labels.near_field.any() else np.ones(len(labels), np.bool_))
        return int(candidates[np.argsort(labels.distance_m[candidates], kind="stable")[len(candidates) // 4]])

    def training(self, most: int) -> Blocks:
        """Up to ``most`` links or sequences of the train split, evenly spaced over it; InputError where it has none."""
        if "train" not in self.teacher.splits:
            raise InputError("it learns, and the data set has no link of split 'train'")
        if self.frames is not None:
            blocks, _ = sequence_blocks(self.teacher, "train", self.frames)
            return blocks.select(spread(np.arange(len(blocks)), most))
        kept = _kept(self.teacher.labels("train"), self.settings.learn_keep, "learn_keep")
        numbers = spread(np.flatnonzero(kept), most)
        if not len(numbers):
            raise InputError("it learns, and no link of split 'train' has a path and is kept by 'learn_keep'")
        blocks = link_blocks(self.teacher, "train", numbers, self.settings.array)
        return blocks.select(np.any(blocks.channel != 0, axis=(1, 2, 3, 4)))


def load_set(settings: SetRecipe, frames: int | None, most: int, progress: bool = True) -> MeasuredSet:
    """A set, at most ``most`` links or sequences, evenly spaced over what it keeps; of links nothing else is read.

    Raises InputError where nothing is left, and where a choice by paths or another array is asked of a data set
    that does not store paths.
    """
    dataset = open_set(settings, progress)
    if frames is None:
        numbers, left_out = _chosen(dataset, settings, most)
        blocks = link_blocks(dataset, settings.split, numbers, settings.array)
        seen = np.any(blocks.channel != 0, axis=(1, 2, 3, 4))  # a sub-array may lie in the shadow as a whole
        if not seen.any():
            raise InputError(f"set '{settings.name}': no path reaches the {settings.array} array: enlarge it")
        numbers, blocks = numbers[seen], blocks.select(seen)
    else:
        blocks, left_out = sequence_blocks(dataset, settings.split, frames, settings.scene)
        numbers = spread(np.arange(len(blocks)), most)
        blocks = blocks.select(numbers)
    teacher = dataset if settings.learn_from is None else open_dataset(settings.learn_from)
    identity = _identity(settings, (dataset, teacher), blocks)
    return MeasuredSet(settings, dataset, teacher, blocks, frames, left_out, identity)


def open_set(settings: DataRecipe, progress: bool = True) -> Dataset:
    """The data set of a set: what lies in its folder, else the packaged excerpt of its recipe, else made from it there.

    Raises InputError without the wanted split, and where it cannot be made (a map is missing, say): how to mend that.
    """
    if settings.data_recipe is None:
        dataset = open_dataset(settings.dataset)
    else:
        dataset = _packaged(settings) or generate(settings.data_recipe, settings.dataset, progress=progress)
    if settings.split not in dataset.splits:
        raise InputError(
            f"set '{settings.name}': {settings.dataset} has no split '{settings.split}'; it has: "
            f"{', '.join(dataset.splits)}"
        )
    return dataset


def describe_data(dataset: Dataset) -> str:
    """Which data set was measured: its name, where it lies, and how its hash begins."""
    packaged = dataset.folder == packaged_folder(dataset.name)
    return f"{dataset.name}, {'packaged' if packaged else dataset.folder}, {dataset.manifest.content_hash()[:12]}"


def describe_storage(blocks: Blocks) -> str:
    """What storing paths has cost, such as ", stored to -66.2 dB (worst -48.8)"; nothing where that is not known."""
    errors = blocks.stored_error_db
    if errors is None or not np.isfinite(errors).any():
        return ""
    return f", stored to {np.nanmedian(errors):.1f} dB (worst {np.nanmax(errors):.1f})"


def describe_array(array: UPA) -> str:
    """One line such as "32 x 32 at 7 GHz"."""
    return f"{array.rows} x {array.cols} at {array.carrier_hz / 1e9:g} GHz"


def _identity(settings: SetRecipe, datasets: tuple[Dataset, Dataset], blocks: Blocks) -> str:
    """SHA-256 over the recipe of a set, except for what only names it and where its files lie, and its channels."""
    choice = settings.model_dump_json(exclude={"name", "dataset", "data_recipe", "learn_from"})
    hashes = "".join(dataset.manifest.content_hash() for dataset in datasets)
    digest = hashlib.sha256(f"{hashes}{choice}{blocks.channel.shape}".encode())
    digest.update(np.ascontiguousarray(blocks.channel).tobytes())
    return digest.hexdigest()


def _packaged(settings: DataRecipe) -> Dataset | None:
    """The packaged excerpt of just this recipe with the whole split, unless something lies in the set's own folder."""
    name = str(settings.data_recipe)
    if name not in packaged_sets() or Path(settings.dataset).exists():
        return None
    dataset = open_dataset(packaged_folder(name), verify=True)
    same = dataset.manifest.recipe == load_recipe(DatasetRecipe, name)
    return dataset if same and dataset.manifest.is_whole(settings.split) else None


def _chosen(dataset: Dataset, settings: SetRecipe, most: int) -> tuple[Numbers, int]:
    """Numbers of the snapshots of a split that a set measures, and how many of the split no path reaches."""
    labels, scenes = dataset.labels(settings.split), scene_names(dataset, settings.split)
    keep, where = settings.keep, f"set '{settings.name}'"
    if settings.scene is not None and settings.scene not in scenes:
        raise InputError(
            f"{where}: split '{settings.split}' of {settings.dataset} has no scene '{settings.scene}'; it has: "
            f"{', '.join(dict.fromkeys(scenes.tolist()))}"
        )
    if settings.array is not None and not holds_paths(dataset, settings.split):
        raise InputError(
            f"{where}: {settings.dataset} holds responses, no paths, which 'array' needs; generate it with "
            "-s channel.storage=paths"
        )
    wanted = _kept(labels, keep, f"{where}: keep") & (scenes == settings.scene if settings.scene else True)
    numbers = spread(np.flatnonzero(wanted), most)
    if not len(numbers):
        raise InputError(
            f"{where}: none of the {len(labels)} links of split '{settings.split}' in {settings.dataset} has a path "
            f"and is kept by {keep!r}: loosen 'keep', or choose another split or scene"
        )
    return numbers, int((~labels.has_path).sum())


def _kept(labels: Channels, keep: KeepRecipe, where: str) -> Bool:
    """Which links have a path and are kept, bool [N]; InputError where it asks for paths, whose number is not known."""
    wanted = labels.has_path.copy()
    if keep.line_of_sight is not None:
        wanted &= labels.line_of_sight == keep.line_of_sight
    if keep.near_field is not None:
        wanted &= labels.near_field == keep.near_field
    if keep.more_paths_than is not None:
        if labels.path_count is None:
            raise InputError(f"{where}: the data do not tell how many paths links have: leave out more_paths_than")
        wanted &= labels.path_count > keep.more_paths_than
    return wanted
