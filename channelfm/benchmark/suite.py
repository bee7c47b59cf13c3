"""The suite: every predictor on every set with every mask; results and report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from channelfm.benchmark.cells import Case, Part, Worker
from channelfm.benchmark.content import Shown, report_content
from channelfm.benchmark.links import describe_data, load_links
from channelfm.benchmark.predictors import Entry, find_predictors
from channelfm.benchmark.recipe import BenchmarkRecipe, mask_cases
from channelfm.benchmark.report import write_report
from channelfm.benchmark.run import (
    Cell,
    Results,
    Row,
    batches,
    progress_bar,
    rows_of,
    typical_case,
    versions,
    write_results,
)
from channelfm.config import load_recipe
from channelfm.errors import InputError
from channelfm.tasks.extrapolation import examples


def benchmark(
    recipe: str | Path,
    out: str | Path = "runs/benchmark",
    quick: bool = False,
    overrides: Sequence[str] = (),
    progress: bool = True,
) -> Results:
    """Run a benchmark recipe; writes ``results.json`` and ``report.html`` into ``out`` and returns the results.

    What is measured is kept in ``out/cells``, so that an interrupted benchmark resumes and one with another predictor
    measures only that. ``quick`` measures what the recipe says under that name. A predictor that cannot work on a set
    (it has nothing to learn from, or refuses the array) is left out there, which the results' ``notes`` say. Raises
    InputError for an unusable recipe, data set, mask or predictor name.
    """
    settings = load_recipe(BenchmarkRecipe, recipe, overrides)
    settings = settings.quickened() if quick else settings
    entries = find_predictors(settings.predictors)  # a wrong name should not cost a data set first
    parts = [Part(item, load_links(item, settings.max_samples, progress)) for item in settings.sets]
    cases = [Case(kind, ratio, snr_db) for snr_db in settings.snr_db for kind, ratio in mask_cases(settings.masks)]
    for part in parts:
        for case in cases:  # nor should a mask that is no task on this array cost an hour
            examples(part.links.channels.grid[:1], case.ratio, settings.seeds[0], case.kind, case.snr_db)
    notes = _measure(settings, parts, entries, cases, Path(out) / "cells", progress)
    rows = [row for part in parts for row in _rows(settings, part, cases, entries)]
    if not rows:
        raise InputError(f"no predictor could be measured: {'; '.join(notes)}")
    results = Results(
        rows=rows,
        scene=", ".join(dict.fromkeys(scene for part in parts for scene in part.links.scenes)),
        seed=settings.seeds[0],
        versions=versions(),
        left_out=sum(part.links.left_out for part in parts),
        data={part.links.name: describe_data(part.links.dataset) for part in parts},
        notes=notes,
    )
    write_results(Path(out) / "results.json", results)
    shown = [_shown(part, cases) for part in parts]
    write_report(Path(out) / "report.html", report_content(settings, [part.links for part in parts], results, shown))
    return results


def _measure(
    settings: BenchmarkRecipe,
    parts: Sequence[Part],
    entries: Sequence[Entry],
    cases: Sequence[Case],
    folder: Path,
    progress: bool,
) -> list[str]:
    """Fill the cells of all parts; notes on what could not be measured."""
    notes = []
    steps = [batches(len(part.links.channels)) * len(settings.seeds) for part in parts]
    with progress_bar(len(entries) * len(cases) * sum(steps), progress) as bar:
        for part, step in zip(parts, steps, strict=True):
            for entry in entries:
                note = Worker(settings, part, entry, folder).measure(cases, bar, step)
                notes += [] if note is None else [note]
    return notes


def _rows(settings: BenchmarkRecipe, part: Part, cases: Sequence[Case], entries: Sequence[Entry]) -> list[Row]:
    """Rows of a set by case, predictor and group."""
    groups = part.links.groups()
    rows: list[Row] = []
    for case in cases:
        for entry in entries:
            if (case, entry.name) not in part.cells:
                continue
            cell = Cell(
                predictor=entry.name,
                set=part.links.name,
                split=part.links.split,
                mask_kind=case.kind,
                mask_ratio=case.ratio,
                snr_db=case.snr_db,
                params=entry.parameters,
            )
            rows += rows_of(cell, part.cells[case, entry.name], groups, settings.seeds[0])
    return rows


def _shown(part: Part, cases: Sequence[Case]) -> Shown:
    """What the figures show of a set: one link's estimates with the typical mask, and with all other ratios of it."""
    typical = Case(*typical_case(cases))
    alike = [case for case in cases if (case.kind, case.snr_db) == (typical.kind, typical.snr_db)]
    estimates = {
        case.ratio: {name: cell.shown for (other, name), cell in part.cells.items() if other == case} for case in alike
    }
    return Shown(typical.kind, typical.ratio, typical.snr_db, estimates)
