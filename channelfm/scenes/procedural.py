"""Invented cities: a jittered street grid filled block by block, or a suburb along winding roads."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Literal, get_args

import numpy as np
import shapely

from channelfm.errors import InputError
from channelfm.maps import Footprint
from channelfm.records import Road, Scene
from channelfm.scenes import blocks
from channelfm.scenes.assembly import Bounds, assemble
from channelfm.scenes.suburb import suburb

MATERIALS = {"concrete": 0.4, "brick": 0.27, "glass": 0.13, "marble": 0.1, "metal": 0.07, "wood": 0.03}
BLOCK_M = (65.0, 105.0)  # distance between neighbouring streets
STREET_M = (14.0, 24.0)  # width between facades
SMALLEST_CITY_M = 150.0

Style = Literal["mixed", "courtyards", "towers", "suburb"]
Plan = Callable[[np.random.Generator, Bounds, float], list[blocks.Prism]]

# What the blocks of a street grid hold in each style, and how often.
PLANS: dict[str, dict[Plan, float]] = {
    "mixed": {blocks.courtyard: 0.34, blocks.rows: 0.26, blocks.slabs: 0.16, blocks.tower: 0.14, blocks.park: 0.1},
    "courtyards": {blocks.perimeter: 0.62, blocks.courtyard: 0.28, blocks.park: 0.1},
    "towers": {blocks.high_rises: 0.45, blocks.tower: 0.35, blocks.slabs: 0.1, blocks.park: 0.1},
}


def procedural(seed: int = 0, size_m: float = 450.0, style: Style = "mixed") -> Scene:
    """A seeded city on a square of ``size_m``, centred on (0, 0), with roads on all streets.

    Equal arguments give equal scenes; seeds differ in streets, buildings, heights and materials. Styles: "mixed"
    (courtyards, rows, slabs, towers and parks, 8-30 m, towers to 90 m), "courtyards" (closed blocks of touching
    houses), "towers" (high-rises to some 120 m, on podiums or free), "suburb" (detached houses with pitched roofs
    along winding roads, 4-10 m). Raises InputError if ``size_m`` is below 150 m, or on a style that is not one of
    these.
    """
    if not size_m >= SMALLEST_CITY_M:
        raise InputError(f"size_m = {size_m}: give at least {SMALLEST_CITY_M:.0f} m for a procedural city")
    if seed < 0:
        raise InputError(f"seed = {seed}: give an integer of at least 0")
    if style not in get_args(Style):
        raise InputError(f"style = '{style}': use one of {', '.join(get_args(Style))}")
    name = f"procedural-{seed}" if style == "mixed" else f"procedural-{seed}-{style}"
    rng = np.random.default_rng([seed, 0x17])
    footprints, roads = suburb(rng, size_m) if style == "suburb" else _street_grid(rng, size_m, PLANS[style])
    half = size_m / 2
    return assemble(name, footprints, roads, (-half, -half, half, half))


def _street_grid(
    rng: np.random.Generator, size_m: float, plans: dict[Plan, float]
) -> tuple[list[Footprint], list[Road]]:
    """Buildings and roads of a city of rectangular blocks."""
    x_streets, y_streets = (_street_lines(rng, size_m) for _ in range(2))
    typical_height_m = rng.uniform(12.0, 24.0)
    footprints: list[Footprint] = []
    for column, (west, east) in enumerate(itertools.pairwise(x_streets)):
        for row, (south, north) in enumerate(itertools.pairwise(y_streets)):
            inset = rng.uniform(*STREET_M, size=4) / 2
            block = (west + inset[0], south + inset[1], east - inset[2], north - inset[3])
            plan = list(plans)[rng.choice(len(plans), p=list(plans.values()))]
            for number, (area, bottom, top) in enumerate(plan(rng, block, typical_height_m)):
                material = str(rng.choice(list(MATERIALS), p=list(MATERIALS.values())))
                name = f"block_{column}_{row}_{number}"
                prism = shapely.set_precision(area, 0.001)
                footprints.append(Footprint(name, prism, round(top, 2), round(bottom, 2), "procedural", material))
    return footprints, list(_roads(x_streets, y_streets))


def _street_lines(rng: np.random.Generator, size_m: float) -> list[float]:
    """Coordinates of parallel streets; the outermost two lie on the edges of the city."""
    count = max(2, round(size_m / float(np.mean(BLOCK_M))))
    widths = rng.uniform(*BLOCK_M, size=count)
    edges = np.concatenate([[0.0], np.cumsum(widths)]) * (size_m / widths.sum()) - size_m / 2
    return [round(float(edge), 3) for edge in edges]


def _roads(x_streets: list[float], y_streets: list[float]) -> Iterator[Road]:
    """One road per street, with a point at every crossing."""
    for x in x_streets:
        yield Road("residential", tuple((x, y) for y in y_streets))
    for y in y_streets:
        yield Road("residential", tuple((x, y) for x in x_streets))
