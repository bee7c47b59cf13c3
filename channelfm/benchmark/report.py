"""One self-contained report.html: what was measured, where, how well, how fast. Works offline and prints."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path

from channelfm.benchmark.figures import (
    Example,
    Flight,
    accuracy_figure,
    amplitude_figure,
    colours,
    focus_figure,
    map_figure,
    pareto_figure,
    polar_figure,
    ratio_figure,
    structured_figure,
    time_figure,
)
from channelfm.benchmark.page import PAGE, STYLE
from channelfm.benchmark.run import Row, typical_case
from channelfm.benchmark.tables import MEASURES, decibels, group_table, number_tables, published_table, winner_table
from channelfm.errors import InputError
from channelfm.files import write_atomically
from channelfm.records import Scene

__all__ = ["Example", "Flight", "ReportContent", "write_report"]

Palette = Mapping[str, str]
_SHOWN, _SHOWN_BY_RATIO = 8, 5  # predictors that pictures of one link have room for


@dataclass(frozen=True)
class ReportContent:
    """Everything a report shows, as plain data.

    ``rows``: from :func:`channelfm.benchmark.evaluate` or a suite. ``scene_name``; ``array``: one line, e.g. "32 x 32
    at 7 GHz". ``scene``, ``flights``, ``array_position_m``, ``rayleigh_distance_m`` draw the map, which is left out
    without a ``scene``; ``examples`` draw amplitude maps and polar-domain figures. ``settings``: what led to the
    numbers (recipe, data set, training budget ...), shown as name and value; ``notes``: what is missing and why.
    ``attribution``: of the map, e.g. OpenStreetMap's.
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
    examples: Sequence[Example] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    attribution: str = ""


def write_report(path: str | Path, content: ReportContent) -> None:
    """Write one HTML file without any outside request, atomically. Raises InputError without any row."""
    if not content.rows:
        raise InputError("a report needs at least one row: evaluate at least one predictor at one mask ratio")
    palette = colours(list(dict.fromkeys(row["predictor"] for row in content.rows)))
    sections = [
        _head(content),
        _map(content),
        _accuracy(content, palette),
        _structured(content, palette),
        _winners(content, palette),
        *(_example(example, content, palette) for example in content.examples),
        _table(content, palette),
        _groups(content, palette),
        _times(content, palette),
        _published(content, palette),
        _provenance(content),
    ]
    body = "\n".join(section for section in sections if section)
    write_atomically(Path(path), PAGE.format(title=escape(content.title), style=STYLE, body=body).encode())


def _head(content: ReportContent) -> str:
    kind, ratio, snr = typical_case([(row["mask_kind"], row["mask_ratio"], row["snr_db"]) for row in content.rows])
    facts = [("scene", content.scene_name), ("array", content.array)]
    whole = [row for row in content.rows if row["group"] == "all"]
    own = [row for row in whole if (row["mask_kind"], row["mask_ratio"], row["snr_db"]) == (kind, ratio, snr)]
    for name in _sets(own):
        best = min((row for row in own if row["set"] == name), key=lambda row: row["nmse_median_db"])
        facts += [
            (f"channels measured, {name}", str(best["samples"])),
            (f"best median, {kind} mask {ratio:g}", f"{decibels(best['nmse_median_db'])} dB, {best['predictor']}"),
        ]
    cards = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return (
        f"<header><p class='kicker'>channelfm &middot; channel extrapolation</p><h1>{escape(content.title)}</h1>"
        "<p class='lead'>A base station hears a user with only a part of its antennas. Each method below reconstructs "
        "the channel at all the others, on positions that no training ever saw.</p>"
        f"<dl class='facts'>{cards}</dl></header>"
    )


