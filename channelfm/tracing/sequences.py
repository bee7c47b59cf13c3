"""Dense sequences of moving users, e.g. a snapshot each millisecond: trace a coarse lattice, interpolate the rest.

The dynamic twin of LWM-Temporal (its section IV-C) has channels on a grid of 10 cm, lets users walk from grid point
to grid point and interpolates delays, gains and angles linearly on the segments between. Here the nodes lie on the
track itself, 10 cm apart along it: users stay where they are, between two traced nodes. And delays follow the
geometry (``tracing.interpolation``): over 10 cm a straight line misses the delay of a path of 10 m by 0.4 ps, one
degree at 7 GHz, and over half a metre, which this module bridges as well, by 25 times that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from channelfm.errors import InputError
from channelfm.records import Paths, Trajectory
from channelfm.tracing.identity import PathLives, birth_death_statistics, follow
from channelfm.tracing.interpolation import Lattice, interpolate, joined, pair_up
from channelfm.units import db_to_power

__all__ = ["Lattice", "PathLives", "birth_death_statistics", "follow", "interpolate", "lay_lattice", "trace_sequence"]

Float = NDArray[np.float64]
Index = NDArray[np.intp]
Progress = Callable[[int], None]

SHARP_TURN_RAD = np.deg2rad(5.0)  # at one point of a track: the delay's slope jumps there, so nothing goes across
WORTH_REFINING_DB = -40.0  # share of a node's power that is there at one end of an interval only
_STANDING_M = 1e-9  # steps below this are none
_AT_NODE = 1e-6  # a snapshot this near to a node, as a share of the interval, is the node


class PathTracer(Protocol):
    """Anything that traces trajectories, e.g. ``channelfm.tracing.Tracer``."""

    def trace(self, trajectory: Trajectory, progress: Progress | None = None) -> Paths:
        """Paths of every snapshot."""
        ...


def trace_sequence(
    tracer: PathTracer,
    trajectory: Trajectory,
    spacing_m: float = 0.1,
    progress: Progress | None = None,
    *,
    refinements: int = 3,
) -> Paths:
    """Paths of every snapshot of a trajectory, from tracing nodes that lie ``spacing_m`` metres apart along it.

    Each track is traced at its start, its end and at equal distances of at most ``spacing_m`` between, or at its own
    positions where these are fewer; tracks are never joined, nor is anything interpolated across a sharp turn. Paths
    are interpolated one by one (see ``interpolate``). A path that is born or dies between two nodes does so half-way;
    each of ``refinements`` rounds traces the snapshot nearest to the middle of every interval in which more than
    -40 dB of the power comes or goes, which halves what the place of the event is wrong by.

    If the lattice would have as many nodes as there are snapshots, these are traced directly, and the result is
    ``tracer.trace(trajectory, progress)``. ``progress`` is called with the number of snapshots just done.

    Raises InputError if ``spacing_m`` is not positive, ``refinements`` negative, or the trajectory empty or not finite.
    """
    _check(trajectory, spacing_m)
    if refinements < 0:
        raise InputError(f"refinements = {refinements}: give 0 or more rounds")
    stretches = _stretches(trajectory)
    stations = [_stations(stretch, spacing_m) for stretch in stretches]
    if sum(map(len, stations)) >= len(trajectory):
        return tracer.trace(trajectory, progress)
    lattice = _lattice(trajectory, stretches, stations)
    nodes = tracer.trace(lattice.nodes, _in_snapshots(progress, len(lattice.nodes), len(trajectory)))
    for _ in range(refinements):
        middles = _middles(nodes, lattice, stations)
        if not any(map(len, middles)):
            break
        between = tracer.trace(_place(trajectory, stretches, middles))
        nodes = _in_order(nodes, between, stations, middles)
        stations = [np.sort(np.concatenate(arcs)) for arcs in zip(stations, middles, strict=True)]
        lattice = _lattice(trajectory, stretches, stations)
    return interpolate(nodes, lattice, trajectory)


def lay_lattice(trajectory: Trajectory, spacing_m: float = 0.1) -> Lattice:
    """The lattice that ``trace_sequence`` starts from; see there, also for errors."""
    _check(trajectory, spacing_m)
    stretches = _stretches(trajectory)
    return _lattice(trajectory, stretches, [_stations(stretch, spacing_m) for stretch in stretches])


def _check(trajectory: Trajectory, spacing_m: float) -> None:
    if not 0.0 < spacing_m < np.inf:
        raise InputError(f"spacing_m = {spacing_m}: give a positive distance in metres, e.g. 0.1")
    if len(trajectory) == 0:
        raise InputError("the trajectory has no snapshots: give at least one")
    if not (np.isfinite(trajectory.positions_m).all() and np.isfinite(trajectory.velocities_mps).all()):
        raise InputError("the trajectory holds NaN or infinite positions or velocities: remove those snapshots")


@dataclass(frozen=True)
class _Stretch:
    """A part of one track without sharp turns: a polyline, and the snapshots that are interpolated on it."""

    corners: Index  # [n] snapshots that are its corners
    arc_m: Float  # [n] their distance along it
    members: int  # the first so many corners are its own snapshots; a last one may open the next stretch


def _stretches(trajectory: Trajectory) -> list[_Stretch]:
    """All tracks, cut at sharp turns, in the order of the snapshots."""
    stretches = []
    borders = np.flatnonzero(np.diff(trajectory.track)) + 1
    for track in np.split(np.arange(len(trajectory)), borders):
        steps = np.diff(trajectory.positions_m[track], axis=0)
        length = np.linalg.norm(steps, axis=1)
        length[length < _STANDING_M] = 0.0
        moving = np.flatnonzero(length)
        heading = steps[moving] / length[moving, None]
        turn = np.linalg.norm(np.diff(heading, axis=0), axis=1)  # chord of the angle
        cuts = moving[1:][turn > 2.0 * np.sin(SHARP_TURN_RAD / 2.0)]
        for start, stop in zip([0, *cuts], [*cuts, len(track) - 1], strict=True):
            arc = np.concatenate([[0.0], np.cumsum(length[start:stop])])
            last = stop == len(track) - 1
            stretches.append(_Stretch(track[start : stop + 1], arc, stop - start + int(last)))
    return stretches


def _stations(stretch: _Stretch, spacing_m: float) -> Float:
    """Arc lengths [m] of a stretch's nodes: even, or its own corners where these are fewer."""
    own = np.unique(stretch.arc_m)
    intervals = np.ceil(own[-1] / spacing_m - 1e-9)
    return own if intervals + 1 >= len(own) else np.linspace(0.0, own[-1], int(intervals) + 1)


