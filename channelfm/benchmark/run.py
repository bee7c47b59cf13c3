"""Rows of result tables: from what was measured link by link to numbers with confidence, for each group of links."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from channelfm.benchmark.measure import BATCH, Measured, measure, warm_up
from channelfm.benchmark.predictors import check_names, parameters_of
from channelfm.errors import InputError
from channelfm.files import write_atomically
from channelfm.metrics import bootstrap_interval, bounded_db, polar_peaks, summary
from channelfm.tasks.extrapolation import examples, usable_snapshots
from channelfm.tasks.predictor import Predictor

_RECORDED = ("channelfm", "numpy", "torch", "sionna-rt", "diffusers", "lightning-fabric")

Grid = NDArray[np.complex64]


class Row(TypedDict):
    """One line of a result table: a predictor on a group of the links of a set, with one mask and SNR.

    ``nmse_db``: mean of the linear NMSE in dB, with its 95 % bootstrap interval ``nmse_db_low`` to ``nmse_db_high``
    (links are resampled, each with all its masks); ``nmse_median_db``, ``p90_db``: median and 90th percentile; none is
    below -200 dB, which stands for exact reconstruction. ``psnr_db``, ``ssim``: means, of amplitudes.
    ``peak_direction``, ``peak_range``: median distance of the polar-domain peaks of estimate and truth, in beamwidths
    and in inverse Rayleigh distances. ``latency_ms``: wall-clock time per link, warmed up, in batches of up to
    ``BATCH``; ``peak_mb``: memory that such a call needs beyond what is held between calls; both are the cell's, the
    same for all groups. ``params``: trained parameters, 0 for classical predictors. ``samples``: links, each measured
    with ``seeds`` masks. ``snr_db``: null for clean observations. ``set``, ``split``, ``group``: which links;
    ``mask_kind``, ``mask_ratio``: what is hidden of them.
    """

    predictor: str
    set: str
    split: str
    group: str
    mask_kind: str
    mask_ratio: float
    snr_db: float | None
    nmse_db: float
    nmse_median_db: float
    latency_ms: float
    samples: int
    seeds: int
    nmse_db_low: float
    nmse_db_high: float
    p90_db: float
    psnr_db: float
    ssim: float
    peak_direction: float
    peak_range: float
    params: int
    peak_mb: float


class Results(TypedDict):
    """Contents of ``results.json``; ``left_out`` counts the snapshots without any path, which no row includes; ``data``
    says for each set which data set was measured; ``notes`` say what else is missing and why."""

    rows: list[Row]
    scene: str
    seed: int
    versions: dict[str, str]
    left_out: int
    data: NotRequired[dict[str, str]]
    notes: NotRequired[list[str]]


class Cell(TypedDict):
    """The part of a row that names its cell."""

    predictor: str
    set: str
    split: str
    mask_kind: str
    mask_ratio: float
    snr_db: float | None
    params: int


def rows_of(cell: Cell, measured: Measured, groups: Mapping[str, NDArray[np.bool_]], seed: int = 0) -> list[Row]:
    """One row for each group, a bool [link] each; ``seed`` is the bootstrap's."""
    return [_row(cell, name, measured, members, seed) for name, members in groups.items()]


def _row(cell: Cell, group: str, measured: Measured, members: NDArray[np.bool_], seed: int) -> Row:
    errors = measured.nmse[:, members].astype(np.float64)
    numbers = summary(errors.ravel())
    # Masks of one link are no independent samples: links are resampled, each with the mean over its masks.
    low, high = bootstrap_interval(errors.mean(axis=0), seed=seed)
    return Row(
        **cell,
        group=group,
        nmse_db=numbers.mean_db,
        nmse_median_db=numbers.median_db,
        latency_ms=measured.latency_ms,
        samples=int(members.sum()),
        seeds=len(errors),
        nmse_db_low=bounded_db(low),
        nmse_db_high=bounded_db(high),
        p90_db=numbers.p90_db,
        psnr_db=float(measured.psnr_db[:, members].mean()),
        ssim=float(measured.ssim[:, members].mean()),
        peak_direction=float(np.median(measured.peak_direction[:, members])),
        peak_range=float(np.median(measured.peak_range[:, members])),
        peak_mb=measured.peak_mb,
    )


def evaluate(
    predictors: Sequence[Predictor],
    grid: Grid,
    mask_ratios: Sequence[float],
    seed: int = 0,
    progress: bool = True,
    spacing_wavelengths: float = 0.5,
    split: str = "test",
) -> list[Row]:
    """Measure channel extrapolation from clean observations of random antennas, on one set of links.

    Parameters
    ----------
    predictors : row names must differ.
    grid : complex64 [snapshot, row, column, frequency]; snapshots that are zero everywhere (no path) are left out.
    mask_ratios : shares of hidden antennas, each in (0, 1).
    seed : of the random masks; the masks of one ratio do not depend on the other ratios.
    progress : draw a bar on the terminal.
    spacing_wavelengths : of the array's elements.
    split : that the channels are of, for the table.

    Returns rows ordered by mask ratio, then as the predictors are given. Raises InputError for repeated names,
    ratios out of range, channels that are not finite or all without a path, and answers of a wrong shape or not finite.
    """
    check_names([predictor.name for predictor in predictors])
    if np.ndim(grid) != 4 or not np.iscomplexobj(grid):
        raise InputError(f"channels of shape {np.shape(grid)}: give complex [snapshot, row, column, frequency]")
    links = usable_snapshots(grid)
    if not len(links):
        raise InputError(f"none of the {len(grid)} snapshots has a path: choose another split or flight")
    cases = [examples(links, ratio, seed) for ratio in mask_ratios]
    peaks = polar_peaks(links, spacing_wavelengths)
    everyone = {"all": np.ones(len(links), np.bool_)}
    rows: list[Row] = []
    with progress_bar(len(cases) * len(predictors) * batches(len(links)), progress) as bar:
        for number, (ratio, case) in enumerate(zip(mask_ratios, cases, strict=True)):
            for predictor in predictors:
                bar.update(bar.task_ids[0], description=f"{predictor.name} at {ratio:g}")
                if number == 0:
                    warm_up(predictor, case)
                found = measure(
                    predictor, [case], peaks, spacing_wavelengths, advance=lambda: bar.advance(bar.task_ids[0])
                )
                cell = Cell(
                    predictor=predictor.name,
                    set="links",
                    split=split,
                    mask_kind="random",
                    mask_ratio=float(ratio),
                    snr_db=None,
                    params=parameters_of(predictor),
                )
                rows += rows_of(cell, found, everyone, seed)
    return rows


def typical_case(cases: Sequence[tuple[str, float, float | None]]) -> tuple[str, float, float | None]:
    """The mask (kind, ratio) and SNR that examples and summaries take: random antennas and clean ones, if there is such
    a case, at the ratio nearest to 0.9."""
    return min(cases, key=lambda case: (case[0] != "random", case[2] is not None, abs(case[1] - 0.9)))


def batches(links: int) -> int:
    """Calls of a predictor for so many links."""
    return -(-links // BATCH)


@contextmanager
def progress_bar(total: int, shown: bool) -> Iterator[Progress]:
    """A bar with one task of ``total`` steps."""
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


def write_results(path: str | Path, results: Mapping[str, Any]) -> None:
    """Write results, or their rows alone, as JSON, atomically; every number in it is finite."""
    write_atomically(Path(path), json.dumps(results, indent=1, allow_nan=False).encode())
