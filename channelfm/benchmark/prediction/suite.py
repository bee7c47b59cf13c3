"""The suite: every predictor on every set in every case; cells are kept, so that interrupted runs resume."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
from rich.progress import Progress

from channelfm.benchmark.links import describe_data, open_set, spread
from channelfm.benchmark.prediction.measure import BATCH, Measured, measure
from channelfm.benchmark.prediction.predictors import SequenceEntry, find_sequence_predictors
from channelfm.benchmark.prediction.recipe import PredictionRecipe
from channelfm.benchmark.prediction.report import write_prediction_report
from channelfm.benchmark.prediction.rows import Cell, PredictionRow, rows_of
from channelfm.benchmark.prediction.tuning import Tuned, tuned_networks
from channelfm.benchmark.recipe import DataRecipe
from channelfm.benchmark.run import progress_bar, versions
from channelfm.config import load_recipe
from channelfm.datasets import Dataset
from channelfm.datasets.sequences import Sequences, load_sequences
from channelfm.errors import ChannelfmError, InputError
from channelfm.files import write_atomically
from channelfm.tasks.prediction import LearningSequencePredictor, SequencePredictor, prediction_examples

FORMAT = 1  # of kept cells


class PredictionResults(TypedDict):
    """Contents of ``results.json``; ``left_out`` counts sequences with a frame that no path reaches; ``data`` says for
    each set which data set was measured."""

    rows: list[PredictionRow]
    versions: dict[str, str]
    left_out: int
    data: dict[str, str]
    notes: list[str]


class Case(NamedTuple):
    """How noisy the past is (None: clean), and which share of the subcarriers is seen of it."""

    snr_db: float | None
    comb: int


@dataclass(frozen=True)
class Part:
    """One set while it is measured."""

    settings: DataRecipe
    dataset: Dataset
    sequences: Sequences
    identity: str


def benchmark_prediction(
    recipe: str | Path,
    out: str | Path = "runs/benchmark",
    quick: bool = False,
    overrides: Sequence[str] = (),
    progress: bool = True,
) -> PredictionResults:
    """Run a prediction recipe; writes ``results.json`` and ``report.html`` into ``out`` and returns the results.

    What is measured is kept in ``out/cells``, networks that are tuned in ``out/tuned``. A predictor that cannot work on
    a set is left out there, which the ``notes`` say. Raises InputError for an unusable recipe, data set or name.
    """
    settings = load_recipe(PredictionRecipe, recipe, overrides)
    settings = settings.quickened() if quick else settings
    entries = find_sequence_predictors(settings.predictors)  # a wrong name should not cost a data set first
    parts = [_open(item, settings, progress) for item in settings.sets]
    out = Path(out)
    sources = {item.name: open_set(item, progress) for item in settings.tuning.sets}
    tuned = tuned_networks(settings.tuning, sources, out / "tuned")
    cases = [Case(snr_db, comb) for comb in settings.combs for snr_db in settings.snr_db]
    rows: list[PredictionRow] = []
    notes: list[str] = []
    steps = sum(_steps(settings, part, case) for part in parts for case in cases)
    few = sum(_steps(settings, part, cases[0]) for part in parts)
    with progress_bar(len(entries) * steps + len(tuned) * few, progress) as bar:
        for part in parts:
            for entry in entries:
                worker = Worker(settings, part, entry, out / "cells", bar)
                rows += worker.rows(cases, notes)
            for network in tuned:
                worker = Worker(settings, part, network.entry, out / "cells", bar, network)
                rows += worker.rows(cases[:1], notes)
    if not rows:
        raise InputError(f"no predictor could be measured: {'; '.join(notes)}")
    left_out = sum(part.sequences.left_out for part in parts)
    data = {part.settings.name: describe_data(part.dataset) for part in parts}
    results = PredictionResults(rows=rows, versions=versions(), left_out=left_out, data=data, notes=notes)
    write_atomically(out / "results.json", json.dumps(results, indent=1, allow_nan=False).encode())
    write_prediction_report(out / "report.html", settings, results)
    return results


class Worker:
    """Measures one predictor on one set, case by case, but for cells that are kept in ``folder``."""

    def __init__(
        self,
        settings: PredictionRecipe,
        part: Part,
        entry: SequenceEntry,
        folder: Path,
        bar: Progress,
        tuned: Tuned | None = None,
    ) -> None:
        self.settings, self.part, self.entry, self.folder, self.bar, self.tuned = (
            settings,
            part,
            entry,
            folder,
            bar,
            tuned,
        )
        self._predictor: SequencePredictor | None = None

    def rows(self, cases: Sequence[Case], notes: list[str]) -> list[PredictionRow]:
        """Rows of all cases; a note, and no row, where the predictor cannot work on this set."""
        rows: list[PredictionRow] = []
        for number, case in enumerate(cases):
            try:
                measured = self._cell(case)
            except InputError as reason:
                notes.append(f"{self.entry.name} is not measured on '{self.part.settings.name}': {reason}")
                left = sum(_steps(self.settings, self.part, other) for other in cases[number:])
                self.bar.advance(self.bar.task_ids[0], left)
                return rows
            cell = Cell(
                predictor=self.entry.name,
                set=self.part.settings.name,
                split=self.part.settings.split,
                tuned_on=None if self.tuned is None else self.tuned.tuned_on,
                tuned_percent=None if self.tuned is None else self.tuned.percent,
                snr_db=case.snr_db,
                comb=case.comb,
                params=self.entry.parameters,
            )
            speeds = self.part.sequences.speed_mps
            rows += rows_of(cell, measured, speeds, self.settings.speed_bins, self.settings.horizons)
        return rows

    def _cell(self, case: Case) -> Measured:
        file, task = self.folder / f"{self._digest(case)}.safetensors", self.bar.task_ids[0]
        if file.is_file():
            with contextlib.suppress(ChannelfmError):  # a damaged cell is measured again
                kept = Measured.load(file)
                self.bar.advance(task, _steps(self.settings, self.part, case))
                return kept
        noise = "clean" if case.snr_db is None else f"{case.snr_db:g} dB"
        self.bar.update(task, description=f"{self.part.settings.name}: {self.entry.name}, {noise}, 1/{case.comb}")
        settings, response = self.settings, self.part.sequences.response
        drawn = [
            prediction_examples(response, settings.context, max(settings.horizons), case.comb, case.snr_db, seed)
            for seed in _seeds(settings, case)
        ]
        measured = measure(
            self._loaded(), drawn, settings.horizons, settings.rate_snr_db, lambda: self.bar.advance(task)
        )
        measured.save(file)
        return measured

    def _loaded(self) -> SequencePredictor:
        """The predictor, loaded once, and taught where it learns."""
        if self._predictor is None:
            predictor = self.entry.load(self.settings.device)
            if isinstance(predictor, LearningSequencePredictor):
                if "train" not in self.part.dataset.splits:
                    raise InputError("it learns, and the data set has no split 'train'")
                frames = self.settings.context + max(self.settings.horizons)
                predictor.learn(load_sequences(self.part.dataset, "train", frames).response)
            self._predictor = predictor
        return self._predictor

    def _digest(self, case: Case) -> str:
        """A hash of all that a cell's numbers depend on."""
        known = {
            "format": FORMAT,
            "set": self.part.identity,
            "predictor": self.entry.identity,
            "case": case,
            "horizons": self.settings.horizons,
            "context": self.settings.context,
            "seeds": _seeds(self.settings, case),
            "rate_snr_db": self.settings.rate_snr_db,
            "device": self.settings.device,
        }
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:32]


def _open(item: DataRecipe, settings: PredictionRecipe, progress: bool) -> Part:
    """The sequences of a set, at most ``max_sequences``, evenly spaced, its data set generated first if need be."""
    dataset = open_set(item, progress)
    sequences = load_sequences(dataset, item.split, settings.context + max(settings.horizons))
    chosen = spread(np.arange(len(sequences)), settings.max_sequences)
    known = {"data": dataset.manifest.content_hash(), "split": item.split, "chosen": chosen.tolist()}
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
    return Part(item, dataset, sequences.select(chosen), digest)


def _seeds(settings: PredictionRecipe, case: Case) -> tuple[int, ...]:
    return settings.seeds[:1] if case.snr_db is None else settings.seeds


def _steps(settings: PredictionRecipe, part: Part, case: Case) -> int:
    """Calls of a predictor for a case."""
    return -(-len(part.sequences) // BATCH) * len(_seeds(settings, case))
