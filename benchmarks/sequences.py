"""Sequences of one channel per millisecond: a traced lattice with interpolated paths against tracing every snapshot.

    python -m benchmarks.sequences [--quick] [--method images]

32 x 32 elements at 3.5 GHz in Munich (a procedural city with --method images, which needs no ray tracer), users at
random places 1.5 m above the street, speeds uniform in 0 ... 30 m/s as in LWM-Temporal. Both sides use one tracer in
one run. Errors are NMSE of the channels against those of dense tracing, apart for tracks on which every antenna keeps
its paths all along (with and without line of sight) and for those on which paths come or go. "linear" interpolates
the same nodes' gains and delays linearly, as published, for contrast. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm import scenes
from channelfm.arrays import UPA
from channelfm.channels import synthesize
from channelfm.records import Paths, Scene, Trajectory
from channelfm.scenes.surface import inside_buildings
from channelfm.tracing import Tracer
from channelfm.tracing.interpolation import Lattice, pair_up
from channelfm.tracing.sequences import birth_death_statistics, follow, interpolate, lay_lattice, trace_sequence
from channelfm.units import power_to_db

CARRIER_HZ = 3.5e9
INTERVAL_S = 1e-3
FASTEST_MPS = 30.0
USER_HEIGHT_M = 1.5
EXACT = 1e-15  # errors of snapshots that are nodes count as -150 dB
KINDS = ("constant, LoS", "constant, NLoS", "births and deaths")


def main() -> None:
    """Compare both sides for short and long sequences, fine and coarse lattices."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few tracks, 8 x 8 elements, short sequences only")
    parser.add_argument("--method", choices=["auto", "near-field", "images"], default="auto")
    parser.add_argument("--seed", type=int, default=0, help="of places, headings and speeds")
    options = parser.parse_args()
    side = 8 if options.quick else 32
    if options.method == "images":
        scene = scenes.procedural(seed=2)
        array = UPA(side, side, CARRIER_HZ, (scene.bounds[0], 0.0, 65.0))
    else:
        scene = scenes.builtin("munich")
        array = UPA(side, side, CARRIER_HZ, (8.5, 21.0, 60.0))
    tracer = Tracer(scene, array, max_depth=2 if options.method == "images" else 3, method=options.method)
    plans = [(20, 4)] if options.quick else [(20, 12), (200, 2)]
    rows = []
    print(f"{'frames':>7}{'spacing':>9}{'refined':>9}{'nodes':>12}{'time':>16}  NMSE [dB], median (worst)")
    for frames, tracks in plans:
        flight = _walks(scene, array, tracks, frames, options.seed)
        tracer.trace(flight.select(slice(0, 40)))  # compiles the kernels
        rows += _compare(tracer, array, flight, frames)
    print(json.dumps({"side": side, "method": options.method, "rows": rows}))


def _walks(scene: Scene, array: UPA, tracks: int, frames: int, seed: int) -> Trajectory:
    """Straight walks, drives and rides that stay out of the buildings."""
    rng = np.random.default_rng(seed)
    steps, found = np.arange(frames) * INTERVAL_S, []
    centre = np.array([array.position[0], array.position[1], 0.0])
    while len(found) < tracks:
        start = centre + np.append(rng.uniform(-200.0, 200.0, 2), USER_HEIGHT_M)
        heading, speed = rng.uniform(-np.pi, np.pi), rng.uniform(0.0, FASTEST_MPS)
        velocity = speed * np.array([np.cos(heading), np.sin(heading), 0.0])
        track = start + steps[:, None] * velocity
        if not inside_buildings(scene, track).any():
            found.append((track, np.tile(velocity, (frames, 1))))
    return Trajectory(
        times_s=np.tile(steps, tracks),
        positions_m=np.concatenate([track for track, _ in found]),
        velocities_mps=np.concatenate([velocity for _, velocity in found]),
        track=np.repeat(np.arange(tracks, dtype=np.int32), frames),
        kind="straight",
        seed=seed,
    )


@dataclass
class _Counted:
    """A tracer that counts what it traces and keeps the last result."""

    tracer: Tracer
    traced: int = 0

    def trace(self, trajectory: Trajectory, progress: Any = None) -> Paths:
        self.traced += len(trajectory)
        return self.tracer.trace(trajectory, progress)


