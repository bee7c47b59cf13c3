"""Which files were found whole: remembered in this process and, for those to come, in the user's cache.

Nothing is written into data sets, which may lie where nobody may write. A file counts by its path, its size, its times
of change and the hash that was promised: with any of them another, it is hashed again. Where the cache cannot be read
or written, every process hashes for itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from functools import cache
from pathlib import Path

from channelfm.cache import cache_folder

MOST = 100_000  # files remembered from run to run
_TICK_NS = 100_000_000  # clocks of file systems go in steps: a file that changed just now may change again unseen


def is_remembered(path: Path, sha256: str) -> bool:
    """Whether the file at ``path``, as it is now, was found to have this hash."""
    return _line(path, sha256) in _remembered(_memory())


def remember(path: Path, sha256: str, before: os.stat_result) -> None:
    """That the file had this hash; ``before`` is its state before it was read."""
    if time.time_ns() - max(before.st_mtime_ns, before.st_ctime_ns) < _TICK_NS:
        return
    line, memory = _line(path, sha256, before), _memory()
    _remembered(memory).add(line)
    if memory is None:
        return
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        too_many = memory.is_file() and memory.stat().st_size > MOST * (len(line) + 1)
        with memory.open("w" if too_many else "a", encoding="ascii") as file:
            file.write(f"{line}\n")


def _memory() -> Path | None:
    with contextlib.suppress(RuntimeError):
        return cache_folder() / "verified"
    return None


@cache
def _remembered(memory: Path | None) -> set[str]:
    if memory is not None:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return set(memory.read_text(encoding="ascii").splitlines())
    return set()


def _line(path: Path, sha256: str, state: os.stat_result | None = None) -> str:
    state = state or path.stat()
    known = (str(path.resolve()), state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns, sha256)
    return hashlib.sha256(repr(known).encode()).hexdigest()[:32]
