"""One self-contained report.html for every task: what was measured, where, how well, how fast. Works offline and
prints."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

from channelfm.benchmarking.cells import Part
from channelfm.benchmarking.content import example_of, flights_of
from channelfm.benchmarking.figures import (
    Example,
    amplitude_figure,
    axis_figure,
    case_figure,
    colours,
    focus_figure,
    lead_figure,
    leads_of,
    map_figure,
    other_figure,
    pareto_figure,
    polar_figure,
    ratio_figure,
    time_figure,
)
from channelfm.benchmarking.page import PAGE, STYLE
from channelfm.benchmarking.recipe import BenchmarkRecipe
from channelfm.benchmarking.rows import Results, Row, number
from channelfm.benchmarking.sets import describe_array, describe_data, describe_storage
from channelfm.benchmarking.tables import (
    ALL,
    Column,
    Palette,
    columns_of,
    complete,
    distinct,
    group_table,
    number_tables,
    of_set,
    paired_table,
    published_table,
    tuned_table,
    typical,
    whole,
    winner_table,
    without_references,
)

EXTRAPOLATION = "extrapolation"  # the task that has figures of its own
_SHOWN, _SHOWN_BY_RATIO = 8, 5  # estimators that pictures of one link have room for
_NOISE = (
    "Bars and brackets are 95 % intervals over users and scenes: scenes are resampled, then users within them, each "
    "with all its links."
)


def report_of(
    settings: BenchmarkRecipe, parts: Sequence[Part], results: Results, about: Mapping[str, str] | None = None
) -> str:
    """The page, without any outside request; ``about``: what else to say of where the numbers come from."""
    rows = [row for row in results["rows"] if row["tuned"] is None] or results["rows"]
    tuned = [row for row in results["rows"] if row["tuned"] is not None]
    columns = columns_of(results["measures"])
    palette = colours(distinct(row["estimator"] for row in results["rows"]))
    own_figures = settings.task.kind == EXTRAPOLATION
    sections = [
        _head(settings, parts, rows, columns, results),
        _map(parts),
        _curves(rows, columns, palette),
        _winners(rows, columns, palette),
        _leads(results),
        *([_example(example_of(part, rows), rows, palette) for part in parts] if own_figures else []),
        _numbers(rows, columns, palette, results),
        _paired(rows, columns, palette),
        _groups(rows, columns, palette),
        _times(rows, columns[0], palette),
        f"<section><h2>Tuned on shares of the data</h2>{tuned_table(tuned, columns)}</section>" if tuned else "",
        f"<section><h2>Beside the paper</h2>{published_table(rows, palette)}</section>" if own_figures else "",
        _provenance(settings, parts, results, about or {}),
    ]
    body = "\n".join(section for section in sections if section)
    return PAGE.format(title=escape(settings.name), style=STYLE, body=body)


def _head(
    settings: BenchmarkRecipe, parts: Sequence[Part], rows: Sequence[Row], columns: Sequence[Column], results: Results
) -> str:
    arrays = distinct(describe_array(part.measured.blocks.grid.array) for part in parts)
    facts, column = [("scene", results["scene"]), ("array", ", ".join(arrays))], columns[0]
    for name in distinct(row["set"] for row in rows):
        label = typical(of_set(rows, name))["label"]
        own = [row for row in of_set(whole(rows), name) if row["label"] == label]
        best = (max if column.more else min)(complete(own), key=lambda row: number(row, column.key))
        told = f"{column.form(number(best, column.key))} {column.unit}".strip()
        facts += [
            (f"measured, {name}", str(max(row["samples"] for row in own))),
            (f"best {column.title}, {label}", f"{told}, {best['estimator']}"),
        ]
    cards = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    lead = settings.task.question
    return (
        f"<header><p class='kicker'>channelfm &middot; {escape(settings.task.kind)}</p>"
        f"<h1>{escape(settings.name)}</h1><p class='lead'>{lead}</p><dl class='facts'>{cards}</dl></header>"
    )


def _map(parts: Sequence[Part]) -> str:
    measured = parts[0].measured
    entries = measured.dataset.manifest.scenes
    drawn = next((entry for entry in entries if entry.name in measured.scenes and entry.record), None)
    if drawn is None:
        return ""
    array = measured.dataset.array(drawn.name)  # flights are labelled near or far for this one
    flights = flights_of(measured.dataset, drawn.name, measured.settings.split)
    picture = map_figure(measured.dataset.scene(drawn.name), flights, array.position, array.rayleigh_distance_m)
    held_out = [flight for flight in flights if flight.held_out]
    near = sum(int(flight.near_field.sum()) for flight in held_out)
    total = sum(len(flight.near_field) for flight in held_out)
    text = (
        f"The scene {escape(drawn.name)} from above; darker buildings are higher. "
        f"Within the Rayleigh distance of the array ({array.rayleigh_distance_m:.0f} m, dashed) wavefronts arrive "
        f"noticeably curved: {near} of the {total} held-out positions are in this near field (red), the others in the "
        "far field (blue). Distances count height too, so a dot just inside the circle may still be far. The flights "
        "that were trained on are drawn faint."
    )
    return _figure("Where the channels come from", [picture], "Map of the scene with flights and array", text)


def _curves(rows: Sequence[Row], columns: Sequence[Column], palette: Palette) -> str:
    text = (
        f"{_NOISE} Circles are networks, squares classical estimators. Of errors in dB, 0 dB is as bad as answering "
        "zero, and each 10 dB less is a tenth of the error energy; a mean far above its median tells of a few channels "
        "that went wrong."
    )
    if columns[0].at is not None:
        return "".join(
            _figure(f"How well, {escape(name)}", [axis_figure(of_set(rows, name), columns, palette)], "Curves", text)
            for name in distinct(row["set"] for row in rows)
        )
    pictures = [case_figure(rows, columns, palette), other_figure(rows, columns, palette)]
    return _figure("How well", pictures, f"{columns[0].heading} by case", text)


def _winners(rows: Sequence[Row], columns: Sequence[Column], palette: Palette) -> str:
    bases = distinct(column.base for column in columns)[:2]
    tables = "".join(winner_table(rows, base, columns, palette) for base in bases)
    return (
        "<section><h2>Who wins where</h2><p class='caption'>The best estimator of each case on each kind of link, and "
        "by how much it leads the best of the other family (networks against classical estimators). Rich links have "
        f"more than six paths.</p>{tables}</section>"
    )


def _leads(results: Results) -> str:
    return _figure(
        "Where learning wins",
        [lead_figure([leads_of(results)])],
        "Lead of the best network over the best classical row, by case",
        "By how much the best network leads the best classical row, with its name; paired over the same links. Red: it "
        "leads; green: it is behind; grey: the 95 % interval of the difference holds zero.",
    )


def _example(example: Example, rows: Sequence[Row], palette: Palette) -> str:
    own = [row for row in of_set(whole(rows), example.set) if row["estimator"] in example.estimates]
    label = typical(of_set(rows, example.set))["label"]
    ranked = sorted((row for row in own if row["label"] == label), key=lambda row: number(row, "nmse_median_db"))
    names = [row["estimator"] for row in ranked]
    best = [name for name in example.estimates if name in names[:_SHOWN]]
    example = replace(example, estimates={name: example.estimates[name] for name in best})
    by_ratio = [name for name in example.estimates if name in names[:_SHOWN_BY_RATIO]]
    hidden = f"{escape(example.description)}, {100 * example.mask_ratio:.0f} % of the antennas hidden"
    amplitudes = _figure(
        f"What it looks like ({escape(example.set)})",
        [amplitude_figure(example)],
        "True, observed and reconstructed amplitude",
        f"One channel over the array: {hidden}. Above: amplitude at every antenna; hidden ones are light grey in the "
        "second panel. Fringes are waves that arrive by different ways and interfere. Below: the error at every "
        "antenna, amplitude and phase, on one scale for all. "
        f"Of more than {_SHOWN} estimators those with the best medians are shown.",
    )
    ratios = _figure(
        f"With more and more antennas hidden ({escape(example.set)})",
        [ratio_figure(example, by_ratio)],
        "Reconstructed amplitude at several mask ratios",
        "The same channel at several shares of hidden antennas, reconstructed by those estimators that have the best "
        "median over the set's links in the figure above. Over each map: NMSE, and PSNR and SSIM of the amplitude.",
    )
    polar = _figure(
        f"In the polar domain ({escape(example.set)})",
        [polar_figure(example), focus_figure(example, rows, palette)],
        "Polar-domain power over direction, and over focus distance",
        "The same channel, as beams focused at a point see it. Above: power over direction, the strongest of several "
        "ranges at each, round about the strongest direction (cross); white: 3 dB below the truth's peak. Below left: "
        "power against the distance that the array is focused at, in that direction; a codebook of plane waves "
        "(dashed) tells no distance. Below right: how far the peak's range is off, over the near-field links of the "
        "set where there are any. An error of 1 is the curvature of a wave from the Rayleigh distance.",
    )
    return amplitudes + ratios + polar


def _numbers(rows: Sequence[Row], columns: Sequence[Column], palette: Palette, results: Results) -> str:
    left_out = f" {results['left_out']} that no path reaches are left out." if results["left_out"] else ""
    notes = "".join(f" {escape(note)}." for note in results["notes"])
    floor = (
        " A median at the error of the stored channels is told as at most that."
        if any(row["floor_db"] is not None for row in rows)
        else ""
    )
    if any(row["reference"] for row in rows):
        floor += (
            " In italics, dashed in figures: references that know of a channel what no estimator can; they win nothing."
        )
    return (
        f"<section><h2>The numbers</h2>{number_tables(rows, columns, palette)}"
        "<p class='caption'>By case; bold: best of its column; intervals show under the pointer. Memory: what a call "
        f"needs at its peak beyond what is held between calls.{floor}{left_out}{notes}</p></section>"
    )


def _paired(rows: Sequence[Row], columns: Sequence[Column], palette: Palette) -> str:
    table = paired_table(rows, columns, palette)
    return (
        f"<section><h2>Against each other</h2>{table}<p class='caption'>Differences over the units that both have, and "
        f"on how many of them a row is better. {_NOISE} The bound is that of the waves that the channels consist of, "
        "over those links on which they leave less than the bound.</p></section>"
        if table
        else ""
    )


def _groups(rows: Sequence[Row], columns: Sequence[Column], palette: Palette) -> str:
    if all(row["group"] == ALL for row in rows):
        return ""
    return (
        f"<section><h2>By kind of link</h2>{group_table(rows, columns, palette)}<p class='caption'>With 95 % "
        "intervals; in brackets, how many there are. Near: within the Rayleigh distance. Few, rich: up to, more than "
        "six paths.</p></section>"
    )


def _times(rows: Sequence[Row], column: Column, palette: Palette) -> str:
    text = (
        "Wall-clock time after one warm-up call, in batches of up to 32, all on the same machine. Above: against the "
        "first measure; the dashed line joins those that no other beats in both. Below: bars are medians over cases, "
        "lines go from the fastest to the slowest."
    )
    own = without_references(rows)
    pictures = [pareto_figure(own, typical(own)["label"], column, palette), time_figure(own, palette)]
    return _figure("How fast", pictures, "Time, against accuracy and alone", text)


def _provenance(settings: BenchmarkRecipe, parts: Sequence[Part], results: Results, about: Mapping[str, str]) -> str:
    entries = {
        "seed": str(results["seed"]),
        "benchmark recipe": f"{settings.name}, {settings.content_hash()[:12]}",
        **about,
    }
    credits: list[str] = []
    for part in parts:
        one = part.measured
        entries[f"set {one.name}"] = (
            f"{len(one.blocks)} of {describe_data(one.dataset)}, split {one.settings.split}, "
            f"{describe_array(one.blocks.grid.array)}{describe_storage(one.blocks)}"
        )
        credits += [entry.attribution for entry in one.dataset.manifest.scenes if entry.name in one.scenes]
    entries["versions"] = ", ".join(f"{name} {told}" for name, told in results["versions"].items())
    if any(credits):
        entries["map data"] = "; ".join(distinct(credit for credit in credits if credit))
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
