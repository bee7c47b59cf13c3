"""Numbers of every estimator over the cases of a task, or over the axis that its measures lie on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from channelfm.benchmarking.figures.style import (
    HIGHEST_DB,
    INK,
    LOWEST_DB,
    STYLE,
    legend,
    legend_height,
    marker,
    names_of,
    quiet,
    sets_of,
    svg,
)
from channelfm.benchmarking.rows import Row, number
from channelfm.benchmarking.tables import ALL, Column, distinct, of_set, whole

_TICKS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)  # mask ratios whose labels do not touch
_RATIO = "mask_ratio"
_SHOWN = 2  # measures of a curve
_AXES = {
    _RATIO: "mask ratio: share of antennas that are hidden",
    "snr_db": "SNR [dB]",
    "slots": "pilot slots",
    "selection": "share of antennas with pilots",
}


def main_series(rows: Sequence[Row]) -> tuple[str, list[Row]] | None:
    """The numeric field of the cases that takes the most values while the others stay as they are, and those rows;
    None where none takes two."""
    best: tuple[int, str, list[Row]] | None = None
    for field in rows[0]["case"]:
        series: dict[str, list[Row]] = {}
        for row in rows:
            if isinstance(row["case"][field], int | float):
                series.setdefault(str(row["case"] | {field: None}), []).append(row)
        for own in series.values():
            count = len({row["case"][field] for row in own})
            if count > 1 and (best is None or count > best[0]):
                best = count, field, own
    return None if best is None else best[1:]


def case_figure(rows: Sequence[Row], columns: Sequence[Column], palette: Mapping[str, str]) -> str | None:
    """The first measures, with their intervals, over the cases of the main series, a line of panels per set; None
    without a series. Mask ratios are on an axis that is logarithmic in the share of observed antennas."""
    found = main_series(whole(rows))
    if found is None:
        return None
    field, own = found
    sets, shown = sets_of(own), columns[:_SHOWN]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.1 * len(sets) + 0.3 + legend_height(own)), layout="constrained")
        panels = figure.subplots(len(sets), len(shown), squeeze=False, sharex=True)
        for line, name in zip(panels, sets, strict=True):
            for axes, column in zip(line, shown, strict=True):
                quiet(axes)
                here = [row for row in of_set(own, name) if number(row, column.key) is not None]
                for estimator in names_of(here):
                    mine = sorted((r for r in here if r["estimator"] == estimator), key=lambda r: r["case"][field])
                    places = case_places(field, [row["case"][field] for row in mine])
                    _line(axes, places, [(row, column) for row in mine], palette)
                axes.set_title(f"{name}: {column.title}" if len(sets) > 1 else column.title, color=INK)
                axes.set_ylabel(column.unit)
                _bound(axes, column, [number(row, column.key) for row in here])
        for axes in panels[-1]:
            _case_axis(axes, field, sorted({row["case"][field] for row in own}))
        legend(figure, own, palette)
        return svg(figure)


def other_figure(rows: Sequence[Row], columns: Sequence[Column], palette: Mapping[str, str]) -> str | None:
    """The first measure of every estimator in the cases that are not on the main series, one line per case; None
    without any."""
    found = main_series(whole(rows))
    on_curve = {row["label"] for row in found[1]} if found else set()
    own, column = [row for row in whole(rows) if row["label"] not in on_curve], columns[0]
    if not own or column.at is not None:
        return None
    labels, sets = distinct(row["label"] for row in own), sets_of(own)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 1.0 + 0.34 * len(labels) + legend_height(own)), layout="constrained")
        panels = figure.subplots(1, len(sets), squeeze=False, sharey=True)[0]
        for axes, name in zip(panels, sets, strict=True):
            quiet(axes)
            for row in of_set(own, name):
                style = {**marker(row), "lw": 0, "ls": "none", "alpha": 0.9, "color": palette[row["estimator"]]}
                axes.plot(clipped(column, number(row, column.key)), labels.index(row["label"]), **style)
            axes.set_xlabel(column.heading)
            axes.set_title(name, color=INK)
        panels[0].set_yticks(range(len(labels)), labels)
        panels[0].invert_yaxis()
        legend(figure, own, palette)
        return svg(figure)


def axis_figure(rows: Sequence[Row], columns: Sequence[Column], palette: Mapping[str, str]) -> str | None:
    """The first measure over the axis that it lies on, of one set: a line of panels for each case, a panel for each
    group; None where it lies on none."""
    own = [column for column in columns if column.base == columns[0].base and column.at is not None]
    if not own:
        return None
    labels = distinct(row["label"] for row in rows)
    groups = [group for group in distinct(row["group"] for row in rows) if group != ALL] or [ALL]
    with matplotlib.rc_context(STYLE):
        size = (max(3.0 * len(groups), 4.5), 2.3 * len(labels) + legend_height(rows))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(labels), len(groups), sharex=True, squeeze=False)
        for line, label in zip(panels, labels, strict=True):
            for axes, group in zip(line, groups, strict=True):
                quiet(axes)
                here = [row for row in rows if (row["label"], row["group"]) == (label, group)]
                for row in here:
                    _line(axes, [float(column.at or 0) for column in own], [(row, one) for one in own], palette)
                axes.set_title(f"{label}, {group}", color=INK)
                _bound(axes, own[0], [number(row, column.key) for row in here for column in own])
        figure.supxlabel(own[0].title.partition(",")[2].strip(" 0123456789") or "place", fontsize=9)
        figure.supylabel(own[0].heading.partition(",")[0] + f" [{own[0].unit}]", fontsize=9)
        legend(figure, rows, palette)
        return svg(figure)


def case_places(field: str, values: Sequence[float]) -> list[float]:
    """Where values of a case's field lie on its axis."""
    return ratio_places(values) if field == _RATIO else [float(value) for value in values]


