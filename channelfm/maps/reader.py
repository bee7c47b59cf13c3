"""From a map file to footprints and roads in local metres: the body of ``read_map`` is the table of contents."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from channelfm.errors import InputError
from channelfm.maps import projection
from channelfm.maps.areas import Area, area_from_members, area_from_ring
from channelfm.maps.data import Footprint, MapData
from channelfm.maps.elements import BUILDING_KEYS, RawMap, Relation, Way, is_building
from channelfm.maps.files import read_elements
from channelfm.maps.heights import has_height, vertical_extent
from channelfm.maps.overlaps import cut_overlaps, outlines_of_parts, replace_outlines
from channelfm.maps.roofs import raise_roof
from channelfm.maps.tags import building_exclusion, is_oneway, material_of, road_exclusion
from channelfm.records import Origin, Road

Points = dict[int, tuple[float, float]]  # local metres by node id


def read_map(path: str | Path, bbox: projection.Box | None = None, seed: int = 0) -> MapData:
    """Read an OpenStreetMap extract: .osm, .osm.gz, .osm.bz2, .osm.pbf or Overpass JSON, recognised by content.

    Parameters
    ----------
    path : the file.
    bbox : (west, south, east, north) in degrees, west > east across the antimeridian; None takes the box in the
        file's header, else the extent of its buildings. Buildings wholly beyond it are left out, those on its
        edge stay whole, roads are cut at it. Its middle is the origin of the local frame.
    seed : of the heights of buildings without any height tag; equal seeds give equal heights per OSM id.

    Raises
    ------
    InputError : no usable file, a bad box, a region above 50 km, or no building in it.
    """
    raw = read_elements(path)
    skipped: Counter[str] = Counter()
    box = _region(raw, bbox, path)
    origin = projection.local_origin(box)
    bounds = projection.local_bounds(box, origin)
    points = _project(raw, origin, skipped)
    found = [*_way_buildings(raw, points, skipped), *_relation_buildings(raw, points, skipped)]
    inside = _within(found, bounds, skipped)
    footprints = _resolve(inside, seed, skipped) if inside else []
    if not footprints:
        raise InputError(f"{path}: no usable building in the region; choose another bbox or extract")
    return MapData(
        name=Path(path).name.split(".")[0],
        footprints=tuple(footprints),
        roads=tuple(_roads(raw, points, bounds, skipped)),
        origin=origin,
        bounds=bounds,
        skipped={reason: count for reason, count in sorted(skipped.items()) if count},
    )


@dataclasses.dataclass(frozen=True)
class _Building:
    """A building's area before its heights are known."""

    osm_id: str
    area: Area
    tags: dict[str, str]

    @property
    def is_part(self) -> bool:
        return "building" not in self.tags


def _region(raw: RawMap, bbox: projection.Box | None, path: str | Path) -> projection.Box:
    """The region of interest in degrees: given, from the header, or around the buildings."""
    if bbox is not None:
        return projection.checked_box(bbox)
    if raw.box is not None:
        return projection.checked_box(raw.box)
    members = {ref for relation in raw.relations for ref, _ in relation.members}
    ways = [way for way in raw.ways.values() if way.id in members or is_building(way.tags)]
    lonlat = [raw.locations[ref] for way in ways for ref in way.refs if ref in raw.locations]
    if not lonlat:
        raise InputError(f"{path}: the map holds no building; choose another extract")
    return projection.box_of(np.array(lonlat))


def _project(raw: RawMap, origin: Origin, skipped: Counter[str]) -> Points:
    """Nodes in local metres, on the millimetre grid; those too far away for the frame count as missing."""
    if not raw.locations:
        return {}
    local = projection.to_local(np.array(list(raw.locations.values())), origin).round(3)
    near = np.hypot(*local.T) <= projection.LARGEST_EXTENT_M  # false for infinity too: the far side of the globe
    skipped["node far outside the region"] += int((~near).sum())
    return {ref: (x, y) for ref, (x, y), keep in zip(raw.locations, local.tolist(), near.tolist(), strict=True) if keep}


def _line(way: Way, points: Points) -> NDArray[np.float64]:
    """Known nodes of a way as [N, 2] m."""
    return np.array([points[ref] for ref in way.refs if ref in points]).reshape(-1, 2)


def _is_whole(way: Way, points: Points) -> bool:
    return bool(way.refs) and all(ref in points for ref in way.refs)


def _way_buildings(raw: RawMap, points: Points, skipped: Counter[str]) -> Iterable[_Building]:
    """Buildings that are one closed way; a way that repeats the building of its relation is left to that."""
    described = {
        (ref, key)
        for relation in raw.relations
        for ref, role in relation.members
        for key in BUILDING_KEYS
        if role != "inner" and key in relation.tags
    }
    for way in raw.ways.values():
        keys = [key for key in BUILDING_KEYS if key in way.tags]
        if not keys or any((way.id, key) in described for key in keys):
            continue
        reason = building_exclusion(way.tags)
        if reason is None and not _is_whole(way, points):
            reason = "building with missing nodes"
        if reason is None and not way.is_closed:
            reason = "building line that is not closed"
        area = area_from_ring(_line(way, points)) if reason is None else None
        if area is None:
            skipped[reason or "building without area"] += 1
        else:
            yield _Building(f"way/{way.id}", area, way.tags)


