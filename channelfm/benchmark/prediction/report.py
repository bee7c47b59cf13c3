"""The report of a prediction benchmark: one self-contained page with curves, tables and who wins where."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from channelfm.benchmark.figures import colours
from channelfm.benchmark.page import PAGE, STYLE
from channelfm.benchmark.prediction.recipe import PredictionRecipe
from channelfm.benchmark.prediction.rows import PredictionRow, case_name, row_name
from channelfm.benchmark.tables import decibels
from channelfm.files import write_atomically

if TYPE_CHECKING:
    from channelfm.benchmark.prediction.suite import PredictionResults

Rows = Sequence[PredictionRow]
Palette = Mapping[str, str]

_MEASURES: tuple[tuple[str, Callable[[PredictionRow], str]], ...] = (
    ("mean NMSE [dB]", lambda row: decibels(row["nmse_db"])),
    ("median NMSE [dB]", lambda row: decibels(row["nmse_median_db"])),
    ("squared cosine similarity", lambda row: f"{row['similarity']:.3f}"),
    ("rate, share of that with the true channel [%]", lambda row: f"{100 * row['rate_share']:.1f}"),
)


def write_prediction_report(path: str | Path, settings: PredictionRecipe, results: PredictionResults) -> None:
    """Write one HTML file without any outside request, atomically."""
    plain = [row for row in results["rows"] if row["tuned_on"] is None]
    palette = colours(list(dict.fromkeys(row["predictor"] for row in results["rows"])))
    sections = [_head(settings, results)]
    for name in dict.fromkeys(row["set"] for row in plain):
        own = [row for row in plain if row["set"] == name]
        sections += [_curves(name, own, palette), _winners(name, own), _tables(name, own)]
    sections += [_tuning([row for row in results["rows"] if row["tuned_on"] is not None]), _provenance(results)]
    body = "\n".join(section for section in sections if section)
    write_atomically(Path(path), PAGE.format(title=escape(settings.name), style=STYLE, body=body).encode())


def _head(settings: PredictionRecipe, results: PredictionResults) -> str:
    samples = {row["set"]: 0 for row in results["rows"]}
    for name in samples:
        bins = {row["speed_mps"]: row["samples"] for row in results["rows"] if row["set"] == name}
        samples[name] = sum(bins.values())
    facts = [(f"sequences, {name}", str(count)) for name, count in samples.items()]
    facts += [("past frames", str(settings.context)), ("frames ahead", ", ".join(map(str, settings.horizons)))]
    cards = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return (
        f"<header><p class='kicker'>channelfm &middot; channel prediction</p><h1>{escape(settings.name)}</h1>"
        "<p class='lead'>A base station has heard a moving user for a few milliseconds. Each method below says what "
        "the channel will be in the next ones.</p>"
        f"<dl class='facts'>{cards}</dl></header>"
    )


def _curves(name: str, rows: Rows, palette: Palette) -> str:
    """Median NMSE by horizon: a row of panels for each case, a panel for each speed bin."""
    from matplotlib.figure import Figure

    cases, bins = _distinct(rows, case_name), sorted({row["speed_mps"] for row in rows})
    figure = Figure(figsize=(3.4 * len(bins), 2.5 * len(cases)), layout="constrained")
    panels = figure.subplots(len(cases), len(bins), sharex=True, squeeze=False)
    for down, case in enumerate(cases):
        for across, speeds in enumerate(bins):
            axes = panels[down][across]
            here = [row for row in rows if case_name(row) == case and row["speed_mps"] == speeds]
            for predictor in dict.fromkeys(row["predictor"] for row in here):
                own = sorted((row["horizon"], row["nmse_median_db"]) for row in here if row["predictor"] == predictor)
                style = {
                    "linestyle": "-" if own and _is_learned(here, predictor) else "--",
                    "marker": "o",
                    "markersize": 3,
                }
                axes.plot(*zip(*own, strict=True), color=palette[predictor], label=predictor, linewidth=1.2, **style)
            axes.set_title(f"{case}, {speeds[0]:g} to {speeds[1]:g} m/s", fontsize=8)
            axes.set_ylim(top=5)
            axes.grid(alpha=0.2)
    panels[0][-1].legend(fontsize=6, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.supxlabel("frames ahead", fontsize=9)
    figure.supylabel("median NMSE [dB]", fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    picture = base64.b64encode(buffer.getvalue()).decode()
    return (
        f"<section><h2>{escape(name)}</h2><figure><img alt='median NMSE by horizon' "
        f"src='data:image/svg+xml;base64,{picture}'></figure><p class='caption'>Networks are drawn through, classical "
        "predictors dashed.</p></section>"
    )


def _winners(name: str, rows: Rows) -> str:
    """A table of the best row in the mean of every cell, and the best learned and classical ones beside it."""
    lines = []
    for case, speeds, ahead in dict.fromkeys((case_name(row), row["speed_mps"], row["horizon"]) for row in rows):
        here = [row for row in rows if (case_name(row), row["speed_mps"], row["horizon"]) == (case, speeds, ahead)]
        ranked = sorted(here, key=lambda row: row["nmse_db"])
        best = {kind: next((row for row in ranked if bool(row["params"]) is kind), None) for kind in (True, False)}
        cells = [
            "" if row is None else f"{escape(row['predictor'])} {decibels(row['nmse_db'])}" for row in best.values()
        ]
        head = f"<th>{escape(case)}</th><td>{speeds[0]:g} to {speeds[1]:g}</td><td>{ahead}</td>"
        lines.append(f"<tr>{head}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    heads = "".join(f"<th>{text}</th>" for text in ("past", "m/s", "ahead", "best learned", "best classical"))
    return (
        f"<section><h2>Who wins where, {escape(name)}</h2><p class='caption'>Mean NMSE in dB.</p><div class='wide'>"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div></section>"
    )


def _tables(name: str, rows: Rows) -> str:
    parts = []
    for case, speeds in dict.fromkeys((case_name(row), row["speed_mps"]) for row in rows):
        here = [row for row in rows if (case_name(row), row["speed_mps"]) == (case, speeds)]
        for title, form in _MEASURES:
            parts.append(
                f"<details><summary>{escape(case)}, {speeds[0]:g} to {speeds[1]:g} m/s: {title}</summary>"
                f"{_table(here, form)}</details>"
            )
    return f"<section><h2>Numbers, {escape(name)}</h2>{''.join(parts)}</section>"


def _table(rows: Rows, form: Callable[[PredictionRow], str]) -> str:
    """Predictors by horizon."""
    horizons = sorted({row["horizon"] for row in rows})
    heads = "".join(f"<th>{ahead}</th>" for ahead in horizons)
    lines = []
    for predictor in _distinct(rows, row_name):
        own = {row["horizon"]: row for row in rows if row_name(row) == predictor}
        cells = "".join(f"<td>{form(own[ahead])}</td>" for ahead in horizons)
        first = own[horizons[0]]
        cost = f"<td class='time'>{first['latency_ms']:.3g}</td><td class='time'>{first['peak_mb']:.0f}</td>"
        lines.append(f"<tr><th>{escape(predictor)}</th>{cells}{cost}</tr>")
    return (
        f"<div class='wide'><table><thead><tr><th>frames ahead</th>{heads}<th>ms</th><th>MiB</th></tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _tuning(rows: Rows) -> str:
    """Mean NMSE one frame ahead by the share of sequences that a network was tuned on."""
    if not rows:
        return ""
    shares = sorted({row["tuned_percent"] or 0.0 for row in rows})
    nearest = min(row["horizon"] for row in rows)
    parts = []
    for measured, source, speeds in dict.fromkeys((row["set"], row["tuned_on"], row["speed_mps"]) for row in rows):
        here = [row for row in rows if (row["set"], row["tuned_on"], row["speed_mps"]) == (measured, source, speeds)]
        here = [row for row in here if row["horizon"] == nearest]
        lines = []
        for predictor in dict.fromkeys(row["predictor"] for row in here):
            own = {row["tuned_percent"] or 0.0: row for row in here if row["predictor"] == predictor}
            cells = "".join(f"<td>{decibels(own[share]['nmse_db'])}</td>" for share in shares)
            lines.append(f"<tr><th>{escape(predictor)}</th>{cells}</tr>")
        heads = "".join(f"<th>{share:g} %</th>" for share in shares)
        parts.append(
            f"<h3>{escape(measured)}, tuned on {escape(str(source))}, {speeds[0]:g} to {speeds[1]:g} m/s</h3>"
            f"<div class='wide'><table><thead><tr><th>mean NMSE [dB]</th>{heads}</tr></thead>"
            f"<tbody>{''.join(lines)}</tbody></table></div>"
        )
    return f"<section><h2>Tuned on shares of the data</h2>{''.join(parts)}</section>"


def _provenance(results: PredictionResults) -> str:
    facts = {f"set {name}": data for name, data in results["data"].items()}
    facts |= {"sequences left out, without a path in some frame": str(results["left_out"])} | results["versions"]
    lines = [f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items()]
    notes = "".join(f"<p class='caption'>{escape(note)}</p>" for note in results["notes"])
    return f"<footer class='provenance'><h2>Provenance</h2><dl>{''.join(lines)}</dl>{notes}</footer>"


def _distinct(rows: Rows, name: Callable[[PredictionRow], str]) -> list[str]:
    return list(dict.fromkeys(map(name, rows)))


def _is_learned(rows: Rows, predictor: str) -> bool:
    return any(row["predictor"] == predictor and row["params"] > 0 for row in rows)
