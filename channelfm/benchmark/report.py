"""One self-contained report.html: what was measured, where, how well, how fast. Works offline and prints."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from channelfm.benchmark.figures import (
    Example,
    Flight,
    accuracy_figure,
    amplitude_figure,
    colours,
    map_figure,
    time_figure,
)
from channelfm.benchmark.run import Row
from channelfm.errors import InputError
from channelfm.records import Scene, write_atomically

__all__ = ["Example", "Flight", "ReportContent", "write_report"]


@dataclass(frozen=True)
class ReportContent:
    """Everything a report shows, as plain data.

    ``rows``: from :func:`channelfm.benchmark.run.evaluate`. ``scene_name``; ``array``: one line, e.g. "32 x 32 at
    7 GHz". ``scene``, ``flights``, ``array_position_m``, ``rayleigh_distance_m`` draw the map, which is left out
    without a ``scene``; ``example`` draws the amplitude maps, left out when None. ``settings``: what led to the numbers
    (recipe, data set, training budget ...), shown as name and value. ``attribution``: of the map, e.g. OpenStreetMap's.
    """

    title: str
    rows: Sequence[Row]
    scene_name: str
    array: str
    seed: int
    versions: Mapping[str, str]
    left_out: int = 0
    scene: Scene | None = None
    flights: Sequence[Flight] = ()
    array_position_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rayleigh_distance_m: float = 0.0
    example: Example | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    attribution: str = ""


def write_report(path: str | Path, content: ReportContent) -> None:
    """Write one HTML file without any outside request, atomically. Raises InputError without any row."""
    if not content.rows:
        raise InputError("a report needs at least one row: evaluate at least one predictor at one mask ratio")
    sections = [_head(content), _accuracy(content), _table(content), _times(content)]
    if content.example is not None:
        sections.insert(2, _amplitudes(content.example))
    if content.scene is not None:
        sections.insert(1, _map(content, content.scene))
    page = _PAGE.format(title=escape(content.title), style=_STYLE, body="\n".join([*sections, _provenance(content)]))
    write_atomically(Path(path), page.encode())


def _head(content: ReportContent) -> str:
    hardest = max(row["mask_ratio"] for row in content.rows)
    best = min((row for row in content.rows if row["mask_ratio"] == hardest), key=lambda row: row["nmse_median_db"])
    facts = [
        ("scene", content.scene_name),
        ("array", content.array),
        ("channels measured", str(best["samples"])),
        (f"best median at mask ratio {hardest:g}", f"{_db(best['nmse_median_db'])} dB, {best['predictor']}"),
    ]
    cards = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return (
        f"<header><p class='kicker'>channelfm &middot; channel extrapolation</p><h1>{escape(content.title)}</h1>"
        "<p class='lead'>A base station hears a user with only a part of its antennas. Each method below reconstructs "
        "the channel at all the others, on positions that no training ever saw.</p>"
        f"<dl class='facts'>{cards}</dl></header>"
    )


def _map(content: ReportContent, scene: Scene) -> str:
    picture = map_figure(scene, content.flights, content.array_position_m, content.rayleigh_distance_m)
    held_out = [flight for flight in content.flights if flight.held_out]
    near = sum(int(flight.near_field.sum()) for flight in held_out)
    total = sum(len(flight.near_field) for flight in held_out)
    text = (
        "The scene from above; darker buildings are higher. "
        f"Within the Rayleigh distance of the array ({content.rayleigh_distance_m:.0f} m, dashed) wavefronts arrive "
        f"noticeably curved: {near} of the {total} measured positions are in this near field (red), the others in the "
        "far field (blue). Distances count height too, so a dot just inside the circle may still be far. The flights "
        "that were trained on are drawn faint."
    )
    return _figure("Where the channels come from", picture, "Map of the scene with flights and array", text)


def _accuracy(content: ReportContent) -> str:
    text = (
        "Normalised mean squared error over all antennas, against the share of antennas that were hidden. Solid: mean "
        "over channels, with its 95 % bootstrap interval; dotted: median. A mean far above its median tells of a few "
        "channels that went wrong. 0 dB is as bad as answering zero; each 10 dB less is a tenth of the error energy."
    )
    return _figure("How accurate", accuracy_figure(content.rows), "NMSE against mask ratio", text)


def _amplitudes(example: Example) -> str:
    text = (
        f"One channel over the array ({escape(example.description)}), {100 * example.mask_ratio:.0f} % of the antennas "
        "hidden. Above: amplitude at every antenna; hidden ones are light grey in the second panel. Fringes are waves "
        "that arrive by different ways and interfere. Below: the error at every antenna, amplitude and phase, on one "
        "scale for all."
    )
    return _figure("What it looks like", amplitude_figure(example), "True, observed and reconstructed amplitude", text)


def _times(content: ReportContent) -> str:
    text = (
        "Wall-clock time per channel after one warm-up call, all on the same machine. Bars: median over mask ratios; "
        "lines: fastest to slowest ratio."
    )
    return _figure("How fast", time_figure(content.rows), "Time per sample", text)


def _table(content: ReportContent) -> str:
    names = list(dict.fromkeys(row["predictor"] for row in content.rows))
    ratios = sorted({row["mask_ratio"] for row in content.rows})
    cells = {(row["predictor"], row["mask_ratio"]): row for row in content.rows}
    best = {ratio: min(row["nmse_median_db"] for row in content.rows if row["mask_ratio"] == ratio) for ratio in ratios}
    palette = colours(names)
    top = "".join(f"<th colspan='4' class='group'>mask ratio {ratio:g}</th>" for ratio in ratios)
    units = "".join("<th class='group'>mean</th><th>median</th><th>90 %</th><th>ms</th>" for _ in ratios)
    lines = []
    for name in names:
        line = f"<th scope='row'><i style='background:{palette[name]}'></i>{escape(name)}</th>"
        for ratio in ratios:
            row = cells.get((name, ratio))
            line += "<td class='group'></td>" + 3 * "<td></td>" if row is None else _cells(row, best[ratio])
        lines.append(f"<tr>{line}</tr>")
    left_out = f" {content.left_out} positions that no path reaches are left out." if content.left_out else ""
    return (
        "<section><h2>The numbers</h2><div class='wide'><table><thead>"
        f"<tr><th rowspan='2'>predictor</th>{top}</tr><tr>{units}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
        "<p class='caption'>NMSE in dB (mean, median and 90th percentile over channels) and time per channel. "
        f"Bold: best median of its column.{left_out}</p></section>"
    )


def _cells(row: Row, best: float) -> str:
    mark = " class='best'" if row["nmse_median_db"] == best else ""
    return (
        f"<td class='group'>{_db(row['nmse_db'])}</td><td{mark}>{_db(row['nmse_median_db'])}</td>"
        f"<td>{_db(row['p90_db'])}</td><td class='time'>{row['latency_ms']:.3g}</td>"
    )


def _provenance(content: ReportContent) -> str:
    entries = {"seed": str(content.seed)} | dict(content.settings)
    entries["versions"] = ", ".join(f"{name} {number}" for name, number in content.versions.items())
    if content.attribution:
        entries["map data"] = content.attribution
    lines = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in entries.items())
    return f"<footer><h2>Provenance</h2><dl class='provenance'>{lines}</dl></footer>"


def _figure(title: str, svg: str, alternative: str, caption: str) -> str:
    data = base64.b64encode(svg.encode()).decode()
    picture = f"<img alt='{escape(alternative, quote=True)}' src='data:image/svg+xml;base64,{data}'>"
    return (
        f"<section><h2>{escape(title)}</h2><figure>{picture}<figcaption class='caption'>{caption}</figcaption>"
        "</figure></section>"
    )


def _db(value: float) -> str:
    return f"{value:.1f}".replace("-", "\N{MINUS SIGN}")


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body><main>
{body}
</main></body></html>
"""