def _place(trajectory: Trajectory, stretches: list[_Stretch], stations: list[Float]) -> Trajectory:
    """Nodes at given arc lengths of each stretch; velocities are the directions there, both sides' mean at a corner."""
    times, positions, directions, owner = [], [], [], []
    for number, (stretch, arcs) in enumerate(zip(stretches, stations, strict=True)):
        corners = trajectory.positions_m[stretch.corners]
        times.append(np.interp(arcs, stretch.arc_m, trajectory.times_s[stretch.corners]))
        positions.append(np.stack([np.interp(arcs, stretch.arc_m, axis) for axis in corners.T], axis=1))
        directions.append(_directions(trajectory, stretch, arcs))
        owner.append(np.full(len(arcs), number, np.int32))
    return Trajectory(
        times_s=np.concatenate(times),
        positions_m=np.concatenate(positions),
        velocities_mps=np.concatenate(directions),
        track=np.concatenate(owner),
        kind=trajectory.kind,
        seed=trajectory.seed,
    )


def _directions(trajectory: Trajectory, stretch: _Stretch, arcs: Float) -> Float:
    """Unit vectors [n, 3] along a stretch; of a user who never moves, along the velocity, which may be 0."""
    moving = np.flatnonzero(np.diff(stretch.arc_m))
    if not len(moving):
        velocity = trajectory.velocities_mps[stretch.corners[0]]
        speed = float(np.linalg.norm(velocity))
        return np.tile(velocity / speed if speed > 0.0 else np.zeros(3), (len(arcs), 1))
    steps = np.diff(trajectory.positions_m[stretch.corners], axis=0)[moving]
    steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    ends = stretch.arc_m[moving + 1]
    before = np.searchsorted(ends, arcs - _STANDING_M).clip(max=len(steps) - 1)
    after = np.searchsorted(ends, arcs + _STANDING_M).clip(max=len(steps) - 1)
    mean = steps[before] + steps[after]
    return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True))


