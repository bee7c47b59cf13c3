"""Paths between the nodes of a lattice along a track: path by path, antenna by antenna, exact in the carrier phase.

At 7 GHz a picosecond is 2.5 degrees, so delays between nodes need more than a straight line. Both nodes know the
delay and, from the Doppler shift, its slope along the track. Between them, with the share w of the way from node 0
to node 1, a distance h apart along the track, the curve C(w) through the nodes p_0, p_1 along the track's directions
t_0, t_1 and the delay along it are cubic Hermite polynomials in the same basis:

    C = h00 p_0 + h10 h t_0 + h01 p_1 + h11 h t_1,    tau = h00 tau_0 - h10 h (t_0 . k_0) / c + h01 tau_1 - ...

with k the direction of departure; what the track strays from C adds -k . (p - C) / c. The error of a path of length L
is below h^4 / (128 L^3): 10 nm for 10 cm and 4 m. A path or an antenna that only one node sees lives up to half-way.
There its length is the distance to its image, which stays in place for specular and refracted paths:
|L k - d|^2 = L^2 - 2 L k . d + d^2 after a displacement d. The k of single antennas enters only as components along
the track, from the Doppler shifts; across it, where tracks hardly move, k is the array centre's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.records import Paths, Trajectory
from channelfm.tracing.identity import follow
from channelfm.units import SPEED_OF_LIGHT

Float = NDArray[np.float64]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

_SLOTTED = ("gain", "delay_s", "valid", "doppler_hz", "interactions", "points_m", "departure", "arrival")
_ENTRIES_AT_ONCE = 100_000  # (snapshot, path, antenna): some 25 MB of intermediate arrays


@dataclass(frozen=True)
class Lattice:
    """Nodes on the tracks of a trajectory, and where its S snapshots lie between them.

    ``nodes`` is a trajectory of N nodes whose velocities are the track's directions, 1 m/s (0 if a user never moves),
    and whose ``track`` numbers the stretches that are interpolated by themselves. Snapshot s lies between the nodes
    ``left[s]`` and ``right[s]``, neighbours on one stretch or the same node, at ``share[s]`` in [0, 1] of the way
    between them, which is ``gap_m[s]`` long.
    """

    nodes: Trajectory
    left: Index
    right: Index
    share: Float
    gap_m: Float


def interpolate(nodes: Paths, lattice: Lattice, trajectory: Trajectory) -> Paths:
    """Paths at every snapshot of a trajectory from those traced at the nodes of its lattice.

    Paths that both nodes have (see ``follow``) are interpolated: delay as the module says, gain times delay and the
    Doppler shift's direction cosines linearly, directions as renormalised unit vectors (no angle wraps), points
    linearly. What one node alone has, a path or an antenna of a path, is continued from it up to half-way. Doppler
    shifts are those of the snapshots' velocities. Slots are ordered by falling power.
    """
    pairs = pair_up(follow(nodes, lattice.nodes.track), lattice)
    antennas = nodes.gain.shape[2]
    count = max(1, _ENTRIES_AT_ONCE // (antennas * max(1, pairs[0].shape[1])))
    parts = []
    for start in range(0, len(trajectory), count):
        rows = slice(start, start + count)
        parts.append(_strongest_first(_between(nodes, lattice, trajectory, pairs, rows)))
    return joined(parts)


def pair_up(ids: NDArray[np.int32], lattice: Lattice) -> tuple[Index, Index]:
    """Slots (first, second) [S, Q] of each path at a snapshot's left and right node; -1 where it is not there."""
    between, of_snapshot = np.unique(np.stack([lattice.left, lattice.right]), axis=1, return_inverse=True)
    couples = []
    for left, right in between.T:
        known = np.union1d(ids[left], ids[right])
        known = known[known >= 0]
        couples.append([_slots_of(known, ids[left]), _slots_of(known, ids[right])])
    width = max(1, max(len(first) for first, _ in couples))
    table = np.full((2, len(couples), width), -1, np.intp)
    for number, (first, second) in enumerate(couples):
        table[0, number, : len(first)], table[1, number, : len(second)] = first, second
    return table[0, of_snapshot.reshape(-1)], table[1, of_snapshot.reshape(-1)]


