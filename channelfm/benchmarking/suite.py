"""The suite: every estimator on every set in every case of a task; results and report."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from channelfm.benchmarking.cells import Part, Worker, bound_of, earlier_cells, references_of
from channelfm.benchmarking.entries import Entry, find_entries
from channelfm.benchmarking.measure import Cell
from channelfm.benchmarking.recipe import BenchmarkRecipe, read_benchmark
from channelfm.benchmarking.report import report_of
from channelfm.benchmarking.rows import BOUND, CLASSICAL, TRIVIAL, Comparison, Results, Row, Scored, columns
from channelfm.benchmarking.sets import describe_data, load_set
from channelfm.errors import InputError
from channelfm.files import write_atomically
from channelfm.observation import check_amplitudes

FORMAT = 2  # of results.json
_RECORDED = ("channelfm", "numpy", "torch", "sionna-rt", "diffusers", "lightning-fabric")


def benchmark(
    recipe: str | Path,
    out: str | Path = "runs/benchmark",
    quick: bool = False,
    overrides: Sequence[str] = (),
    progress: bool = True,
) -> Results:
    """Run a benchmark recipe; writes ``results.json`` and ``report.html`` into ``out`` and returns the results.

    What is measured is kept in ``out/cells``, so that an interrupted benchmark resumes and one with another estimator
    measures only that; networks that are tuned are kept in ``out/tuned``. ``quick`` measures what the recipe says under
    that name. An estimator that cannot work on a set (it has nothing to learn from, or refuses the array) is left out
    there, which the results' ``notes`` say. Raises InputError for an unusable recipe, data set, case or name.
    """
    settings = read_benchmark(recipe, overrides)
    return run(settings.quickened() if quick else settings, Path(out), progress)


def run(settings: BenchmarkRecipe, out: Path, progress: bool = True, about: Mapping[str, str] | None = None) -> Results:
    """:func:`benchmark` of a recipe in memory; ``about``: what else the report shall say of where numbers come from."""
    entries = find_entries(settings.predictors)  # a wrong name should not cost a data set first
    parts = [Part(settings, load_set(one, settings.frames, settings.max_samples, progress)) for one in settings.sets]
    cases = settings.task.cases()
    for part in parts:
        check_amplitudes(part.measured.blocks.channel, f"set '{part.measured.name}'")
        for case in cases:  # nor should a case that is no task on this array cost an hour
            settings.task.examples(part.measured.blocks, case, settings.seeds[0])
    tuned = _tuned(settings, out / "tuned", progress)
    earlier = earlier_cells(out / "cells")
    notes = _measure(parts, entries, tuned, out / "cells", progress)
    notes += [] if earlier is None else [earlier]
    measured = [*entries, *tuned]
    rows = [row for part in parts for case in cases for row in _rows(part, case, measured, out / "cells")]
    if not rows:
        raise InputError(f"no estimator could be measured: {'; '.join(notes)}")
    results = Results(
        format=FORMAT,
        name=settings.name,
        task=settings.task.model_dump(mode="json"),
        measures=[
            {"key": one.key, "title": one.title, "unit": one.unit, "more": one.more, "at": one.at}
            for one in settings.task.measures
        ],
        rows=rows,
        scene=", ".join(dict.fromkeys(scene for part in parts for scene in part.measured.scenes)),
        seed=settings.seeds[0],
        versions=versions(),
        left_out=sum(part.measured.left_out for part in parts),
        data={part.measured.name: describe_data(part.measured.dataset) for part in parts},
        notes=notes,
    )
    write_results(out / "results.json", results)
    page = report_of(settings, parts, results, about or {})
    write_atomically(out / "report.html", page.encode())
    return results


def _tuned(settings: BenchmarkRecipe, folder: Path, progress: bool) -> list[Entry]:
    """Networks that are tuned on shares of data sets; only they need what trains."""
    if not settings.tuning.recipes:
        return []
    from channelfm.benchmarking.tuning import tuned_networks

    return tuned_networks(settings.tuning, folder, progress)


def _measure(
    parts: Sequence[Part], entries: Sequence[Entry], tuned: Sequence[Entry], folder: Path, progress: bool
) -> list[str]:
    """Fill the cells of all parts; notes on what could not be measured."""
    cases = parts[0].settings.task.cases()
    total = sum(part.steps(case) for part in parts for case in cases) * len(entries)
    total += sum(part.steps(cases[0]) for part in parts) * len(tuned)
    reasons: dict[str, dict[str, str]] = {}  # of entries, by set
    with progress_bar(total, progress) as bar:
        for part in parts:
            for entry in (*entries, *tuned):
                reason = Worker(part, entry, folder, bar).measure(cases if entry.tuned is None else cases[:1])
                if reason is not None:
                    reasons.setdefault(entry.name, {})[part.measured.name] = reason
    return _notes(parts, entries, reasons)


def _notes(parts: Sequence[Part], entries: Sequence[Entry], reasons: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Notes on what could not be measured: why, but for those of a word that answer nowhere, which are no estimators
    for this task."""
    measured = {name for part in parts for _, name in part.cells}
    taught = all("train" in part.measured.teacher.splits for part in parts)
    asked = [entry for entry in entries if entry.word and (taught or not entry.learns)]
    foreign = [entry for entry in asked if entry.name not in measured] if measured else []
    notes = []
    for word in dict.fromkeys(entry.word for entry in foreign):
        names = ", ".join(entry.name for entry in foreign if entry.word == word)
        notes.append(f"'{word}' leaves out what does not answer this task: {names}")
    for name, why in reasons.items():
        if name not in [entry.name for entry in foreign]:
            notes += [f"{name} is not measured on '{where}': {reason}" for where, reason in why.items()]
    return notes


