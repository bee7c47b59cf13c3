"""Cells of a suite: one predictor on one set with one mask and SNR, each kept on disk as soon as it is measured."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rich.progress import Progress

from channelfm.benchmark.links import Links, training_channels
from channelfm.benchmark.measure import Measured, measure, warm_up
from channelfm.benchmark.predictors import Entry
from channelfm.benchmark.recipe import BenchmarkRecipe, SetRecipe
from channelfm.errors import ChannelfmError, InputError
from channelfm.metrics import PolarPeaks, polar_peaks
from channelfm.tasks.extrapolation import Examples, examples
from channelfm.tasks.predictor import LearningPredictor, Predictor

FORMAT = 1  # of kept cells


class Case(NamedTuple):
    """What is hidden, and how noisy the rest is (None: clean)."""

    kind: str
    ratio: float
    snr_db: float | None

    def __str__(self) -> str:
        noisy = "" if self.snr_db is None else f", {self.snr_db:g} dB"
        return f"{self.kind} {self.ratio:g}{noisy}"


@dataclass
class Part:
    """One set while it is measured: its recipe, its links, and the cells of it that are there."""

    settings: SetRecipe
    links: Links
    cells: dict[tuple[Case, str], Measured] = field(default_factory=dict)


class Worker:
    """Measures one predictor on one set, cell by cell, but for those that are kept in ``folder``."""

    def __init__(self, settings: BenchmarkRecipe, part: Part, entry: Entry, folder: Path) -> None:
        self.settings, self.part, self.entry, self.folder = settings, part, entry, folder
        self.spacing = part.links.array.spacing_wavelengths

    def measure(self, cases: Sequence[Case], bar: Progress, step: int) -> str | None:
        """Fill the part's cells; returns a note where the predictor cannot be measured on this set.

        ``step`` is by how much a cell advances the bar.
        """
        name, task = self.entry.name, bar.task_ids[0]
        kept = {case: self._kept(case) for case in cases}
        self.part.cells |= {(case, name): cell for case, cell in kept.items() if cell is not None}
        missing = [case for case, cell in kept.items() if cell is None]
        bar.advance(task, step * (len(cases) - len(missing)))
        if not missing:
            return None
        bar.update(task, description=f"{self.part.links.name}: {name}, preparing")
        drawn = self._draw(missing[0])
        try:
            predictor = self._prepare(drawn[0])
        except InputError as reason:  # it learns and there is nothing to learn from, or the array is none for it
            bar.advance(task, step * len(missing))
            return f"{name} is not measured on '{self.part.links.name}': {reason}"
        peaks = polar_peaks(self.part.links.channels.grid, self.spacing)
        for case in missing:
            bar.update(task, description=f"{self.part.links.name}: {name}, {case}")
            measured = self._cell(predictor, self._draw(case), peaks, lambda: bar.advance(task))
            measured.save(self._file(case))
            self.part.cells[case, name] = measured
        return None

    def _prepare(self, case: Examples) -> Predictor:
        """The predictor, loaded, taught and warmed up; InputError where it cannot work on this set."""
        predictor = self.entry.load(self.spacing, self.settings.device)
        if isinstance(predictor, LearningPredictor):
            channels = training_channels(self.part.links, self.part.settings.array, self.settings.learn_samples)
            if not len(channels):
                raise InputError("it learns, and the data set has no link of split 'train'")
            predictor.learn(channels)
        warm_up(predictor, case)
        return predictor

    def _draw(self, case: Case) -> list[Examples]:
        """The links with antennas hidden, once for each seed."""
        grid = self.part.links.channels.grid
        return [examples(grid, case.ratio, seed, case.kind, case.snr_db) for seed in self.settings.seeds]

    def _cell(
        self, predictor: Predictor, drawn: Sequence[Examples], peaks: PolarPeaks, advance: Callable[[], None]
    ) -> Measured:
        return measure(predictor, drawn, peaks, self.spacing, self.part.links.shown, advance)

    def _kept(self, case: Case) -> Measured | None:
        if not self._file(case).is_file():
            return None
        with contextlib.suppress(ChannelfmError):  # a damaged cell is measured again
            return Measured.load(self._file(case))
        return None

    def _file(self, case: Case) -> Path:
        """Where a cell lies: its name is a hash of all that its numbers depend on."""
        known = {
            "format": FORMAT,
            "links": self.part.links.identity,
            "predictor": self.entry.identity,
            "name": self.entry.name,
            "case": case,
            "seeds": self.settings.seeds,
            "learn_samples": self.settings.learn_samples,
            "device": self.settings.device,
        }
        digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{digest[:32]}.safetensors"
