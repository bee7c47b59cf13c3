"""Random access to the responses of a split: single samples and batches, read from the shards on demand."""

from __future__ import annotations

import json
import math
import os
import resource
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channelfm.arrays import UPA
from channelfm.datasets.shards import ShardEntry
from channelfm.datasets.storage import in_full, load_stored, restored
from channelfm.errors import IntegrityError
from channelfm.records import Channels

Complex = NDArray[np.complex64]
Rows = NDArray[np.int64]

# Files kept open at once: half of what the process may have open ("ulimit -n"). Opening one anew doubles a read's time.
OPEN_SHARDS = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
ITEM_BYTES = {"C64": 8, "F16": 2}  # safetensors' names of the forms that responses have
_REMEDY = "run generate again with the same recipe, it rebuilds what is broken"


class Samples:
    """Responses of a split by number, in the order of ``Dataset.load``; nothing but what is asked for is read.

    Stored forms are undone: half precision comes back in full, and compact paths are expanded over their array. May be
    shared with forked processes and sent to spawned ones, such as the workers of a torch DataLoader.
    """

    def __init__(self, folder: Path, shards: Sequence[ShardEntry], arrays: Sequence[UPA]) -> None:
        """Samples of ``shards`` in a data set's folder; ``arrays`` are theirs, one for each."""
        self._first = np.concatenate([[0], np.cumsum([shard.snapshots for shard in shards])])
        self._shards: list[_Shard] = [
            _OfPaths(folder / shard.file, array) if shard.form == "PathChannels" else _OfResponses(folder / shard.file)
            for shard, array in zip(shards, arrays, strict=True)
        ]
        self._recent: OrderedDict[int, None] = OrderedDict()  # numbers of the shards that hold a file, oldest first

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
        response = np.empty((len(wanted), *self._used(int(shards[0])).shape), dtype=np.complex64)
        into, size = response.reshape(-1).view(np.uint8).data, response[0].nbytes
        converted: dict[int, list[int]] = {}
        for place, (number, row) in enumerate(zip(shards.tolist(), rows.tolist(), strict=True)):
            shard = self._used(number)
            if isinstance(shard, _OfResponses) and shard.is_plain:
                shard.fill(row, into[place * size : (place + 1) * size])
            else:
                converted.setdefault(number, []).append(place)
        for number, places in converted.items():
            response[places] = self._used(number).read(rows[places])
        return response

    def close(self) -> None:
        """Close the files; the next read opens what it needs."""
        while self._recent:
            self._shards[self._recent.popitem()[0]].close()

    def _used(self, number: int) -> _Shard:
        """A shard about to be read; the one that was read the longest ago closes its file, if there are too many."""
        self._recent[number] = None
        self._recent.move_to_end(number)
        if len(self._recent) > OPEN_SHARDS:
            self._shards[self._recent.popitem(last=False)[0]].close()
        return self._shards[number]

    def __getstate__(self) -> dict[str, Any]:
        self.close()  # files do not travel
        return self.__dict__


class _Shard(Protocol):
    """One shard; its file is opened when it is read."""

    @property
    def shape(self) -> tuple[int, int]:
        """Antennas and frequencies of its responses."""

    def read(self, rows: Rows) -> Complex:
        """Responses complex64 [n, antenna, F] of snapshots [n]."""

    def close(self) -> None:
        """Let go of its file, if it holds it."""


@dataclass(frozen=True)
class _Layout:
    """Where responses lie in a safetensors file: the length of its header, the header, and the arrays one by one."""

    start: int
    row_bytes: int
    shape: tuple[int, ...]  # [S, antenna, F] complex64, or [S, antenna, F, 2] float16
    scale: NDArray[np.float32] | None  # [S], of half precision


class _OfResponses:
    """A shard that holds responses: in full, or as scaled half precision.

    They are read at their offsets, straight to where they are wanted: faster than copies from a memory map, above all
    of what the system has not cached, and without a position in the file that forked processes would share.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    @property
    def shape(self) -> tuple[int, int]:
        _, antennas, frequencies, *_ = self._layout.shape
        return antennas, frequencies

    @property
    def is_plain(self) -> bool:
        """Whether it holds complex64, which ``fill`` reads as it is."""
        return self._layout.scale is None

    def fill(self, row: int, into: memoryview) -> None:
        """Read the response of one snapshot, byte by byte, to where it is wanted."""
        layout, size = self._layout, len(into)
        if size != layout.row_bytes:
            raise IntegrityError(f"{self._path}: responses of {layout.row_bytes} bytes, others have {size}; {_REMEDY}")
        if os.preadv(self._opened(), [into], layout.start + row * size) != size:
            raise IntegrityError(f"{self._path}: is cut short; {_REMEDY}")

    def read(self, rows: Rows) -> Complex:
        layout = self._layout
        halves = np.empty((len(rows), *layout.shape[1:]), dtype=np.float16)
        into, size = halves.reshape(-1).view(np.uint8).data, layout.row_bytes
        for place, row in enumerate(rows.tolist()):
            self.fill(row, into[place * size : (place + 1) * size])
        assert layout.scale is not None  # plain shards are filled
        return in_full(halves, layout.scale[rows])

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __del__(self) -> None:
        self.close()

    def _opened(self) -> int:
        if self._file is None:
            try:
                self._file = os.open(self._path, os.O_RDONLY)
            except OSError as error:
                raise IntegrityError(f"{self._path}: not readable ({error.strerror}); {_REMEDY}") from error
        return self._file

    @cached_property
    def _layout(self) -> _Layout:
        file = self._opened()
        size = int.from_bytes(os.pread(file, 8, 0), "little")
        try:
            if size > os.fstat(file).st_size:
                raise ValueError("its header does not fit into it")
            header = json.loads(os.pread(file, size, 8))
            found, scale = header["response"], None
            if found["dtype"] == "F16":
                first, last = header["scale"]["data_offsets"]
                scale = np.frombuffer(os.pread(file, last - first, 8 + size + first), dtype=np.float32)
            start = 8 + size + found["data_offsets"][0]
            row_bytes = ITEM_BYTES[found["dtype"]] * math.prod(found["shape"][1:])
            return _Layout(start, row_bytes, tuple(found["shape"]), scale)
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(f"{self._path}: not a shard of channels ({error}); {_REMEDY}") from error


class _OfPaths:
    """A shard that holds compact paths, in memory while it counts as open; responses are expanded when asked for."""

    def __init__(self, path: Path, array: UPA) -> None:
        self._path, self._array = path, array
        self._stored: Channels | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self._array.num_antennas, len(self._opened().frequencies_hz)

    def read(self, rows: Rows) -> Complex:
        return restored(self._opened().select(rows), self._array).response

    def close(self) -> None:
        self._stored = None

    def _opened(self) -> Channels:
        if self._stored is None:
            self._stored = load_stored(self._path, "PathChannels")
        return self._stored
