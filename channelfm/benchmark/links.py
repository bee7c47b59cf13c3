"""The links that a benchmark measures: chosen by their labels, read alone, grouped for the tables."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from channelfm.arrays import UPA
from channelfm.benchmark.recipe import DataRecipe, KeepRecipe, SetRecipe
from channelfm.channels.compact import expand
from channelfm.config import load_recipe
from channelfm.datasets import Dataset, DatasetRecipe, open_dataset
from channelfm.datasets.generate import generate
from channelfm.datasets.packaged import packaged_folder, packaged_sets
from channelfm.errors import InputError
from channelfm.records import Channels

MANY_PATHS = 6  # a link with more of them counts as rich

Bool = NDArray[np.bool_]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Links:
    """Links of one set.

    ``channels``: their responses and labels, of ``array``, the one measured (at the place of the first link's scene).
    ``path_count`` [N]: paths of each, and ``stored_error_db`` float64 [N]: what storing paths has cost over the stored
    array (NaN where that is not known); both None where the data set does not store paths. ``left_out``: snapshots of
    the split that no path reaches. ``identity``: a hash of all that the numbers depend on: data, choice, array.
    """

    name: str
    split: str
    dataset: Dataset
    scenes: tuple[str, ...]
    channels: Channels
    path_count: Numbers | None
    stored_error_db: NDArray[np.float64] | None
    array: UPA
    left_out: int
    identity: str

    def groups(self) -> dict[str, Bool]:
        """Which links belong to which group of the tables, bool [N] each; groups without any link are left out.

        "few" and "rich" have up to and more than ``MANY_PATHS`` paths (and are missing where paths are not known).
        """
        sight = {"los": self.channels.line_of_sight, "nlos": ~self.channels.line_of_sight}
        found = {
            "all": np.ones(len(self.channels), np.bool_),
            "near": self.channels.near_field,
            "far": ~self.channels.near_field,
            **sight,
        }
        if self.path_count is not None:
            richness = {"few": self.path_count <= MANY_PATHS, "rich": self.path_count > MANY_PATHS}
            found |= richness
            found |= {f"{a}-{b}": sight[a] & richness[b] for a in sight for b in richness}
        return {name: members for name, members in found.items() if members.any()}

    @property
    def shown(self) -> int:
        """The link that stands for the set in figures: see :func:`typical_link`."""
        return typical_link(self.channels)


def typical_link(channels: Channels) -> int:
    """Number of a snapshot for figures: a quarter of the near-field ones with a path (or of all with a path, if none is
    near) are closer to the array, so that the curvature of its waves shows."""
    near = channels.near_field & channels.has_path
    candidates = np.flatnonzero(near if near.any() else channels.has_path)
    return int(candidates[np.argsort(channels.distance_m[candidates], kind="stable")[len(candidates) // 4]])


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


def _packaged(settings: DataRecipe) -> Dataset | None:
    """The packaged excerpt of just this recipe with the whole split, unless something lies in the set's own folder."""
    name = str(settings.data_recipe)
    if name not in packaged_sets() or Path(settings.dataset).exists():
        return None
    dataset = open_dataset(packaged_folder(name), verify=True)
    same = dataset.manifest.recipe == load_recipe(DatasetRecipe, name)
    return dataset if same and dataset.manifest.is_whole(settings.split) else None


def describe_data(dataset: Dataset) -> str:
    """Which data set was measured: its name, where it lies, and how its hash begins."""
    packaged = dataset.folder == packaged_folder(dataset.name)
    return f"{dataset.name}, {'packaged' if packaged else dataset.folder}, {dataset.manifest.content_hash()[:12]}"


def load_links(settings: SetRecipe, max_samples: int, progress: bool = True) -> Links:
    """The links of a set, at most ``max_samples``, evenly spaced over what it keeps; nothing else is read.

    Raises InputError where nothing is left, and where a choice by paths or another array is asked of a data set
    that does not store paths.
    """
    dataset = open_set(settings, progress)
    labels, paths, scenes = _labels(dataset, settings)
    counts, errors = (None, None) if paths is None else paths
    wanted = labels.has_path & ((scenes == settings.scene) if settings.scene else True)
    numbers = spread(np.flatnonzero(wanted & _kept(settings, labels, counts)), max_samples)
    if not len(numbers):
        raise InputError(
            f"set '{settings.name}': none of the {len(labels)} links of split '{settings.split}' in {settings.dataset} "
            f"has a path and is kept by {settings.keep!r}: loosen 'keep', or choose another split or scene"
        )
    array = _measured_array(dataset, str(scenes[numbers[0]]), settings.array)
    channels = read_channels(dataset, settings.split, numbers, labels.select(numbers), settings.array)
    seen = np.any(channels.response != 0, axis=(1, 2))  # a sub-array may lie in the shadow as a whole
    if not seen.any():
        raise InputError(f"set '{settings.name}': no path reaches the {array.rows} x {array.cols} array: enlarge it")
    # The whole recipe of the set, except for what only names it and where its files lie.
    choice = settings.model_dump(mode="json", exclude={"name", "dataset", "data_recipe"})
    known = {"data": dataset.manifest.content_hash(), "choice": choice, "numbers": numbers[seen].tolist()}
    return Links(
        name=settings.name,
        split=settings.split,
        dataset=dataset,
        scenes=tuple(dict.fromkeys(scenes[numbers[seen]].tolist())),
        channels=channels.select(seen),
        path_count=None if counts is None else counts[numbers[seen]],
        stored_error_db=None if errors is None else errors[numbers[seen]],
        array=array,
        left_out=int((~labels.has_path).sum()),
        identity=hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest(),
    )


def read_channels(
    dataset: Dataset, split: str, numbers: Numbers, labels: Channels, array: tuple[int, int] | None
) -> Channels:
    """Channels of the snapshots ``numbers`` of a split with their ``labels``, of the stored array or of a sub-array."""
    if array is None:
        return dataclasses.replace(labels, response=dataset.samples(split).batch(numbers))
    parts = dataset.paths(split)
    first = np.concatenate([[0], np.cumsum([len(paths) for _, paths in parts])])
    shards = np.searchsorted(first, numbers, side="right") - 1
    smaller = [dataclasses.replace(traced, rows=array[0], cols=array[1]) for traced, _ in parts]
    response = np.zeros((len(numbers), smaller[0].num_antennas, len(labels.frequencies_hz)), np.complex64)
    for shard in np.unique(shards):
        places = np.flatnonzero(shards == shard)
        wanted = numbers[places] - first[shard]
        response[places] = expand(parts[shard][1], smaller[shard], labels.frequencies_hz, wanted).numpy()
    # One Rayleigh distance holds for all: arrays of a data set differ in place and orientation alone.
    near = labels.distance_m < smaller[0].rayleigh_distance_m
    return dataclasses.replace(labels, response=response, rows=array[0], cols=array[1], near_field=near)


def training_channels(links: Links, array: tuple[int, int] | None, samples: int) -> NDArray[np.complex64]:
    """Up to ``samples`` channels complex64 [N, rows, cols, F] of the train split, evenly spaced over it.

    None (N = 0) where the data set has no such split, or no path in it.
    """
    if "train" not in links.dataset.splits:
        return links.channels.grid[:0]
    labels = links.dataset.labels("train")
    numbers = spread(np.flatnonzero(labels.has_path), samples)
    if not len(numbers):
        return links.channels.grid[:0]
    return read_channels(links.dataset, "train", numbers, labels.select(numbers), array).grid


def spread(numbers: Numbers, most: int) -> Numbers:
    """At most ``most`` of some numbers, evenly spaced."""
    if len(numbers) <= most:
        return numbers
    return np.asarray(numbers[np.linspace(0, len(numbers) - 1, most).round().astype(int)])


def describe_storage(links: Links) -> str:
    """What storing paths has cost, such as ", stored to -66.2 dB (worst -48.8)"; nothing where that is not known."""
    if links.stored_error_db is None or not np.isfinite(links.stored_error_db).any():
        return ""
    return f", stored to {np.nanmedian(links.stored_error_db):.1f} dB (worst {np.nanmax(links.stored_error_db):.1f})"


def describe_array(array: UPA) -> str:
    """One line such as "32 x 32 at 7 GHz"."""
    return f"{array.rows} x {array.cols} at {array.carrier_hz / 1e9:g} GHz"


def _labels(
    dataset: Dataset, settings: SetRecipe
) -> tuple[Channels, tuple[Numbers, NDArray[np.float64]] | None, NDArray[np.str_]]:
    """Labels of a whole split; number of paths of each snapshot and error of storing them (None where responses are
    stored); its scene."""
    labels = dataset.labels(settings.split)
    shards = [shard for shard in dataset.manifest.shards if shard.split == settings.split]
    scenes = np.repeat([shard.scene for shard in shards], [shard.snapshots for shard in shards])
    if settings.scene is not None and settings.scene not in scenes:
        raise InputError(
            f"set '{settings.name}': split '{settings.split}' of {settings.dataset} has no scene '{settings.scene}'; "
            f"it has: {', '.join(dict.fromkeys(scenes.tolist()))}"
        )
    stored = all(shard.form == "PathChannels" for shard in shards)
    if not stored and (settings.array is not None or settings.keep.more_paths_than is not None):
        raise InputError(
            f"set '{settings.name}': {settings.dataset} holds responses, no paths, which 'array' and "
            "'keep.more_paths_than' need; generate it with -s channel.storage=paths"
        )
    if not stored:
        return labels, None, scenes
    paths = [paths for _, paths in dataset.paths(settings.split)]
    counts = np.concatenate([part.path_count for part in paths]).astype(np.int64)
    return labels, (counts, np.concatenate([part.error_db for part in paths]).astype(np.float64)), scenes


def _kept(settings: SetRecipe, labels: Channels, counts: Numbers | None) -> Bool:
    keep: KeepRecipe = settings.keep
    kept = np.ones(len(labels), np.bool_)
    if keep.line_of_sight is not None:
        kept &= labels.line_of_sight == keep.line_of_sight
    if keep.more_paths_than is not None and counts is not None:
        kept &= counts > keep.more_paths_than
    return kept


def _measured_array(dataset: Dataset, scene: str, size: tuple[int, int] | None) -> UPA:
    stored = dataset.array(scene)
    return stored if size is None else dataclasses.replace(stored, rows=size[0], cols=size[1])
