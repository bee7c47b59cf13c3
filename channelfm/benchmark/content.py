"""What a report shows besides rows: an example, the flights, the settings behind the numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from channelfm.benchmark.figures import Example, Flight
from channelfm.benchmark.links import Links, describe_array, describe_data, describe_storage, typical_link
from channelfm.benchmark.recipe import BenchmarkRecipe
from channelfm.benchmark.report import ReportContent
from channelfm.benchmark.run import Results
from channelfm.datasets import Dataset
from channelfm.records import Channels
from channelfm.tasks.extrapolation import examples
from channelfm.tasks.predictor import Predictor
from channelfm.units import wavelength


class Shown(NamedTuple):
    """Estimates complex64 [rows, cols] of a set's link ``shown``, by mask ratio and predictor, with masks of one kind
    and one SNR; ``ratio`` is the one that most figures take."""

    kind: str
    ratio: float
    snr_db: float | None
    estimates: Mapping[float, Mapping[str, NDArray[np.complex64]]]


def show_example(predictors: Sequence[Predictor], channels: Channels, mask_ratio: float, seed: int) -> Example:
    """A channel for the report: that of :func:`channelfm.benchmark.links.typical_link`.

    Wide-band channels are shown at their first frequency.
    """
    chosen = typical_link(channels)
    case = examples(channels.grid[[chosen]][..., :1], mask_ratio, seed)
    estimates = {predictor.name: predictor.predict(case.observed, case.mask)[0, ..., 0] for predictor in predictors}
    return _example(channels, chosen, case.mask[0, ..., 0], estimates, mask_ratio, "")


def flights_of(dataset: Dataset, scene: str, measured: str) -> list[Flight]:
    """The flights of a data set over one scene; those of the split ``measured`` count as held out."""
    flights = []
    for split in dataset.splits:
        if any(shard.split == split and shard.scene == scene for shard in dataset.manifest.shards):
            labels = dataset.labels(split, scene)
            flights.append(Flight(labels.positions_m, labels.near_field, labels.track, split == measured))
    return flights


def report_content(
    settings: BenchmarkRecipe,
    sets: Sequence[Links],
    results: Results,
    shown: Sequence[Shown],
) -> ReportContent:
    """The report of a suite; ``shown`` is of each set."""
    drawn_examples = []
    for links, part in zip(sets, shown, strict=True):
        case = examples(links.channels.grid, part.ratio, settings.seeds[0], part.kind, part.snr_db)
        mask, found = case.mask[links.shown, ..., 0], part.estimates[part.ratio]
        example = _example(links.channels, links.shown, mask, found, part.ratio, links.name)
        drawn_examples.append(dataclasses.replace(example, by_ratio=part.estimates))
    first = sets[0]
    drawn = next(
        (entry for entry in first.dataset.manifest.scenes if entry.name in first.scenes and entry.record), None
    )
    stored = first.dataset.array(None if drawn is None else drawn.name)  # flights are labelled near or far for this one
    arrays = dict.fromkeys(describe_array(links.array) for links in sets)
    described = {
        f"set {links.name}": f"{len(links.channels)} links of {describe_data(links.dataset)}, split {links.split}, "
        f"{describe_array(links.array)}{describe_storage(links)}"
        for links in sets
    }
    credits = [e.attribution for links in sets for e in links.dataset.manifest.scenes if e.name in links.scenes]
    return ReportContent(
        title=settings.name,
        rows=results["rows"],
        scene_name=results["scene"],
        array=", ".join(arrays),
        seed=results["seed"],
        versions=results["versions"],
        left_out=results["left_out"],
        scene=None if drawn is None else first.dataset.scene(drawn.name),
        flights=[] if drawn is None else flights_of(first.dataset, drawn.name, first.split),
        array_position_m=stored.position,
        rayleigh_distance_m=stored.rayleigh_distance_m,
        examples=drawn_examples,
        settings={"benchmark recipe": f"{settings.name}, {settings.content_hash()[:12]}", **described},
        notes=results.get("notes", []),
        attribution="; ".join(dict.fromkeys(credit for credit in credits if credit)),
    )


def _example(
    channels: Channels,
    number: int,
    mask: NDArray[np.bool_],
    estimates: Mapping[str, NDArray[np.complex64]],
    mask_ratio: float,
    name: str,
) -> Example:
    """One link of some channels as the figures take it."""
    distance = float(channels.distance_m[number])
    field = "near field" if channels.near_field[number] else "far field"
    sight = "line of sight" if channels.line_of_sight[number] else "no line of sight"
    return Example(
        truth=channels.grid[number, ..., 0],
        mask=mask,
        estimates=estimates,
        mask_ratio=mask_ratio,
        description=f"{field}, {distance:.0f} m from the array, {sight}",
        set=name,
        spacing_wavelengths=channels.spacing_wavelengths,
        wavelength_m=wavelength(channels.carrier_hz),
        focus_m=distance if channels.line_of_sight[number] else None,
    )