def _rows(part: Part, case: Any, entries: Sequence[Entry], folder: Path) -> list[Row]:
    """Rows of a set in a case, by estimator and group, and below them those of references."""
    task, measures = part.settings.task, part.settings.task.measures
    there = [entry for entry in entries if (case, entry.name) in part.cells]
    if not there:
        return []
    cells = {entry.name: part.cells[case, entry.name] for entry in there}
    scored = {entry.name: Scored(entry.name, entry.parameters, cells[entry.name].by_name()) for entry in there}
    found = bound_of(part, case, folder)
    bound = None if found is None else Scored(BOUND, 0, found.by_name())
    comparison = Comparison(part.units)
    groups = task.groups(task.examples(part.measured.blocks, case, part.settings.seeds[0]))
    told = [(scored[entry.name], _about(entry, cells[entry.name])) for entry in there]
    told += [(reference, _FREE) for reference in _references(part, case, folder)]
    rows: list[Row] = []
    for row, about in told:
        others = [other for other in scored.values() if other.params == 0 and other is not row]
        for group, belongs in groups.items():
            members = np.flatnonzero(belongs[: row.units])
            if not len(members):
                continue
            best = comparison.best(measures[0], others, members)
            rivals = {TRIVIAL: scored.get(task.trivial), CLASSICAL: best, BOUND: bound}
            fixed = {
                "estimator": row.name,
                "task": task.kind,
                "set": part.measured.name,
                "split": part.measured.settings.split,
                "group": group,
                "case": case._asdict(),
                "label": str(case),
                "samples": len(members),
                "seeds": len(part.seeds(case)),
                "floor_db": part.units.floor_db(members),
            }
            rows.append(cast("Row", fixed | about | columns(comparison, measures, row, rivals, members)))
    return rows


# What a reference costs: nothing that would compare.
_FREE = {"params": 0, "latency_ms": 0.0, "peak_mb": 0.0, "tuned": None, "reference": True}


def _about(entry: Entry, cell: Cell) -> dict[str, Any]:
    cost = {"latency_ms": cell.latency_ms, "peak_mb": cell.peak_mb}
    return {"params": entry.parameters, "tuned": entry.tuned, "reference": False} | cost


def _references(part: Part, case: Any, folder: Path) -> list[Scored]:
    found, measure = references_of(part, case, folder), part.settings.task.measures[0]
    return [] if found is None else [Scored(name, 0, {measure.of: values}) for name, values in found.by_name().items()]


@contextmanager
def progress_bar(total: int, shown: bool) -> Iterator[Progress]:
    """A bar with one task of ``total`` steps."""
    shape = (TextColumn("{task.description:28s}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*shape, transient=True, disable=not shown) as bar:
        bar.add_task("benchmark", total=total)
        yield bar


def versions() -> dict[str, str]:
    """Versions that results depend on: Python, the machine, and the installed packages among ``_RECORDED``."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in _RECORDED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # an extra that is not installed
            continue
    return found


def write_results(path: str | Path, results: Mapping[str, Any]) -> None:
    """Write results as JSON, atomically; every number in it is finite."""
    write_atomically(Path(path), json.dumps(results, indent=1, allow_nan=False).encode())