def _map(content: ReportContent) -> str:
    if content.scene is None:
        return ""
    picture = map_figure(content.scene, content.flights, content.array_position_m, content.rayleigh_distance_m)
    held_out = [flight for flight in content.flights if flight.held_out]
    near = sum(int(flight.near_field.sum()) for flight in held_out)
    total = sum(len(flight.near_field) for flight in held_out)
    text = (
        f"The scene {escape(content.scene.name)} from above; darker buildings are higher. "
        f"Within the Rayleigh distance of the array ({content.rayleigh_distance_m:.0f} m, dashed) wavefronts arrive "
        f"noticeably curved: {near} of the {total} held-out positions are in this near field (red), the others in the "
        "far field (blue). Distances count height too, so a dot just inside the circle may still be far. The flights "
        "that were trained on are drawn faint."
    )
    return _figure("Where the channels come from", [picture], "Map of the scene with flights and array", text)


def _accuracy(content: ReportContent, palette: Palette) -> str:
    text = (
        "Normalised mean squared error over all antennas, against the share of antennas that were hidden at random. "
        "Left: mean over links, with its 95 % bootstrap interval; right: median. A mean far above its median tells of "
        "a few channels that went wrong. 0 dB is as bad as answering zero; each 10 dB less is a tenth of the error "
        "energy. Circles are networks, squares classical estimators."
    )
    return _figure("How accurate", [accuracy_figure(content.rows, palette)], "NMSE against mask ratio", text)


def _structured(content: ReportContent, palette: Palette) -> str:
    text = (
        "Masks that hide antennas not at random but in whole rows or columns, all but one contiguous block, or all but "
        "a regular comb: some leave gaps or aliases that random ones do not."
    )
    picture = structured_figure(content.rows, palette)
    return _figure("Masks with a structure", [picture], "Median NMSE with structured masks", text)


def _winners(content: ReportContent, palette: Palette) -> str:
    """Only where there is more than one kind of link."""
    if all(row["group"] == "all" for row in content.rows):
        return ""
    tables = "".join(winner_table(content.rows, measure, palette) for measure in MEASURES[:2])
    return (
        "<section><h2>Who wins where</h2><p class='caption'>The best predictor of each mask on each kind of link, with "
        "its NMSE in dB, and by how much it leads the best of the other family (networks against classical "
        "estimators). Rich links have more than six paths.</p>"
        f"{tables}</section>"
    )


def _example(example: Example, content: ReportContent, palette: Palette) -> str:
    if len(example.estimates) > _SHOWN and (best := _best(content.rows, example, _SHOWN)):
        example = replace(example, estimates={name: example.estimates[name] for name in best})
    name = f" ({escape(example.set)})" if len(content.examples) > 1 else ""
    hidden = f"{escape(example.description)}, {100 * example.mask_ratio:.0f} % of the antennas hidden"
    amplitudes = _figure(
        f"What it looks like{name}",
        [amplitude_figure(example)],
        "True, observed and reconstructed amplitude",
        f"One channel over the array: {hidden}. Above: amplitude at every antenna; hidden ones are light grey in the "
        "second panel. Fringes are waves that arrive by different ways and interfere. Below: the error at every "
        "antenna, amplitude and phase, on one scale for all. "
        f"Of more than {_SHOWN} predictors those with the best medians are shown.",
    )
    ratios = _figure(
        f"With more and more antennas hidden{name}",
        [ratio_figure(example, _best(content.rows, example, _SHOWN_BY_RATIO))],
        "Reconstructed amplitude at several mask ratios",
        "The same channel at several shares of hidden antennas, reconstructed by those predictors that have the best "
        "median over the set's links in the figure above. Over each map: NMSE, and PSNR and SSIM of the amplitude.",
    )
    polar = _figure(
        f"In the polar domain{name}",
        [polar_figure(example), focus_figure(example, content.rows, palette)],
        "Polar-domain power over direction, and over focus distance",
        "The same channel, as beams focused at a point see it. Above: power over direction, the strongest of several "
        "ranges at each, round about the strongest direction (cross); white: 3 dB below the truth's peak. Below left: "
        "power against the distance that the array is focused at, in that direction; a codebook of plane waves "
        "(dashed) tells no distance. Below right: how far the peak's range is off, over the near-field links of the "
        "set where there are any. An error of 1 is the curvature of a wave from the Rayleigh distance.",
    )
    return amplitudes + ratios + polar


