"""Cells of a suite: one estimator on one set in one case, each kept on disk as soon as it is measured."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from channelfm.benchmarking import bounds
from channelfm.benchmarking.entries import Entry
from channelfm.benchmarking.identity import source_identity
from channelfm.benchmarking.measure import Answering, Cell, measure, mixed_examples
from channelfm.benchmarking.recipe import BenchmarkRecipe
from channelfm.benchmarking.rows import Units
from channelfm.benchmarking.sets import MeasuredSet
from channelfm.errors import ChannelfmError, InputError
from channelfm.estimator import Estimator, Examples, Learns
from channelfm.tasks import Task
from channelfm.waves.bounds import SphericalWaves

FORMAT = 2  # of kept cells; those of another format have other names, and are measured again
PREFIX = f"{FORMAT}-"


@dataclass
class Part:
    """One set while it is measured: the ``measured`` set, and the ``cells`` of it that are there, by case and row."""

    settings: BenchmarkRecipe
    measured: MeasuredSet
    cells: dict[tuple[Any, str], Cell] = field(default_factory=dict)

    @cached_property
    def lesson(self) -> Examples:
        """What estimators that learn are taught with: examples of all cases."""
        blocks = self.measured.training(self.settings.learn_samples)
        return mixed_examples(self.settings.task, blocks, self.settings.seeds[0])

    @cached_property
    def task_identity(self) -> str:
        """SHA-256 over the settings of the task that all cases share, and over all source that draws and scores."""
        task = self.settings.task
        source = source_identity([type(task).__module__, "channelfm.metrics", Answering.__module__])
        return hashlib.sha256(f"{task.model_dump_json(exclude=set(task.beside))}{source}".encode()).hexdigest()

    @cached_property
    def waves(self) -> bounds.FittedWaves:
        """The waves that its channels consist of."""
        return bounds.FittedWaves(self.measured.blocks)

    @cached_property
    def units(self) -> Units:
        """Which unit is of which user in which scene."""
        blocks, settings = self.measured.blocks, self.settings
        unit = settings.task.examples(blocks, settings.task.cases()[0], settings.seeds[0]).unit
        stored = None if blocks.stored_error_db is None else blocks.stored_error_db[::unit]
        return Units(blocks.scenes[::unit], blocks.tracks[::unit], stored, settings.seeds[0])

    def draw(self, case: Any) -> list[Examples]:
        """The examples of a case, once for each seed that changes them."""
        return [self.settings.task.examples(self.measured.blocks, case, seed) for seed in self.seeds(case)]

    def seeds(self, case: Any) -> tuple[int, ...]:
        """The seeds that a case is drawn with."""
        return self.settings.seeds if self.settings.task.repeats(case) else self.settings.seeds[:1]

    def steps(self, case: Any) -> int:
        """Links that are asked about in a case."""
        return len(self.measured.blocks) * len(self.seeds(case))


class Worker:
    """Measures one estimator on one set, cell by cell, but for those that are kept in ``folder``."""

    def __init__(self, part: Part, entry: Entry, folder: Path, bar: Progress) -> None:
        self.part, self.entry, self.folder, self.bar = part, entry, folder, bar
        self.settings = part.settings

    def measure(self, cases: Sequence[Any]) -> str | None:
        """Fill the part's cells; returns why the estimator cannot be measured on this set, where that is so."""
        kept = {case: kept_cell(self._file(case)) for case in cases}
        self.part.cells |= {(case, self.entry.name): cell for case, cell in kept.items() if cell is not None}
        missing = [case for case, cell in kept.items() if cell is None]
        self._advance(sum(self.part.steps(case) for case in cases if case not in missing))
        estimator: Estimator | None = None
        for number, case in enumerate(missing):
            self._describe(str(case))
            done = 0
            try:
                estimator = estimator or self._ready()
                drawn = self.part.draw(case)
                asked = Answering(estimator, self.settings.task)
                cell = measure(asked, drawn, self.part.measured.shown, self.settings.time_budget_s, self._advance)
                done = cell.units * len(drawn) * drawn[0].unit
            except (
                InputError
            ) as reason:  # it has nothing to learn from, or the array or the measurements are none for it
                self._advance(sum(self.part.steps(other) for other in missing[number:]))
                return str(reason)
            self._advance(self.part.steps(case) - done)
            cell.save(self._file(case))
            self.part.cells[case, self.entry.name] = cell
        return None

    def _ready(self) -> Estimator:
        """The estimator, loaded, and taught where it learns."""
        self._describe("preparing")
        estimator = self.entry.load(self.settings.device)
        if isinstance(estimator, Learns):
            estimator.learn(self.part.lesson)
        return estimator

    def _describe(self, what: str) -> None:
        self.bar.update(self.bar.task_ids[0], description=f"{self.part.measured.name}: {self.entry.name}, {what}")

    def _advance(self, links: int) -> None:
        self.bar.advance(self.bar.task_ids[0], links)

    def _file(self, case: Any) -> Path:
        return cell_file(self.folder, self.part, self.entry, case)