def _compare(tracer: Tracer, array: UPA, flight: Trajectory, frames: int) -> list[dict[str, Any]]:
    start = time.perf_counter()
    dense = tracer.trace(flight)
    dense_s = time.perf_counter() - start
    truth = synthesize(dense, array)
    ids = follow(dense, flight.track)
    lives = birth_death_statistics(ids, flight.positions_m, flight.track)
    print(f"{frames:>7}{'dense':>9}{'':>9}{len(flight):>12}{dense_s:>14.2f} s", end="  ")
    print(
        f"{lives.mean_paths:.1f} paths, {lives.births_per_m:.2f} births and {lives.deaths_per_m:.2f} deaths per metre"
    )
    kinds, rows = _kinds(dense, ids, flight), []
    for spacing, refinements in ((0.1, 0), (0.1, 3), (0.5, 0), (0.5, 3)):
        counted = _Counted(tracer)
        start = time.perf_counter()
        paths = trace_sequence(counted, flight, spacing, refinements=refinements)
        seconds = time.perf_counter() - start
        print(f"{frames:>7}{spacing:>7.1f} m{refinements:>9}{counted.traced:>12}{seconds:>14.2f} s", end="  ")
        row = {"frames": frames, "spacing_m": spacing, "refinements": refinements, "nodes": counted.traced}
        row |= {"ratio_nodes": len(flight) / counted.traced, "ratio_time": dense_s / seconds}
        rows.append(row | _errors(synthesize(paths, array), truth, kinds))
        if not refinements:
            lattice = lay_lattice(flight, spacing)
            nodes = tracer.trace(lattice.nodes)
            start = time.perf_counter()
            interpolate(nodes, lattice, flight)
            rows[-1]["interpolation_us"] = (time.perf_counter() - start) / len(flight) * 1e6
            print(f"{'':>7}{'linear':>9}{'':>37}", end="  ")
            rows[-1]["linear"] = _errors(_linear(nodes, lattice), truth, kinds)
    return rows


def _kinds(dense: Paths, ids: NDArray[np.int32], flight: Trajectory) -> NDArray[np.intp]:
    """Index into KINDS [S] of the track that each snapshot belongs to."""
    kinds = np.zeros(len(flight), np.intp)
    for track in np.unique(flight.track):
        rows = np.flatnonzero(flight.track == track)
        known = np.unique(ids[rows])
        known = known[known >= 0]
        seen = np.stack([[dense.valid[row, ids[row] == path].any(axis=0) for path in known] for row in rows])
        constant = bool((seen == seen[0]).all())
        kinds[rows] = (0 if dense.line_of_sight[rows[0]] else 1) if constant else 2
    return kinds


def _errors(channels: NDArray[Any], truth: NDArray[Any], kinds: NDArray[np.intp]) -> dict[str, Any]:
    """Median and worst NMSE [dB] over the snapshots of each kind that have a channel; printed as well."""
    power = np.sum(np.abs(truth) ** 2, axis=(1, 2))
    error = np.sum(np.abs(channels - truth) ** 2, axis=(1, 2))
    nmse = power_to_db(np.maximum(error[power > 0] / power[power > 0], EXACT))
    result: dict[str, Any] = {}
    for number, kind in enumerate(KINDS):
        chosen = nmse[kinds[power > 0] == number]
        if len(chosen):
            result[kind] = {"median_db": round(float(np.median(chosen)), 1), "worst_db": round(float(chosen.max()), 1)}
            result[kind]["snapshots"] = len(chosen)
            print(f"{kind}: {np.median(chosen):.1f} ({chosen.max():.1f})", end="; ")
    print(flush=True)
    return result


def _linear(nodes: Paths, lattice: Lattice) -> NDArray[np.complex128]:
    """Channels [S, A, 1] with gains and delays on a straight line between the nodes, as LWM-Temporal does."""
    sides = []
    for node, slot in zip(
        (lattice.left, lattice.right), pair_up(follow(nodes, lattice.nodes.track), lattice), strict=True
    ):
        at = (node[:, None], slot)
        sides.append((nodes.valid[at] & (slot >= 0)[..., None], nodes.gain[at], nodes.delay_s[at]))
    (zero, gain_0, delay_0), (one, gain_1, delay_1) = sides
    share = lattice.share[:, None, None]
    weight = np.where(zero & one, share, np.where(one, 1.0, 0.0))
    alive = (zero & one) | (zero & (share < 0.5)) | (one & (share >= 0.5))
    delay = (1.0 - weight) * delay_0 + weight * delay_1
    gain = np.where(alive, (1.0 - weight) * gain_0 + weight * gain_1, 0.0)
    return np.asarray(np.sum(gain * np.exp(-2j * np.pi * nodes.carrier_hz * delay), axis=1)[..., None])


if __name__ == "__main__":
    main()
