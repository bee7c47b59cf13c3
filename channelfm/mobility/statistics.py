"""What a trajectory holds: near and far field, line of sight, heights and speeds, as counts and as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from channelfm.arrays import UPA
from channelfm.errors import InputError
from channelfm.records import Paths, Scene, Trajectory
from channelfm.scenes.surface import ground_height

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

HEIGHT_BIN_M = 5.0
SPEED_BIN_MPS = 2.5
_PAIRS_AT_ONCE = 1_000_000  # line-triangle pairs held in memory together
_TOUCH = 1e-6  # share of a line at either end in which a triangle counts as touched, not crossed


@dataclass(frozen=True)
class FlightStatistics:
    """Counts over the snapshots of a trajectory.

    ``near``: within the array's Rayleigh distance of its centre. ``line_of_sight``: nothing between the user and the
    array's centre (or as the given paths say). ``near_and_line_of_sight``: both. ``heights`` int64 [H] above ground,
    with ``height_edges_m`` [H + 1]; ``speeds`` int64 [V] with ``speed_edges_mps`` [V + 1].
    """

    snapshots: int
    tracks: int
    near: int
    line_of_sight: int
    near_and_line_of_sight: int
    rayleigh_distance_m: float
    distance_range_m: tuple[float, float]
    height_edges_m: Float
    heights: NDArray[np.int64]
    speed_edges_mps: Float
    speeds: NDArray[np.int64]

    @property
    def far(self) -> int:
        """Snapshots at or beyond the Rayleigh distance."""
        return self.snapshots - self.near

    @property
    def no_line_of_sight(self) -> int:
        """Snapshots whose direct line is blocked."""
        return self.snapshots - self.line_of_sight


def flight_statistics(scene: Scene, trajectory: Trajectory, array: UPA, paths: Paths | None = None) -> FlightStatistics:
    """Count near and far, line of sight, heights above ground (5 m bins) and speeds (2.5 m/s bins) of a trajectory.

    Line of sight is that of ``paths`` (any antenna sees the user) if they are given, else it is found from the scene's
    triangles for the array's centre. Raises InputError on an empty trajectory and on paths of another one.
    """
    if not len(trajectory):
        raise InputError("the trajectory holds no snapshot; give one that does")
    if paths is not None and not np.array_equal(paths.positions_m, trajectory.positions_m):
        raise InputError(f"paths of {len(paths)} snapshots do not belong to this trajectory of {len(trajectory)}")
    distance = np.linalg.norm(trajectory.positions_m - array.position, axis=1)
    near = distance < array.rayleigh_distance_m
    seen = is_visible(scene, trajectory.positions_m, array.position) if paths is None else paths.line_of_sight
    heights, height_edges = _histogram(
        trajectory.positions_m[:, 2] - ground_height(scene, trajectory.positions_m[:, :2]), HEIGHT_BIN_M
    )
    speeds, speed_edges = _histogram(np.linalg.norm(trajectory.velocities_mps, axis=1), SPEED_BIN_MPS)
    return FlightStatistics(
        snapshots=len(trajectory),
        tracks=len(np.unique(trajectory.track)),
        near=int(near.sum()),
        line_of_sight=int(seen.sum()),
        near_and_line_of_sight=int((near & seen).sum()),
        rayleigh_distance_m=array.rayleigh_distance_m,
        distance_range_m=(float(distance.min()), float(distance.max())),
        height_edges_m=height_edges,
        heights=heights,
        speed_edges_mps=speed_edges,
        speeds=speeds,
    )


def _histogram(values: Float, width: float) -> tuple[NDArray[np.int64], Float]:
    """Counts and edges of bins whose edges are multiples of their width."""
    first = np.floor(values.min() / width)
    edges = (first + np.arange(np.floor(values.max() / width) - first + 2)) * width
    return np.histogram(values, edges)[0].astype(np.int64), edges


def is_visible(scene: Scene, points_m: ArrayLike, target_m: ArrayLike) -> Bool:
    """bool [N]: whether no triangle of a scene lies between each point [N, 3] and the target [3].

    Moeller and Trumbore, "Fast, minimum storage ray/triangle intersection", 1997; only triangles whose plan view
    meets that of the line are tested.
    """
    points = np.asarray(points_m, dtype=np.float64).reshape(-1, 3)
    target = np.asarray(target_m, dtype=np.float64).reshape(3)
    corners = scene.vertices[scene.faces]
    low, high = corners.min(axis=1), corners.max(axis=1)
    tree = shapely.STRtree(shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1]))
    ends = np.stack([points[:, :2], np.broadcast_to(target[:2], (len(points), 2))], axis=1)
    visible = np.ones(len(points), dtype=bool)
    count = max(1, _PAIRS_AT_ONCE // max(len(corners), 1))
    for first in range(0, len(points), count):
        line, triangle = tree.query(shapely.linestrings(ends[first : first + count]), predicate="intersects")
        line = line + first
        level = np.minimum(points[line, 2], target[2]) <= high[triangle, 2]
        line, triangle = line[level], triangle[level]
        visible[line[_crossed(points[line], target, corners[triangle])]] = False
    return visible


def _crossed(points: Float, target: Float, corners: Float) -> Bool:
    """bool [K]: whether the open line from each point [K, 3] to the target [3] crosses its triangle [K, 3, 3]."""
    ray = target - points
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = np.cross(ray, second)
    determinant = (first * normal).sum(axis=1)
    scale = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1) * np.linalg.norm(ray, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        to_point = points - corners[:, 0]
        u = (to_point * normal).sum(axis=1) / determinant
        other = np.cross(to_point, first)
        v = (ray * other).sum(axis=1) / determinant
        share = (second * other).sum(axis=1) / determinant
        hit = (u >= 0.0) & (v >= 0.0) & (u + v <= 1.0) & (share > _TOUCH) & (share < 1.0 - _TOUCH)
    return np.asarray(hit & (np.abs(determinant) > 1e-12 * scale))


def draw_statistics(statistics: FlightStatistics, path: str | Path) -> Path:
    """Write a picture (format by suffix, e.g. .png) with near-far, line-of-sight, height and speed charts."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.2), layout="constrained")
    shares, heights, speeds = figure.subplots(1, 3)
    _draw_shares(shares, statistics)
    for axes, edges, counts, label in (
        (heights, statistics.height_edges_m, statistics.heights, "height above ground [m]"),
        (speeds, statistics.speed_edges_mps, statistics.speeds, "speed [m/s]"),
    ):
        axes.stairs(counts, edges, fill=True, color="tab:blue")
        axes.set(xlabel=label, ylabel="snapshots")
    path = Path(path)
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot write the picture ({error}); give a writable .png, .svg or .pdf") from error
    return path


def _draw_shares(axes: Any, statistics: FlightStatistics) -> None:
    """Two stacked bars: near and far, each split by line of sight."""
    near_seen = statistics.near_and_line_of_sight
    far_seen = statistics.line_of_sight - near_seen
    seen = [near_seen, far_seen]
    blocked = [statistics.near - near_seen, statistics.far - far_seen]
    names = [f"near\n< {statistics.rayleigh_distance_m:.0f} m", "far"]
    axes.bar(names, seen, label="line of sight", color="tab:blue")
    axes.bar(names, blocked, bottom=seen, label="blocked", color="tab:orange")
    axes.set(ylabel="snapshots")
    axes.legend()
