"""One cell of a prediction benchmark: what a predictor answers to the sequences of a set, at all horizons."""

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
from channelfm.metrics import achievable_rate, nmse, squared_cosine_similarity
from channelfm.records import Record
from channelfm.tasks.prediction import Complex, PredictionExamples, SequencePredictor

BATCH = 16  # sequences per call of a predictor
_WARM_UP = 2

Single = NDArray[np.float32]


@dataclass(frozen=True)
class Measured(Record):
    """What was measured of one predictor on one set in one case.

    ``nmse`` (linear), ``similarity`` (squared cosine), ``rate`` and ``best_rate``, that of the true channel, in
    bit/s/Hz: float32 [case, sequence, horizon], one case for each seed. ``latency_ms``: wall-clock time per sequence
    for all horizons together; ``peak_mb``: memory that a call of up to ``BATCH`` sequences needs beyond what is held.
    """

    nmse: Single
    similarity: Single
    rate: Single
    best_rate: Single
    latency_ms: float
    peak_mb: float

    axes: ClassVar[dict[str, str]] = dict.fromkeys(("nmse", "similarity", "rate", "best_rate"), "float C N H")


def measure(
    predictor: SequencePredictor,
    cases: Sequence[PredictionExamples],
    horizons: Sequence[int],
    rate_snr_db: float,
    advance: Callable[[], None] = lambda: None,
) -> Measured:
    """Measure a predictor on cases of the same sequences; ``advance`` is called after each batch.

    Raises InputError for an answer of a wrong shape or with values that are not finite.
    """
    furthest = max(horizons)
    predictor.predict(cases[0].past[:_WARM_UP], cases[0].mask, furthest)
    peak, seconds = PeakMemory(), 0.0
    columns: dict[str, list[NDArray[np.float64]]] = {}
    for number, case in enumerate(cases):
        estimate, spent = _timed(predictor, case, furthest, advance, peak if number == 0 else None)
        seconds += spent
        for name, values in _scores(estimate, case.future, horizons, rate_snr_db).items():
            columns.setdefault(name, []).append(values)
    stacked = {name: np.stack(parts).astype(np.float32) for name, parts in columns.items()}
    latency = 1e3 * seconds / sum(len(case.past) for case in cases)
    return Measured(**stacked, latency_ms=latency, peak_mb=peak.mb)


def _scores(
    estimate: Complex, future: Complex, horizons: Sequence[int], rate_snr_db: float
) -> dict[str, NDArray[np.float64]]:
    """Measures [sequence, horizon] of predicted frames [sequence, frame, row, col, F]."""
    parts: dict[str, list[NDArray[np.float64]]] = {}
    for ahead in horizons:
        guess, truth = (
            frames[:, ahead - 1].reshape(len(frames), -1, frames.shape[-1]) for frames in (estimate, future)
        )
        values = {
            "nmse": nmse(guess, truth),
            "similarity": squared_cosine_similarity(guess, truth),
            "rate": achievable_rate(guess, truth, rate_snr_db),
            "best_rate": achievable_rate(truth, truth, rate_snr_db),
        }
        for name, value in values.items():
            parts.setdefault(name, []).append(value)
    return {name: np.stack(columns, axis=1) for name, columns in parts.items()}


def _timed(
    predictor: SequencePredictor,
    case: PredictionExamples,
    horizon: int,
    advance: Callable[[], None],
    peak: PeakMemory | None,
) -> tuple[Complex, float]:
    """All predictions of a case, and the seconds they took; ``peak`` watches the first call."""
    parts, seconds = [], 0.0
    for start in range(0, len(case.past), BATCH):
        past = case.past[start : start + BATCH]
        with peak if peak is not None and start == 0 else nullcontext():
            begin = time.perf_counter()
            estimate = predictor.predict(past, case.mask, horizon)
            seconds += time.perf_counter() - begin
        if estimate.shape != (len(past), horizon, *past.shape[2:]) or not np.isfinite(estimate).all():
            raise InputError(
                f"predictor '{predictor.name}' answered with shape {estimate.shape}, or with values that are not "
                f"finite; wanted are {horizon} frames for each of {len(past)} sequences: mend it"
            )
        parts.append(estimate)
        advance()
    return np.concatenate(parts), seconds