def _slots_of(known: NDArray[np.int32], ids: NDArray[np.int32]) -> Index:
    """Slot of each known identity among a node's ids; -1 where it is missing."""
    equal = known[:, None] == ids
    return np.asarray(np.where(equal.any(axis=1), equal.argmax(axis=1), -1), dtype=np.intp)


@dataclass(frozen=True)
class _Side:
    """What the nodes on one side say of the paths: n snapshots, Q paths, A antennas; False and 0 where absent."""

    present: Mask  # [n, Q]
    valid: Mask  # [n, Q, A]
    gain: NDArray[np.complex64]  # [n, Q, A]
    delay_s: Float  # [n, Q, A]
    cosine: Float  # [n, Q, A], of departure and tangent
    interactions: NDArray[np.int32]  # [n, Q, D]
    points_m: Float  # [n, Q, D, 3]
    departure: Float  # [n, Q, 3], at the array's centre
    arrival: Float  # [n, Q, 3]
    position: Float  # [n, 3]
    tangent: Float  # [n, 3], unit length or 0

    @classmethod
    def of(cls, nodes: Paths, lattice: Lattice, node: Index, slot: Index) -> _Side:
        present = slot >= 0
        at = (node[:, None], np.where(present, slot, 0))

        def gathered(name: str) -> NDArray[Any]:
            values = getattr(nodes, name)[at]
            known = present.reshape(*present.shape, *[1] * (values.ndim - 2))
            return np.asarray(np.where(known, values, values.dtype.type(0)))

        return cls(
            present=present,
            cosine=gathered("doppler_hz").astype(np.float64) * (SPEED_OF_LIGHT / nodes.carrier_hz),
            position=lattice.nodes.positions_m[node],
            tangent=lattice.nodes.velocities_mps[node],
            **{name: gathered(name) for name in _SLOTTED if name != "doppler_hz"},
        )

    def along(self, vector: Float) -> Float:
        """k . vector [n, Q, A] for vectors [n, 3] and every antenna's direction of departure k."""
        forward = np.sum(self.tangent * vector, axis=1)
        across = vector - forward[:, None] * self.tangent
        return np.asarray(
            self.cosine * forward[:, None, None] + np.einsum("nqi,ni->nq", self.departure, across)[..., None]
        )


def _between(nodes: Paths, lattice: Lattice, trajectory: Trajectory, pairs: tuple[Index, Index], rows: slice) -> Paths:
    """Paths of some snapshots, in slots as ``pairs`` orders them."""
    zero = _Side.of(nodes, lattice, lattice.left[rows], pairs[0][rows])
    one = _Side.of(nodes, lattice, lattice.right[rows], pairs[1][rows])
    part = trajectory.select(rows)
    share, gap = lattice.share[rows], lattice.gap_m[rows]
    delay, doppler = _inside(zero, one, part, share, gap)
    both = zero.valid & one.valid
    spread = _blend(zero.gain * zero.delay_s, one.gain * one.delay_s, share)
    departure, arrival = (_blend(getattr(zero, name), getattr(one, name), share) for name in ("departure", "arrival"))
    points = _blend(zero.points_m, one.points_m, share)
    valid = both.copy()
    for side, near in ((zero, share < 0.5), (one, share >= 0.5)):
        alone = side.valid & ~both & near[:, None, None]
        if not alone.any():
            continue
        beyond, beyond_doppler, turned = _continued(side, part)
        valid |= alone
        delay, doppler = np.where(alone, beyond, delay), np.where(alone, beyond_doppler, doppler)
        spread = np.where(alone, side.gain * side.delay_s, spread)
        single = (side.present & ~(zero.present & one.present))[..., None]
        departure = np.where(single, turned, departure)
        arrival = np.where(single, side.arrival, arrival)
        points = np.where(single[..., None], side.points_m, points)
    kept: Mask = np.asarray(valid.any(axis=2, keepdims=True))
    return Paths(
        gain=np.where(valid, spread / np.where(valid, delay, 1.0), 0).astype(np.complex64),
        delay_s=np.where(valid, delay, 0.0),
        valid=valid,
        doppler_hz=np.where(valid, doppler * (nodes.carrier_hz / SPEED_OF_LIGHT), 0.0).astype(np.float32),
        interactions=np.where(kept, np.where(zero.present[..., None], zero.interactions, one.interactions), 0),
        points_m=np.where(kept[..., None], points, 0.0),
        departure=np.where(kept, _unit(departure), 0.0),
        arrival=np.where(kept, _unit(arrival), 0.0),
        times_s=part.times_s,
        positions_m=part.positions_m,
        carrier_hz=nodes.carrier_hz,
        method=f"{nodes.method}, interpolated",
        materials=nodes.materials,
        array=nodes.array,
    )