_STYLE = """
:root { --ink: #22262b; --faint: #5d6671; --line: #e3e6ea; --accent: #2d6a9f; }
* { box-sizing: border-box; }
body { margin: 0; background: #fbfbfa; color: var(--ink);
  font: 16px/1.55 system-ui, "Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 3.5rem 1.5rem 4rem; }
h1, h2 { font-family: Charter, "Iowan Old Style", Georgia, "Liberation Serif", serif; font-weight: 600;
  line-height: 1.2; }
h1 { font-size: 2.3rem; margin: .2rem 0 .8rem; }
h2 { font-size: 1.35rem; margin: 0 0 .9rem; }
.kicker { margin: 0; color: var(--accent); font-size: .85rem; letter-spacing: .04em; }
.lead { max-width: 42rem; font-size: 1.1rem; color: var(--faint); margin: 0 0 1.8rem; }
section, footer { margin-top: 3rem; padding-top: 1.6rem; border-top: 1px solid var(--line); }
dl { margin: 0; } dt { color: var(--faint); font-size: .82rem; } dd { margin: 0; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1rem 2rem; }
.facts dd { font-size: 1.15rem; font-weight: 600; }
figure { margin: 0; } img { display: block; width: 100%; height: auto; }
.caption { max-width: 46rem; margin: .9rem 0 0; color: var(--faint); font-size: .92rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .42rem .4rem; text-align: right; white-space: nowrap; }
thead th { color: var(--faint); font-weight: 500; } thead tr:first-child th.group { text-align: left; }
thead tr:last-child th { border-bottom: 1px solid var(--ink); }
th[rowspan] { text-align: left; vertical-align: bottom; border-bottom: 1px solid var(--ink); }
tbody th { text-align: left; font-weight: 500; } tbody tr + tr > * { border-top: 1px solid var(--line); }
tbody i { display: inline-block; width: .7rem; height: .7rem; margin-right: .55rem; border-radius: 2px; }
.group { padding-left: 1.1rem; } .best { font-weight: 700; } .time { color: var(--faint); }
.provenance div { display: grid; grid-template-columns: 11rem 1fr; gap: 1rem; padding: .3rem 0; }
.provenance dd { overflow-wrap: anywhere; font-size: .9rem; }
@media print { body { background: #fff; font-size: 12px; } main { max-width: none; padding: 0; }
  section { break-inside: avoid; margin-top: 1.6rem; } .wide { overflow: visible; } th, td { padding: .25rem .3rem; }
  .group { padding-left: .7rem; } }
"""
