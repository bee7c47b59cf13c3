"""From what was measured unit by unit to the rows of a table: numbers with confidence, for each group of units.

Confidence is that of other users in other scenes: links of one user on its way, and users of one scene, are no
independent samples. So scenes are resampled, where there are several, then tracks within each (a two-stage cluster
bootstrap, Davison & Hinkley 1997, section 3.8), and a track brings all its units with all their seeds. Differences of
two rows are taken under the same resamples, so that what makes a link hard for everybody cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from channelfm.metrics import DECIBEL_FLOOR
from channelfm.tasks import Measure
from channelfm.tasks.base import decibels, decile_decibels, mean, median, median_decibels
from channelfm.units import power_to_db

RESAMPLES, CONFIDENCE = 1000, 0.95
TRIVIAL, CLASSICAL, BOUND = "trivial", "classical", "bound"  # what rows are told against

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Integers = NDArray[np.int64]


class Row(TypedDict):
    """One line of a result table: an estimator on a group of the units of a set, in one case of a task.

    ``case``: plain values, ``label``: the same for people. ``samples``: units, each measured with ``seeds`` draws; with
    a time budget they are the first that it paid for. ``params``: trained parameters, 0 for classical estimators.
    ``latency_ms``: wall-clock time per unit, warmed up, in batches; ``peak_mb``: memory that a call needs beyond what
    is held between calls; both are the cell's, the same for all groups. ``floor_db``: median error of the stored
    channels, below which no median NMSE is told (null: not known). ``tuned``: [set, percent] of a network that was
    tuned on a share of a set. ``reference``: what knows that which no estimator can (:meth:`Task.references`), is
    measured by the first measure's values alone, and wins nothing.

    Beside these, each measure has its columns (:func:`number`): for ``nmse_db``, say, the number itself and
    ``nmse_db_low`` to ``nmse_db_high``, its 95 % interval, null where there is but one track. ``against``: the
    ``trivial`` row, the best ``classical`` row but itself, and the ``bound``, each with the ``estimator`` that it is,
    the ``samples`` that both have, and by key [difference, low, high, share of the units on which this row is better].
    """

    estimator: str
    task: str
    set: str
    split: str
    group: str
    case: dict[str, Any]
    label: str
    samples: int
    seeds: int
    params: int
    latency_ms: float
    peak_mb: float
    floor_db: float | None
    tuned: tuple[str, float] | None
    reference: bool
    against: dict[str, dict[str, Any]]


class Results(TypedDict):
    """Contents of ``results.json``. ``measures``: key, title, unit, more (is better) and at (place on the axis of a
    curve, or null) of each, the first ranks; ``left_out`` counts what no path reaches, which no row includes; ``data``
    says for each set which data set was measured; ``notes`` say what else is missing and why."""

    format: int
    name: str
    task: dict[str, Any]
    measures: list[dict[str, Any]]
    rows: list[Row]
    scene: str
    seed: int
    versions: dict[str, str]
    left_out: int
    data: dict[str, str]
    notes: list[str]


def number(row: Row, key: str) -> Any:
    """A column of a row that one of the task's measures has."""
    return cast("Mapping[str, Any]", row)[key]


@dataclass(frozen=True)
class Units:
    """What is known of the units of a set: ``scene`` and ``track`` int64 [U], the error of their stored channels
    float64 [U] or None, and the ``seed`` of resamples, which are drawn once for all rows."""

    scene: Integers
    track: Integers
    stored_error_db: Float | None = None
    seed: int = 0
    _drawn: dict[bytes, Integers | None] = field(default_factory=dict)

    def counts(self, members: Integers) -> Integers | None:
        """How often each of some units stands in each resample; None of a single track."""
        key = members.tobytes()
        if key not in self._drawn:
            scene, track = self.scene[members], self.track[members]
            several = len(np.unique(track)) > 1
            self._drawn[key] = cluster_counts(scene, track, self.seed) if several else None
        return self._drawn[key]

    def floor_db(self, members: Integers) -> float | None:
        """Median error of the stored channels of some units."""
        errors = np.array([]) if self.stored_error_db is None else self.stored_error_db[members]
        known = errors[np.isfinite(errors)]
        return float(np.median(known)) if len(known) else None


def cluster_counts(scene: Integers, track: Integers, seed: int = 0, resamples: int = RESAMPLES) -> Integers:
    """How often each unit [U] stands in each resample, int64 [resample, U]: scenes, then tracks within each."""
    generator = np.random.default_rng(seed)
    tracks, own = np.unique(track, return_inverse=True)
    place = scene[np.unique(track, return_index=True)[1]]  # of each track
    scenes = [np.flatnonzero(place == name) for name in np.unique(place)]
    drawn = np.zeros((resamples, len(tracks)), np.int64)
    chosen = generator.integers(len(scenes), size=(resamples, len(scenes)))
    for slot in range(len(scenes)):
        for number, inside in enumerate(scenes):
            rows = np.flatnonzero(chosen[:, slot] == number)
            picks = inside[generator.integers(len(inside), size=(len(rows), len(inside)))]
            np.add.at(drawn, (rows[:, None], picks), 1)
    return drawn[:, own]


