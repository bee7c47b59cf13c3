"""Reading a data set: splits, records, single samples, verification."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from channelfm.arrays import UPA
from channelfm.datasets.manifest import Manifest, SceneEntry
from channelfm.datasets.shards import ShardEntry
from channelfm.errors import InputError
from channelfm.records import Channels, Scene, Trajectory


def open_dataset(path: str | Path, verify: bool = False) -> Dataset:
    """Open a finished data set.

    Checks the manifest's seal and that every file has its size; ``verify`` also compares every hash. Raises InputError
    where there is no (finished) data set, and IntegrityError, naming the file, where one is broken.
    """
    folder = Path(path)
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

        Raises InputError for an unknown split or scene, IntegrityError for a broken shard.
        """
        shards = self._shards(split, scene)
        return concatenate([Channels.load(self.folder / shard.file) for shard in shards])

    def samples(self, split: str) -> Samples:
        """Random access to the responses of a split without reading the rest."""
        return Samples(self.folder, self._shards(split, None))

    def scene(self, name: str | None = None) -> Scene:
        """The 3-D scene, by name; without a name, the only (or first) one."""
        return Scene.load(self.folder / self._scene_entry(name).record.file)

    def array(self, scene: str | None = None) -> UPA:
        """The array as it stands in a scene; without a name, in the only (or first) one."""
        return self._scene_entry(scene).array

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
        for entry in (*(scene.record for scene in self.manifest.scenes), *self.manifest.shards):
            entry.check(self.folder)

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


class Samples:
    """Responses of a split by number, each read on demand from a memory-mapped shard."""

    def __init__(self, folder: Path, shards: Sequence[ShardEntry]) -> None:
        files: list[Any] = [safe_open(str(folder / shard.file), framework="numpy") for shard in shards]
        self._responses = [file.get_slice("response") for file in files]
        self._first = np.concatenate([[0], np.cumsum([shard.snapshots for shard in shards])])

    def __len__(self) -> int:
        return int(self._first[-1])

    def __getitem__(self, number: int) -> NDArray[np.complex64]:
        """The response complex64 [antenna, F] of one snapshot; raises IndexError past the end."""
        if not -len(self) <= number < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        number %= len(self)
        shard = int(np.searchsorted(self._first, number, side="right")) - 1
        inside = number - int(self._first[shard])
        return np.asarray(self._responses[shard][inside : inside + 1][0])


def concatenate(parts: Sequence[Channels]) -> Channels:
    """Several records of the same array size and frequencies as one, in order; InputError if they do not fit."""
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
        if isinstance(getattr(first, item.name), np.ndarray) and item.name != "frequencies_hz"
    }
    return dataclasses.replace(first, **joined)
