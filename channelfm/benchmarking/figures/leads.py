"""Where learning wins: by how much the best network leads the best classical row, case by case, over benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from channelfm.benchmarking.figures.style import FAINT, INK, STYLE, svg
from channelfm.benchmarking.rows import CLASSICAL, Results, Row, number
from channelfm.benchmarking.tables import complete, distinct, whole

_WON, _LOST, _EVEN = "#c2361f", "#2f7f79", "#eceef1"  # colours of networks and classical rows, and of neither
_ROW_INCHES, _FULL = 0.27, 0.8  # height of a case; share of the largest lead with the full colour
_LONGEST = 46  # characters of a place
_SNR = "snr_db"


class Lead(NamedTuple):
    """In a ``place`` (set and case without its SNR), at ``snr_db`` (None: clean): by how much the best network leads
    the best classical row, positive where it does, whether that is ``certain``, and the ``name`` of the network."""

    place: str
    snr_db: float | None
    lead: float
    certain: bool
    name: str


class Leads(NamedTuple):
    """Those of a benchmark, and what is compared."""

    title: str
    cases: Sequence[Lead]


def leads_of(results: Results) -> Leads:
    """The leads in a benchmark's first measure; none where it has no rows of both kinds."""
    measure = results["measures"][0]
    key, sign = measure["key"], 1.0 if measure["more"] else -1.0
    rows = [row for row in whole(results["rows"]) if not row["reference"]]
    varied = [field for field in rows[0]["case"] if len({str(row["case"][field]) for row in rows}) > 1] if rows else []
    cases = []
    for name, label in distinct((row["set"], row["label"]) for row in rows):
        case = [row for row in rows if (row["set"], row["label"]) == (name, label)]
        learned = [row for row in case if row["params"] > 0 and key in row["against"].get(CLASSICAL, {})]
        if learned:
            best = max(complete(learned), key=lambda row: sign * number(row, key))
            lead, low, high, _ = best["against"][CLASSICAL][key]
            certain = low is not None and low * high > 0
            cases.append(
                Lead(_place(name, best, varied), best["case"].get(_SNR), sign * lead, certain, best["estimator"])
            )
    unit = f" [{measure['unit']}]" if measure["unit"] else ""
    return Leads(f"{results['name']}: {measure['title']}{unit}", cases)


def lead_figure(leads: Sequence[Leads]) -> str | None:
    """A panel for each benchmark: what is observed and how, over the SNR. Red: the best network leads the best
    classical row by the number in the cell, in the unit of the first measure; green: it is behind; grey: the interval
    of the paired difference holds zero. None where no benchmark has rows of both kinds."""
    panels = [one for one in leads if one.cases]
    if not panels:
        return None
    heights = [0.7 + _ROW_INCHES * len(distinct(case.place for case in one.cases)) for one in panels]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.0, sum(heights)), layout="constrained")
        all_axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, one in zip(all_axes, panels, strict=True):
            _panel(axes, one)
        return svg(figure)


def _place(name: str, row: Row, varied: Sequence[str]) -> str:
    """The set and what else tells a case apart, for people."""
    rest = [row["case"][field] for field in varied if field != _SNR]
    told = ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in rest)
    whole_name = f"{name}: {told}" if told else name
    return whole_name if len(whole_name) <= _LONGEST else f"{whole_name[: _LONGEST - 1]}…"


def _panel(axes: Any, leads: Leads) -> None:
    places = distinct(case.place for case in leads.cases)
    levels = sorted({case.snr_db for case in leads.cases}, key=lambda level: np.inf if level is None else level)
    full = _FULL * max(abs(case.lead) for case in leads.cases) or 1.0
    for case in leads.cases:
        x, y = levels.index(case.snr_db), places.index(case.place)
        colour = (_WON if case.lead > 0 else _LOST) if case.certain else _EVEN
        strength = 0.2 + 0.6 * min(abs(case.lead) / full, 1.0) if case.certain else 1.0
        axes.add_patch(matplotlib.patches.Rectangle((x - 0.5, y - 0.5), 1, 1, color=colour, alpha=strength, lw=0))
        axes.text(x, y, f"{case.lead:+.1f} {case.name}", ha="center", va="center", size=6.5, color=INK)
    axes.set(xlim=(-0.5, len(levels) - 0.5), ylim=(len(places) - 0.5, -0.5))
    axes.set_xticks(range(len(levels)), ["clean" if level is None else f"{level:g} dB" for level in levels])
    axes.set_yticks(range(len(places)), places, size=7)
    axes.tick_params(length=0, colors=FAINT)
    axes.set_title(leads.title, color=INK, loc="left")
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
