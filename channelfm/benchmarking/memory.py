"""Peak memory of a piece of work, in a way that holds for NumPy, torch and whatever else runs in the process."""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

_INTERVAL_S = 0.002
_STATM = Path("/proc/self/statm")
_MEBIBYTE = 1024.0**2


class PeakMemory:
    """Memory that the work inside ``with PeakMemory() as peak:`` needed beyond what was held before: ``peak.mb``.

    A thread samples the resident set of the process every 2 ms; memory that earlier work has freed is given back to the
    system first, so that it does not pass for held. On a GPU, torch's own peak of allocated memory is added. In MiB; 0
    on a system without /proc.
    """

    mb = 0.0

    def __enter__(self) -> Self:
        _trim()
        self._on_gpu: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats()
            self._gpu_before = torch.cuda.memory_allocated()
        self._before = self._highest = resident_bytes()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        extra = max(self._highest, resident_bytes()) - self._before
        if self._on_gpu:
            extra += torch.cuda.max_memory_allocated() - self._gpu_before
        self.mb = max(extra, 0) / _MEBIBYTE

    def _sample(self) -> None:
        while not self._done.wait(_INTERVAL_S):
            self._highest = max(self._highest, resident_bytes())


def resident_bytes() -> int:
    """Bytes of the process that lie in memory; 0 on a system without /proc."""
    try:
        pages = int(_STATM.read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _trim() -> None:
    """Give freed memory back to the system, where the C library can."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # not glibc
        return
