"""Predictors x mask ratios on one set of channels -> rows with accuracy, confidence and time.

Every predictor sees the same observations and the same masks, whether it is a network or a classical estimator.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from channelfm.errors import InputError
from channelfm.metrics import bootstrap_interval, bounded_db, nmse, psnr, ssim, summary
from channelfm.records import write_atomically
from channelfm.tasks.extrapolation import examples, usable_snapshots
from channelfm.tasks.predictor import Predictor

BATCH = 32  # snapshots per call of a predictor
_RECORDED = ("channelfm", "numpy", "torch", "sionna-rt", "diffusers", "lightning-fabric")

Grid = NDArray[np.complex64]


class Row(TypedDict):
    """One line of a result table, of one predictor at one mask ratio.

    ``nmse_db``: mean of the linear NMSE in dB, with its 95 % bootstrap interval ``nmse_db_low`` to ``nmse_db_high``
    (samples are resampled); ``nmse_median_db``, ``p90_db``: median and 90th percentile; none is below -200 dB, which
    stands for exact reconstruction. ``psnr_db``, ``ssim``: means over samples, of amplitudes. ``latency_ms``:
    wall-clock time per sample after a warm-up call, in batches of up to ``BATCH``. ``samples``: snapshots measured.
    """

    predictor: str
    mask_ratio: float
    nmse_db: float
    nmse_median_db: float
    latency_ms: float
    samples: int
    nmse_db_low: float
    nmse_db_high: float
    p90_db: float
    psnr_db: float
    ssim: float


class Results(TypedDict):
    """Contents of ``results.json``; ``left_out`` counts the snapshots without any path, which no row includes."""

    rows: list[Row]
    scene: str
    seed: int
    versions: dict[str, str]
    left_out: int


def evaluate(
    predictors: Sequence[Predictor],
    grid: Grid,
    mask_ratios: Sequence[float],
    seed: int = 0,
    progress: bool = True,
) -> list[Row]:
    """Measure channel extrapolation from clean partial channels.

    Parameters
    ----------
    predictors : row names must differ.
    grid : complex64 [snapshot, row, column, frequency]; snapshots that are zero everywhere (no path) are left out.
    mask_ratios : shares of hidden antennas, each in [0, 1].
    seed : of the random masks; the masks of one ratio do not depend on the other ratios.
    progress : draw a bar on the terminal.

    Returns rows ordered by mask ratio, then as the predictors are given. Raises InputError for repeated names,
    ratios out of range, channels that are not finite or all without a path, and answers of a wrong shape or not finite.
    """
    names = [predictor.name for predictor in predictors]
    if len(set(names)) < len(names):
        raise InputError(f"predictors {names}: two rows would have the same name; rename one")
    if np.ndim(grid) != 4 or not np.iscomplexobj(grid):
        raise InputError(f"channels of shape {np.shape(grid)}: give complex [snapshot, row, column, frequency]")
    measured = len(usable_snapshots(grid))
    if not measured:
        raise InputError(f"none of the {len(grid)} snapshots has a path: choose another split or flight")
    rows: list[Row] = []
    batches = -(-measured // BATCH)
    with _bar(len(mask_ratios) * len(predictors) * batches, progress) as bar:
        for ratio in mask_ratios:
            case = examples(grid, ratio, seed)
            for predictor in predictors:
                bar.update(bar.task_ids[0], description=f"{predictor.name} at {ratio:g}")
                estimate, seconds = _timed(predictor, case.observed, case.mask, bar)
                rows.append(_row(predictor.name, ratio, estimate, case.target, seconds, seed))
    return rows


def _timed(predictor: Predictor, observed: Grid, mask: NDArray[np.bool_], bar: Progress) -> tuple[Grid, float]:
    """All reconstructions, and the seconds they took after a warm-up call on the first batch."""
    predictor.predict(observed[:BATCH], mask[:BATCH])
    parts, seconds = [], 0.0
    for start in range(0, len(observed), BATCH):
        batch = observed[start : start + BATCH], mask[start : start + BATCH]
        begin = time.perf_counter()
        estimate = predictor.predict(*batch)
        seconds += time.perf_counter() - begin
        if estimate.shape != batch[0].shape or not np.isfinite(estimate).all():
            raise InputError(
                f"predictor '{predictor.name}' answered with shape {estimate.shape} (wanted {batch[0].shape}) or with "
                "values that are not finite: mend it"
            )
        parts.append(estimate)
        bar.advance(bar.task_ids[0])
    return np.concatenate(parts), seconds


def _row(name: str, ratio: float, estimate: Grid, truth: Grid, seconds: float, seed: int) -> Row:
    errors = nmse(estimate, truth)
    numbers = summary(errors)
    low, high = bootstrap_interval(errors, seed=seed)
    return Row(
        predictor=name,
        mask_ratio=float(ratio),
        nmse_db=numbers.mean_db,
        nmse_median_db=numbers.median_db,
        latency_ms=1e3 * seconds / len(truth),
        samples=len(truth),
        nmse_db_low=bounded_db(low),
        nmse_db_high=bounded_db(high),
        p90_db=numbers.p90_db,
        psnr_db=float(psnr(estimate, truth).mean()),
        ssim=float(ssim(estimate, truth).mean()),
    )


@contextmanager
def _bar(total: int, shown: bool) -> Iterator[Progress]:
    columns = (TextColumn("{task.description:28s}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True, disable=not shown) as bar:
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


def write_results(path: str | Path, results: Results) -> None:
    """Write ``results.json`` atomically; every number in it is finite."""
    write_atomically(Path(path), json.dumps(results, indent=1, allow_nan=False).encode())
