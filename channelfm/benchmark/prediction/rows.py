"""Rows of prediction tables, and how they are printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from channelfm.benchmark.prediction.measure import Measured
from channelfm.metrics import bootstrap_interval, bounded_db, summary


class PredictionRow(TypedDict):
    """One line: a predictor on the sequences of one set and speed bin, at one horizon, noise and comb.

    ``nmse_db``: mean of the linear NMSE in dB, with its 95 % bootstrap interval (sequences are resampled);
    ``nmse_median_db``; ``similarity``: mean squared cosine similarity; ``rate``: mean achievable rate in bit/s/Hz with
    the predicted precoder, ``rate_share`` of that with the true channel. ``speed_mps``: [from, to). ``tuned_on``: the
    set whose data the network was tuned on with ``tuned_percent`` of the sequences, null for other rows; ``snr_db``:
    null for clean pasts. ``latency_ms`` per sequence, all horizons together, and ``peak_mb`` are the cell's.
    """

    predictor: str
    set: str
    split: str
    tuned_on: str | None
    tuned_percent: float | None
    speed_mps: tuple[float, float]
    horizon: int
    snr_db: float | None
    comb: int
    nmse_db: float
    nmse_db_low: float
    nmse_db_high: float
    nmse_median_db: float
    similarity: float
    rate: float
    rate_share: float
    samples: int
    seeds: int
    params: int
    latency_ms: float
    peak_mb: float


class Cell(TypedDict):
    """The part of a row that names its cell."""

    predictor: str
    set: str
    split: str
    tuned_on: str | None
    tuned_percent: float | None
    snr_db: float | None
    comb: int
    params: int


def rows_of(
    cell: Cell,
    measured: Measured,
    speeds_mps: NDArray[np.float64],
    bins: Sequence[tuple[float, float]],
    horizons: Sequence[int],
    seed: int = 0,
) -> list[PredictionRow]:
    """A row for each speed bin with at least one sequence, and each horizon; ``seed`` is the bootstrap's."""
    rows = []
    for low, high in bins:
        members = (speeds_mps >= low) & (speeds_mps < high)
        if members.any():
            rows += [
                _row(cell, measured, members, (low, high), place, horizons, seed) for place in range(len(horizons))
            ]
    return rows


def _row(
    cell: Cell,
    measured: Measured,
    members: NDArray[np.bool_],
    speeds: tuple[float, float],
    place: int,
    horizons: Sequence[int],
    seed: int,
) -> PredictionRow:
    errors = measured.nmse[:, members, place].astype(np.float64)
    numbers = summary(errors.ravel())
    # Noise drawn anew on one sequence makes no independent sample: sequences are resampled.
    low, high = bootstrap_interval(errors.mean(axis=0), seed=seed)
    rate, best = (float(part[:, members, place].mean()) for part in (measured.rate, measured.best_rate))
    return PredictionRow(
        **cell,
        speed_mps=speeds,
        horizon=horizons[place],
        nmse_db=numbers.mean_db,
        nmse_db_low=bounded_db(low),
        nmse_db_high=bounded_db(high),
        nmse_median_db=numbers.median_db,
        similarity=float(measured.similarity[:, members, place].mean()),
        rate=rate,
        rate_share=rate / best,
        samples=int(members.sum()),
        seeds=len(errors),
        latency_ms=measured.latency_ms,
        peak_mb=measured.peak_mb,
    )


def case_name(row: PredictionRow) -> str:
    """What a row's past is like, in words."""
    noise = "clean" if row["snr_db"] is None else f"{row['snr_db']:g} dB SNR"
    return noise if row["comb"] == 1 else f"{noise}, pilots on 1/{row['comb']}"


def row_name(row: PredictionRow) -> str:
    """A row's name in tables: the predictor and what it was tuned on."""
    if row["tuned_on"] is None or row["tuned_percent"] is None:
        return row["predictor"]
    return f"{row['predictor']} + {row['tuned_percent']:g} % {row['tuned_on']}"


def print_prediction(rows: Sequence[PredictionRow]) -> None:
    """NMSE in dB (mean / median) of every predictor by horizon: a table for each set, case and speed bin."""
    for part, case, speeds in dict.fromkeys((row["set"], case_name(row), row["speed_mps"]) for row in rows):
        here = [row for row in rows if (row["set"], case_name(row), row["speed_mps"]) == (part, case, speeds)]
        horizons = sorted({row["horizon"] for row in here})
        title = f"{part}, {case}, {speeds[0]:g} to {speeds[1]:g} m/s, {here[0]['samples']} sequences"
        table = Table(title=f"{title}: NMSE in dB, mean / median")
        table.add_column("frames ahead", no_wrap=True)
        for heading in (*map(str, horizons), "ms"):
            table.add_column(heading, justify="right", no_wrap=True)
        for name in dict.fromkeys(map(row_name, here)):
            own = {row["horizon"]: row for row in here if row_name(row) == name}
            cells = [f"{own[ahead]['nmse_db']:.1f}/{own[ahead]['nmse_median_db']:.1f}" for ahead in horizons]
            table.add_row(name, *cells, f"{own[horizons[0]]['latency_ms']:.3g}")
        Console().print(table)
