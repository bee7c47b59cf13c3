"""Polygons from OSM lines: closed ways and multipolygons, made valid and fit for extrusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

GRID_M = 0.001  # coordinates are kept on this grid: distinct vertices stay distinct in single precision
SMALLEST_AREA_M2 = 0.1
SHRINK_M = 0.005  # parts rings that touch in a point: such a pinch has no watertight extrusion

Line = NDArray[np.float64]  # [N, 2] m
Area: TypeAlias = Polygon | MultiPolygon


def area_from_ring(ring: Line) -> Area | None:
    """Area inside a closed line [N, 2]; a bow tie becomes its two halves. None if nothing is left."""
    return clean_area(Polygon(ring)) if len(ring) >= 4 else None


def area_from_members(outer: Sequence[Line], inner: Sequence[Line]) -> Area | None:
    """Area of a multipolygon whose rings may be split over several lines in any order and direction.

    Lines that close no ring are ignored. None if no outer ring closes.
    """
    return clean_area(shapely.difference(_enclosed(outer), _enclosed(inner)))


def _enclosed(lines: Sequence[Line]) -> BaseGeometry:
    """Everything that the lines enclose; lines are cut where they cross, so a ring need not be simple."""
    usable = [shapely.LineString(line) for line in lines if len(line) >= 2]
    cut = shapely.union_all(usable)
    return shapely.union_all(shapely.get_parts(shapely.polygonize(shapely.get_parts(cut))))


def clean_area(geometry: BaseGeometry) -> Area | None:
    """A geometry as a valid area on the millimetre grid whose rings do not touch; None if it is smaller than 0.1 m2."""
    area = _polygonal(shapely.make_valid(geometry, method="structure", keep_collapsed=False))
    for _ in range(4):
        area = _polygonal(shapely.simplify(area, GRID_M / 2))
        if area.is_empty or shapely.boundary(area).is_simple:
            break
        area = _polygonal(shapely.buffer(area, -SHRINK_M, join_style="mitre"))
    return None if area.is_empty else area


def _polygonal(geometry: BaseGeometry) -> Area:
    """The polygons of a geometry that are worth keeping, on the grid."""
    gridded = shapely.set_precision(geometry, GRID_M)
    parts = [
        part
        for part in shapely.get_parts(shapely.get_parts(gridded))
        if part.geom_type == "Polygon" and part.area >= SMALLEST_AREA_M2
    ]
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)
