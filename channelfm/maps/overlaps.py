"""No volume twice: building parts replace their outlines, and overlapping buildings are cut apart."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import shapely

from channelfm.maps.areas import GRID_M, Area, clean_area
from channelfm.maps.data import Footprint

COVERED_SHARE = 0.9  # parts that cover this share of an outline describe the whole building
SMALLEST_OVERLAP_M2 = 1e-3


def outlines_of_parts(footprints: Sequence[Footprint]) -> dict[int, int]:
    """Index of the outline in which each part lies (the smallest one), by the index of the part."""
    outlines = [index for index, item in enumerate(footprints) if not item.is_part]
    parts = [index for index, item in enumerate(footprints) if item.is_part]
    if not parts or not outlines:
        return {}
    tree = shapely.STRtree([footprints[index].area for index in outlines])
    inside = [footprints[index].area.representative_point() for index in parts]
    owners: dict[int, int] = {}
    for part_number, outline_number in tree.query(inside, predicate="within").T:
        part, outline = parts[part_number], outlines[outline_number]
        if part not in owners or footprints[outline].area.area < footprints[owners[part]].area.area:
            owners[part] = outline
    return owners


def replace_outlines(footprints: Sequence[Footprint], owners: dict[int, int], skipped: Counter[str]) -> list[Footprint]:
    """Drop outlines that their parts cover, and cut the parts out of the others.

    A part that floats does so as well (OSM wiki, "Simple 3D Buildings"): what is below it is open, unless another part
    fills it. Only one that begins at the top of its outline or above, where the map tells that top, stands on it.
    """
    parts: dict[int, list[Area]] = {}
    for part, outline in owners.items():
        if _is_guess(footprints[outline]) or footprints[part].min_height_m < footprints[outline].height_m:
            parts.setdefault(outline, []).append(footprints[part].area)
    kept: list[Footprint] = []
    for index, item in enumerate(footprints):
        if index in parts:
            covered = shapely.union_all(parts[index], grid_size=GRID_M)
            rest = shapely.difference(item.area, covered, grid_size=GRID_M)
            area = clean_area(rest) if rest.area > (1 - COVERED_SHARE) * item.area.area else None
            if area is None:
                skipped["outline replaced by its building parts"] += 1
                continue
            item = dataclasses.replace(item, area=area)
        kept.append(item)
    return kept


def cut_overlaps(footprints: Sequence[Footprint], skipped: Counter[str]) -> list[Footprint]:
    """Make all prisms disjoint in volume; touching walls stay.

    Where two overlap, the one whose height is a guess gives way to one whose height the map knows, unless that
    one floats; else the prism whose loss is smaller: its area is cut, or, if the upper one lies wholly over the
    lower one, its underside is raised onto the lower roof. Independent of the order given.
    """
    ordered = sorted(footprints, key=lambda item: (-item.height_m, -item.area.area, item.osm_id))
    tree = shapely.STRtree([item.area for item in ordered])
    pairs = tree.query([item.area for item in ordered], predicate="intersects").T
    current: list[Footprint | None] = list(ordered)
    for first, second in sorted((int(i), int(j)) for i, j in pairs if i < j):
        a, b = current[first], current[second]
        if a is not None and b is not None:
            current[first], current[second] = _separate(a, b)
    skipped["covered by another building"] += sum(item is None for item in current)
    return [item for item in current if item is not None]


def _separate(a: Footprint, b: Footprint) -> tuple[Footprint | None, Footprint | None]:
    """The same two prisms (a at least as high as b) without common volume; None for one that vanishes."""
    if a.min_height_m >= b.height_m or b.min_height_m >= a.height_m:
        return a, b
    overlap = shapely.intersection(a.area, b.area, grid_size=GRID_M).area
    if overlap < SMALLEST_OVERLAP_M2:
        return a, b
    if _is_guess(a) and not _is_guess(b) and b.min_height_m <= a.min_height_m:
        return _cut(a, b), b
    if b.min_height_m >= a.min_height_m:  # b lies within a's heights: cutting b loses nothing
        return a, _cut(b, a)
    if a.height_m == b.height_m:  # a lies within b's heights
        return _cut(a, b), b
    if overlap >= COVERED_SHARE * a.area.area:
        return _stand_on(a, b.height_m), b
    loss_below, loss_above = a.min_height_m - b.min_height_m, a.height_m - b.height_m
    return (a, _cut(b, a)) if loss_below <= loss_above else (_cut(a, b), b)


def _is_guess(item: Footprint) -> bool:
    return item.height_source == "default"


def _stand_on(item: Footprint, underside_m: float) -> Footprint:
    """A prism with its underside raised, and its roof no higher than what is left of it."""
    roof, room = item.roof, item.height_m - underside_m
    if roof is not None and roof.height_m > room:
        roof = dataclasses.replace(roof, height_m=room)
    return dataclasses.replace(item, min_height_m=underside_m, roof=roof)


def _cut(item: Footprint, other: Footprint) -> Footprint | None:
    area = clean_area(shapely.difference(item.area, other.area, grid_size=GRID_M))
    return None if area is None else dataclasses.replace(item, area=area)
