"""Polygons from OSM lines: closed ways and multipolygons, made valid and fit for extrusion."""

from __future__ import annotations

import functools
import itertools
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
    """Area inside a closed line [N, 2] by the even-odd rule; a bow tie becomes its two halves. None if none is left."""
    return clean_area(_even_odd(_loops([ring])))


def area_from_members(outer: Sequence[Line], inner: Sequence[Line]) -> Area | None:
    """Area of a multipolygon whose rings may be split over several lines in any order and direction.

    The even-odd rule over all rings, as in libosmium: rings may touch in points and along lines, a gap between touching
    outer rings stays open, an outer ring within a hole is an island. Nothing outside of the outer rings is area. Lines
    that close no ring are ignored. None if no outer ring closes.
    """
    outer_loops, inner_loops = _loops(_rings(outer)), _loops(_rings(inner))
    enclosed = _areas_alone(shapely.union_all(outer_loops, grid_size=GRID_M))
    return clean_area(shapely.intersection(_even_odd([*outer_loops, *inner_loops]), enclosed, grid_size=GRID_M))


def _even_odd(loops: Sequence[BaseGeometry]) -> BaseGeometry:
    """What an odd number of areas covers."""

    def either(one: BaseGeometry, other: BaseGeometry) -> BaseGeometry:
        return _areas_alone(shapely.symmetric_difference(one, other, grid_size=GRID_M))

    return functools.reduce(either, loops) if loops else Polygon()


def _loops(rings: Sequence[Line]) -> list[BaseGeometry]:
    """Areas of closed lines that are cut wherever they meet a point of theirs again."""
    loops: list[BaseGeometry] = []
    for ring in rings:
        path: dict[tuple[float, ...], None] = {}  # in order; a set would have none
        for point in map(tuple, ring.tolist()):
            loop = [point]
            while point in path:
                loop.append(path.popitem()[0])
            path[point] = None
            if len(loop) >= 4:
                loops.append(_valid(Polygon(loop)))
    return loops


def _rings(lines: Sequence[Line]) -> list[Line]:
    """The closed ones among lines, each once, and the rings that the others form end to end."""
    closed = [line for line in lines if len(line) >= 4 and _ends(line)[0] == _ends(line)[1]]
    different = {frozenset(map(frozenset, itertools.pairwise(map(tuple, line.tolist())))): line for line in closed}
    return [*different.values(), *_joined([line for line in lines if _ends(line)[0] != _ends(line)[1]])]


def _joined(lines: Sequence[Line]) -> list[Line]:
    """Closed walks along open lines, each used once; loose ends are left out.

    Where more than two lines meet, any two may be joined: the even-odd area is the same. Where an odd number meets (a
    wall that is listed once between two rings), the faces between the lines are the rings.
    """
    meeting: dict[tuple[float, ...], set[int]] = {}
    for number, line in enumerate(lines):
        for end in _ends(line):
            meeting.setdefault(end, set()).add(number)
    loose = [end for end, numbers in meeting.items() if len(numbers) == 1]
    while loose:
        for number in tuple(meeting[loose.pop()]):
            for end in _ends(lines[number]):
                meeting[end].remove(number)
                loose += [end] if len(meeting[end]) == 1 else []
    if any(len(numbers) % 2 for numbers in meeting.values()):
        left = [shapely.LineString(lines[number]) for number in sorted(set().union(*meeting.values()))]
        faces = shapely.get_parts(shapely.polygonize(shapely.get_parts(shapely.union_all(left))))
        return [shapely.get_coordinates(face.exterior) for face in faces]
    walks: list[Line] = []
    for start in meeting:
        walk = [np.array([start])]
        while meeting[end := _ends(walk[-1])[1]]:
            number = meeting[end].pop()
            line = lines[number] if _ends(lines[number])[0] == end else lines[number][::-1]
            meeting[_ends(line)[1]].remove(number)
            walk.append(line)
        walks.append(np.concatenate(walk))
    return walks


def _ends(line: Line) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """First and last point of a line."""
    return tuple(line[0].tolist()), tuple(line[-1].tolist())


def clean_area(geometry: BaseGeometry) -> Area | None:
    """A geometry as a valid area on the millimetre grid whose rings do not touch; None if it is smaller than 0.1 m2."""
    area = _polygonal(_valid(geometry))
    for _ in range(4):
        area = _polygonal(shapely.simplify(area, GRID_M / 2))
        if area.is_empty or shapely.boundary(area).is_simple:
            break
        area = _polygonal(shapely.buffer(area, -SHRINK_M, join_style="mitre"))
    return None if area.is_empty else area


def _valid(geometry: BaseGeometry) -> BaseGeometry:
    """The areas of a geometry whose rings may cross."""
    if shapely.is_valid(geometry):
        return _areas_alone(geometry)
    return _areas_alone(shapely.make_valid(geometry, method="structure", keep_collapsed=False))


def _areas_alone(geometry: BaseGeometry) -> BaseGeometry:
    """A geometry without the lines to which spikes and slivers collapse: overlays refuse them beside areas."""
    if geometry.geom_type in ("Polygon", "MultiPolygon"):
        return geometry
    parts = shapely.get_parts(shapely.get_parts(geometry))
    return MultiPolygon([part for part in parts if part.geom_type == "Polygon"])


def _polygonal(geometry: BaseGeometry) -> Area:
    """The polygons of a geometry that are worth keeping, on the grid."""
    gridded = shapely.set_precision(geometry, GRID_M)
    parts = [
        part
        for part in shapely.get_parts(shapely.get_parts(gridded))
        if part.geom_type == "Polygon" and part.area >= SMALLEST_AREA_M2
    ]
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)
