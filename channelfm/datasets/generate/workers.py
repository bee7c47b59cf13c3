"""Who does the units: this process, processes of this machine, or a Dask cluster; all run ``do_unit``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, as_completed
from dataclasses import dataclass
from typing import Any, TypeVar

from channelfm.datasets.generate.units import Advance, Done, Job, do_scene, do_unit
from channelfm.datasets.manifest import SceneEntry
from channelfm.datasets.plan import Unit
from channelfm.errors import DependencyError, InputError
from channelfm.processes import ALONE, cores, workers

Task = TypeVar("Task")
Result = TypeVar("Result")

DEATHS_IN_A_ROW = 3  # of workers, without a unit done between them, before a run gives up
CONNECTING_S = 10.0  # to a Dask scheduler
WORTH_PROCESSES = 200  # snapshots; below, starting processes takes longer than they save


@dataclass(frozen=True)
class Workforce:
    """How many processes of this machine work (None: one per core where the work is worth it), or which Dask cluster:
    ``dask`` is the address of a scheduler, ``dask_local`` the size of a cluster to start here."""

    processes: int | None = None
    dask: str | None = None
    dask_local: int | None = None

    def __post_init__(self) -> None:
        for name, count in (("workers", self.processes), ("dask-local", self.dask_local)):
            if count is not None and count < 1:
                raise InputError(f"{name} = {count}: give at least 1")
        if sum(item is not None for item in (self.processes, self.dask, self.dask_local)) > 1:
            raise InputError("give one of workers, dask and dask-local, not several")


def build_scenes(job: Job, names: Sequence[str], force: Workforce) -> Iterator[SceneEntry]:
    """Build scenes, in any order."""
    alone = len(names) < 2 or force.processes == 1
    return (do_scene(job, name) for name in names) if alone else _spread(do_scene, job, names, force)


def do_units(job: Job, units: Sequence[Unit], force: Workforce, advance: Advance) -> Iterator[Done]:
    """Do units, in any order; ``advance`` hears of snapshots as they (or their units) are done."""
    few = force == Workforce() and sum(unit.snapshots for unit in units) < WORTH_PROCESSES
    if few or force.processes == 1 or not units:
        for unit in units:
            yield do_unit(job, unit, advance)
        return
    for done in _spread(do_unit, job, units, force):
        advance(done.entry.snapshots)
        yield done


def _spread(work: Callable[[Job, Task], Result], job: Job, tasks: Sequence[Task], force: Workforce) -> Iterator[Result]:
    if force.dask is None and force.dask_local is None:
        count = min(force.processes or cores(), len(tasks))
        return _on_processes(work, job, tasks, count)
    return _on_dask(work, job, tasks, force)


def _on_processes(work: Callable[[Job, Task], Result], job: Job, tasks: Sequence[Task], count: int) -> Iterator[Result]:
    """On ``count`` processes; those that die (killed, out of memory) are replaced and their tasks done again."""
    left, deaths = list(tasks), 0
    while left:
        with workers(count, _share_the_machine, job, count) as executor:
            futures = {executor.submit(work, job, task): task for task in left}
            try:
                for future in as_completed(futures):
                    result = future.result()
                    left.remove(futures[future])
                    deaths = 0
                    yield result
            except BrokenExecutor as error:
                deaths += 1
                if deaths == DEATHS_IN_A_ROW:
                    raise InputError(
                        f"workers died {deaths} times in a row, probably for want of memory; "
                        "run again with fewer --workers, whole units are kept"
                    ) from error


def _share_the_machine(job: Job, count: int) -> None:
    """Give the ray tracer of each of ``count`` processes its share of the cores."""
    if job.method == "near-field":
        from channelfm.tracing.sionna import limit_threads

        limit_threads(max(1, cores() // count))


def _on_dask(
    work: Callable[[Job, Task], Result], job: Job, tasks: Sequence[Task], force: Workforce
) -> Iterator[Result]:
    """On a Dask cluster whose workers see the same folder under the same path; Dask replaces workers that die."""
    try:
        import distributed
    except ImportError as error:
        raise DependencyError(f"Dask is missing ({error}); run: pip install 'channelfm[dask]'") from error
    dask: Any = distributed  # it has no types
    with contextlib.ExitStack() as stack:
        address: Any = force.dask
        if address is None:
            cluster = dask.LocalCluster(
                n_workers=force.dask_local, threads_per_worker=1, dashboard_address=None, env=ALONE
            )
            address = stack.enter_context(cluster)
        try:
            client = stack.enter_context(dask.Client(address, timeout=CONNECTING_S))
            futures = client.map(work, [job] * len(tasks), tasks, pure=False)
            for _, result in dask.as_completed(futures, with_results=True):
                yield result
        except dask.KilledWorker as error:
            raise InputError(f"Dask gave a unit up ({error}); look at its workers' memory, then run again") from error
        except (TimeoutError, OSError, ValueError) as error:
            if force.dask is None or getattr(error, "errno", None) is not None:
                raise
            raise InputError(f"--dask {force.dask}: no scheduler answers there ({error}); check the address") from error
