"""Exact near field at far-field cost: anchors find the chains, every element evaluates only those (SPEC 4).

Tracing each element by itself costs (candidate chains) x (elements). But the candidates that survive are few, and
neighbouring elements and neighbouring users share them. So candidates are shot once per group of users towards a
few anchor elements; the chains that connect any anchor are then solved - image method, occlusion test and field -
at every element. A chain that exists for a part of the array only must be seen by some anchor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.arrays import UPA, ElementPattern
from channelfm.records import Paths, Scene, Trajectory
from channelfm.tracing.antennas import look_at_angles
from channelfm.tracing.chains import Chains, Endpoints, Solution
from channelfm.tracing.sionna import SionnaScene
from channelfm.units import SPEED_OF_LIGHT

Float = NDArray[np.float64]

_ROWS_AT_ONCE = 1 << 19  # bounds the memory of one call of the solver to about 400 MB
_SAME_POINT_M = 0.02  # interaction points nearer than this belong to one path


@dataclass(frozen=True)
class Effort:
    """How hard candidate chains are looked for.

    ``rays_per_user``: rays shot from each user; ``group``: consecutive users that share their candidates;
    ``rays_from_array``: rays shot the other way for each group, since a facet that is small from one end may be
    large from the other; ``anchors_per_side``: anchors form a grid of this many per row and column over the array.
    """

    rays_per_user: int = 25_000
    group: int = 16
    rays_from_array: int = 200_000
    anchors_per_side: int = 2


def trace_near_field(
    scene: Scene,
    trajectory: Trajectory,
    array: UPA,
    max_depth: int,
    refraction: bool,
    diffraction: bool,
    user_pattern: ElementPattern,
    effort: Effort,
    seed: int,
    progress: Callable[[int], None],
) -> Paths:
    """Paths to every element; see ``channelfm.trace``. ``progress`` is told the number of snapshots just done."""
    tracer = SionnaScene(scene, array.carrier_hz, max_depth, refraction, diffraction)
    patterns = tracer.pattern(user_pattern, array.polarization), tracer.pattern(array.pattern, array.polarization)
    links = _Links(tracer, array, patterns, effort)
    parts = []
    for start in range(0, len(trajectory), effort.group):
        group = trajectory.select(slice(start, start + effort.group))
        rows = links.trace(group, seed + start)
        parts.append(replace(rows, user=rows.user + start))
        progress(len(group))
    return _into_slots(_joined(parts), trajectory, array, tracer.material_notes)


@dataclass(frozen=True)
class _Rows:
    """Paths, one row per (user, chain); antenna axis A, invalid entries 0."""

    user: NDArray[np.intp]  # [R]
    gain: NDArray[np.complex64]  # [R, A]
    delay_s: NDArray[np.float64]  # [R, A]
    valid: NDArray[np.bool_]  # [R, A]
    doppler_hz: NDArray[np.float32]  # [R, A]
    interactions: NDArray[np.int32]  # [R, D]
    points_m: NDArray[np.float64]  # [R, D, 3], at the reference element
    departure: NDArray[np.float64]  # [R, 3]
    arrival: NDArray[np.float64]  # [R, 3]


class _Links:
    """Everything that stays the same from group to group."""

    def __init__(self, tracer: SionnaScene, array: UPA, patterns: tuple[object, object], effort: Effort) -> None:
        self.tracer, self.array, self.patterns, self.effort = tracer, array, patterns, effort
        # The array centre goes last: directions and interaction points are reported as seen from there.
        positions = np.vstack([array.element_positions, np.asarray(array.position)])
        orientations = np.broadcast_to(np.asarray(array.orientation_rad, dtype=np.float64), positions.shape)
        self.elements = Endpoints(positions, orientations)
        self.anchors = positions[anchor_elements(array, effort.anchors_per_side)]

    def trace(self, group: Trajectory, seed: int) -> _Rows:
        """All paths of one group of users."""
        looks = [look_at_angles(position, np.asarray(self.array.position)) for position in group.positions_m]
        users = Endpoints(group.positions_m, np.array(looks))
        chains = self._candidates(users.positions_m, seed)
        user, chain = self._connected(chains, users.positions_m)
        parts = [self._evaluate(None, np.arange(len(group)), np.zeros(len(group), np.intp), users, group)]
        rows = max(1, _ROWS_AT_ONCE // len(self.elements))
        for start in range(0, len(user), rows):
            piece = slice(start, start + rows)
            parts.append(self._evaluate(chains, user[piece], chain[piece], users, group))
        return _strongest_first(_joined(parts))

    def _candidates(self, users: Float, seed: int) -> Chains:
        """Chains that may lead from users to the array: shot from both ends, and all single reflections."""
        centre = self.elements.positions_m[-1]
        shot = self.tracer.candidates(users, centre[None], self.effort.rays_per_user, seed)
        back = self.tracer.candidates(centre[None], users[len(users) // 2][None], self.effort.rays_from_array, seed)
        mirrored = self.tracer.single_reflections(users, centre, self.array.aperture_m)
        return shot.joined(back.reversed(self.tracer.triangles)).joined(mirrored)

    def _connected(self, chains: Chains, users: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The (user, chain) pairs that connect with at least one anchor, each physical path once."""
        anchors, pairs = np.arange(len(self.anchors)), [np.zeros((2, 0), np.intp)]
        block = max(1, _ROWS_AT_ONCE // max(1, len(chains) * len(anchors)))
        for start in range(0, len(users) if len(chains) else 0, block):
            some = np.arange(start, min(len(users), start + block))
            grid = np.meshgrid(some, np.arange(len(chains)), anchors, indexing="ij")
            user, chain, anchor = (axis.ravel() for axis in grid)
            valid, points = self.tracer.connects(chains, chain, users, user, self.anchors, anchor)
            user, chain, anchor, points = user[valid], chain[valid], anchor[valid], points[valid]
            keep = _first_of_each_path(user, chain, anchor, chains.kinds[chain], points)
            pairs.append(np.unique(np.stack([user[keep], chain[keep]]), axis=1))
        user, chain = np.concatenate(pairs, axis=1)
        return user, chain

    def _evaluate(
        self,
        chains: Chains | None,
        user: NDArray[np.intp],
        chain: NDArray[np.intp],
        users: Endpoints,
        group: Trajectory,
    ) -> _Rows:
        """Rows (user, chain) at every element; ``chains`` None stands for the line of sight."""
        rows, antennas = len(user), len(self.elements) - 1
        element = np.tile(np.arange(antennas + 1), rows)
        sender = np.repeat(user, antennas + 1)
        if chains is None:
            solution = self.tracer.line_of_sight(users, sender, self.elements, element, self.patterns)
        else:
            repeated = np.repeat(chain, antennas + 1)
            solution = self.tracer.solve(chains, repeated, users, sender, self.elements, element, self.patterns)
        valid = solution.valid.reshape(rows, antennas + 1)
        delay = path_lengths(users.positions_m[sender], solution, self.elements.positions_m[element]) / SPEED_OF_LIGHT
        velocity = np.repeat(group.velocities_mps[user], antennas + 1, axis=0)
        doppler = np.sum(velocity * solution.departure, axis=1) / self.array.wavelength_m
        reference = np.arange(rows) * (antennas + 1) + self._reference(valid)
        masked = valid[:, :antennas]
        return _Rows(
            user=user,
            gain=np.where(masked, solution.gain.reshape(rows, -1)[:, :antennas], 0).astype(np.complex64),
            delay_s=np.where(masked, delay.reshape(rows, -1)[:, :antennas], 0.0),
            valid=masked,
            doppler_hz=np.where(masked, doppler.reshape(rows, -1)[:, :antennas], 0.0).astype(np.float32),
            interactions=solution.interactions[reference],
            points_m=np.where(solution.interactions[reference, :, None] > 0, solution.points_m[reference], 0.0),
            departure=solution.departure[reference],
            arrival=solution.arrival[reference],
        )

    def _reference(self, valid: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Per row, the array centre where the path reaches it, else the nearest element that it does reach."""
        distance = np.linalg.norm(self.elements.positions_m - self.elements.positions_m[-1], axis=1)
        return np.asarray(np.where(valid, distance, np.inf).argmin(axis=1))


def anchor_elements(array: UPA, per_side: int) -> NDArray[np.intp]:
    """Indices of anchor elements: a grid over the array that includes its corners."""
    rows = np.unique(np.round(np.linspace(0, array.rows - 1, per_side)).astype(int))
    cols = np.unique(np.round(np.linspace(0, array.cols - 1, per_side)).astype(int))
    return np.asarray((rows[:, None] * array.cols + cols[None, :]).ravel())


def path_lengths(start_m: Float, solution: Solution, end_m: Float) -> Float:
    """Lengths [N] in m from start [N, 3] through the interaction points to end [N, 3], in double precision.

    The tracer's own delays are single precision: 20 micrometres on 300 m, which at 7 GHz is noise of -55 dB. Its
    interaction points are rounded too, but a path's length is stationary in them along each plane.
    """
    length, here = np.zeros(len(start_m)), start_m
    for depth in range(solution.points_m.shape[1]):
        touched = solution.interactions[:, depth, None] > 0
        there = np.where(touched, solution.points_m[:, depth], here)
        length += np.linalg.norm(there - here, axis=1)
        here = there
    return np.asarray(length + np.linalg.norm(end_m - here, axis=1))


def _first_of_each_path(
    user: NDArray[np.intp],
    chain: NDArray[np.intp],
    anchor: NDArray[np.intp],
    kinds: NDArray[np.int64],
    points: Float,
) -> NDArray[np.bool_]:
    """Drop rows that repeat another row's path: rounding can give one plane two keys, which would count it twice."""
    spots = np.where(kinds[:, :, None] > 0, points, 0.0).reshape(len(points), 3 * points.shape[1])
    order = np.lexsort([*spots.T[::-1], *kinds.T, anchor, user])
    same = np.full(max(0, len(order) - 1), True)
    for labels in (user[order, None], anchor[order, None], kinds[order]):
        same &= (labels[1:] == labels[:-1]).all(axis=1)
    apart = np.abs(spots[order][1:] - spots[order][:-1])
    same &= apart.max(axis=1, initial=0.0) < _SAME_POINT_M
    repeated = np.zeros(len(user), dtype=bool)
    repeated[order[1:][same]] = True
    # A chain that is a repetition at one anchor is one everywhere.
    dropped = {(int(u), int(c)) for u, c in zip(user[repeated], chain[repeated], strict=True)}
    return np.array([(int(u), int(c)) not in dropped for u, c in zip(user, chain, strict=True)], dtype=bool)


def _joined(parts: list[_Rows]) -> _Rows:
    return _Rows(**{item.name: np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(_Rows)})


def _strongest_first(rows: _Rows) -> _Rows:
    """Rows ordered by user, then by falling power, without those that reach no element."""
    power = np.sum(np.abs(rows.gain) ** 2, axis=1)
    order = np.lexsort([-power, rows.user])
    reached = np.flatnonzero(rows.valid.any(axis=1))
    order = order[np.isin(order, reached)]
    return _Rows(**{item.name: getattr(rows, item.name)[order] for item in fields(_Rows)})


def _into_slots(rows: _Rows, trajectory: Trajectory, array: UPA, notes: dict[str, str]) -> Paths:
    """Rows as path slots [S, P, ...], at least one slot."""
    counts = np.bincount(rows.user, minlength=len(trajectory))
    first = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(int)
    slot = np.arange(len(rows.user)) - first[rows.user]
    shape = (len(trajectory), max(1, int(counts.max(initial=0))))

    def slotted(values: NDArray[Any]) -> NDArray[Any]:
        filled = np.zeros((*shape, *values.shape[1:]), values.dtype)
        filled[rows.user, slot] = values
        return filled

    return Paths(
        **{item.name: slotted(getattr(rows, item.name)) for item in fields(_Rows) if item.name != "user"},
        times_s=trajectory.times_s,
        positions_m=trajectory.positions_m,
        carrier_hz=array.carrier_hz,
        method="near-field",
        materials=notes,
    )
