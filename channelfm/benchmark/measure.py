"""One cell of a benchmark: what a predictor answers to some cases, measured link by link.

Every predictor goes through here, whether it is a network or a classical estimator.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from channelfm.benchmark.memory import PeakMemory
from channelfm.errors import InputError
from channelfm.metrics import PolarPeaks, nmse, polar_peak_errors, polar_peaks, psnr, ssim
from channelfm.records import Record
from channelfm.tasks.extrapolation import Examples
from channelfm.tasks.predictor import Predictor

BATCH = 32  # snapshots per call of a predictor
_WARM_UP = 2

Grid = NDArray[np.complex64]
Single = NDArray[np.float32]


@dataclass(frozen=True)
class Measured(Record):
    """What was measured of one predictor on one set with one mask and SNR.

    ``nmse`` (linear), ``psnr_db``, ``ssim``, ``peak_direction``, ``peak_range`` (as ``metrics.polar_peak_errors`` has
    them): float32 [case, link], one case for each seed. ``shown`` complex64 [rows, cols]: the estimate of one link in
    the first case, for figures. ``latency_ms``: wall-clock time per link; ``peak_mb``: peak memory
    that a call needs beyond what is held between calls (weights, tables), of up to ``BATCH`` links.
    """

    nmse: Single
    psnr_db: Single
    ssim: Single
    peak_direction: Single
    peak_range: Single
    shown: Grid
    latency_ms: float
    peak_mb: float

    axes: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("nmse", "psnr_db", "ssim", "peak_direction", "peak_range"), "float C L"),
        "shown": "complex R K",
    }


def warm_up(predictor: Predictor, case: Examples) -> None:
    """One small call that is not timed: loads libraries, compiles, builds tables, starts threads."""
    predictor.predict(case.observed[:_WARM_UP], case.mask[:_WARM_UP])


def measure(
    predictor: Predictor,
    cases: Sequence[Examples],
    peaks: PolarPeaks,
    spacing_wavelengths: float,
    shown: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> Measured:
    """Measure a predictor on cases that hide antennas of the same targets; ``peaks`` are those of the targets.

    ``shown`` is the number of the link whose estimate is kept; ``advance`` is called after each batch. Raises
    InputError for an answer of a wrong shape or with values that are not finite.
    """
    measured: dict[str, list[NDArray[np.float64]]] = {}
    seconds = 0.0
    peak = PeakMemory()
    kept: Grid = cases[0].target[shown, ..., 0]
    for number, case in enumerate(cases):
        estimate, spent = _timed(predictor, case, advance, peak if number == 0 else None)
        seconds += spent
        if number == 0:
            kept = estimate[shown, ..., 0].copy()
        found = polar_peaks(estimate, spacing_wavelengths)
        rows, cols = estimate.shape[1:3]
        direction, inverse_range = polar_peak_errors(found, peaks, rows, cols, spacing_wavelengths)
        values = {
            "nmse": nmse(estimate, case.target),
            "psnr_db": psnr(estimate, case.target),
            "ssim": ssim(estimate, case.target),
            "peak_direction": direction,
            "peak_range": inverse_range,
        }
        for name, value in values.items():
            measured.setdefault(name, []).append(value)
    columns = {name: np.stack(parts).astype(np.float32) for name, parts in measured.items()}
    latency = 1e3 * seconds / sum(len(case.target) for case in cases)
    return Measured(**columns, shown=kept, latency_ms=latency, peak_mb=peak.mb)


def _timed(
    predictor: Predictor, case: Examples, advance: Callable[[], None], peak: PeakMemory | None
) -> tuple[Grid, float]:
    """All reconstructions of a case, and the seconds they took; ``peak`` watches the first call."""
    parts, seconds = [], 0.0
    for start in range(0, len(case.observed), BATCH):
        observed, mask = case.observed[start : start + BATCH], case.mask[start : start + BATCH]
        with peak if peak is not None and start == 0 else nullcontext():
            begin = time.perf_counter()
            estimate = predictor.predict(observed, mask)
            seconds += time.perf_counter() - begin
        if estimate.shape != observed.shape or not np.isfinite(estimate).all():
            raise InputError(
                f"predictor '{predictor.name}' answered with shape {estimate.shape} (wanted {observed.shape}) or with "
                "values that are not finite: mend it"
            )
        parts.append(estimate)
        advance()
    return np.concatenate(parts), seconds
