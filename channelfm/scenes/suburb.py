"""An invented suburb: detached houses with pitched roofs, garages and gardens along winding roads."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import LineString, Polygon

from channelfm.maps import Footprint, Roof
from channelfm.maps.areas import GRID_M
from channelfm.records import Road

ROAD_SPACING_M = (75.0, 115.0)
BEND_M = 22.0  # how far a road strays from a straight line
ROAD_STEP_M = 10.0
FREE_BESIDE_ROAD_M = 5.0
GARDEN_M = 2.5  # between neighbouring houses
MATERIALS = {"brick": 0.5, "wood": 0.25, "concrete": 0.2, "marble": 0.05}
ROOFS: dict[Literal["gabled", "hipped", "pyramidal", "flat"], float] = {
    "gabled": 0.52,
    "hipped": 0.25,
    "pyramidal": 0.08,
    "flat": 0.15,
}

Float = NDArray[np.float64]


def suburb(rng: np.random.Generator, size_m: float) -> tuple[list[Footprint], list[Road]]:
    """Houses and roads on a square of ``size_m``, centred on (0, 0)."""
    roads = list(_roads(rng, size_m))
    streets = shapely.buffer(shapely.union_all([LineString(road.points) for road in roads]), FREE_BESIDE_ROAD_M)
    region = shapely.box(-size_m / 2, -size_m / 2, size_m / 2, size_m / 2)
    taken = streets
    footprints: list[Footprint] = []
    for road in roads:
        for place, along in _plots(rng, LineString(road.points)):
            house = _rectangle(place, along, rng.uniform(9.0, 15.0), rng.uniform(8.0, 11.0))
            if region.contains(house) and not house.intersects(taken):
                taken = shapely.union(taken, shapely.buffer(house, GARDEN_M))
                footprints += _house(rng, f"house_{len(footprints)}", house, place, along)
    return footprints, roads


def _roads(rng: np.random.Generator, size_m: float) -> Iterator[Road]:
    """Winding roads from west to east, joined by a few from south to north at common points."""
    half = size_m / 2
    count = max(2, round(size_m / rng.uniform(*ROAD_SPACING_M)))
    x = np.linspace(-half, half, round(size_m / ROAD_STEP_M) + 1)
    lines: list[Float] = []
    for level in (np.arange(count) + 0.5) / count * size_m - half:
        waves = zip(rng.uniform(0.3, 1.0, 2), rng.uniform(150.0, 420.0, 2), rng.uniform(0.0, 2 * np.pi, 2), strict=True)
        y = level + BEND_M / 2 * sum(share * np.sin(2 * np.pi * x / length + phase) for share, length, phase in waves)
        lines.append(np.column_stack([x, y.clip(-half, half)]).round(3))
        yield Road("residential", _points(lines[-1]))
    for lower, upper in itertools.pairwise(lines):
        for column in np.unique(rng.integers(2, len(x) - 2, size=max(1, round(size_m / 300.0)))):
            yield Road("residential", _points(np.stack([lower[column], upper[column]])))


def _points(line: Float) -> tuple[tuple[float, float], ...]:
    return tuple((x, y) for x, y in line.tolist())


def _plots(rng: np.random.Generator, road: LineString) -> Iterator[tuple[Float, Float]]:
    """Middle of a house [2] and direction of the road there [2], on both sides along a road."""
    for side in (-1.0, 1.0):
        distance = rng.uniform(8.0, 20.0)
        while distance < road.length - 8.0:
            here, ahead = (shapely.get_coordinates(road.interpolate(distance + step))[0] for step in (0.0, 1.0))
            along = (ahead - here) / np.hypot(*(ahead - here))
            yield here + side * rng.uniform(13.0, 19.0) * np.array([-along[1], along[0]]), along
            distance += rng.uniform(17.0, 30.0)


def _rectangle(middle: Float, along: Float, length: float, width: float) -> Polygon:
    """Rectangle on the millimetre grid with its first side along a direction."""
    reach, across = along * length / 2, np.array([-along[1], along[0]]) * width / 2
    ring = [middle - reach - across, middle + reach - across, middle + reach + across, middle - reach + across]
    return shapely.set_precision(Polygon(ring), GRID_M)


def _house(rng: np.random.Generator, name: str, area: Polygon, middle: Float, along: Float) -> Iterator[Footprint]:
    """A house and, often, a flat garage against its side."""
    material = str(rng.choice(list(MATERIALS), p=list(MATERIALS.values())))
    shape = list(ROOFS)[rng.choice(len(ROOFS), p=list(ROOFS.values()))]
    eaves, rise = round(rng.uniform(3.0, 6.5), 2), round(rng.uniform(1.8, 3.6), 2)
    roof = None if shape == "flat" else Roof(shape, rise)
    yield Footprint(name, area, eaves + (rise if roof else 0.0), 0.0, "procedural", material, roof=roof)
    if rng.random() < 0.4:
        garage = _rectangle(middle + along * 9.0, along, 5.0, rng.uniform(3.0, 6.0))
        rest = shapely.difference(garage, area, grid_size=GRID_M)
        if rest.geom_type == "Polygon" and rest.area > 6.0:
            yield Footprint(f"{name}_garage", rest, 2.6, 0.0, "procedural", "concrete")