def _lattice(trajectory: Trajectory, stretches: list[_Stretch], stations: list[Float]) -> Lattice:
    """Nodes at the given arc lengths of each stretch, and every snapshot's place among them."""
    left, right = np.zeros(len(trajectory), np.intp), np.zeros(len(trajectory), np.intp)
    share, gap = np.zeros(len(trajectory)), np.zeros(len(trajectory))
    first = 0
    for stretch, arcs in zip(stretches, stations, strict=True):
        own, arc = stretch.corners[: stretch.members], stretch.arc_m[: stretch.members]
        before = (np.searchsorted(arcs, arc, side="right") - 1).clip(0, max(0, len(arcs) - 2))
        after = np.minimum(before + 1, len(arcs) - 1)
        between = arcs[after] - arcs[before]
        left[own], right[own], gap[own] = first + before, first + after, between
        share[own] = (arc - arcs[before]) / np.where(between > 0.0, between, 1.0)
        first += len(arcs)
    return Lattice(_place(trajectory, stretches, stations), left, right, share, gap)


def _middles(nodes: Paths, lattice: Lattice, stations: list[Float]) -> list[Float]:
    """Arc lengths, by stretch, of the middle snapshots of all intervals in which much power comes or goes."""
    inside = np.flatnonzero((lattice.share > _AT_NODE) & (lattice.share < 1.0 - _AT_NODE))
    inside = inside[np.lexsort([np.abs(lattice.share[inside] - 0.5), lattice.left[inside]])]
    chosen = inside[np.unique(lattice.left[inside], return_index=True)[1]]
    if not len(chosen):
        return [np.zeros(0) for _ in stations]
    here = replace(lattice, **{name: getattr(lattice, name)[chosen] for name in ("left", "right", "share", "gap_m")})
    sides = []
    for node, slot in zip((here.left, here.right), pair_up(follow(nodes, lattice.nodes.track), here), strict=True):
        at = (node[:, None], slot)
        sides.append(np.where(nodes.valid[at] & (slot >= 0)[..., None], np.abs(nodes.gain[at]) ** 2, 0.0))
    changed = np.where((sides[0] > 0) != (sides[1] > 0), sides[0] + sides[1], 0.0).sum(axis=(1, 2))
    whole = np.maximum(*(side.sum(axis=(1, 2)) for side in sides))
    worth = changed > db_to_power(WORTH_REFINING_DB) * whole
    middle = np.concatenate(stations)[here.left] + here.share * here.gap_m
    owner = lattice.nodes.track[here.left]
    return [np.asarray(middle[worth & (owner == number)]) for number in range(len(stations))]


def _in_order(nodes: Paths, between: Paths, stations: list[Float], middles: list[Float]) -> Paths:
    """Paths of old and new nodes, by stretch and arc length."""
    arcs = np.concatenate([*stations, *middles])
    owner = np.concatenate([np.full(len(part), k % len(stations)) for k, part in enumerate([*stations, *middles])])
    both = joined([nodes, between])
    order = np.lexsort([arcs, owner])
    rows: dict[str, Any] = {
        name: values[order] for name, values in vars(both).items() if isinstance(values, np.ndarray)
    }
    return replace(both, **rows)


def _in_snapshots(progress: Progress | None, nodes: int, snapshots: int) -> Progress | None:
    """Progress over nodes, told in snapshots; refinements come on top and are not told."""
    if progress is None:
        return None
    done = 0

    def report(count: int) -> None:
        nonlocal done
        before, done = done, done + count
        progress(snapshots * done // nodes - snapshots * before // nodes)

    return report
