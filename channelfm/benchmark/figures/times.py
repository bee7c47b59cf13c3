"""Time per link, alone and against accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from channelfm.benchmark.figures.style import (
    FAINT,
    HIGHEST_DB,
    INK,
    LOWEST_DB,
    STYLE,
    about_all,
    legend,
    legend_height,
    marker,
    names_of,
    quiet,
    sets_of,
    svg,
)
from channelfm.benchmark.run import Row


def time_figure(rows: Sequence[Row], palette: Mapping[str, str]) -> str:
    """Time per link of each predictor, median over masks and sets with the range of all, logarithmic."""
    with matplotlib.rc_context(STYLE):
        names = names_of(rows)
        figure = Figure(figsize=(7.2, 0.75 + 0.36 * len(names)), layout="constrained")
        axes = figure.add_subplot()
        quiet(axes)
        axes.grid(visible=False, axis="y")
        for place, name in enumerate(names):
            times = [max(row["latency_ms"], 1e-4) for row in rows if row["predictor"] == name]
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


def pareto_figure(rows: Sequence[Row], case: tuple[str, float], palette: Mapping[str, str]) -> str:
    """Median NMSE against time per link with one mask (kind, ratio), a panel per set; the line joins the predictors
    that no other beats in both."""
    own = [row for row in about_all(rows) if (row["mask_kind"], row["mask_ratio"]) == case]
    sets = sets_of(own)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.1 + legend_height(own)), layout="constrained")
        panels = figure.subplots(1, len(sets), squeeze=False, sharey=True)[0]
        for axes, name in zip(panels, sets, strict=True):
            quiet(axes)
            here = [row for row in own if row["set"] == name]
            _front(axes, here)
            for row in here:
                style = {**marker(row), "markersize": 7, "lw": 0, "color": palette[row["predictor"]], "zorder": 3}
                axes.plot(*_place(row), **style)
            axes.set_xscale("log")
            axes.set_xlabel("time per link [ms]")
            axes.set_title(f"{name}: {case[0]} mask, {case[1]:g}", color=INK)
            axes.margins(0.1)
        panels[0].set_ylabel("median NMSE [dB]")
        legend(figure, own, palette)
        return svg(figure)


def _front(axes: Axes, rows: Sequence[Row]) -> None:
    """The staircase of predictors that are the most accurate up to their time."""
    best: list[tuple[float, float]] = []
    for time, error in sorted(_place(row) for row in rows):
        if not best or error < best[-1][1]:
            best.append((time, error))
    axes.step(*zip(*best, strict=True), where="post", color=FAINT, lw=0.9, ls=(0, (4, 3)), zorder=1)


def _place(row: Row) -> tuple[float, float]:
    return max(row["latency_ms"], 1e-4), float(np.clip(row["nmse_median_db"], LOWEST_DB, HIGHEST_DB))
