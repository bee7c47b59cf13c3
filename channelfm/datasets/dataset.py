"""Reading a data set: splits, records, single samples, verification."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from channelfm.arrays import UPA
from channelfm.channels.compact import CompactPaths
from channelfm.datasets.manifest import Manifest, SceneEntry
from channelfm.datasets.packaged import dataset_folder, packaged_sets
from channelfm.datasets.samples import Samples
from channelfm.datasets.shards import ShardEntry
from channelfm.datasets.storage import PathChannels, labels_only, load_shard, restored
from channelfm.errors import InputError
from channelfm.records import Channels, Scene, Trajectory


def open_dataset(path: str | Path, verify: bool = False) -> Dataset:
    """Open a finished data set: the one in a folder, or a packaged one by its name ("laetwin-dev").

    Checks the manifest's seal and that every file has its size; the hash of a file is compared when it is first read,
    that of all with ``verify``. Raises InputError where there is no (finished) data set, and IntegrityError, naming the
    file, where one is broken, as reading does.
    """
    folder = dataset_folder(path)
    if not folder.exists():
        packaged = ", ".join(packaged_sets()) or "none in this version"
        raise InputError(f"{path}: no data set there; make one with 'channelfm generate', or name one of: {packaged}")
    dataset = Dataset(folder, Manifest.load(folder))
    for shard in dataset.manifest.shards:
        shard.check_size(folder)
    if verify:
        dataset.verify()
    return dataset


@dataclass(frozen=True)
class Dataset:
    """A finished data set on disk; ``len`` is its number of snapshots over all splits."""

    folder: Path
    manifest: Manifest

    def __len__(self) -> int:
        return sum(shard.snapshots for shard in self.manifest.shards)

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.manifest.recipe.name

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits: some of "train", "val", "test"."""
        return self.manifest.splits

    @property
    def scenes(self) -> tuple[str, ...]:
        """Names of the scenes."""
        return tuple(scene.name for scene in self.manifest.scenes)

    def load(self, split: str, scene: str | None = None) -> Channels:
        """All snapshots of a split (of one scene, if named), in the recipe's order, in memory.

        Whatever the form they are stored in, the response is complex64 at the recipe's frequencies. Raises InputError
        for an unknown split or scene, IntegrityError for a broken shard.
        """
        return concatenate([self._channels(shard) for shard in self._shards(split, scene)])

    def labels(self, split: str, scene: str | None = None) -> Channels:
        """What ``load`` returns without the responses (their antenna axis is empty): positions, flags and the like."""
        return concatenate([self._labels(shard) for shard in self._shards(split, scene)])

    def paths(self, split: str, scene: str | None = None) -> list[tuple[UPA, CompactPaths]]:
        """The compact paths of a split, shard by shard, each with the array that it was traced for.

        Raises InputError where a data set does not store paths.
        """
        stored = [(shard, self._stored(shard)) for shard in self._shards(split, scene)]
        found = [
            (self.array(shard.scene, shard.station), record.paths)
            for shard, record in stored
            if isinstance(record, PathChannels)
        ]
        if len(found) < len(stored):
            raise InputError(f"{self.folder}: holds responses, no paths; generate it with -s channel.storage=paths")
        return found

    def samples(self, split: str) -> Samples:
        """Random access to the responses of a split without reading the rest."""
        shards = self._shards(split, None)
        return Samples(self.folder, shards, [self.array(shard.scene, shard.station) for shard in shards])

    def scene(self, name: str | None = None) -> Scene:
        """The 3-D scene, by name; without a name, the only (or first) one. InputError where there is none."""
        entry = self._scene_entry(name)
        if entry.record is None:
            why = "stochastic, imported, or left out of a packaged data set"
            raise InputError(f"{self.folder}: '{entry.name}' is a name without a 3-D scene ({why})")
        entry.record.check_once(self.folder)
        return Scene.load(self.folder / entry.record.file)

    def array(self, scene: str | None = None, station: str | None = None) -> UPA:
        """The array as it stands in a scene, at a station; without names, in the only (or first) one."""
        arrays = self._scene_entry(scene).arrays
        name = next(iter(arrays), None) if station is None else station
        if name is None or name not in arrays:
            raise InputError(f"{self.folder}: no station '{name}'; it has: {', '.join(arrays) or 'none'}")
        return arrays[name]

    def trajectory(self, split: str, scene: str | None = None) -> Trajectory:
        """The movement behind a split, rebuilt from the labels of its snapshots."""
        channels = self.load(split, scene)
        return Trajectory(
            times_s=channels.times_s,
            positions_m=channels.positions_m,
            velocities_mps=channels.velocities_mps,
            track=channels.track,
            kind="recorded",
        )

    def verify(self) -> None:
        """Compare the hash of every file with the manifest; IntegrityError names the first that differs."""
        records = [scene.record for scene in self.manifest.scenes if scene.record is not None]
        for entry in (*records, *self.manifest.shards):
            entry.check(self.folder)

    def _stored(self, shard: ShardEntry) -> Channels:
        return load_shard(self.folder, shard, self.array(shard.scene, shard.station))

    def _labels(self, shard: ShardEntry) -> Channels:
        return labels_only(load_shard(self.folder, shard, self.array(shard.scene, shard.station), labels=True))

    def _channels(self, shard: ShardEntry) -> Channels:
        return restored(self._stored(shard), self.array(shard.scene, shard.station))

    def _shards(self, split: str, scene: str | None) -> list[ShardEntry]:
        if split not in self.splits:
            raise InputError(f"{self.folder}: no split '{split}'; it has: {', '.join(self.splits)}")
        wanted = None if scene is None else self._scene_entry(scene).name
        shards = [shard for shard in self.manifest.shards if shard.split == split and wanted in (None, shard.scene)]
        if not shards:
            raise InputError(f"{self.folder}: split '{split}' has no snapshot in scene '{scene}'")
        return shards

    def _scene_entry(self, name: str | None) -> SceneEntry:
        for entry in self.manifest.scenes:
            if name in (None, entry.name):
                return entry
        raise InputError(f"{self.folder}: no scene '{name}'; it has: {', '.join(self.scenes)}")


def concatenate(parts: Sequence[Channels]) -> Channels:
    """Several records of the same array size and frequencies as one, in order; InputError if they do not fit.

    ``path_count`` is known where it is of all of them.
    """
    if not parts:
        raise InputError("nothing to concatenate: give at least one Channels record")
    first = parts[0]
    for part in parts[1:]:
        if (part.rows, part.cols, part.carrier_hz, part.spacing_wavelengths) != (
            first.rows,
            first.cols,
            first.carrier_hz,
            first.spacing_wavelengths,
        ) or not np.array_equal(part.frequencies_hz, first.frequencies_hz):
            raise InputError("channels of different arrays or frequencies do not concatenate; load them one by one")
    joined: dict[str, Any] = {
        item.name: np.concatenate([getattr(part, item.name) for part in parts])
        for item in dataclasses.fields(first)
        if all(isinstance(getattr(part, item.name), np.ndarray) for part in parts) and item.name != "frequencies_hz"
    }
    return dataclasses.replace(first, **{"path_count": None} | joined)
