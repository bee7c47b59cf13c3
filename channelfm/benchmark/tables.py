"""The tables of a report, as HTML: numbers by mask and by group of links, who wins where, the paper's beside ours."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from html import escape
from typing import NamedTuple, TypeVar

import numpy as np

from channelfm.benchmark.published import ROWS, SOURCE
from channelfm.benchmark.run import Row
from channelfm.metrics import bounded_db
from channelfm.units import db_to_power

_CROSSED = ("los-few", "los-rich", "nlos-few", "nlos-rich")
_GROUP_NAMES = {
    "all": "all links",
    "los": "LoS",
    "nlos": "NLoS",
    "los-few": "LoS, few paths",
    "los-rich": "LoS, rich",
    "nlos-few": "NLoS, few paths",
    "nlos-rich": "NLoS, rich",
}
_FEWEST = 3  # links, below which a cell of the map is no finding
_FULL_DB = 10.0  # a lead that is painted in full

Palette = Mapping[str, str]
Item = TypeVar("Item", bound=Hashable)


class Measure(NamedTuple):
    """A column of rows as a table of its own: how it is read, formatted, and whether more is better."""

    title: str
    read: Callable[[Row], float]
    form: Callable[[float], str]
    more: bool = False


def decibels(value: float) -> str:
    """A number of dB as it is printed: with a true minus sign."""
    return f"{round(value, 1) + 0.0:.1f}".replace("-", "\N{MINUS SIGN}")


def _plain(value: float) -> str:
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


MEASURES = (
    Measure("median NMSE [dB]", lambda row: row["nmse_median_db"], decibels),
    Measure("mean NMSE [dB of the linear mean]", lambda row: row["nmse_db"], decibels),
    Measure("90th percentile of the NMSE [dB]", lambda row: row["p90_db"], decibels),
    Measure("PSNR of the amplitude [dB], mean", lambda row: row["psnr_db"], decibels, more=True),
    Measure("SSIM of the amplitude, mean", lambda row: row["ssim"], lambda value: f"{value:.3f}", more=True),
    Measure("polar-domain peak: error of direction [beamwidths], median", lambda row: row["peak_direction"], _plain),
    Measure(
        "polar-domain peak: error of 1 / range [inverse Rayleigh distances], median",
        lambda row: row["peak_range"],
        _plain,
    ),
    Measure("time per link [ms]", lambda row: row["latency_ms"], _plain),
)
_OPEN = 2  # tables that are shown; the others unfold


def number_tables(rows: Sequence[Row], palette: Palette) -> str:
    """For each set: predictors by masks, one table for each measure."""
    parts = []
    for name in _distinct(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name and row["group"] == "all"]
        for ratio in _distinct(row["snr_db"] for row in own):
            here = [row for row in own if row["snr_db"] == ratio]
            noise = "" if ratio is None else f", observed at {ratio:g} dB SNR"
            many = len(_distinct(row["set"] for row in rows)) > 1 or noise
            parts.append(f"<h3>{escape(name)}{noise}, {here[0]['samples']} links</h3>" if many else "")
            for index, measure in enumerate(MEASURES):
                table = _mask_table(here, measure, palette)
                unfold = "" if index < _OPEN else " class='more'"
                title = escape(measure.title)
                parts.append(
                    f"<details{' open' if index < _OPEN else ''}{unfold}><summary>{title}</summary>{table}</details>"
                )
    return "".join(parts)


def _mask_table(rows: Sequence[Row], measure: Measure, palette: Palette) -> str:
    cases = _distinct((row["mask_kind"], row["mask_ratio"]) for row in rows)
    kinds = _distinct(kind for kind, _ in cases)
    top = "".join(
        f"<th colspan='{sum(kind == other for other, _ in cases)}' class='group'>{escape(kind)}</th>" for kind in kinds
    )
    ratios = "".join(f"<th>{ratio:g}</th>" for _, ratio in cases)
    cells = {(row["predictor"], row["mask_kind"], row["mask_ratio"]): measure.read(row) for row in rows}
    pick = max if measure.more else min
    best = {case: pick(value for key, value in cells.items() if key[1:] == case) for case in cases}
    lines = []
    for name in _distinct(row["predictor"] for row in rows):
        line = _head_cell(name, palette) + _sizes(next(row for row in rows if row["predictor"] == name))
        for case in cases:
            value = cells.get((name, *case))
            mark = " class='best'" if value == best[case] else ""
            line += "<td></td>" if value is None else f"<td{mark}>{measure.form(value)}</td>"
        lines.append(f"<tr>{line}</tr>")
    return (
        "<div class='wide'><table><thead>"
        f"<tr><th rowspan='2'>predictor</th><th>parameters</th><th>memory</th>{top}</tr>"
        f"<tr><th>million</th><th>MiB</th>{ratios}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def group_table(rows: Sequence[Row], case: tuple[str, float], palette: Palette) -> str:
    """Median and mean NMSE by group of links, with one mask (kind, ratio), a table per set."""
    parts = []
    for name in _distinct(row["set"] for row in rows):
        own = [row for row in _with_case(rows, case) if row["set"] == name]
        groups = [group for group in _distinct(row["group"] for row in own) if group not in _CROSSED]
        counts = {row["group"]: row["samples"] for row in own}
        heads = "".join(f"<th>{escape(group)} ({counts[group]})</th>" for group in groups)
        lines = ""
        for predictor in _distinct(row["predictor"] for row in own):
            cells = {row["group"]: row for row in own if row["predictor"] == predictor}
            values = "".join(
                f"<td>{decibels(cells[group]['nmse_median_db'])} <span class='time'>/ "
                f"{decibels(cells[group]['nmse_db'])}</span></td>"
                for group in groups
            )
            lines += f"<tr>{_head_cell(predictor, palette)}{values}</tr>"
        parts.append(
            f"<h3>{escape(name)}, {escape(case[0])} mask at {case[1]:g}</h3><div class='wide'><table><thead><tr>"
            f"<th>predictor</th>{heads}</tr></thead><tbody>{lines}</tbody></table></div>"
        )
    return "".join(parts)


def winner_table(rows: Sequence[Row], measure: Measure, palette: Palette) -> str:
    """Who wins with which mask on which links, painted in the winner's colour, the more the larger its lead.

    A network's lead is over the best classical predictor; where a classical one wins, it is told by how much the best
    network trails. Without both kinds, the lead is over the second.
    """
    columns = []
    for name in _distinct(row["set"] for row in rows):
        own = {row["group"]: row["samples"] for row in rows if row["set"] == name}
        groups = [group for group in _CROSSED if own.get(group, 0) >= _FEWEST]
        groups = groups or [group for group in ("los", "nlos") if own.get(group, 0) >= _FEWEST] or ["all"]
        columns += [(name, group, own.get(group, 0)) for group in groups]
    cases = _distinct((row["mask_kind"], row["mask_ratio"], row["snr_db"]) for row in rows)
    heads = "".join(
        f"<th>{escape(name)}<br>{_GROUP_NAMES.get(group, group)}<br>{count} links</th>"
        for name, group, count in columns
    )
    lines = ""
    for kind, ratio, snr in cases:
        noise = "" if snr is None else f", {snr:g} dB"
        line = f"<th scope='row'>{escape(kind)}, {ratio:g}{noise}</th>"
        for name, group, _ in columns:
            here = [
                row
                for row in rows
                if (row["set"], row["group"], row["mask_kind"], row["mask_ratio"], row["snr_db"])
                == (name, group, kind, ratio, snr)
            ]
            line += _winner(here, measure, palette)
        lines += f"<tr>{line}</tr>"
    return (
        f"<div class='wide'><table class='map'><thead><tr><th>mask</th>{heads}</tr></thead>"
        f"<tbody>{lines}</tbody></table></div><p class='caption'>By {escape(measure.title)}.</p>"
    )


def _winner(rows: Sequence[Row], measure: Measure, palette: Palette) -> str:
    if not rows:
        return "<td></td>"
    ranked = sorted(rows, key=measure.read)
    first = ranked[0]
    other = next((row for row in ranked if (row["params"] > 0) != (first["params"] > 0)), None)
    rival = other or (ranked[1] if len(ranked) > 1 else None)
    if rival is None:
        return f"<td class='won'>{escape(first['predictor'])}</td>"
    lead = measure.read(rival) - measure.read(first)
    told = f"+{lead:.1f} dB over {rival['predictor']}"
    if first["params"] == 0 and other is not None:
        told = f"{rival['predictor']} trails by {lead:.1f} dB"
    shade = round(0.12 + 0.5 * min(lead / _FULL_DB, 1.0), 2)
    paint = ", ".join(str(int(palette[first["predictor"]][place : place + 2], 16)) for place in (1, 3, 5))
    return (
        f"<td class='won' style='background:rgba({paint}, {shade})'>{escape(first['predictor'])} "
        f"<b>{decibels(measure.read(first))}</b><br><small>{escape(told)}</small></td>"
    )


def published_table(rows: Sequence[Row], palette: Palette) -> str:
    """The average of each predictor over random mask ratios up to 0.9, above the figures that the paper publishes."""
    own = [row for row in rows if row["group"] == "all" and row["mask_kind"] == "random" and row["mask_ratio"] <= 0.9]
    own = [row for row in own if row["snr_db"] is None]
    lines = ""
    for name, predictor in _distinct((row["set"], row["predictor"]) for row in own):
        mine = [row for row in own if (row["set"], row["predictor"]) == (name, predictor)]
        mean = bounded_db(np.mean(db_to_power([row["nmse_db"] for row in mine])))
        of_decibels = float(np.mean([row["nmse_db"] for row in mine]))
        size = f"{mine[0]['params'] / 1e6:.2f}" if mine[0]["params"] else "\N{EN DASH}"
        time = np.median([row["latency_ms"] for row in mine])
        lines += (
            f"<tr>{_head_cell(predictor, palette)}<td>{escape(name)}</td><td>{size}</td><td>{decibels(mean)}</td>"
            f"<td>{decibels(of_decibels)}</td><td>{time:.3g}</td></tr>"
        )
    for paper in ROWS:
        error = paper.remark if paper.nmse_db is None else decibels(paper.nmse_db)
        taken = "" if paper.latency_ms is None else f"{paper.latency_ms:.3g}"
        lines += (
            f"<tr class='foreign'><th scope='row'>{escape(paper.method)}</th><td>the paper's</td>"
            f"<td>{paper.parameters_m:.2f}</td><td colspan='2'>{escape(error)}</td><td>{taken}</td></tr>"
        )
    ratios = ", ".join(f"{ratio:g}" for ratio in sorted({row["mask_ratio"] for row in own}))
    return (
        "<div class='wide'><table><thead><tr><th>predictor</th><th>data</th><th>parameters [M]</th>"
        "<th>average of linear means [dB]</th><th>average of dB values</th><th>ms</th></tr></thead>"
        f"<tbody>{lines}</tbody></table></div><p class='caption'>Ours: over random masks at {ratios}. In italics: "
        f"{SOURCE}; which average it takes is not said.</p>"
    )


def _with_case(rows: Sequence[Row], case: tuple[str, float]) -> list[Row]:
    """Rows with one mask, of the first SNR."""
    own = [row for row in rows if (row["mask_kind"], row["mask_ratio"]) == case]
    return [row for row in own if row["snr_db"] == own[0]["snr_db"]]


def _head_cell(name: str, palette: Palette) -> str:
    return f"<th scope='row'><i style='background:{palette[name]}'></i>{escape(name)}</th>"


def _sizes(row: Row) -> str:
    size = f"{row['params'] / 1e6:.2f}" if row["params"] else "\N{EN DASH}"
    return f"<td class='time'>{size}</td><td class='time'>{row['peak_mb']:.0f}</td>"


def _distinct(items: Iterable[Item]) -> list[Item]:
    return list(dict.fromkeys(items))
