"""Random access to the responses of a split: single samples and batches, read from the shards on demand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open

from channelfm.arrays import UPA
from channelfm.checks import all_finite, check_axes
from channelfm.datasets.shards import ShardEntry
from channelfm.datasets.storage import HalfChannels, PathChannels, check_scale, in_full, load_shard, restored
from channelfm.errors import IntegrityError
from channelfm.records import Channels

Complex = NDArray[np.complex64]
Rows = NDArray[np.int64]


class Samples:
    """Responses of a split by number, in the order of ``Dataset.load``; nothing but what is asked for is read.

    Stored forms are undone: half precision comes back in full, and compact paths are expanded over their array. A
    shard is mapped into memory when it is first read and stays so, without holding a file open; what is read of it lies
    in the system's file cache, but compact paths in memory. May be shared with forked processes and sent to spawned
    ones, such as the workers of a torch DataLoader.
    """

    def __init__(self, folder: Path, shards: Sequence[ShardEntry], arrays: Sequence[UPA]) -> None:
        """Samples of ``shards`` in a data set's folder; ``arrays`` are theirs, one for each."""
        self._folder, self._shards, self._arrays = folder, tuple(shards), tuple(arrays)
        self._first = np.concatenate([[0], np.cumsum([shard.snapshots for shard in shards])])
        self._opened: dict[int, _Responses | _Paths] = {}

    def __len__(self) -> int:
        return int(self._first[-1])

    def __getitem__(self, number: int) -> Complex:
        """The response complex64 [antenna, F] of one snapshot; raises IndexError past the end."""
        return np.asarray(self.batch([number])[0])

    def batch(self, numbers: ArrayLike) -> Complex:
        """The responses complex64 [N, antenna, F] of N >= 1 snapshots, in the order asked for; they may repeat.

        Negative numbers count from the end. Raises IndexError past an end, IntegrityError for a broken shard.
        """
        wanted = np.atleast_1d(np.asarray(numbers, dtype=np.int64))
        outside = wanted[(wanted < -len(self)) | (wanted >= len(self))]
        if len(outside) or not len(wanted):
            raise IndexError(f"sample {outside[0]} of {len(self)}" if len(outside) else "a batch of no samples")
        wanted = wanted % len(self)
        shards = np.searchsorted(self._first, wanted, side="right") - 1
        rows = wanted - self._first[shards]
        shape = self._shard(int(shards[0])).shape
        response = np.empty((len(wanted), *shape), dtype=np.complex64)
        converted: dict[int, list[int]] = {}
        for place, (number, row) in enumerate(zip(shards.tolist(), rows.tolist(), strict=True)):
            shard = self._shard(number)
            if shard.shape != shape:
                raise IntegrityError(
                    f"{self._path(number)}: responses of {shard.shape}, others in the batch of {shape}"
                )
            if shard.plain is not None:
                response[place] = shard.plain[row]
            else:
                converted.setdefault(number, []).append(place)
        for number, places in converted.items():
            response[places] = self._shard(number).read(rows[places])
        if not all_finite(response):
            broken = int(np.argmax(~np.isfinite(response).all(axis=(1, 2))))
            raise IntegrityError(f"{self._path(int(shards[broken]))}: sample {wanted[broken]} holds NaN or infinity")
        return response

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": {}}  # maps of memory do not travel

    def _path(self, number: int) -> Path:
        return self._folder / self._shards[number].file

    def _shard(self, number: int) -> _Responses | _Paths:
        if number not in self._opened:
            shard, array = self._shards[number], self._arrays[number]
            kind = _Paths if shard.form == PathChannels.__name__ else _Responses
            self._opened[number] = kind(self._folder, shard, array)
        return self._opened[number]


class _Responses:
    """A shard that holds responses: ``plain`` ones, complex64 [S, antenna, F], or scaled ones in half precision."""

    def __init__(self, folder: Path, shard: ShardEntry, array: UPA) -> None:
        shard.check_once(folder)
        path, shape = folder / shard.file, f"{shard.snapshots} {array.num_antennas} F"
        axes = {"response": f"complex {shape}"}
        if shard.form == HalfChannels.__name__:
            axes = {"response": f"float16 {shape} 2", "scale": f"float32 {shard.snapshots}"}
        try:
            # as a torch tensor, an array is a view of the mapped file; as a NumPy array it would be a copy
            with safe_open(str(path), framework="pt") as file:
                arrays = {name: file.get_tensor(name).numpy() for name in axes}
            check_axes(arrays, axes)
            if "scale" in arrays:
                check_scale(arrays["scale"])
        except (SafetensorError, OSError, ValueError, TypeError) as error:
            remedy = "run generate again with the same recipe, it rebuilds what is broken"
            raise IntegrityError(f"{path}: not a whole shard ({error}); {remedy}") from error
        self._values, self._scale = arrays["response"], arrays.get("scale")
        self.shape: tuple[int, ...] = self._values.shape[1:3]
        self.plain: Complex | None = self._values if self._scale is None else None

    def read(self, rows: Rows) -> Complex:
        """Responses complex64 [n, antenna, F] of snapshots [n]."""
        return self._values[rows] if self._scale is None else in_full(self._values[rows], self._scale[rows])


class _Paths:
    """A shard that holds compact paths: responses are expanded when asked for."""

    plain: Complex | None = None

    def __init__(self, folder: Path, shard: ShardEntry, array: UPA) -> None:
        self._stored: Channels = load_shard(folder, shard, array)
        self._array = array
        self.shape: tuple[int, ...] = (array.num_antennas, len(self._stored.frequencies_hz))

    def read(self, rows: Rows) -> Complex:
        """Responses complex64 [n, antenna, F] of snapshots [n]."""
        return restored(self._stored.select(rows), self._array).response