def _best(rows: Sequence[Row], example: Example, most: int) -> list[str]:
    """The best predictors of an example's set with its mask, at most so many, in the order of the rows."""
    own = [row for row in rows if row["set"] == example.set and row["predictor"] in example.estimates]
    own = [row for row in own if row["group"] == "all" and row["mask_ratio"] == example.mask_ratio]
    kind, _, snr = typical_case([(row["mask_kind"], row["mask_ratio"], row["snr_db"]) for row in rows])
    own = [row for row in own if (row["mask_kind"], row["snr_db"]) == (kind, snr)]
    best = sorted(own, key=lambda row: row["nmse_median_db"])[:most]
    return [row["predictor"] for row in own if row in best]


def _times(content: ReportContent, palette: Palette) -> str:
    kind, ratio, _ = typical_case([(row["mask_kind"], row["mask_ratio"], row["snr_db"]) for row in content.rows])
    text = (
        "Wall-clock time per link after one warm-up call, in batches of up to 32, all on the same machine. Above: "
        "against accuracy; the dashed line joins those that no other beats in both. Below: bars are medians over "
        "masks, lines go from the fastest to the slowest."
    )
    pictures = [pareto_figure(content.rows, (kind, ratio), palette), time_figure(content.rows, palette)]
    return _figure("How fast", pictures, "Time per link, against accuracy and alone", text)


def _table(content: ReportContent, palette: Palette) -> str:
    left_out = f" {content.left_out} positions that no path reaches are left out." if content.left_out else ""
    notes = "".join(f" {escape(note)}." for note in content.notes)
    return (
        f"<section><h2>The numbers</h2>{number_tables(content.rows, palette)}"
        "<p class='caption'>By mask and share of hidden antennas. Bold: best of its column. Memory: what a call "
        f"needs at its peak beyond what is held between calls.{left_out}{notes}</p></section>"
    )


def _groups(content: ReportContent, palette: Palette) -> str:
    if all(row["group"] == "all" for row in content.rows):
        return ""
    kind, ratio, _ = typical_case([(row["mask_kind"], row["mask_ratio"], row["snr_db"]) for row in content.rows])
    return (
        f"<section><h2>By kind of link</h2>{group_table(content.rows, (kind, ratio), palette)}"
        "<p class='caption'>Median NMSE / mean NMSE in dB; in brackets, the links of a group. Near: within the "
        "Rayleigh distance. Few, rich: up to, more than six paths.</p></section>"
    )


def _published(content: ReportContent, palette: Palette) -> str:
    """Only beside a suite: a demo's three ratios on a small array have nothing in common with the paper's."""
    if all(row["group"] == "all" for row in content.rows):
        return ""
    return f"<section><h2>Beside the paper</h2>{published_table(content.rows, palette)}</section>"


def _provenance(content: ReportContent) -> str:
    entries = {"seed": str(content.seed)} | dict(content.settings)
    entries["versions"] = ", ".join(f"{name} {number}" for name, number in content.versions.items())
    if content.attribution:
        entries["map data"] = content.attribution
    lines = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in entries.items())
    return f"<footer><h2>Provenance</h2><dl class='provenance'>{lines}</dl></footer>"


def _figure(title: str, pictures: Sequence[str | None], alternative: str, caption: str) -> str:
    """A section of pictures above one caption; nothing without any picture."""
    drawn = [base64.b64encode(picture.encode()).decode() for picture in pictures if picture is not None]
    if not drawn:
        return ""
    images = "".join(
        f"<img alt='{escape(alternative, quote=True)}' src='data:image/svg+xml;base64,{data}'>" for data in drawn
    )
    return (
        f"<section><h2>{title}</h2><figure>{images}<figcaption class='caption'>{caption}</figcaption>"
        "</figure></section>"
    )


def _sets(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["set"] for row in rows))
