"""Shards: one work unit's channels in one safetensors file, with a journal entry that proves it whole.

A shard is written first, its journal entry (hash, size, counts) after it, both by temporary file, fsync and rename.
A unit is done when both are there and agree, so a run killed at any instant resumes without a special case.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from channelfm.datasets.verified import is_remembered, remember
from channelfm.errors import IntegrityError
from channelfm.files import write_atomically
from channelfm.plain import from_json
from channelfm.records import Channels, Record

SHARD_FOLDER = "shards"
LONGEST_NAME = 1000  # of a file, with the folders above it


@dataclass(frozen=True)
class FileEntry:
    """A stored file as the manifest knows it: path relative to the data set's folder, SHA-256, size in bytes."""

    file: str
    sha256: str
    size: int

    def check(self, folder: Path) -> None:
        """Raise IntegrityError unless the file is there with this size and hash."""
        self.check_size(folder)
        path = folder / self.file
        state = path.stat()
        if _hash_file(path) != self.sha256:
            raise IntegrityError(f"{path}: contents do not match the recorded SHA-256; {_REMEDY}")
        remember(path, self.sha256, state)

    def check_once(self, folder: Path) -> None:
        """As :meth:`check`, but hash no file that is as it was when it was found whole (``datasets.verified``)."""
        self.check_size(folder)
        if not is_remembered(folder / self.file, self.sha256):
            self.check(folder)

    def check_size(self, folder: Path) -> None:
        """Raise IntegrityError unless the file is there, in the folder, with this size; reads no content."""
        path = folder / self.file
        if Path(self.file).is_absolute() or ".." in Path(self.file).parts or len(self.file) > LONGEST_NAME:
            raise IntegrityError(f"{folder}: its manifest names '{self.file[:80]}', which lies elsewhere; {_REMEDY}")
        if not path.is_file():
            raise IntegrityError(f"{path}: missing; {_REMEDY}")
        if path.stat().st_size != self.size:
            raise IntegrityError(f"{path}: has {path.stat().st_size} bytes instead of {self.size}; {_REMEDY}")


@dataclass(frozen=True)
class ShardEntry(FileEntry):
    """A shard: one user (``unit``) of one flight in one scene, with the counts of its snapshots.

    ``form`` is the record that the file holds: "Channels", "HalfChannels" or "PathChannels". ``lives``, of sequences
    whose paths are followed: way in m (``length_m``), mean number of paths (``mean_paths``), ``births``, ``deaths``.
    """

    unit: str
    form: str
    track: int
    split: str
    scene: str
    station: str
    flight: str
    method: str  # of tracing, as Paths.method says
    snapshots: int
    near_field: int
    line_of_sight: int
    without_path: int
    lives: dict[str, float] | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON has it; what is not known is left out."""
        values = dataclasses.asdict(self)
        return values if self.lives is not None else {key: value for key, value in values.items() if key != "lives"}


_REMEDY = "run generate again with the same recipe, it rebuilds what is broken"


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sweep_leftovers(folder: Path) -> None:
    """Remove what killed runs left of their attempts to write files; nobody else may be writing in the folder."""
    for leftover in folder.rglob(".*.*.*"):
        if leftover.is_file():
            leftover.unlink(missing_ok=True)


def store_record(folder: Path, file: str, record: Record) -> FileEntry:
    """Write a record into a data set's folder, atomically, and describe the file."""
    path = folder / file
    record.save(path)
    return FileEntry(file=file, sha256=_hash_file(path), size=path.stat().st_size)


def write_shard(
    folder: Path,
    stored: Channels,
    *,
    unit: str,
    split: str,
    scene: str,
    flight: str,
    method: str,
    station: str = "bs",
    lives: dict[str, float] | None = None,
) -> ShardEntry:
    """Write the shard of one unit and then its journal entry; ``stored`` holds a single track (in any storage form)."""
    file = store_record(folder, f"{SHARD_FOLDER}/{unit}.safetensors", stored)
    entry = ShardEntry(
        **dataclasses.asdict(file),
        unit=unit,
        form=type(stored).__name__,
        track=int(stored.track[0]),
        split=split,
        scene=scene,
        station=station,
        flight=flight,
        method=method,
        snapshots=len(stored),
        near_field=int(stored.near_field.sum()),
        line_of_sight=int(stored.line_of_sight.sum()),
        without_path=int((~stored.has_path).sum()),
        lives=lives,
    )
    write_journal(folder, unit, entry)
    return entry


def write_journal(folder: Path, name: str, entry: ShardEntry) -> None:
    """Record that a shard is whole; ``name`` is the unit's."""
    content = json.dumps(entry.plain(), sort_keys=True, indent=1)
    write_atomically(_journal_path(folder, name), content.encode())


def finished_entry(folder: Path, unit: str) -> ShardEntry | None:
    """The journal entry of a unit whose shard is whole (hash compared), or None: then the unit is to be done."""
    try:
        entry = ShardEntry(**from_json(_journal_path(folder, unit).read_text(encoding="utf-8")))
        entry.check(folder)
    except (OSError, ValueError, TypeError, IntegrityError):
        return None  # missing, cut short or damaged: all mean that the unit has to be done again
    return entry


def _journal_path(folder: Path, unit: str) -> Path:
    return folder / SHARD_FOLDER / f"{unit}.json"
