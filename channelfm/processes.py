"""How the package's processes share a machine: threads, how they wait, and workers that end with their parent.

- A process computes with as many threads as it has cores (those it is bound to, and no more than its container's
  quota). A worker process has one, and there are as many workers as cores.
- A thread that waits for others sleeps. By default OpenMP's threads spin for milliseconds; where other programs want
  the cores, they spin while the one that they wait for cannot run: training took 5 times as long beside three busy
  processes on two cores (``python -m benchmarks.busy``).
- NumPy's and SciPy's BLAS has one thread: their products here are small, and theirs spin, too.

Libraries read this when they load, from the environment, where a user's own settings stay as they are.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SHARING = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
ALONE = SHARING | {"OMP_NUM_THREADS": "1"}  # of a worker
_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds in a period, or "max"
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
_LOOK_EVERY_S = 0.5


def share_cores() -> None:
    """Let this process, and those it starts, share the machine as this module says.

    To be called before NumPy and PyTorch load. What the environment says already is kept.
    """
    for name, value in SHARING.items():
        os.environ.setdefault(name, value)
    if cores() < _bound_cores():
        os.environ.setdefault("OMP_NUM_THREADS", str(cores()))


def cores() -> int:
    """Cores that this process may use."""
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        return max(1, min(_bound_cores(), round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or no quota
        return _bound_cores()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch work with one thread: how a sum is cut among threads changes its last bits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def workers(count: int, begin: Callable[..., None], *arguments: Any) -> Iterator[Executor]:
    """``count`` processes of one thread each, which call ``begin(*arguments)`` first; they end with the ``with`` block,
    and with this process, even where that is killed."""
    from loky import ProcessPoolExecutor

    # What is to be done travels closed: opening it loads libraries for seconds, during which the parent may end.
    told = pickle.dumps((begin, arguments))
    pool = ProcessPoolExecutor(count, env=ALONE, initializer=_begin_worker, initargs=(os.getpid(), told))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def end_with_parent(parent: int) -> None:
    """End this process, at once, when its parent, of that number, ends or has ended, however that happens.

    The kernel sees to it where it can (Linux); a thread that looks every half second does so everywhere.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    threading.Thread(target=_watch, args=(parent,), name="watch parent", daemon=True).start()


def _begin_worker(parent: int, told: bytes) -> None:
    end_with_parent(parent)
    begin, arguments = pickle.loads(told)
    begin(*arguments)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os._exit(1)


def _bound_cores() -> int:
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return bound or 1