def _relation_buildings(raw: RawMap, points: Points, skipped: Counter[str]) -> Iterable[_Building]:
    """Buildings that are multipolygons, with holes and rings split over several ways."""
    for relation in raw.relations:
        reason = building_exclusion(relation.tags)
        if reason is not None:
            skipped[reason] += 1
            continue
        outer, inner, missing = _member_lines(relation, raw, points)
        skipped["missing member of a multipolygon"] += missing
        area = area_from_members(outer, inner)
        if area is None:
            skipped["multipolygon without a closed outer ring"] += 1
        else:
            yield _Building(relation.osm_id, area, relation.tags)


def _member_lines(
    relation: Relation, raw: RawMap, points: Points
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]], int]:
    """Outer and inner lines of a relation, and how many members are missing or incomplete."""
    lines: dict[bool, list[NDArray[np.float64]]] = {True: [], False: []}
    missing = 0
    for ref, role in relation.members:
        way = raw.ways.get(ref)
        if way is None or not _is_whole(way, points):
            missing += 1
        else:
            lines[role == "inner"].append(_line(way, points))
    return lines[False], lines[True], missing


def _within(
    found: Sequence[_Building], bounds: tuple[float, float, float, float], skipped: Counter[str]
) -> list[_Building]:
    """Buildings of which any part lies in the region; they stay whole."""
    if not found:
        return []
    inside = shapely.intersects([item.area for item in found], shapely.box(*bounds))
    skipped["building outside the region"] += int((~inside).sum())
    return [item for item, keep in zip(found, inside, strict=True) if keep]


def _resolve(found: Sequence[_Building], seed: int, skipped: Counter[str]) -> list[Footprint]:
    """Give every building its heights, roof and material, let parts replace outlines, and cut overlaps."""
    plain = [Footprint(item.osm_id, item.area, 0.0, 0.0, "", "", item.is_part) for item in found]
    owners = outlines_of_parts(plain)
    footprints: list[Footprint] = []
    for index, item in enumerate(found):
        tags, named = item.tags, item.osm_id
        if index in owners:  # a part inherits what only its outline says, its guessed height included
            outline = found[owners[index]]
            tags = _inherited(item.tags, outline.tags)
            named = item.osm_id if has_height(item.tags) else outline.osm_id
        extent, unread = vertical_extent(tags, named, seed)
        extent, roof = raise_roof(tags, item.area, extent, skipped)
        skipped["height tag not understood"] += len(unread)
        footprints.append(
            dataclasses.replace(
                plain[index],
                height_m=extent.height_m,
                min_height_m=extent.min_height_m,
                height_source=extent.source,
                material=material_of(tags),
                roof=roof,
            )
        )
    replaced = replace_outlines(footprints, owners, skipped)
    solid = [item for item in replaced if item.height_m > item.min_height_m]
    skipped["roof not above underside"] += len(replaced) - len(solid)
    return cut_overlaps(solid, skipped)


_HEIGHT_KEYS = ("height", "building:height", "building:levels", "roof:height", "roof:levels")
_OWN_KEYS = ("min_height", "building:min_level", "roof:shape", "roof:direction", "roof:orientation", "roof:angle")


def _inherited(part: dict[str, str], outline: dict[str, str]) -> dict[str, str]:
    """Tags of a part, completed by its outline's type and material, and by its height if the part has none."""
    own = (*_HEIGHT_KEYS, *_OWN_KEYS) if has_height(part) else _OWN_KEYS
    return {key: value for key, value in outline.items() if key not in own} | part


def _roads(
    raw: RawMap, points: Points, bounds: tuple[float, float, float, float], skipped: Counter[str]
) -> Iterable[Road]:
    """Centre lines of roads, cut at the region and wherever a node is missing."""
    region = shapely.box(*bounds)
    for way in raw.ways.values():
        if "highway" not in way.tags or is_building(way.tags):
            continue
        reason = road_exclusion(way.tags)
        if reason is not None:
            skipped[reason] += 1
            continue
        for run in _known_runs(way, points, skipped):
            reverse = way.tags.get("oneway") == "-1"
            line = shapely.LineString(run[::-1] if reverse else run)
            for piece in shapely.get_parts(shapely.intersection(line, region)):
                if piece.geom_type == "LineString" and piece.length > 0.0:
                    coordinates = shapely.get_coordinates(piece).round(3).tolist()
                    yield Road(way.tags["highway"], tuple((x, y) for x, y in coordinates), is_oneway(way.tags))


def _known_runs(way: Way, points: Points, skipped: Counter[str]) -> Iterable[list[tuple[float, float]]]:
    """Stretches of a way between missing nodes, of at least two points each."""
    run: list[tuple[float, float]] = []
    for ref in way.refs:
        if ref in points:
            run.append(points[ref])
            continue
        skipped["missing node of a road"] += 1
        if len(run) >= 2:
            yield run
        run = []
    if len(run) >= 2:
        yield run
