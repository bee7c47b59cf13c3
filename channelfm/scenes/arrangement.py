"""The plane cut up by the outlines of touching buildings: cells with shared edges, and who stands on each."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import ArrayLike
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from shapely import MultiPolygon, Polygon

from channelfm.maps import Footprint
from channelfm.maps.areas import GRID_M
from channelfm.scenes.extrusion import Float

SNAP_M = 0.004  # maps draw one wall twice with such differences; the air between would be no wider than a hair
TOUCHING_M = SNAP_M + GRID_M  # outlines this near may meet once they are snapped

Interval = tuple[float, float]
Solid = tuple[Interval, ...]  # disjoint intervals of height [m], ascending
Point = tuple[float, float]
Edge = tuple[Point, Point]


@dataclass(frozen=True)
class Arrangement:
    """Planar arrangement of the outlines of several prisms, on the millimetre grid.

    ``cells`` are disjoint polygons that hold every vertex lying on their rings, so neighbours share whole edges;
    ``stacks`` lists per cell the numbers of the prisms over it, lowest first; ``left`` gives the cell to the left
    of each directed edge (an edge of the rim has only one direction).
    """

    items: tuple[Footprint, ...]
    cells: tuple[Polygon, ...]
    stacks: tuple[tuple[int, ...], ...]
    left: dict[Edge, int]

    def solid(self, cell: int, members: frozenset[int]) -> Solid:
        """Heights that are filled over a cell by the prisms in ``members``; intervals that meet are joined."""
        filled: list[Interval] = []
        for number in self.stacks[cell]:
            bottom, top = self.items[number].min_height_m, self.items[number].height_m
            if number not in members:
                continue
            if filled and filled[-1][1] == bottom:
                filled[-1] = (filled[-1][0], top)
            else:
                filled.append((bottom, top))
        return tuple(filled)

    def owner(self, cell: int, height_m: float, members: frozenset[int]) -> int:
        """The prism of ``members`` over a cell that reaches nearest to a height: the one around it, if any."""
        chosen = [number for number in self.stacks[cell] if number in members]
        return min(chosen, key=lambda n: max(self.items[n].min_height_m - height_m, height_m - self.items[n].height_m))

    def shared_edges(self) -> Iterator[tuple[int, int]]:
        """The two cells of every edge that has one on either side."""
        for (start, end), cell in self.left.items():
            other = self.left.get((end, start))
            if other is not None and start < end:
                yield cell, other

    def cells_of(self, number: int) -> list[int]:
        """Cells over which a prism stands."""
        return [cell for cell, stack in enumerate(self.stacks) if number in stack]


def arrange(items: Sequence[Footprint]) -> Arrangement:
    """Cut the plane along all outlines, after corners within 4 mm of each other or of an outline became one.

    Where prisms overlap in volume by such a rounding, the higher one keeps the cell.
    """
    areas = [item.area for item in items]
    outlines = shapely.snap(shapely.boundary(areas), shapely.multipoints(_corners(areas)), SNAP_M)
    lines = shapely.union_all(outlines, grid_size=GRID_M)
    cells = shapely.get_parts(shapely.polygonize(shapely.get_parts(lines)))
    cells = shapely.orient_polygons(cells)
    owners: list[list[int]] = [[] for _ in cells]
    tree = shapely.STRtree(areas)
    for cell, number in tree.query(shapely.point_on_surface(cells), predicate="within").T:
        owners[int(cell)].append(int(number))
    kept = [cell for cell, numbers in enumerate(owners) if numbers]
    left: dict[Edge, int] = {}
    for index, cell in enumerate(kept):
        for ring in (cells[cell].exterior, *cells[cell].interiors):
            points: list[Point] = [(x, y) for x, y in shapely.get_coordinates(ring).tolist()]
            left.update(((start, end), index) for start, end in itertools.pairwise(points))
    return Arrangement(
        items=tuple(items),
        cells=tuple(cells[cell] for cell in kept),
        stacks=tuple(_stack(items, owners[cell]) for cell in kept),
        left=left,
    )


def _corners(areas: Sequence[Polygon | MultiPolygon]) -> Float:
    """Corners [N, 2] of all outlines; of those within the snapping distance of each other, only one."""
    points = np.unique(shapely.get_coordinates(areas), axis=0)
    near = cKDTree(points).query_pairs(SNAP_M, output_type="ndarray")
    return points[[group[0] for group in components(len(points), near)]]


def _stack(items: Sequence[Footprint], numbers: Sequence[int]) -> tuple[int, ...]:
    """Prisms over one cell from the lowest up; of two that overlap in height, the lower one gives way."""
    kept: list[int] = []
    for number in sorted(numbers, key=lambda n: (-items[n].height_m, -items[n].area.area, items[n].osm_id)):
        bottom, top = items[number].min_height_m, items[number].height_m
        if all(top <= items[other].min_height_m or bottom >= items[other].height_m for other in kept):
            kept.append(number)
    return tuple(sorted(kept, key=lambda n: items[n].min_height_m))


def difference(first: Solid, second: Solid) -> list[Interval]:
    """The heights of ``first`` that are not in ``second``, as disjoint intervals."""
    left: list[Interval] = list(first)
    for low, high in second:
        left = [piece for a, b in left for piece in ((a, min(b, low)), (max(a, high), b)) if piece[0] < piece[1]]
    return left


def touching_pairs(areas: Sequence[Polygon | MultiPolygon]) -> list[tuple[int, int]]:
    """Pairs (a, b), a < b, of areas that touch or overlap, to the accuracy of the grid."""
    found = shapely.STRtree(areas).query(areas, predicate="dwithin", distance=TOUCHING_M)
    return [(a, b) for a, b in found.T.tolist() if a < b]


def components(count: int, pairs: ArrayLike) -> list[list[int]]:
    """Connected components of a graph on 0 ... count - 1, each ascending, ordered by their first number."""
    first, second = np.asarray(pairs, dtype=np.int64).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    groups: dict[int, list[int]] = defaultdict(list)
    for number, group in enumerate(label.tolist()):
        groups[group].append(number)
    return sorted(groups.values())
