"""Time per link, alone and against accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from channelfm.benchmarking.figures.curves import clipped
from channelfm.benchmarking.figures.style import (
    FAINT,
    INK,
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
from channelfm.benchmarking.tables import Column, of_set, whole


def time_figure(rows: Sequence[Row], palette: Mapping[str, str]) -> str:
    """Time per link of each estimator, median over masks and sets with the range of all, logarithmic."""
    with matplotlib.rc_context(STYLE):
        names = names_of(rows)
        figure = Figure(figsize=(7.2, 0.75 + 0.36 * len(names)), layout="constrained")
        axes = figure.add_subplot()
        quiet(axes)
        axes.grid(visible=False, axis="y")
        for place, name in enumerate(names):
            times = [max(row["latency_ms"], 1e-4) for row in rows if row["estimator"] == name]
            middle = float(np.median(times))
            axes.barh(place, middle, height=0.58, color=palette[name])
            axes.plot([min(times), max(times)], [place, place], color=INK, lw=0.9)
            label = f"{middle:.3g} ms"
            axes.annotate(label, (max(times), place), xytext=(6, 0), textcoords="offset points", va="center")
        axes.set_xscale("log")
        axes.set_xlim(right=4 * max(row["latency_ms"] for row in rows))
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", colors=INK, length=0)
        axes.invert_yaxis()
        axes.set_xlabel("time per link [ms], logarithmic")
        return svg(figure)


def pareto_figure(rows: Sequence[Row], label: str, column: Column, palette: Mapping[str, str]) -> str:
    """A measure against time per link in one case, a panel per set; the line joins the estimators that no other beats
    in both."""
    own = [row for row in whole(rows) if row["label"] == label]
    sets = sets_of(own)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.1 + legend_height(own)), layout="constrained")
        panels = figure.subplots(1, len(sets), squeeze=False, sharey=True)[0]
        for axes, name in zip(panels, sets, strict=True):
            quiet(axes)
            here = of_set(own, name)
            _front(axes, [_place(row, column) for row in here], column)
            for row in here:
                style = {**marker(row), "markersize": 7, "lw": 0, "color": palette[row["estimator"]], "zorder": 3}
                axes.plot(*_place(row, column), **style)
            axes.set_xscale("log")
            axes.set_xlabel("time per link [ms]")
            axes.set_title(f"{name}: {label}", color=INK)
            axes.margins(0.1)
        panels[0].set_ylabel(column.heading)
        legend(figure, own, palette)
        return svg(figure)


def _front(axes: Axes, places: Sequence[tuple[float, float]], column: Column) -> None:
    """The staircase of estimators that are the best up to their time."""
    sign = -1 if column.more else 1
    best: list[tuple[float, float]] = []
    for time, value in sorted(places, key=lambda place: (place[0], sign * place[1])):
        if not best or sign * value < sign * best[-1][1]:
            best.append((time, value))
    axes.step(*zip(*best, strict=True), where="post", color=FAINT, lw=0.9, ls=(0, (4, 3)), zorder=1)


def _place(row: Row, column: Column) -> tuple[float, float]:
    return max(row["latency_ms"], 1e-4), clipped(column, number(row, column.key))
