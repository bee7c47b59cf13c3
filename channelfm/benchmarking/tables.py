"""The tables of a report, as HTML, and how rows are laid out in them, in figures and on the terminal."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple, TypeVar

import numpy as np

from channelfm.benchmarking.published import ROWS, SOURCE
from channelfm.benchmarking.rows import BOUND, CLASSICAL, TRIVIAL, Row, number
from channelfm.metrics import bounded_db
from channelfm.units import db_to_power

ALL = "all"  # the group of all units
_CROSSED = ("los-few", "los-rich", "nlos-few", "nlos-rich")
_GROUP_NAMES = {
    ALL: "all",
    "los": "LoS",
    "nlos": "NLoS",
    "los-few": "LoS, few paths",
    "los-rich": "LoS, rich",
    "nlos-few": "NLoS, few paths",
    "nlos-rich": "NLoS, rich",
}
_FEWEST = 3  # units, below which a cell of the map is no finding
_FULL_DB, _FULL = 10.0, 0.1  # a lead that is painted in full: in dB, and as a share
_OPEN = 2  # tables that are shown; the others unfold

Palette = Mapping[str, str]
Item = TypeVar("Item", bound=Hashable)


class Column(NamedTuple):
    """A measure as results have it; see :class:`channelfm.tasks.Measure`."""

    key: str
    title: str
    unit: str = ""
    more: bool = False
    at: float | None = None

    @property
    def base(self) -> str:
        """The key without its place on an axis."""
        return self.key.partition("@")[0]

    @property
    def heading(self) -> str:
        """Title with the unit."""
        return f"{self.title} [{self.unit}]" if self.unit else self.title

    def form(self, value: float | None) -> str:
        """A value as it is printed, with a true minus sign."""
        if value is None:
            return ""
        if self.unit == "dB":
            return decibels(value)
        text = f"{value:.3g}" if self.unit else f"{value:.3f}"
        return text.replace("-", "\N{MINUS SIGN}")


class View(NamedTuple):
    """A table: its ``title``, and (heading, label of a case, column) of each of its columns."""

    title: str
    columns: list[tuple[str, str, Column]]


def columns_of(measures: Iterable[Mapping[str, Any]]) -> list[Column]:
    """The columns of results."""
    return [Column(**one) for one in measures]


def views(rows: Sequence[Row], columns: Sequence[Column]) -> Iterator[View]:
    """What is told of rows: each measure over the cases or, for measures that lie on an axis, over that axis in each
    case."""
    labels = distinct(row["label"] for row in rows)
    for base in distinct(column.base for column in columns):
        own = [column for column in columns if column.base == base]
        if own[0].at is None:
            yield View(own[0].heading, [(label, label, own[0]) for label in labels])
        else:
            for label in labels:
                unit = f" [{own[0].unit}]" if own[0].unit else ""
                title = f"{label}: {own[0].title.partition(',')[0]}{unit}"
                yield View(title, [(f"{column.at:g}", label, column) for column in own])


def typical(rows: Sequence[Row]) -> Row:
    """A row in the case that examples and summaries take: random antennas and clean ones, if there is such a case, at
    the ratio nearest to 0.9; else the first case."""

    def oddity(row: Row) -> tuple[bool, bool, float]:
        case = row["case"]
        unlike = case.get("mask_kind", "random") != "random"
        return unlike, case.get("snr_db") is not None, abs(case.get("mask_ratio", 0.9) - 0.9)

    return min(rows, key=oddity)


def decibels(value: float) -> str:
    """A number of dB as it is printed: with a true minus sign."""
    return f"{round(value, 1) + 0.0:.1f}".replace("-", "\N{MINUS SIGN}")


def distinct(items: Iterable[Item]) -> list[Item]:
    """Each item once, in order."""
    return list(dict.fromkeys(items))


def whole(rows: Iterable[Row]) -> list[Row]:
    """Rows over all units of a set."""
    return [row for row in rows if row["group"] == ALL]


def of_set(rows: Iterable[Row], name: str) -> list[Row]:
    """Rows of one set."""
    return [row for row in rows if row["set"] == name]


def complete(rows: Sequence[Row]) -> list[Row]:
    """Those of some rows that may win: over the most units, since a time budget has cut the others short, and no
    references."""
    rivals = without_references(rows)
    most = max((row["samples"] for row in rivals), default=0)
    return [row for row in rivals if row["samples"] == most]


def without_references(rows: Sequence[Row]) -> list[Row]:
    """Rows of estimators alone."""
    return [row for row in rows if not row["reference"]]


def number_tables(rows: Sequence[Row], columns: Sequence[Column], palette: Palette) -> str:
    """For each set: estimators by cases, one table for each measure."""
    parts = []
    for name in distinct(row["set"] for row in rows):
        own = of_set(whole(rows), name)
        parts.append(f"<h3>{escape(name)}, {max(row['samples'] for row in own)} measured</h3>")
        for index, view in enumerate(views(own, columns)):
            unfold = "" if index < _OPEN else " class='more'"
            parts.append(
                f"<details{' open' if index < _OPEN else ''}{unfold}><summary>{escape(view.title)}</summary>"
                f"{_table(own, view, palette)}</details>"
            )
    return "".join(parts)


def _table(rows: Sequence[Row], view: View, palette: Palette) -> str:
    cells = {(row["estimator"], row["label"]): row for row in rows}
    names = distinct(row["estimator"] for row in rows)
    best = {}
    for _, label, column in view.columns:
        told = [number(row, column.key) for row in complete([row for row in rows if row["label"] == label])]
        best[label, column] = (max if column.more else min)(told)
    lines = []
    for name in names:
        first = next(row for row in rows if row["estimator"] == name)
        line = _head_cell(name, palette) + _sizes(first)
        for _, label, column in view.columns:
            line += _number_cell(cells.get((name, label)), column, best[label, column], first["samples"])
        lines.append(f"{_line_start(first)}{line}</tr>")
    heads = "".join(f"<th>{escape(heading)}</th>" for heading, _, _ in view.columns)
    return (
        "<div class='wide'><table><thead><tr><th>estimator</th><th>parameters<br>[million]</th><th>time<br>[ms]</th>"
        f"<th>memory<br>[MiB]</th>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _number_cell(row: Row | None, column: Column, best: float, usual: int) -> str:
    if row is None:
        return "<td></td>"
    value, low, high = (number(row, column.key + end) for end in ("", "_low", "_high"))
    interval = "" if low is None else f" title='{column.form(low)} to {column.form(high)}'"
    mark = " class='best'" if value == best else ""
    at_floor = "\N{LESS-THAN OR EQUAL TO} " if _floored(row, column, value) else ""
    few = f" <small>n = {row['samples']}</small>" if row["samples"] < usual else ""
    return f"<td{mark}{interval}>{at_floor}{column.form(value)}{few}</td>"


def _floored(row: Row, column: Column, value: float) -> bool:
    return column.base == "nmse_median_db" and value == row["floor_db"]


def group_table(rows: Sequence[Row], columns: Sequence[Column], palette: Palette) -> str:
    """The first measure by group of units in the typical case, with its interval, a table per set."""
    parts, column = [], columns[0]
    for name in distinct(row["set"] for row in rows):
        label = typical(of_set(rows, name))["label"]
        own = [row for row in of_set(rows, name) if row["label"] == label]
        groups = [group for group in distinct(row["group"] for row in own) if group not in _CROSSED]
        counts = {group: max(row["samples"] for row in own if row["group"] == group) for group in groups}
        heads = "".join(f"<th>{escape(_GROUP_NAMES.get(group, group))} ({counts[group]})</th>" for group in groups)
        lines = ""
        for estimator in distinct(row["estimator"] for row in own):
            cells = {row["group"]: row for row in own if row["estimator"] == estimator}
            values = "".join(
                f"<td>{_with_interval(cells[group], column)}</td>" if group in cells else "<td></td>"
                for group in groups
            )
            lines += f"{_line_start(next(iter(cells.values())))}{_head_cell(estimator, palette)}{values}</tr>"
        parts.append(
            f"<h3>{escape(name)}, {escape(label)}</h3><div class='wide'><table><thead><tr>"
            f"<th>{escape(column.heading)}</th>{heads}</tr></thead><tbody>{lines}</tbody></table></div>"
        )
    return "".join(parts)


def _with_interval(row: Row, column: Column) -> str:
    value, low, high = (number(row, column.key + end) for end in ("", "_low", "_high"))
    interval = "" if low is None else f" <span class='time'>{column.form(low)} to {column.form(high)}</span>"
    return column.form(value) + interval


def paired_table(rows: Sequence[Row], columns: Sequence[Column], palette: Palette) -> str:
    """What each estimator gains over the trivial and the best classical one on the same units, and how far it is from
    the bound, in the typical case and, where only noisy cases have a bound, in the first of these."""
    parts, column = [], columns[0]
    for name in distinct(row["set"] for row in rows):
        own = of_set(whole(rows), name)
        bounded = next((row["label"] for row in own if BOUND in row["against"]), None)
        for label in distinct([typical(own)["label"], *([bounded] if bounded else [])]):
            here = [row for row in own if row["label"] == label]
            rivals = [kind for kind in (TRIVIAL, CLASSICAL, BOUND) if any(kind in row["against"] for row in here)]
            if not rivals:
                continue
            heads = "".join(f"<th>{_RIVALS[kind]}</th>" for kind in rivals)
            lines = "".join(
                f"{_line_start(row)}{_head_cell(row['estimator'], palette)}"
                f"{''.join(_pair(row, kind, column) for kind in rivals)}</tr>"
                for row in here
            )
            parts.append(
                f"<h3>{escape(name)}, {escape(label)}: difference in {escape(column.heading)}</h3><div class='wide'>"
                f"<table><thead><tr><th>estimator</th>{heads}</tr></thead><tbody>{lines}</tbody></table></div>"
            )
    return "".join(parts)


_RIVALS = {TRIVIAL: "to the trivial answer", CLASSICAL: "to the best other classical", BOUND: "to the bound"}


def _pair(row: Row, kind: str, column: Column) -> str:
    pair = row["against"].get(kind)
    if pair is None or column.key not in pair:
        return "<td></td>"
    difference, low, high, wins = pair[column.key]
    interval = "" if low is None else f" ({column.form(low)} to {column.form(high)})"
    who = f", {escape(pair['estimator'])}" if kind == CLASSICAL else ""
    share = "" if kind == BOUND else f"; better on {100 * wins:.0f} %"
    return f"<td>{column.form(difference)}<span class='time'>{interval}{share}{who}, n = {pair['samples']}</span></td>"


def winner_table(rows: Sequence[Row], base: str, columns: Sequence[Column], palette: Palette) -> str:
    """Who wins in which case on which units, painted in the winner's colour, the more the larger its lead.

    A network's lead is over the best classical estimator; where a classical one wins, it is told by how much the best
    network trails. Without both kinds, the lead is over the second.
    """
    places = []
    for name in distinct(row["set"] for row in rows):
        own = {row["group"]: row["samples"] for row in of_set(rows, name)}
        enough = [group for group, count in own.items() if count >= _FEWEST and group != ALL]
        groups = [group for group in enough if group in _CROSSED] or enough or [ALL]
        places += [(name, group, own[group]) for group in groups]
    heads = "".join(
        f"<th>{escape(name)}<br>{escape(_GROUP_NAMES.get(group, group))}<br>n = {count}</th>"
        for name, group, count in places
    )
    own_columns = [column for column in columns if column.base == base]
    lines = ""
    for label in distinct(row["label"] for row in rows):
        for column in own_columns:
            ahead = "" if column.at is None else f", {column.at:g}"
            line = f"<th scope='row'>{escape(label)}{ahead}</th>"
            for place in places:
                here = [row for row in rows if (row["set"], row["group"], row["label"]) == (*place[:2], label)]
                line += _winner(here, column, palette)
            lines += f"<tr>{line}</tr>"
    return (
        f"<div class='wide'><table class='map'><thead><tr><th>case</th>{heads}</tr></thead>"
        f"<tbody>{lines}</tbody></table></div><p class='caption'>By {escape(own_columns[0].heading)}.</p>"
    )


def _winner(rows: Sequence[Row], column: Column, palette: Palette) -> str:
    if not rows:
        return "<td></td>"
    ranked = sorted(complete(rows), key=lambda row: number(row, column.key), reverse=column.more)
    first = ranked[0]
    other = next((row for row in ranked if (row["params"] > 0) != (first["params"] > 0)), None)
    rival = other or (ranked[1] if len(ranked) > 1 else None)
    if rival is None:
        return f"<td class='won'>{escape(first['estimator'])}</td>"
    lead = abs(number(rival, column.key) - number(first, column.key))
    told = f"+{column.form(lead)} {column.unit} over {rival['estimator']}"
    if first["params"] == 0 and other is not None:
        told = f"{rival['estimator']} trails by {column.form(lead)} {column.unit}"
    shade = round(0.12 + 0.5 * min(lead / (_FULL_DB if column.unit == "dB" else _FULL), 1.0), 2)
    paint = ", ".join(str(int(palette[first["estimator"]][place : place + 2], 16)) for place in (1, 3, 5))
    return (
        f"<td class='won' style='background:rgba({paint}, {shade})'>{escape(first['estimator'])} "
        f"<b>{column.form(number(first, column.key))}</b><br><small>{escape(told)}</small></td>"
    )


def tuned_table(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """The first measure by the share of sequences that a network was tuned on."""
    parts, column = [], columns[0]
    for name, group in distinct((row["set"], row["group"]) for row in rows):
        lines = []
        own = [(row, row["tuned"]) for row in rows if (row["set"], row["group"]) == (name, group)]
        shares = sorted({tuned[1] for _, tuned in own if tuned})
        for network, source in distinct(
            (row["estimator"].partition(" + ")[0], tuned[0]) for row, tuned in own if tuned
        ):
            told = {
                tuned[1]: number(row, column.key)
                for row, tuned in own
                if tuned and (row["estimator"].partition(" + ")[0], tuned[0]) == (network, source)
            }
            cells = "".join(f"<td>{column.form(told.get(share))}</td>" for share in shares)
            lines.append(f"<tr><th>{escape(network)} on {escape(source)}</th>{cells}</tr>")
        heads = "".join(f"<th>{share:g} %</th>" for share in shares)
        parts.append(
            f"<h3>{escape(name)}, {escape(_GROUP_NAMES.get(group, group))}</h3><div class='wide'><table><thead><tr>"
            f"<th>{escape(column.heading)}</th>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        )
    return "".join(parts)


def published_table(rows: Sequence[Row], palette: Palette) -> str:
    """The average of each estimator over random mask ratios up to 0.9, above the figures that the paper publishes."""
    clean = [row for row in whole(rows) if row["case"]["mask_kind"] == "random" and row["case"]["snr_db"] is None]
    own = [row for row in clean if row["case"]["mask_ratio"] <= 0.9]
    lines = ""
    for name, estimator in distinct((row["set"], row["estimator"]) for row in own):
        mine = [row for row in own if (row["set"], row["estimator"]) == (name, estimator)]
        errors = [number(row, "nmse_db") for row in mine]
        size = f"{mine[0]['params'] / 1e6:.2f}" if mine[0]["params"] else "\N{EN DASH}"
        time = np.median([row["latency_ms"] for row in mine])
        lines += (
            f"<tr>{_head_cell(estimator, palette)}<td>{escape(name)}</td><td>{size}</td>"
            f"<td>{decibels(bounded_db(np.mean(db_to_power(errors))))}</td><td>{decibels(float(np.mean(errors)))}</td>"
            f"<td>{time:.3g}</td></tr>"
        )
    for paper in ROWS:
        error = paper.remark if paper.nmse_db is None else decibels(paper.nmse_db)
        taken = "" if paper.latency_ms is None else f"{paper.latency_ms:.3g}"
        lines += (
            f"<tr class='foreign'><th scope='row'>{escape(paper.method)}</th><td>the paper's</td>"
            f"<td>{paper.parameters_m:.2f}</td><td colspan='2'>{escape(error)}</td><td>{taken}</td></tr>"
        )
    ratios = ", ".join(f"{ratio:g}" for ratio in sorted({row["case"]["mask_ratio"] for row in own}))
    return (
        "<div class='wide'><table><thead><tr><th>estimator</th><th>data</th><th>parameters [M]</th>"
        "<th>average of linear means [dB]</th><th>average of dB values</th><th>ms</th></tr></thead>"
        f"<tbody>{lines}</tbody></table></div><p class='caption'>Ours: over random masks at {ratios}. In italics: "
        f"{SOURCE}; which average it takes is not said.</p>"
    )


def _line_start(row: Row) -> str:
    """References stand out."""
    return "<tr class='reference'>" if row["reference"] else "<tr>"


def _head_cell(name: str, palette: Palette) -> str:
    return f"<th scope='row'><i style='background:{palette[name]}'></i>{escape(name)}</th>"


def _sizes(row: Row) -> str:
    if row["reference"]:
        return "<td class='time'></td>" * 3
    size = f"{row['params'] / 1e6:.2f}" if row["params"] else "\N{EN DASH}"
    cells = (size, f"{row['latency_ms']:.3g}", f"{row['peak_mb']:.0f}")
    return "".join(f"<td class='time'>{cell}</td>" for cell in cells)
