"""What one block of an invented city holds: courtyards, rows, slabs, towers or a park."""

from __future__ import annotations

import itertools

import numpy as np
import shapely
from shapely import Polygon

from channelfm.scenes.assembly import Bounds

# (area, bottom, top) of each prism of a block
Prism = tuple[Polygon, float, float]


def courtyard(rng: np.random.Generator, block: Bounds, typical_m: float) -> list[Prism]:
    """A perimeter building around a yard, sometimes with a low house in it."""
    outer = shapely.box(*block)
    depth = rng.uniform(10.0, 15.0)
    yard = shapely.buffer(outer, -depth, join_style="mitre")
    prisms: list[Prism] = [(outer.difference(yard), 0.0, typical_m * rng.uniform(0.8, 1.25))]
    if rng.random() < 0.4:
        prisms.append((shapely.buffer(yard, -6.0, join_style="mitre"), 0.0, rng.uniform(4.0, 8.0)))
    return [prism for prism in prisms if prism[0].area > 20.0]


def rows(rng: np.random.Generator, block: Bounds, typical_m: float) -> list[Prism]:
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


def slabs(rng: np.random.Generator, block: Bounds, typical_m: float) -> list[Prism]:
    """Two or three parallel slabs across the block."""
    x_min, y_min, x_max, y_max = block
    count = int(rng.integers(2, 4))
    pitch = (y_max - y_min) / count
    width = rng.uniform(0.4, 0.6) * pitch
    top = typical_m * rng.uniform(1.0, 1.6)
    return [(shapely.box(x_min, y_min + k * pitch, x_max, y_min + k * pitch + width), 0.0, top) for k in range(count)]


def tower(rng: np.random.Generator, block: Bounds, typical_m: float) -> list[Prism]:
    """A tower standing on a podium."""
    x_min, y_min, x_max, y_max = block
    podium = rng.uniform(5.0, 12.0)
    half = rng.uniform(10.0, 14.0)
    x, y = rng.uniform(x_min + half, x_max - half), rng.uniform(y_min + half, y_max - half)
    tower = shapely.box(x - half, y - half, x + half, y + half)
    return [(shapely.box(*block), 0.0, podium), (tower, podium, typical_m * rng.uniform(2.0, 3.5) + 6.0)]


def park(rng: np.random.Generator, block: Bounds, typical_m: float) -> list[Prism]:
    """Open ground with one pavilion."""
    x_min, y_min, x_max, y_max = block
    x, y = rng.uniform(x_min + 10.0, x_max - 10.0), rng.uniform(y_min + 10.0, y_max - 10.0)
    return [(shapely.box(x - 6.0, y - 4.0, x + 6.0, y + 4.0), 0.0, rng.uniform(3.5, 6.0))]


def perimeter(rng: np.random.Generator, block: Bounds, typical_m: float) -> list[Prism]:
    """Houses of different heights wall to wall around a yard, with a wing that reaches into it here and there."""
    x_min, y_min, x_max, y_max = block
    depth = round(rng.uniform(10.0, 14.0), 1)
    yard = shapely.box(x_min + depth, y_min + depth, x_max - depth, y_max - depth)
    prisms: list[Prism] = []
    for level, (low, high) in enumerate(((y_min, y_min + depth), (y_max - depth, y_max))):
        for left, right in itertools.pairwise(_parcels(rng, x_min, x_max)):
            top = typical_m * rng.uniform(0.75, 1.25)
            prisms.append((shapely.box(left, low, right, high), 0.0, top))
            if rng.random() < 0.25:
                inner = y_min + depth if level == 0 else y_max - depth - 0.25 * yard.length / 4
                wing = shapely.box(left + 1.0, inner, right - 4.0, inner + 0.25 * yard.length / 4)
                prisms.append((wing.intersection(yard), 0.0, top * rng.uniform(0.5, 0.9)))
    for left, right in ((x_min, x_min + depth), (x_max - depth, x_max)):
        for low, high in itertools.pairwise(_parcels(rng, y_min + depth, y_max - depth)):
            prisms.append((shapely.box(left, low, right, high), 0.0, typical_m * rng.uniform(0.75, 1.25)))
    return [prism for prism in prisms if prism[0].area > 20.0]


def _parcels(rng: np.random.Generator, low: float, high: float) -> list[float]:
    """Coordinates that cut a street front into parcels of some 10 to 20 m."""
    count = max(1, round((high - low) / rng.uniform(12.0, 18.0)))
    inner = np.linspace(low, high, count + 1)[1:-1] + rng.uniform(-2.0, 2.0, size=count - 1)
    return [low, *(round(float(value), 1) for value in inner), high]


def high_rises(rng: np.random.Generator, block: Bounds, typical_m: float) -> list[Prism]:
    """One to four slender towers, each stepping back once on its way up, without a podium."""
    x_min, y_min, x_max, y_max = block
    prisms: list[Prism] = []
    for column, row in itertools.product(range(2), repeat=2):
        if prisms and rng.random() < 0.35:
            continue
        half = np.array([(x_max - x_min), (y_max - y_min)]) / 4
        x, y = np.array([x_min, y_min]) + half * (2 * np.array([column, row]) + 1)
        width, depth = rng.uniform(9.0, np.maximum(half - 3.0, 9.5))
        top = typical_m * rng.uniform(1.8, 5.0)
        step = top * rng.uniform(0.5, 0.8)
        inset = rng.uniform(1.5, 4.0)
        prisms.append((shapely.box(x - width, y - depth, x + width, y + depth), 0.0, step))
        inner = shapely.box(x - width + inset, y - depth + inset, x + width - inset, y + depth - inset)
        prisms.append((inner, step, top))
    return prisms