def reduced(measure: Measure, values: Float, counts: Integers | None) -> Float:
    """A measure's number of values [seed, unit] in each resample, float64 [resample]; ``counts`` as
    :func:`cluster_counts` has them."""
    if counts is None:
        return np.zeros(0)
    kind = _KINDS.get(measure.reduce)
    if kind is None:  # of somebody's own task: one resample at a time
        return np.array([measure.reduce(np.repeat(values, row, axis=1).ravel()) for row in counts])
    quantile, in_db = kind
    if quantile is None:
        numbers = counts @ values.mean(axis=0) / counts.sum(axis=1)
    else:
        numbers = _quantiles(values, counts, quantile)
    return np.maximum(power_to_db(np.maximum(numbers, 1e-300)), DECIBEL_FLOOR) if in_db else numbers


# Reductions that need no loop: their quantile (None: the mean), and whether they are told in dB.
_KINDS: dict[Callable[[Float], float], tuple[float | None, bool]] = {
    decibels: (None, True),
    mean: (None, False),
    median_decibels: (0.5, True),
    median: (0.5, False),
    decile_decibels: (0.9, True),
}


def _quantiles(values: Float, counts: Integers, quantile: float) -> Float:
    """Quantiles with linear interpolation of values [seed, unit] that stand ``counts`` [resample, unit] times."""
    flat = values.ravel()
    order = np.argsort(flat, kind="stable")
    until = np.cumsum(counts[:, order % values.shape[1]], axis=1)
    place = (until[:, -1] - 1) * quantile
    below = np.floor(place).astype(np.int64)
    ends = [
        flat[order[np.sum(until <= rank[:, None], axis=1)]] for rank in (below, np.minimum(below + 1, until[:, -1] - 1))
    ]
    return np.asarray(ends[0] + (place - below) * (ends[1] - ends[0]))


@dataclass(frozen=True)
class Scored:
    """What was measured under one name, before it is told: ``values`` [seed, unit] by name of the task's values."""

    name: str
    params: int
    values: Mapping[str, Float]

    @property
    def units(self) -> int:
        """Units that were measured."""
        return len(next(iter(self.values.values())).T)


class Comparison:
    """Numbers of several rows over the same units, each worked out once."""

    def __init__(self, units: Units) -> None:
        self.units = units
        self._numbers: dict[tuple[str, str, bytes], tuple[float, Float]] = {}

    def number(self, measure: Measure, row: Scored, members: Integers) -> list[float | None]:
        """A measure's number over some units, low and high."""
        value, drawn = self._number(measure, row, members)
        return [value, *_interval(drawn)]

    def difference(self, measure: Measure, row: Scored, other: Scored, members: Integers) -> list[float | None]:
        """Difference of two rows' numbers, low and high, and the share of the units on which the first is better."""
        (first, one), (second, two) = (self._number(measure, part, members) for part in (row, other))
        ours, theirs = (part.values[measure.of][:, members].mean(axis=0) for part in (row, other))
        better = ours > theirs if measure.more else ours < theirs
        return [first - second, *_interval(one - two), float(better.mean())]

    def best(self, measure: Measure, rows: Sequence[Scored], members: Integers) -> Scored | None:
        """The best over some units of those rows that have them all or, where none has, over what each has of them."""
        there = [row for row in rows if (members < row.units).all()]
        there = there or [row for row in rows if (members < row.units).any()]
        told = {row.name: self._number(measure, row, members[members < row.units])[0] for row in there}
        ranked = sorted(there, key=lambda row: told[row.name])
        return None if not ranked else ranked[-1 if measure.more else 0]

    def _number(self, measure: Measure, row: Scored, members: Integers) -> tuple[float, Float]:
        key = row.name, measure.key, members.tobytes()
        if key not in self._numbers:
            values = row.values[measure.of][:, members]
            value = measure.reduce(values.ravel())
            drawn = reduced(measure, values, self.units.counts(members))
            floor = self.units.floor_db(members) if measure.reduce is median_decibels else None
            self._numbers[key] = (value, drawn) if floor is None else (max(value, floor), np.maximum(drawn, floor))
        return self._numbers[key]

    def against(
        self, measures: Sequence[Measure], row: Scored, other: Scored | None, members: Integers
    ) -> dict[str, Any] | None:
        """What a row tells of another: see :class:`Row`; None without common units."""
        if other is None or other.name == row.name:
            return None
        common = members[members < min(row.units, other.units)]
        common = common[
            np.all([np.isfinite(values[:, common]).all(axis=0) for values in other.values.values()], axis=0)
        ]
        if not len(common):
            return None
        told = {
            measure.key: self.difference(measure, row, other, common)
            for measure in measures
            if measure.of in other.values
        }
        return {"estimator": other.name, "samples": len(common)} | told


def columns(
    comparison: Comparison,
    measures: Sequence[Measure],
    row: Scored,
    rivals: Mapping[str, Scored | None],
    members: Integers,
) -> dict[str, Any]:
    """The columns of a row over some units that its task's measures fill, and ``against`` its rivals."""
    told: dict[str, Any] = {}
    there = [measure for measure in measures if measure.of in row.values]
    for measure in measures:
        value, low, high = comparison.number(measure, row, members) if measure in there else (None, None, None)
        told |= {measure.key: value, f"{measure.key}_low": low, f"{measure.key}_high": high}
    found = {
        # Only what is ranked by is bounded.
        name: comparison.against(there[:1] if name == BOUND else there, row, other, members)
        for name, other in rivals.items()
    }
    return told | {"against": {name: value for name, value in found.items() if value is not None}}


def _interval(drawn: Float) -> list[float | None]:
    if not len(drawn):
        return [None, None]
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return [float(low), float(high)]