def _inside(zero: _Side, one: _Side, part: Trajectory, share: Float, gap: Float) -> tuple[Float, Float]:
    """Delay [n, Q, A] in s, and v . k in m/s, of paths that both sides have (meaningless elsewhere)."""
    stay, leave = 1.0 - share, share
    h00, h10 = (1.0 + 2.0 * leave) * stay**2, leave * stay**2 * gap
    h01, h11 = leave**2 * (3.0 - 2.0 * leave), -(leave**2) * stay * gap
    curve = h00[:, None] * zero.position + h01[:, None] * one.position
    curve += h10[:, None] * zero.tangent + h11[:, None] * one.tangent
    delay = _weighed(h00, zero.delay_s) + _weighed(h01, one.delay_s)
    shortened = _weighed(h10, zero.cosine) + _weighed(h11, one.cosine)
    stray = part.positions_m - curve
    shortened += _blend(zero.along(stray), one.along(stray), share)
    velocity = part.velocities_mps
    return delay - shortened / SPEED_OF_LIGHT, _blend(zero.along(velocity), one.along(velocity), share)


def _continued(side: _Side, part: Trajectory) -> tuple[Float, Float, Float]:
    """Delay [n, Q, A] in s, v . k in m/s and departure [n, Q, 3] of paths whose image stays where a node sees it."""
    step = part.positions_m - side.position
    length = SPEED_OF_LIGHT * side.delay_s
    squared = length**2 - 2.0 * length * side.along(step) + np.sum(step**2, axis=1)[:, None, None]
    moved = np.sqrt(np.where(side.valid, squared, 1.0))
    outwards = np.sum(step * part.velocities_mps, axis=1)[:, None, None]
    towards = (length * side.along(part.velocities_mps) - outwards) / moved
    mean = length.sum(axis=2) / np.maximum(side.valid.sum(axis=2), 1)
    return moved / SPEED_OF_LIGHT, towards, _unit(mean[..., None] * side.departure - step[:, None])


def _weighed(weight: Float, values: NDArray[Any]) -> NDArray[Any]:
    """Values [n, ...] times a weight [n]."""
    return np.asarray(weight.reshape(-1, *[1] * (values.ndim - 1)) * values)


def _blend(zero: NDArray[Any], one: NDArray[Any], share: Float) -> NDArray[Any]:
    return np.asarray(_weighed(1.0 - share, zero) + _weighed(share, one))


def _unit(vectors: Float) -> Float:
    """Vectors [..., 3] at length one; zeros stay."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))


def _strongest_first(paths: Paths) -> Paths:
    """The same paths ordered by falling power, in as many slots as the richest snapshot needs."""
    power = np.sum(np.abs(paths.gain) ** 2, axis=2)
    order = np.argsort(np.where(paths.valid.any(axis=2), -power, np.inf), axis=1, kind="stable")
    order = order[:, : max(1, int(paths.valid.any(axis=2).sum(axis=1).max(initial=0)))]
    return replace(paths, **{name: getattr(paths, name)[np.arange(len(paths))[:, None], order] for name in _SLOTTED})


def joined(parts: list[Paths]) -> Paths:
    """Snapshots of several records, one after the other, in as many slots as the richest needs."""
    first = np.cumsum([0, *map(len, parts)])
    slots = max(part.valid.shape[1] for part in parts)
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in ("times_s", "positions_m")
    }
    for name in _SLOTTED:
        example = getattr(parts[0], name)
        arrays[name] = np.zeros((first[-1], slots, *example.shape[2:]), example.dtype)
        for start, part in zip(first, parts, strict=False):
            values = getattr(part, name)
            arrays[name][start : start + len(part), : values.shape[1]] = values
    return replace(parts[0], **arrays, materials={key: note for part in parts for key, note in part.materials.items()})
