"""Touching buildings: those of one material become one solid without inner walls, all others are set apart.

A cluster of touching prisms is cut into cells (:mod:`channelfm.scenes.arrangement`). Over each cell the filled
heights are known, so the surface of the union is: caps where they end, and over each edge walls on the heights that
one side fills and the other does not. No floating-point boolean operation is involved.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import shapely
from shapely import MultiPolygon, Polygon

from channelfm.maps import Footprint
from channelfm.maps.areas import GRID_M, clean_area
from channelfm.scenes.arrangement import (
    Arrangement,
    Edge,
    Interval,
    Point,
    arrange,
    components,
    difference,
    touching_pairs,
)
from channelfm.scenes.extrusion import Float, Int, cap_triangles

SETBACK_M = 0.01  # between prisms that may not touch
ROUNDS_PER_WIDTH = 4  # most clusters need one or two
TOO_THIN = "too thin to stand apart from its neighbour"

Group = frozenset[int]
Corner = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Body:
    """One object of a scene: the buildings that it holds, and the mesh of their union.

    ``items`` are as they stand in the end: areas cut by setbacks and snapped to those of the neighbours. ``mesh`` is
    None for a building that touches no other or has a pitched roof, which the caller extrudes or roofs.
    """

    items: tuple[Footprint, ...]
    mesh: tuple[Float, Int] | None = None


def join_touching(items: Sequence[Footprint], skipped: Counter[str]) -> list[Body]:
    """Unite and set apart prisms that are disjoint in volume, so that no two faces of the result coincide.

    Flat-roofed prisms of one material that share wall or stand on each other are united. Where they differ in
    material, carry a pitched roof, or would meet in a single vertical line or horizontal edge (a union that is no
    solid), one of the two keeps 1 cm away: the smaller one is cut back, or the upper one raised. Prisms that vanish
    by that are counted in ``skipped``. Bodies come in the order of their first members.
    """
    bodies: list[Body] = []
    for cluster in components(len(items), touching_pairs([item.area for item in items])):
        members = [items[number] for number in cluster]
        bodies += _resolve(members, skipped) if len(members) > 1 else [Body(tuple(members))]
    order = {item.osm_id: number for number, item in enumerate(items)}
    return sorted(bodies, key=lambda body: min(order[item.osm_id] for item in body.items))


def _resolve(items: list[Footprint], skipped: Counter[str]) -> list[Body]:
    """The bodies of one cluster.

    Each round parts at least one pair, or shrinks one prism away from all its neighbours. A third outline between two
    may draw them together again when corners are snapped; so gaps widen with the rounds, which therefore end.
    """
    for number in itertools.count():
        plan = arrange(items)
        joined, conflicts = _contacts(plan)
        groups = [frozenset(numbers) for numbers in components(len(items), joined)]
        if not conflicts:
            conflicts = {pair for group in groups for pair in _pinches(plan, group)}
        if not conflicts:
            break
        items = _set_apart(items, sorted(conflicts), SETBACK_M * (1 + number // ROUNDS_PER_WIDTH), skipped)
    return [_body(plan, group) for group in groups]


def _contacts(plan: Arrangement) -> tuple[list[tuple[int, int]], set[tuple[int, int]]]:
    """Pairs that share a face and may be united, and pairs (a, b), a < b, that share one and may not."""
    pairs: set[tuple[int, int]] = set()
    for one, other in set(plan.shared_edges()):
        for a in plan.stacks[one]:
            for b in plan.stacks[other]:
                if a != b and _overlap(plan.items[a], plan.items[b]):
                    pairs.add((min(a, b), max(a, b)))
    for stack in plan.stacks:
        for a, b in itertools.pairwise(stack):
            if plan.items[a].height_m == plan.items[b].min_height_m:
                pairs.add((min(a, b), max(a, b)))
    joined = [(a, b) for a, b in sorted(pairs) if _may_join(plan.items[a], plan.items[b])]
    return joined, pairs.difference(joined)


def _overlap(a: Footprint, b: Footprint) -> bool:
    """Whether two prisms overlap in height."""
    return a.min_height_m < b.height_m and b.min_height_m < a.height_m


def _may_join(a: Footprint, b: Footprint) -> bool:
    return a.material == b.material and a.roof is None and b.roof is None


def _pinches(plan: Arrangement, group: Group) -> Iterator[tuple[int, int]]:
    """Pairs of prisms (a, b) that meet in a vertical line or a horizontal edge only, where their union would be no
    solid; a = b for a prism that touches itself so."""
    walls = _walls(plan, group)
    for (start, end), intervals in walls.items():
        ends = {height for interval in walls.get((end, start), []) for height in interval}
        for height in {height for interval in intervals for height in interval} & ends:
            pair = [plan.owner(plan.left[edge], height, group) for edge in ((start, end), (end, start))]
            yield min(pair), max(pair)
    leaving: dict[Point, list[Edge]] = defaultdict(list)
    for edge in walls:
        leaving[edge[0]].append(edge)
    for edges in leaving.values():
        levels = sorted({height for edge in edges for interval in walls[edge] for height in interval})
        for low, high in itertools.pairwise(levels):
            middle = (low + high) / 2
            # each wall that leaves a vertical line starts another solid sector around it
            starts = [edge for edge in edges if any(a < middle < b for a, b in walls[edge])]
            if len(starts) > 1:
                pair = [plan.owner(plan.left[edge], middle, group) for edge in starts[:2]]
                yield min(pair), max(pair)


def _walls(plan: Arrangement, group: Group) -> dict[Edge, list[Interval]]:
    """Heights of the walls over each directed edge: filled on its left, empty on its right."""
    solids = [plan.solid(cell, group) for cell in range(len(plan.cells))]
    walls: dict[Edge, list[Interval]] = {}
    for (start, end), cell in plan.left.items():
        if solids[cell]:
            opposite = plan.left.get((end, start))
            free = difference(solids[cell], solids[opposite] if opposite is not None else ())
            if free:
                walls[(start, end)] = free
    return walls


def _set_apart(
    items: list[Footprint], pairs: Sequence[tuple[int, int]], gap_m: float, skipped: Counter[str]
) -> list[Footprint]:
    """The prisms with a gap between each pair: beside each other the smaller one is cut back (a flat roof rather
    than a pitched one), above each other the upper one is raised."""
    current: list[Footprint | None] = list(items)
    for a, b in pairs:
        one, other = current[a], current[b]
        if one is None or other is None:
            continue
        if a == b:
            current[a] = _with_area(one, shapely.buffer(one.area, -gap_m, join_style="mitre"))
        elif _overlap(one, other):
            (_, weaker, number), (_, firmer, _) = sorted([(_firmness(one), one, a), (_firmness(other), other, b)])
            around = shapely.buffer(firmer.area, gap_m, join_style="mitre")
            current[number] = _with_area(weaker, shapely.difference(weaker.area, around))
        elif one.min_height_m >= other.height_m:
            current[a] = _raised(one, other.height_m)
        else:
            current[b] = _raised(other, one.height_m)
    kept = [item for item in current if item is not None]
    skipped[TOO_THIN] += len(items) - len(kept)
    return kept


def _firmness(item: Footprint) -> tuple[bool, float, str]:
    """Sort key: of two prisms, the one that sorts first gives way."""
    return item.roof is not None, item.area.area, item.osm_id


def _with_area(item: Footprint, area: Polygon | MultiPolygon) -> Footprint | None:
    cleaned = clean_area(area)
    return None if cleaned is None else dataclasses.replace(item, area=cleaned)


def _raised(item: Footprint, roof_m: float) -> Footprint | None:
    """The prism 1 cm above a roof below it; None if no more than that would be left of it."""
    bottom = max(item.min_height_m, round(roof_m + SETBACK_M, 3))
    return dataclasses.replace(item, min_height_m=bottom) if item.height_m - bottom > SETBACK_M else None


def _body(plan: Arrangement, group: Group) -> Body:
    """The prisms of a group over their cells, so that snapped neighbours meet exactly, and the mesh of their union."""
    items = [
        dataclasses.replace(
            plan.items[number],
            area=shapely.union_all([plan.cells[cell] for cell in plan.cells_of(number)], grid_size=GRID_M),
        )
        for number in sorted(group)
    ]
    return Body(tuple(items), union_mesh(plan, group) if items[0].roof is None else None)


def union_mesh(plan: Arrangement, group: Group) -> tuple[Float, Int]:
    """Vertices [V, 3] m and outward faces [F, 3] of the union of the prisms in ``group``.

    Every height at which any wall of a vertical line begins or ends is a vertex of all walls along it, so that each
    edge belongs to exactly two faces (unless the prisms pinch, see :func:`_pinches`).
    """
    walls = _walls(plan, group)
    levels: dict[Point, set[float]] = defaultdict(set)
    for edge, intervals in walls.items():
        for point in edge:
            levels[point].update(height for interval in intervals for height in interval)
    triangles: list[tuple[Corner, Corner, Corner]] = []
    for (start, end), intervals in walls.items():
        for low, high in intervals:
            here, there = (
                [(*point, height) for height in sorted(levels[point]) if low <= height <= high]
                for point in (start, end)
            )
            triangles += _strip(here, there)
    for (height, is_roof), cells in _caps(plan, group).items():
        for polygon in shapely.get_parts(shapely.coverage_union_all(cells)):
            for a, b, c in cap_triangles(polygon).tolist():
                triangle = ((*a, height), (*b, height), (*c, height))
                triangles.append(triangle if is_roof else triangle[::-1])
    corners = np.array(triangles, dtype=np.float64).reshape(-1, 3)
    vertices, faces = np.unique(corners, axis=0, return_inverse=True)
    return vertices, faces.reshape(-1, 3).astype(np.int32)


def _caps(plan: Arrangement, group: Group) -> dict[tuple[float, bool], list[Polygon]]:
    """Cells of the level faces, by height and whether they look upwards."""
    caps: dict[tuple[float, bool], list[Polygon]] = defaultdict(list)
    for number, cell in enumerate(plan.cells):
        for low, high in plan.solid(number, group):
            caps[(low, False)].append(cell)
            caps[(high, True)].append(cell)
    return caps


def _strip(here: list[Corner], there: list[Corner]) -> Iterator[tuple[Corner, Corner, Corner]]:
    """Outward triangles of an upright wall between two ascending chains with equal lowest and highest levels."""
    i = j = 0
    while i < len(here) - 1 or j < len(there) - 1:
        if j < len(there) - 1 and (i == len(here) - 1 or there[j + 1][2] <= here[i + 1][2]):
            yield here[i], there[j], there[j + 1]
            j += 1
        else:
            yield here[i], there[j], here[i + 1]
            i += 1