def bound_of(part: Part, case: Any, folder: Path) -> Cell | None:
    """The bound of a set in a case as a cell of one value, kept like others; None where there is none."""
    entry = Entry("bound", "bound", 0, source_identity([bounds.__name__, SphericalWaves.__module__]))
    file = cell_file(folder, part, entry, case)
    kept = kept_cell(file)
    if kept is None:
        found = part.waves.bound(part.settings.task, part.draw(case))
        if found is None:
            return None
        nothing = np.zeros((0, 0), np.complex64)
        kept = Cell((part.settings.task.measures[0].of,), found[None], nothing, 0.0, 0.0)
        kept.save(file)
    return kept


def references_of(part: Part, case: Any, folder: Path) -> Cell | None:
    """What the task's references have of a set in a case, as a cell whose names they are, kept like others; None where
    there are none."""
    task, blocks = part.settings.task, part.measured.blocks
    if type(task).references is Task.references or blocks.rays is None:
        return None
    entry = Entry("reference", "reference", 0, source_identity([type(task).__module__]))
    file = cell_file(folder, part, entry, case)
    kept = kept_cell(file)
    if kept is None:
        drawn = [task.references(examples) for examples in part.draw(case)]
        if not drawn[0]:
            return None
        values = np.array([[one[name] for one in drawn] for name in drawn[0]])
        kept = Cell(tuple(drawn[0]), values, np.zeros((0, 0), np.complex64), 0.0, 0.0)
        kept.save(file)
    return kept


def kept_cell(file: Path) -> Cell | None:
    """A cell that is kept; None where there is none, or a damaged one, which is measured again."""
    if not file.is_file():
        return None
    with contextlib.suppress(ChannelfmError):
        return Cell.load(file)
    return None


def earlier_cells(folder: Path) -> str | None:
    """A note on kept cells of another format, which are of no use; None where there are none."""
    count = sum(not file.name.startswith(PREFIX) for file in folder.glob("*.safetensors"))
    return f"{count} kept cells in {folder} are of another format: measured anew, delete them" if count else None


def cell_file(folder: Path, part: Part, entry: Entry, case: Any) -> Path:
    """Where a cell lies: its name is a hash of all that its numbers depend on."""
    settings = part.settings
    lesson = [part.measured.teacher.manifest.content_hash(), settings.learn_samples, settings.task.model_dump_json()]
    known = {
        "format": FORMAT,
        "data": part.measured.identity,
        "estimator": entry.identity,
        "name": entry.name,
        "task": part.task_identity,
        "case": case._asdict(),
        "seeds": part.seeds(case),
        "lesson": [*lesson, settings.seeds[0]] if entry.learns else None,
        "device": settings.device,
        "time_budget_s": settings.time_budget_s,
    }
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
    return folder / f"{PREFIX}{digest[:32]}.safetensors"
