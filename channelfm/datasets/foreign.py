"""Channels that were not generated here, in the same form as those that were."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from channelfm.arrays import UPA
from channelfm.datasets.card import write_card
from channelfm.datasets.claim import claim_folder, library_versions
from channelfm.datasets.dataset import Dataset, open_dataset
from channelfm.datasets.manifest import Manifest, SceneEntry
from channelfm.datasets.recipe import ForeignRecipe
from channelfm.datasets.shards import FileEntry, ShardEntry, store_record, write_shard
from channelfm.errors import InputError
from channelfm.records import Channels, Scene

LARGEST_LABEL = 1e10  # m, m/s and s


@dataclass(frozen=True)
class Part:
    """Channels that belong together: a split, a scene (its record, if there is one), one or many tracks."""

    split: Literal["train", "val", "test"]
    scene: str
    flight: str
    channels: Channels
    scene_record: Scene | None = None


def store_foreign(out: str | Path, recipe: ForeignRecipe, parts: Sequence[Part], array: UPA) -> Dataset:
    """Store imported channels as a data set in a new or empty folder; every track of a part becomes one shard.

    Raises InputError if the folder holds anything else, without any snapshot, or for channels of another array.
    """
    folder = Path(out)
    _check(parts, array)
    identity, versions = recipe.content_hash(), library_versions()
    claim_folder(folder, recipe, identity, versions)
    shards: list[ShardEntry] = []
    for part in parts:
        for track in np.unique(part.channels.track):
            own = part.channels.select(part.channels.track == track)
            own = dataclasses.replace(own, track=np.full(len(own), len(shards), np.int32))
            unit = f"{part.scene}--{part.flight}--{len(shards):04d}"
            entry = write_shard(
                folder, own, unit=unit, split=part.split, scene=part.scene, flight=part.flight, method="imported"
            )
            shards.append(entry)
    scenes = []
    for name in dict.fromkeys(part.scene for part in parts):
        scenes.append(SceneEntry(name, _stored_scene(folder, name, parts), {"bs": array}, recipe.attribution))
    Manifest(recipe, identity, versions, tuple(scenes), tuple(shards)).save(folder)
    dataset = open_dataset(folder)
    write_card(dataset)
    return dataset


def _stored_scene(folder: Path, name: str, parts: Sequence[Part]) -> FileEntry | None:
    for part in parts:
        if part.scene == name and part.scene_record is not None:
            return store_record(folder, f"scenes/{name}.safetensors", part.scene_record)
    return None


def _check(parts: Sequence[Part], array: UPA) -> None:
    if not any(len(part.channels) for part in parts):
        raise InputError("nothing to store: the imported channels hold no snapshot")
    for part in parts:
        for name in ("positions_m", "velocities_mps", "times_s", "distance_m"):
            values = getattr(part.channels, name)
            if (np.abs(values[np.isfinite(values)]) > LARGEST_LABEL).any():
                raise InputError(f"{name}: beyond {LARGEST_LABEL:.0e}, which is no place on Earth; give it in m and s")
        if part.channels.response.shape[1] != array.num_antennas:
            raise InputError(
                f"channels of {part.channels.response.shape[1]} antennas do not fit an array of {array.num_antennas}: "
                "give rows, cols and polarisation of the array they belong to"
            )
