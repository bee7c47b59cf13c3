"""What diffraction over one and over several edges does for users in the streets of real maps.

    python -m benchmarks.roofs MAP [MAP ...] [--maps DIR] [--height 30] [--users 12] [--steps 25] [--elements 2]

A map is a file or a name. Pedestrians and vehicles walk and drive through each of them before an array that stands at
the middle of its west edge, clear of roofs at the given height as in ``laetwin-hard``, or, with --height below the
roofs, in the open there. One trace is looked at without diffraction, over single edges, and over all, and each of these
again without what comes through walls. Printed are the share of links without any path, the median path loss (sum of
the paths' powers, mean over the antennas, isotropic users) of those links that have a path in all of them and of all
links, and seconds of processor time per link. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from channelfm import mobility, scenes
from channelfm.arrays import UPA
from channelfm.datasets.generate.sites import place_array
from channelfm.datasets.recipe import ArrayRecipe
from channelfm.maps.source import FOLDER_VARIABLE, located
from channelfm.records import Paths, Scene, Trajectory
from channelfm.scenes.surface import inside_buildings
from channelfm.tracing import Tracer
from channelfm.units import power_to_db

CARRIER_HZ = 7e9
AHEAD_M, ASIDE_M = (15.0, 300.0), 150.0  # where the users are, before the array
DIFFRACTED, REFRACTED = 8, 4
LOOKS = ("no edge", "one edge", "all edges")  # what there was without diffraction, with single ones alone, and is now


@dataclass(frozen=True)
class Look:
    """Power [S] of the links when only some of their paths count."""

    name: str
    power: NDArray[np.float64]


def main() -> None:
    """Trace every map and print what each kind of path adds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("map", nargs="+", help="OpenStreetMap extracts, or names of maps")
    parser.add_argument("--maps", help="folder of OpenStreetMap extracts, named like berlin.osm.gz")
    parser.add_argument("--height", type=float, default=30.0, help="of the array, in m above ground (30)")
    parser.add_argument("--users", type=int, default=12, help="pedestrians, and vehicles (12)")
    parser.add_argument("--steps", type=int, default=25, help="snapshots of each (25)")
    parser.add_argument("--elements", type=int, default=2, help="antennas per side of the array (2)")
    parser.add_argument("--no-diffraction", action="store_true", help="time the same links without it")
    options = parser.parse_args()
    if options.maps:
        os.environ[FOLDER_VARIABLE] = options.maps
    summary: dict[str, dict[str, float]] = {}
    for name in options.map:
        scene = scenes.from_osm(located(name), seed=1)
        array = _array(scene, options.elements, options.height)
        users = _users(scene, array, options.users, options.steps)
        tracer = Tracer(scene, array, diffraction=not options.no_diffraction, user_pattern="isotropic")
        tracer.trace(users.select(slice(0, 4)))  # compiles the kernels
        start = _cpu_s()
        paths = tracer.trace(users)
        seconds = (_cpu_s() - start) / len(users)
        print(f"{name}: {len(users)} links, array at {array.position[2]:.1f} m, {1e3 * seconds:.0f} ms per link")
        summary[name] = {"links": len(users), "cpu_s_per_link": round(seconds, 4)} | _report(_looks(paths))
    print(json.dumps(summary))


def _array(scene: Scene, side: int, height_m: float) -> UPA:
    """An array at the middle of the region's west edge; below the roofs, at the nearest free place."""
    recipe = ArrayRecipe(rows=side, cols=side, carrier_hz=CARRIER_HZ, height_m=height_m)
    placed = place_array(recipe, scene)
    if placed.position[2] <= height_m:
        return placed
    x, y, _ = placed.position
    north = y + np.arange(-100.0, 100.0, 5.0)
    places = np.stack(np.broadcast_arrays(x + 2.0, north, height_m), axis=-1)
    free = places[~inside_buildings(scene, places)]
    nearest = free[np.abs(free[:, 1] - y).argmin()]
    return recipe.at((float(nearest[0]), float(nearest[1]), height_m))


def _users(scene: Scene, array: UPA, count: int, steps: int) -> Trajectory:
    """Pedestrians, then vehicles, in the streets before the array."""
    x, y, _ = array.position
    bounds = (x + AHEAD_M[0], y - ASIDE_M, x + AHEAD_M[1], y + ASIDE_M)
    walk = mobility.pedestrians(scene, num_users=count, num_steps=steps, interval_s=5.0, seed=3, bounds=bounds)
    drive = mobility.vehicles(scene, num_users=count, num_steps=steps, interval_s=1.0, seed=4, bounds=bounds)
    return Trajectory(
        times_s=np.concatenate([walk.times_s, drive.times_s]),
        positions_m=np.concatenate([walk.positions_m, drive.positions_m]),
        velocities_mps=np.concatenate([walk.velocities_mps, drive.velocities_mps]),
        track=np.concatenate([walk.track, drive.track + count]),
        kind="street",
    )


def _looks(paths: Paths) -> list[Look]:
    """The links without edges, over single ones and over all; then the same through open air."""
    edges = (paths.interactions == DIFFRACTED).sum(axis=2)
    through_walls = (paths.interactions == REFRACTED).any(axis=2)
    power = np.where(paths.valid, np.abs(paths.gain) ** 2, 0.0).mean(axis=2)
    looks = []
    for where, counted in (("", np.ones_like(through_walls)), (", open air", ~through_walls)):
        for most, name in enumerate(LOOKS):
            kept = counted & (edges <= (most if most < 2 else edges.max(initial=0)))
            looks.append(Look(name + where, np.where(kept, power, 0.0).sum(axis=1)))
    return looks


def _report(looks: list[Look]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for group in (looks[:3], looks[3:]):
        common = np.all([look.power > 0 for look in group], axis=0)
        for look in group:
            lost = float(np.mean(look.power == 0))
            loss = -float(power_to_db(np.median(look.power[common]))) if common.any() else float("nan")
            every = -float(power_to_db(np.median(look.power))) if np.median(look.power) > 0 else float("inf")
            print(f"    {look.name:22} without a path {100 * lost:5.1f} %", end="")
            print(f"   median loss of common links {loss:6.1f} dB, of all {every:6.1f} dB")
            figures |= {f"{look.name}, without path": round(lost, 4), f"{look.name}, loss_db": round(loss, 2)}
    return figures


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
