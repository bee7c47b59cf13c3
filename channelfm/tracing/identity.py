"""Which path is which from one snapshot to the next, and how long paths live.

A path's array image, the point at distance c tau in the direction in which the user sends, stays where it is while
the user moves along a specular or refracted path. So the next snapshot's delay and departure are known beforehand,
and two paths whose delays cross are still told apart: they come from different images.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from channelfm.errors import InputError
from channelfm.records import Paths
from channelfm.units import SPEED_OF_LIGHT

Float = NDArray[np.float64]
Int = NDArray[np.int32]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

# How far a path may lie from its prediction: a part that covers rounding and other reference elements of the array,
# and one for each metre of the user's step, since the image is seen from the array's centre only and the image of a
# diffracted path moves.
LENGTH_GATE_M, LENGTH_GATE_PER_STEP = 0.005, 0.05
DIRECTION_GATE = 0.1  # rad, nearly; of departure and arrival
POINT_SCALE_M, POINT_SCALE_PER_STEP = 1.0, 10.0  # interaction points only weigh: they race along a grazed wall
_IMPOSSIBLE = 1e6  # more than any possible sum of squared distances


def follow(paths: Paths, track: ArrayLike | None = None) -> Int:
    """Identity [S, P], int32, of every path: equal in two snapshots if the path is the same, -1 in empty slots.

    Two consecutive snapshots' paths can be the same if they have the same interactions in the same order and the
    second lies where the first one's image predicts it: path length within 5 mm + 5 % of the user's step (mean over
    the antennas that see both), departure and arrival within 0.1 rad. Among these the assignment is the one of least
    total squared distance, in units of the gates, and of the interaction points' shift. A path that ceases keeps its
    number to itself: if it comes back later, it is a new one.

    ``track`` [S] names the user of each snapshot (``Trajectory.track``); None: all are one user's. Paths of
    different users are never the same. Raises InputError if it has another length.
    """
    owner = np.zeros(len(paths), np.int32) if track is None else np.asarray(track)
    if owner.shape != (len(paths),):
        raise InputError(f"track: shape {owner.shape} does not fit {len(paths)} snapshots; give one entry for each")
    used: Mask = np.asarray(paths.valid.any(axis=2))
    seen = paths.valid.sum(axis=2)
    length = SPEED_OF_LIGHT * paths.delay_s.sum(axis=2) / np.maximum(seen, 1)
    image = paths.positions_m[:, None] + length[..., None] * paths.departure
    identity = np.full(used.shape, -1, np.int32)
    born = 0
    for snapshot in range(len(paths)):
        if snapshot > 0 and owner[snapshot] == owner[snapshot - 1]:
            former, latter = _same(paths, snapshot - 1, np.flatnonzero(used[snapshot - 1]), used[snapshot], image)
            identity[snapshot, latter] = identity[snapshot - 1, former]
        new = used[snapshot] & (identity[snapshot] < 0)
        identity[snapshot, new] = born + np.arange(np.count_nonzero(new))
        born += int(np.count_nonzero(new))
    return identity


def _same(paths: Paths, before: int, former: Index, used: Mask, image: Float) -> tuple[Index, Index]:
    """Slots of snapshot ``before`` and of the next one that hold the same paths."""
    after, latter = before + 1, np.flatnonzero(used)
    step_m = float(np.linalg.norm(paths.positions_m[after] - paths.positions_m[before]))
    kinds = paths.interactions[before, former][:, None] == paths.interactions[after, latter]
    seen = image[before, former] - paths.positions_m[after]
    predicted_m = np.linalg.norm(seen, axis=1)
    predicted = seen / np.maximum(predicted_m, 1e-12)[:, None]
    apart = [
        np.linalg.norm(predicted[:, None] - paths.departure[after, latter], axis=2),
        np.linalg.norm(paths.arrival[before, former][:, None] - paths.arrival[after, latter], axis=2),
    ]
    # An arrival is not predicted: the image of the user moves with it.
    possible = kinds.all(axis=2) & (apart[0] < DIRECTION_GATE)
    possible &= apart[1] < DIRECTION_GATE + 2.0 * step_m / np.maximum(predicted_m, 1e-12)[:, None]
    row, column = np.nonzero(possible)
    one, two = former[row], latter[column]
    longer_m = predicted_m - np.linalg.norm(image[before, former] - paths.positions_m[before], axis=1)
    error_m = _lengthening(paths, before, one, two) - longer_m[row]
    error = np.abs(error_m) / (LENGTH_GATE_M + LENGTH_GATE_PER_STEP * step_m)
    shift = np.linalg.norm(paths.points_m[before, one] - paths.points_m[after, two], axis=2).max(axis=1, initial=0.0)
    cost = np.full(possible.shape, _IMPOSSIBLE)
    cost[row, column] = error**2 + sum((angle[row, column] / DIRECTION_GATE) ** 2 for angle in apart)
    cost[row, column] += (shift / (POINT_SCALE_M + POINT_SCALE_PER_STEP * step_m)) ** 2
    cost[row[~(error < 1.0)], column[~(error < 1.0)]] = _IMPOSSIBLE
    row, column = linear_sum_assignment(cost)
    kept = cost[row, column] < _IMPOSSIBLE
    return former[row[kept]], latter[column[kept]]


def _lengthening(paths: Paths, before: int, former: Index, latter: Index) -> Float:
    """Growth [K] in m of path lengths to the next snapshot, mean over common antennas; NaN where there are none."""
    common = paths.valid[before, former] & paths.valid[before + 1, latter]
    growth = np.where(common, paths.delay_s[before + 1, latter] - paths.delay_s[before, former], 0.0).sum(axis=1)
    count = common.sum(axis=1)
    return SPEED_OF_LIGHT * np.where(count > 0, growth / np.maximum(count, 1), np.nan)


@dataclass(frozen=True)
class PathLives:
    """How paths come and go along tracks, for the card of a data set.

    ``length_m`` is the way along all tracks and ``paths`` the number of distinct paths; ``mean_paths`` is their
    number at a snapshot. ``births``, ``deaths`` happen within tracks: what is there at a track's start or end was
    neither born nor has it died. ``births_per_m``, ``deaths_per_m`` are NaN if nothing moves.
    ``mean_life_m`` is (path-metres lived) / deaths, the maximum-likelihood mean of exponential lives of which some
    are cut off by the tracks' ends; infinite if no path dies.
    """

    length_m: float
    paths: int
    mean_paths: float
    births: int
    deaths: int
    births_per_m: float
    deaths_per_m: float
    mean_life_m: float


def birth_death_statistics(ids: Int, positions_m: ArrayLike, track: ArrayLike | None = None) -> PathLives:
    """Births, deaths and lives of the paths ``ids`` [S, P] (from ``follow``) at ``positions_m`` [S, 3] in m.

    A path found at only one end of a step lives half of it. ``track`` as for ``follow``. Raises InputError if the
    lengths differ or there are no snapshots.
    """
    places = np.asarray(positions_m, dtype=np.float64)
    owner = np.zeros(len(ids), np.int32) if track is None else np.asarray(track)
    if not len(ids) or places.shape != (len(ids), 3) or owner.shape != (len(ids),):
        raise InputError(f"ids of {len(ids)} snapshots: give at least one, with a position [3] and a track for each")
    alive = [set(row[row >= 0].tolist()) for row in ids]
    length, lived, births, deaths = 0.0, 0.0, 0, 0
    for before, after in pairwise(range(len(ids))):
        if owner[before] != owner[after]:
            continue
        step = float(np.linalg.norm(places[after] - places[before]))
        born, dead = len(alive[after] - alive[before]), len(alive[before] - alive[after])
        length, births, deaths = length + step, births + born, deaths + dead
        lived += step * (len(alive[before] & alive[after]) + 0.5 * (born + dead))
    return PathLives(
        length_m=length,
        paths=len(set().union(*alive)),
        mean_paths=float(np.mean([len(paths) for paths in alive])),
        births=births,
        deaths=deaths,
        births_per_m=births / length if length > 0 else float("nan"),
        deaths_per_m=deaths / length if length > 0 else float("nan"),
        mean_life_m=lived / deaths if deaths else float("inf"),
    )
