"""What a report of channel extrapolation shows besides rows: one link as everybody sees it, and the flights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from channelfm.benchmarking.cells import Part
from channelfm.benchmarking.figures import Example, Flight
from channelfm.benchmarking.rows import Row
from channelfm.benchmarking.tables import of_set, typical
from channelfm.datasets.dataset import Dataset
from channelfm.tasks.observing import Partial
from channelfm.units import wavelength


def example_of(part: Part, rows: Sequence[Row]) -> Example:
    """A set's shown link, with the typical mask and at all other ratios of it; wide-band channels at their first
    frequency."""
    case = typical(of_set(rows, part.measured.name))["case"]
    alike = [Partial(**(case | {"mask_ratio": other.mask_ratio})) for other in part.settings.task.cases()]
    found = {other.mask_ratio: _estimates(part, other) for other in dict.fromkeys(alike)}
    blocks, number = part.measured.blocks, part.measured.shown
    observed = part.settings.task.examples(blocks, Partial(**case), part.settings.seeds[0]).observation
    labels = blocks.labels
    distance = float(labels.distance_m[number])
    field = "near field" if labels.near_field[number] else "far field"
    sight = "line of sight" if labels.line_of_sight[number] else "no line of sight"
    return Example(
        truth=blocks.channel[number, 0, :, :, 0],
        mask=observed.mask[number, 0, :, :, 0],
        estimates=found[case["mask_ratio"]],
        mask_ratio=case["mask_ratio"],
        description=f"{field}, {distance:.0f} m from the array, {sight}",
        set=part.measured.name,
        spacing_wavelengths=labels.spacing_wavelengths,
        wavelength_m=wavelength(labels.carrier_hz),
        focus_m=distance if labels.line_of_sight[number] else None,
        by_ratio={ratio: estimates for ratio, estimates in found.items() if estimates},
    )


def flights_of(dataset: Dataset, scene: str, measured: str) -> list[Flight]:
    """The flights of a data set over one scene; those of the split ``measured`` count as held out."""
    flights = []
    for split in dataset.splits:
        if any(shard.split == split and shard.scene == scene for shard in dataset.manifest.shards):
            labels = dataset.labels(split, scene)
            flights.append(Flight(labels.positions_m, labels.near_field, labels.track, split == measured))
    return flights


def _estimates(part: Part, case: Partial) -> Mapping[str, NDArray[np.complex64]]:
    """What was kept of the shown link in a case, by row name."""
    return {name: cell.shown for (other, name), cell in part.cells.items() if other == case and cell.shown.size}