def ratio_places(ratios: Sequence[float]) -> list[float]:
    """Where mask ratios lie on an axis that is logarithmic in the share of observed antennas."""
    return [-float(np.log10(1.0 - ratio)) for ratio in ratios]


def clipped(column: Column, value: float) -> float:
    """A value as it is drawn: a few failures or an exact answer should not squeeze all others into a line."""
    return float(np.clip(value, LOWEST_DB, HIGHEST_DB)) if column.unit == "dB" else value


def _case_axis(axes: Axes, field: str, values: Sequence[float]) -> None:
    labelled = values if field != _RATIO or len(values) <= 5 else [value for value in values if value in _TICKS]
    axes.set_xticks(case_places(field, labelled), [f"{value:g}" for value in labelled])
    axes.set_xlabel(_AXES.get(field, field))
    axes.margins(x=0.06, y=0.08)


def _line(
    axes: Axes, places: Sequence[float], points: Sequence[tuple[Row, Column]], palette: Mapping[str, str]
) -> None:
    """One line with its intervals."""
    values = np.array([number(row, column.key) for row, column in points], np.float64)
    ends = [[number(row, f"{column.key}_{end}") for end in ("low", "high")] for row, column in points]
    margins = np.abs(np.array(ends, np.float64) - values[:, None]).T
    row = points[0][0]
    style: dict[str, Any] = {"color": palette[row["estimator"]], **marker(row)}
    axes.errorbar(places, values, yerr=np.nan_to_num(margins), capsize=2.0, elinewidth=0.8, **style)


def _bound(axes: Axes, column: Column, values: Sequence[float]) -> None:
    """Let the axis end where single rows run away."""
    if column.unit != "dB" or not values:
        return
    low, high = axes.get_ylim()
    low = LOWEST_DB if min(values) < LOWEST_DB else low
    axes.set_ylim(low, min(high, HIGHEST_DB) if max(values) > HIGHEST_DB else high)
