"""Where learning wins: by how much the best network leads the best classical row, case by case, over benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from channelfm.benchmarking.figures.style import FAINT, INK, STYLE, svg
from channelfm.benchmarking.rows import Results, Row, number
from channelfm.benchmarking.tables import distinct, whole

_WON, _LOST, _EVEN = "#c2361f", "#2f7f79", "#eceef1"  # colours of networks and classical rows, and of neither
_ROW_INCHES, _FULL = 0.27, 0.8  # height of a case; share of the largest lead with the full colour
_SNR = "snr_db"


def lead_figure(results: Sequence[Results]) -> str | None:
    """A panel for each benchmark: what is observed and how, over the SNR. Red: the best network leads the best
    classical row by the number in the cell, in the unit of the first measure; green: it is behind; grey: the interval
    of the paired difference holds zero. None where no benchmark has rows of both kinds."""
    panels = [(one, found) for one in results if (found := _leads(one))]
    if not panels:
        return None
    heights = [1.0 + _ROW_INCHES * len(distinct(place for place, _ in found)) for _, found in panels]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, sum(heights)), layout="constrained")
        all_axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, (one, found) in zip(all_axes, panels, strict=True):
            _panel(axes, one, found)
        return svg(figure)


def _leads(results: Results) -> dict[tuple[str, Any], tuple[float, bool, str]]:
    """By place (set and case without its SNR) and SNR: the lead, whether it is certain, and whose it is."""
    measure = results["measures"][0]
    key, sign = measure["key"], 1.0 if measure["more"] else -1.0
    found: dict[tuple[str, Any], tuple[float, bool, str]] = {}
    rows = [row for row in whole(results["rows"]) if not row["reference"]]
    for name, label in distinct((row["set"], row["label"]) for row in rows):
        case = [row for row in rows if (row["set"], row["label"]) == (name, label)]
        learned = [row for row in case if row["params"] > 0 and key in row["against"].get("classical", {})]
        if not learned:
            continue
        best = max(learned, key=lambda row: sign * number(row, key))
        lead, low, high, _ = best["against"]["classical"][key]
        certain = low is not None and low * high > 0
        found[_place(name, best), best["case"].get(_SNR)] = sign * lead, certain, best["estimator"]
    return found


def _place(name: str, row: Row) -> str:
    """The set and what else tells a case apart, for people."""
    rest = [
        f"{value:g}" if isinstance(value, float) else str(value)
        for field, value in row["case"].items()
        if field != _SNR
    ]
    return f"{name}: {', '.join(rest)}"


def _panel(axes: Any, results: Results, found: Mapping[tuple[str, Any], tuple[float, bool, str]]) -> None:
    places = distinct(place for place, _ in found)
    levels = sorted({level for _, level in found}, key=lambda level: np.inf if level is None else level)
    full = _FULL * max(abs(lead) for lead, _, _ in found.values()) or 1.0
    for (place, level), (lead, certain, name) in found.items():
        x, y = levels.index(level), places.index(place)
        colour = (_WON if lead > 0 else _LOST) if certain else _EVEN
        strength = 0.25 + 0.75 * min(abs(lead) / full, 1.0) if certain else 1.0
        axes.add_patch(matplotlib.patches.Rectangle((x - 0.5, y - 0.5), 1, 1, color=colour, alpha=strength, lw=0))
        axes.text(
            x,
            y,
            f"{lead:+.1f} {name}" if abs(lead) >= 0.05 else f"0 {name}",
            ha="center",
            va="center",
            size=6.5,
            color=INK,
        )
    axes.set(xlim=(-0.5, len(levels) - 0.5), ylim=(len(places) - 0.5, -0.5))
    axes.set_xticks(range(len(levels)), ["clean" if level is None else f"{level:g} dB" for level in levels])
    axes.set_yticks(range(len(places)), places, size=7)
    axes.tick_params(length=0, colors=FAINT)
    measure = results["measures"][0]
    unit = f" [{measure['unit']}]" if measure["unit"] else ""
    axes.set_title(f"{results['name']}: {measure['title']}{unit}", color=INK, loc="left")
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
