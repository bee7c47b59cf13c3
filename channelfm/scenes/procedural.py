"""Invented cities: a jittered street grid whose blocks hold courtyards, rows, slabs, towers or parks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import shapely
from shapely import Polygon

from channelfm.errors import InputError
from channelfm.maps import Footprint
from channelfm.records import Road, Scene
from channelfm.scenes.assembly import Bounds, assemble

MATERIALS = {"concrete": 0.4, "brick": 0.27, "glass": 0.13, "marble": 0.1, "metal": 0.07, "wood": 0.03}
BLOCK_M = (65.0, 105.0)  # distance between neighbouring streets
STREET_M = (14.0, 24.0)  # width between facades
SMALLEST_CITY_M = 150.0

# What one block holds: (area, bottom, top) of each prism.
Prism = tuple[Polygon, float, float]


def procedural(seed: int = 0, size_m: float = 450.0) -> Scene:
    """A seeded city on a square of ``size_m``, centred on (0, 0), with roads on all streets.

    Equal arguments give equal scenes; seeds differ in street spacing, block types, heights (8-30 m, towers to
    90 m) and materials. Raises InputError if ``size_m`` is below 150 m.
    """
    if not size_m >= SMALLEST_CITY_M:
        raise InputError(f"size_m = {size_m}: give at least {SMALLEST_CITY_M:.0f} m for a procedural city")
    if seed < 0:
        raise InputError(f"seed = {seed}: give an integer of at least 0")
    rng = np.random.default_rng([seed, 0x17])
    x_streets, y_streets = (_street_lines(rng, size_m) for _ in range(2))
    typical_height_m = rng.uniform(12.0, 24.0)
    footprints: list[Footprint] = []
    for column, (west, east) in enumerate(itertools.pairwise(x_streets)):
        for row, (south, north) in enumerate(itertools.pairwise(y_streets)):
            inset = rng.uniform(*STREET_M, size=4) / 2
            block = (west + inset[0], south + inset[1], east - inset[2], north - inset[3])
            plan = _PLANS[rng.choice(len(_PLANS), p=_SHARES)]
            for number, (area, bottom, top) in enumerate(plan(rng, block, typical_height_m)):
                material = str(rng.choice(list(MATERIALS), p=list(MATERIALS.values())))
                name = f"block_{column}_{row}_{number}"
                prism = shapely.set_precision(area, 0.001)
                footprints.append(Footprint(name, prism, round(top, 2), round(bottom, 2), "procedural", material))
    half = size_m / 2
    return assemble(f"procedural-{seed}", footprints, list(_roads(x_streets, y_streets)), (-half, -half, half, half))


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


def _courtyard(rng: np.random.Generator, block: Bounds, typical_m: float) -> list[Prism]:
    """A perimeter building around a yard, sometimes with a low house in it."""
    outer = shapely.box(*block)
    depth = rng.uniform(10.0, 15.0)
    yard = shapely.buffer(outer, -depth, join_style="mitre")
    prisms: list[Prism] = [(outer.difference(yard), 0.0, typical_m * rng.uniform(0.8, 1.25))]
    if rng.random() < 0.4:
        prisms.append((shapely.buffer(yard, -6.0, join_style="mitre"), 0.0, rng.uniform(4.0, 8.0)))
    return [prism for prism in prisms if prism[0].area > 20.0]


def _rows(rng: np.random.Generator, block: Bounds, typical_m: float) -> list[Prism]:
    """Parcels along one direction, with narrow gaps."""
    x_min, y_min, x_max, y_max = block
    count = int(rng.integers(2, 5))
    edges = np.linspace(x_min, x_max, count + 1)
    prisms: list[Prism] = []
    for left, right in itertools.pairwise(edges):
        front, back = rng.uniform(0.0, 4.0, size=2)
        area = shapely.box(left + rng.uniform(0.5, 2.0), y_min + front, right - rng.uniform(0.5, 2.0), y_max - back)
        prisms.append((area, 0.0, typical_m * rng.uniform(0.6, 1.4)))
    return prisms


def _slabs(rng: np.random.Generator, block: Bounds, typical_m: float) -> list[Prism]:
    """Two or three parallel slabs across the block."""
    x_min, y_min, x_max, y_max = block
    count = int(rng.integers(2, 4))
    pitch = (y_max - y_min) / count
    width = rng.uniform(0.4, 0.6) * pitch
    top = typical_m * rng.uniform(1.0, 1.6)
    return [(shapely.box(x_min, y_min + k * pitch, x_max, y_min + k * pitch + width), 0.0, top) for k in range(count)]


def _tower(rng: np.random.Generator, block: Bounds, typical_m: float) -> list[Prism]:
    """A tower standing on a podium."""
    x_min, y_min, x_max, y_max = block
    podium = rng.uniform(5.0, 12.0)
    half = rng.uniform(10.0, 14.0)
    x, y = rng.uniform(x_min + half, x_max - half), rng.uniform(y_min + half, y_max - half)
    tower = shapely.box(x - half, y - half, x + half, y + half)
    return [(shapely.box(*block), 0.0, podium), (tower, podium, typical_m * rng.uniform(2.0, 3.5) + 6.0)]


def _park(rng: np.random.Generator, block: Bounds, typical_m: float) -> list[Prism]:
    """Open ground with one pavilion."""
    x_min, y_min, x_max, y_max = block
    x, y = rng.uniform(x_min + 10.0, x_max - 10.0), rng.uniform(y_min + 10.0, y_max - 10.0)
    return [(shapely.box(x - 6.0, y - 4.0, x + 6.0, y + 4.0), 0.0, rng.uniform(3.5, 6.0))]


_PLANS: tuple[Callable[[np.random.Generator, Bounds, float], list[Prism]], ...] = (
    _courtyard,
    _rows,
    _slabs,
    _tower,
    _park,
)
_SHARES = (0.34, 0.26, 0.16, 0.14, 0.1)
