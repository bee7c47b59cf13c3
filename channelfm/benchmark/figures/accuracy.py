"""Accuracy against what is hidden."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from channelfm.benchmark.figures.style import (
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

_TICKS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)  # labels that do not touch


def accuracy_figure(rows: Sequence[Row], palette: Mapping[str, str]) -> str | None:
    """NMSE against the ratio of random masks, a line of panels per set: mean with its 95 % interval, and median.

    The axis is logarithmic in the share of observed antennas. None without random masks.
    """
    random = [row for row in about_all(rows) if row["mask_kind"] == "random"]
    if not random:
        return None
    sets = sets_of(random)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.1 * len(sets) + 0.3 + legend_height(random)), layout="constrained")
        panels = figure.subplots(len(sets), 2, squeeze=False, sharex=True, sharey="row")
        for line, name in zip(panels, sets, strict=True):
            own = [row for row in random if row["set"] == name]
            for axes, key, title in zip(line, ("nmse_db", "nmse_median_db"), ("mean", "median"), strict=True):
                quiet(axes)
                _lines(axes, own, key, palette)
                axes.set_title(f"{name}: {title}" if len(sets) > 1 else title, color=INK)
            line[0].set_ylabel("NMSE [dB], lower is better")
            _bound(line[0], [row[key] for row in own for key in ("nmse_db", "nmse_median_db")])
        for axes in panels[-1]:
            _ratio_axis(axes, sorted({row["mask_ratio"] for row in random}))
        legend(figure, random, palette)
        return svg(figure)


def structured_figure(rows: Sequence[Row], palette: Mapping[str, str]) -> str | None:
    """Median NMSE of every predictor with masks that are not random, one line per mask; None without any."""
    structured = [row for row in about_all(rows) if row["mask_kind"] != "random"]
    if not structured:
        return None
    cases = list(dict.fromkeys((row["mask_kind"], row["mask_ratio"]) for row in structured))
    sets = sets_of(structured)
    with matplotlib.rc_context(STYLE):
        height = 1.0 + 0.34 * len(cases) + legend_height(structured)
        figure = Figure(figsize=(7.2, height), layout="constrained")
        panels = figure.subplots(1, len(sets), squeeze=False, sharey=True)[0]
        for axes, name in zip(panels, sets, strict=True):
            quiet(axes)
            own = [row for row in structured if row["set"] == name]
            for row in own:
                place = cases.index((row["mask_kind"], row["mask_ratio"]))
                style = {**marker(row), "lw": 0, "alpha": 0.9, "color": palette[row["predictor"]]}
                axes.plot(np.clip(row["nmse_median_db"], LOWEST_DB, HIGHEST_DB), place, **style)
            axes.set_xlabel("median NMSE [dB]")
            axes.set_title(name, color=INK)
        panels[0].set_yticks(range(len(cases)), [f"{kind}, {ratio:g}" for kind, ratio in cases])
        panels[0].invert_yaxis()
        legend(figure, structured, palette)
        return svg(figure)


def ratio_places(ratios: Sequence[float]) -> list[float]:
    """Where mask ratios lie on an axis that is logarithmic in the share of observed antennas."""
    return [-float(np.log10(1.0 - ratio)) for ratio in ratios]


def _ratio_axis(axes: Axes, ratios: Sequence[float]) -> None:
    labelled = ratios if len(ratios) <= 5 else [ratio for ratio in ratios if ratio in _TICKS]
    axes.set_xticks(ratio_places(labelled), [f"{ratio:g}" for ratio in labelled])
    axes.set_xlabel("mask ratio: share of antennas that are hidden")
    axes.margins(x=0.06, y=0.08)


def _lines(axes: Axes, rows: Sequence[Row], key: Any, palette: Mapping[str, str]) -> None:
    """One line per predictor; with intervals for the mean."""
    for name in names_of(rows):
        own = sorted((row for row in rows if row["predictor"] == name), key=lambda row: row["mask_ratio"])
        places = ratio_places([row["mask_ratio"] for row in own])
        values = np.array([float(row[key]) for row in own])  # type: ignore[literal-required]
        style: dict[str, Any] = {"color": palette[name], **marker(own[0])}
        if key == "nmse_db":
            margins = np.abs([[row["nmse_db_low"], row["nmse_db_high"]] for row in own] - values[:, None]).T
            axes.errorbar(places, values, yerr=margins, capsize=2.0, elinewidth=0.8, **style)
        else:
            axes.plot(places, values, **style)


def _bound(axes: Axes, values: Sequence[float]) -> None:
    """Let the axis end where single rows run away."""
    low, high = axes.get_ylim()
    if min(values) < LOWEST_DB:
        low = LOWEST_DB
    axes.set_ylim(low, min(high, HIGHEST_DB) if max(values) > HIGHEST_DB else high)
