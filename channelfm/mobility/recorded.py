"""Recorded tracks (CSV with latitude, longitude and height) in a scene's frame, without what cannot be true."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.errors import InputError
from channelfm.maps.projection import to_local
from channelfm.mobility.ground_grid import Bounds, GroundGrid, ground_grid
from channelfm.mobility.track_file import FOOT_M, HeightReference, HeightUnit, TrackTable, read_table
from channelfm.records import Scene, Trajectory
from channelfm.scenes.surface import inside_buildings

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.int64]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecordedTrack:
    """A recorded trajectory, and how many positions of the file were left out, by reason."""

    trajectory: Trajectory
    dropped: dict[str, int]


def recorded(path: str | Path, scene: Scene, **settings: Any) -> Trajectory:
    """Tracks of a CSV file as a trajectory; what was left out is logged. See :func:`recorded_with_report` for the
    settings and errors."""
    track = recorded_with_report(path, scene, **settings)
    if track.dropped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in track.dropped.items())
        logger.warning("%s: left out %s", path, reasons)
    return track.trajectory


def recorded_with_report(
    path: str | Path,
    scene: Scene,
    *,
    interval_s: float = 1.0,
    height_unit: HeightUnit | None = None,
    height_reference: HeightReference | None = None,
    datum_m: float | None = None,
    max_speed_mps: float = 60.0,
    columns: Mapping[str, str] | None = None,
    bounds: Bounds | None = None,
) -> RecordedTrack:
    """Read the tracks of a CSV file into the frame of a scene, and count what had to be left out.

    Parameters
    ----------
    path : a table with columns for latitude and longitude [deg, WGS 84] and height, optionally time and track:
        :func:`channelfm.mobility.track_file.read_table` lists the headers.
    scene : with an ``origin``, which says where on Earth it lies.
    interval_s : time between rows [s] where the table has no time column.
    height_unit : "m" or "ft"; None takes the header's, else metres.
    height_reference : heights above "ground" or above "sea" level; None takes the header's, else ground.
    datum_m : height [m] of the scene's z = 0 above sea level, for heights above sea level; None takes that of the
        terrain (``origin.height_m``), which a scene on flat ground lacks.
    max_speed_mps : positions that could only be reached faster are taken for errors.
    columns : header by kind ("lat", "lon", "height", "time", "track") where headers are unknown or several fit.
    bounds : (x_min, y_min, x_max, y_max) [m] of the region; None takes the scene's.

    Returns
    -------
    RecordedTrack : tracks in the order of their first row; times start at the first kept position of the file, so
        that tracks stay simultaneous. Velocities are forward differences (at a track's end, the one before). Left out
        and counted: missing values, positions out of range or at (0, 0), outside the region, below ground or inside a
        building, jumps, repeated times, and tracks of which fewer than two positions are left.

    Raises
    ------
    InputError : on a table that cannot be read (naming file, line and column), times that run backwards, heights above
        sea level without ``datum_m`` on flat ground, a scene without origin, and if nothing is left.
    """
    _check(scene, interval_s, height_unit, height_reference, max_speed_mps)
    table = read_table(path, columns)
    dropped: Counter[str] = Counter()
    known = _known(table, dropped)
    points = np.full((len(known), 3), np.nan)
    limits = bounds or scene.bounds
    ground = ground_grid(scene, limits)
    points[known] = _to_scene(table, known, scene, ground, height_unit, height_reference, datum_m, path)
    kept = known & _usable(points, known, scene, ground, limits, dropped)
    tracks = []
    for name in dict.fromkeys(table.tracks):
        rows = np.array([row for row, track in enumerate(table.tracks) if track == name])
        times = np.arange(len(rows)) * interval_s if table.times_s is None else table.times_s[rows]
        times, rows = times[kept[rows]], rows[kept[rows]]
        tracks.append(_one_track(times, points[rows], table.lines[rows], max_speed_mps, dropped, path))
    pieces = [track for track in tracks if track is not None]
    if not pieces:
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count)
        raise InputError(f"{path}: no track is left in scene '{scene.name}' ({reasons}); give tracks of its region")
    return RecordedTrack(_joined(pieces), {reason: count for reason, count in dropped.items() if count})


def _check(
    scene: Scene,
    interval_s: float,
    height_unit: HeightUnit | None,
    height_reference: HeightReference | None,
    max_speed_mps: float,
) -> None:
    if scene.origin is None:
        raise InputError(f"scene '{scene.name}' lies nowhere on Earth; give a scene of a map")
    if not 0.0 < interval_s < np.inf:
        raise InputError(f"interval_s = {interval_s}: give a positive time between rows in seconds")
    if not 0.0 < max_speed_mps < np.inf:
        raise InputError(f"max_speed_mps = {max_speed_mps}: give a positive speed in m/s")
    if height_unit not in (None, "m", "ft"):
        raise InputError(f"height_unit = '{height_unit}': use 'm' or 'ft'")
    if height_reference not in (None, "ground", "sea"):
        raise InputError(f"height_reference = '{height_reference}': use 'ground' or 'sea'")


def _known(table: TrackTable, dropped: Counter[str]) -> Bool:
    """Rows [N] that name a place on Earth."""
    latitude, longitude = table.latitude_deg, table.longitude_deg
    values = [latitude, longitude, table.height] + ([] if table.times_s is None else [table.times_s])
    missing = np.asarray(~np.isfinite(values).all(axis=0))
    null_island = ~missing & (latitude == 0.0) & (longitude == 0.0)
    beyond = ~missing & ~((np.abs(latitude) <= 90.0) & (np.abs(longitude) <= 180.0))
    _count(dropped, {"missing value": missing, "at (0, 0)": null_island, "latitude or longitude out of range": beyond})
    return np.asarray(~(missing | null_island | beyond))


def _to_scene(
    table: TrackTable,
    known: Bool,
    scene: Scene,
    ground: GroundGrid,
    unit: HeightUnit | None,
    reference: HeightReference | None,
    datum_m: float | None,
    path: str | Path,
) -> Float:
    """Places [K, 3] in m of the known rows in the scene's frame."""
    assert scene.origin is not None
    factor = {"m": 1.0, "ft": FOOT_M, None: table.unit_m or 1.0}[unit]
    flat = to_local(np.stack([table.longitude_deg[known], table.latitude_deg[known]], axis=-1), scene.origin)
    height = table.height[known] * factor
    if (reference or table.reference or "ground") == "ground":
        return np.column_stack([flat, height + ground.at(flat)])
    if datum_m is None and ground.is_level:
        raise InputError(f"{path}: heights above sea level need datum_m, the height of the scene's z = 0 above it")
    return np.column_stack([flat, height - (scene.origin.height_m if datum_m is None else datum_m)])


def _usable(
    points: Float, known: Bool, scene: Scene, ground: GroundGrid, bounds: Bounds, dropped: Counter[str]
) -> Bool:
    """Rows [N] that lie in the region, above ground and in no building."""
    x_min, y_min, x_max, y_max = bounds
    inside = ((points[:, :2] >= (x_min, y_min)) & (points[:, :2] <= (x_max, y_max))).all(axis=1)
    outside, candidates = known & ~inside, np.flatnonzero(known & inside)
    below, built = np.zeros_like(known), np.zeros_like(known)
    below[candidates] = points[candidates, 2] <= ground.at(points[candidates, :2])
    candidates = candidates[~below[candidates]]
    built[candidates] = inside_buildings(scene, points[candidates])
    _count(dropped, {"outside the region": outside, "below ground": below, "inside a building": built})
    return np.asarray(known & inside & ~below & ~built)


def _one_track(
    times: Float, points: Float, lines: Int, max_speed_mps: float, dropped: Counter[str], path: str | Path
) -> tuple[Float, Float, Float] | None:
    """Times [K], places [K, 3] and velocities [K, 3] of one track; None if fewer than two positions are left."""
    backwards = np.flatnonzero(np.diff(times) < 0.0)
    if len(backwards):
        line = lines[backwards[0] + 1]
        raise InputError(
            f"{path}, line {line}: time runs backwards within a track; sort the rows or add a track column"
        )
    fresh = np.concatenate([[True], np.diff(times) > 0.0])[: len(times)]
    dropped["repeated time"] += int((~fresh).sum())
    times, points = times[fresh], points[fresh]
    steady = _without_jumps(times, points, max_speed_mps)
    dropped["jump"] += len(times) - len(steady)
    times, points = times[steady], points[steady]
    if len(times) < 2:
        dropped["alone in its track"] += len(times)
        return None
    velocities = np.diff(points, axis=0) / np.diff(times)[:, None]
    return times, points, np.concatenate([velocities, velocities[-1:]])


def _without_jumps(times: Float, points: Float, max_speed_mps: float) -> Int:
    """Rows that can be reached from each other in turn, grown both ways from the longest run without a jump (the
    first position may be the wrong one)."""
    if not len(times):
        return np.empty(0, dtype=np.int64)
    speeds = np.linalg.norm(np.diff(points, axis=0), axis=1) / np.diff(times)
    runs = np.split(np.arange(len(times)), np.flatnonzero(speeds > max_speed_mps) + 1)
    longest = max(runs, key=len)
    after, before = [int(longest[-1])], [int(longest[0])]
    for chain, rest in ((after, range(longest[-1] + 1, len(times))), (before, range(longest[0] - 1, -1, -1))):
        for row in rest:
            distance = np.linalg.norm(points[row] - points[chain[-1]])
            if distance <= max_speed_mps * abs(times[row] - times[chain[-1]]):
                chain.append(row)
    return np.concatenate([before[:0:-1], longest, after[1:]]).astype(np.int64)


def _joined(pieces: list[tuple[Float, Float, Float]]) -> Trajectory:
    start = min(times[0] for times, _, _ in pieces)
    return Trajectory(
        times_s=np.concatenate([times - start for times, _, _ in pieces]),
        positions_m=np.concatenate([points for _, points, _ in pieces]),
        velocities_mps=np.concatenate([velocities for _, _, velocities in pieces]),
        track=np.repeat(np.arange(len(pieces), dtype=np.int32), [len(times) for times, _, _ in pieces]),
        kind="recorded",
    )


def _count(dropped: Counter[str], found: dict[str, Bool]) -> None:
    for reason, rows in found.items():
        dropped[reason] += int(rows.sum())
