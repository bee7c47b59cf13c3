"""Time, memory and agreement of near-field tracing against tracing every element, in one run.

    python -m benchmarks.nearfield [--quick] [--recall] [--minutes 60]

Part 1 times a flight at 64 x 64 elements (16 x 16 with --quick) against Sionna's own ``synthetic_array=False`` on
a few of its positions, with a tenth of its default rays; each side runs in a process of its own, so that its peak
memory is its own. Part 2 compares channels link by link on smaller arrays in two scenes, on a few elements of each, so
that the reference drops no candidate: with four times Sionna's rays, and paths that it finds twice counted once. The
plane-wave approximation stands beside for contrast. The worst link is explained path by path, and traced once more with
room for four times as many candidates. Part 3, with
--recall, counts the chains that fewer rays and fewer anchors find among those that many find. Part 4 keeps tracing,
synthesising and writing tracks to disk for some minutes, and measures links per second and memory. The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm import mobility, scenes
from channelfm.arrays import UPA
from channelfm.channels import synthesize
from channelfm.files import write_atomically
from channelfm.records import Scene, Trajectory
from channelfm.scenes.surface import inside_buildings
from channelfm.tracing import Tracer, trace
from channelfm.tracing.antennas import look_at_angles
from channelfm.tracing.candidates import ArrayView, Candidates
from channelfm.tracing.chains import SPECULAR
from channelfm.tracing.nearfield import ANCHOR_SPACING_M, anchor_elements
from channelfm.tracing.settings import Settings
from channelfm.tracing.sionna import SionnaScene, import_sionna
from channelfm.units import SPEED_OF_LIGHT, power_to_db

CARRIER_HZ = 7e9
TIMED_RAYS, TIMED_CHAINS = 100_000, 5_000  # a tenth of Sionna's default rays, and twice the candidates they find
COMPARED_RAYS, COMPARED_CHAINS = 4_000_000, 500_000  # many times the candidates that an element has
COMPARED_ELEMENTS = 8
MORE_CHAINS = 2_000_000  # for the worst link: the table in which Sionna looks candidates up grows with them
LINKS_PER_SCENE = 1_000
ONE_PATH_M = 0.01  # lengths that differ by less are one path's
FULL_RAYS, DEFAULT_RAYS = 8_000_000, 2_000_000
MUNICH_BOUNDS = (-120.0, -150.0, 200.0, 150.0)


def main() -> None:
    """Run both parts, or one side of part 1 in a child process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small arrays and few links, about three minutes")
    parser.add_argument("--recall", action="store_true", help="count the chains that few rays and anchors miss")
    parser.add_argument("--minutes", type=float, default=0.5, help="how long to keep tracing (0.5)")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(SIDES[options.side](options)))
        return
    ours, rival, sustained = (_in_own_process(side, options) for side in SIDES)
    # what is done once for scene and array is shared by the links of a subscene of LAETwin-XL (table II)
    shared_ms = ours["ms_per_link"] + 1e3 * ours["tracer_s"] / LINKS_PER_SCENE
    ratio, ratio_after = (rival["ms_per_link"] / cost for cost in (shared_ms, ours["ms_per_link"]))
    ratio_flight = rival["ms_per_link"] / (ours["ms_per_link"] + 1e3 * ours["tracer_s"] / ours["links"])
    print(f"{ours['elements']} elements, {ours['links']} positions ({rival['links']} for the rival)")
    print(f"{'':28}{'ms per link':>14}{'peak memory':>16}")
    print(f"{'near field (this package)':28}{ours['ms_per_link']:>14.1f}{ours['peak_mb']:>13.0f} MB")
    print(f"{'every element (Sionna)':28}{rival['ms_per_link']:>14.1f}{rival['peak_mb']:>13.0f} MB")
    print(f"tracer ready after {ours['tracer_s']:.1f} s, once for scene and array")
    print(f"ratio {ratio:.0f} with its share at {LINKS_PER_SCENE} links per scene, {ratio_after:.0f} without it,")
    print(f"{ratio_flight:.0f} for this flight alone\n")
    print(f"{sustained['links']} more links, track after track, traced, synthesised and")
    print(f"written to disk at {sustained['links_per_s']:.1f} links/s; peak memory {sustained['peak_start_mb']:.0f} MB")
    print(f"after the first track, {sustained['peak_end_mb']:.0f} MB after the last\n")
    errors = _agreement(options.quick)
    recall = _recall(options.quick) if options.recall else {}
    summary = {
        "ratio": round(ratio, 1),
        "ratio_after_setup": round(ratio_after, 1),
        "ratio_single_flight": round(ratio_flight, 1),
        "ms_per_link": round(ours["ms_per_link"], 2),
        "nmse_db": round(float(np.median(errors["near field"])), 1),
        "nmse_worst_db": round(float(np.max(errors["near field"])), 1),
        "plane_wave_nmse_db": round(float(np.median(errors["plane wave"])), 1),
        "peak_mb": round(ours["peak_mb"]),
        "rival_ms_per_link": round(rival["ms_per_link"], 1),
        "rival_peak_mb": round(rival["peak_mb"]),
        "tracer_s": round(ours["tracer_s"], 2),
        "links_per_s": round(sustained["links_per_s"], 2),
        "sustained_links": sustained["links"],
        "peak_start_mb": round(sustained["peak_start_mb"]),
        "peak_end_mb": round(sustained["peak_end_mb"]),
        **recall,
    }
    print(json.dumps(summary))


def _in_own_process(side: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.nearfield", "--side", side, "--minutes", str(options.minutes)]
    command += ["--quick"] if options.quick else []
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _timed_flight(quick: bool) -> tuple[Scene, UPA, Trajectory]:
    scene = scenes.builtin("munich")
    side = 16 if quick else 64
    flight = mobility.cruise(scene, num_uavs=4, num_steps=16, seed=1, bounds=MUNICH_BOUNDS)
    return scene, UPA(side, side, CARRIER_HZ, (8.5, 21.0, 60.0)), flight


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _time_ours(options: argparse.Namespace) -> dict[str, float]:
    scene, array, flight = _timed_flight(options.quick)
    import_sionna()  # once a process, like the rival's
    start = time.perf_counter()
    tracer = Tracer(scene, array)
    ready = time.perf_counter() - start
    tracer.trace(flight)  # compiles the kernels
    start = time.perf_counter()
    synthesize(tracer.trace(flight), array)
    milliseconds = (time.perf_counter() - start) * 1e3 / len(flight)
    result = {"ms_per_link": milliseconds, "tracer_s": ready, "peak_mb": _peak_mb()}
    return {**result, "links": len(flight), "elements": array.num_elements}


def _time_rival(options: argparse.Namespace) -> dict[str, float]:
    scene, array, flight = _timed_flight(options.quick)
    tracer = SionnaScene(scene, CARRIER_HZ, 3)
    positions = flight.positions_m[:: len(flight) // 3][:3]
    _every_element(tracer, array, positions[0], TIMED_CHAINS, TIMED_RAYS)  # compiles the kernels
    start = time.perf_counter()
    for position in positions:
        _every_element(tracer, array, position, TIMED_CHAINS, TIMED_RAYS)
    milliseconds = (time.perf_counter() - start) * 1e3 / len(positions)
    return {"ms_per_link": milliseconds, "peak_mb": _peak_mb(), "links": len(positions)}


def _sustain(options: argparse.Namespace) -> dict[str, float]:
    """Track after track of 25 snapshots, traced, synthesised and written, with one tracer."""
    scene, array, _ = _timed_flight(options.quick)
    tracer = Tracer(scene, array)
    links, started, peak_start = 0, 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for number in itertools.count():
            track = mobility.cruise(scene, num_uavs=1, num_steps=25, seed=number, bounds=MUNICH_BOUNDS)
            channels = synthesize(tracer.trace(track), array)
            write_atomically(Path(folder) / f"{number % 16}.bin", channels.tobytes())
            if number == 0:
                peak_start, started = _peak_mb(), time.perf_counter()  # kernels are compiled now
                continue
            links += len(track)
            elapsed = time.perf_counter() - started
            if elapsed > 60 * options.minutes:
                break
    return {"links": links, "links_per_s": links / elapsed, "peak_start_mb": peak_start, "peak_end_mb": _peak_mb()}


def _every_element(
    tracer: SionnaScene,
    array: UPA,
    position: NDArray[np.float64],
    chains: int,
    rays: int,
    elements: NDArray[np.intp] | None = None,
    plane_wave: bool = False,
) -> tuple[NDArray[np.complex64], NDArray[np.float64]]:
    """Gains and delays [M, P] of all elements, or some, with at most so many candidate chains for each."""
    look = np.array(look_at_angles(position, np.array(array.position)))
    chosen = np.arange(array.num_elements) if elements is None else elements
    most = chains * (1 if plane_wave else len(chosen))
    return tracer.every_element(position, look, array, rays, most, elements=chosen, plane_wave=plane_wave)


@dataclass(frozen=True)
class _Link:
    """A compared link: its ``name``, the rival's call that gives ``theirs`` for a number of candidates an element, and
    gains and delays [M, P] of the same elements of either side."""

    name: str
    retrace: Callable[[int], tuple[NDArray[Any], NDArray[Any]]]
    ours: tuple[NDArray[Any], NDArray[Any]]
    theirs: tuple[NDArray[Any], NDArray[Any]]

    @property
    def error_db(self) -> float:
        return _nmse_db(_sum(*self.ours), _sum(*self.theirs))


def _agreement(quick: bool) -> dict[str, list[float]]:
    """NMSE [dB] of every link against tracing element by element, for the near field and for plane waves."""
    errors: dict[str, list[float]] = {"near field": [], "plane wave": []}
    links: list[_Link] = []
    print(f"{'scene':12}{'array':>8}{'link':>6}{'near field':>14}{'plane wave':>14}   [dB NMSE]")
    for scene, position, bounds in (
        (scenes.builtin("munich"), (8.5, 21.0, 60.0), MUNICH_BOUNDS),
        (scenes.procedural(seed=2), (-230.0, 0.0, 65.0), None),
    ):
        flight = mobility.cruise(scene, num_uavs=2 if quick else 5, num_steps=1, seed=3, bounds=bounds)
        tracer = SionnaScene(scene, CARRIER_HZ, 3)
        for side in (8,) if quick else (8, 16):
            array = UPA(side, side, CARRIER_HZ, position)
            some = np.linspace(0, array.num_elements - 1, COMPARED_ELEMENTS).astype(np.intp)
            paths = trace(scene, flight, array)
            for link, place in enumerate(flight.positions_m):
                rival = partial(_every_element, tracer, array, place, rays=COMPARED_RAYS, elements=some)
                ours = paths.gain[link][:, some].T, paths.delay_s[link][:, some].T
                compared = _Link(f"{scene.name}, {side}^2, link {link}", rival, ours, rival(COMPARED_CHAINS))
                plane = rival(COMPARED_CHAINS, plane_wave=True)
                errors["near field"].append(compared.error_db)
                errors["plane wave"].append(_nmse_db(_sum(*plane), _sum(*compared.theirs)))
                near_db, plane_db = (errors[kind][-1] for kind in ("near field", "plane wave"))
                print(f"{scene.name:12}{side:>5}^2{link:>6}{near_db:>14.1f}{plane_db:>14.1f}", flush=True)
                links.append(compared)
    print(f"median {np.median(errors['near field']):.1f}, worst {np.max(errors['near field']):.1f} dB; ", end="")
    print(f"plane wave: median {np.median(errors['plane wave']):.1f} dB\n")
    worst = max(links, key=lambda link: link.error_db)
    for chains in (COMPARED_CHAINS, MORE_CHAINS):
        link = worst if chains == COMPARED_CHAINS else replace(worst, theirs=worst.retrace(chains))
        print(f"worst link ({link.name}), room for {chains} candidates an element: {link.error_db:.1f} dB")
        _explain(link)
    return errors


def _recall(quick: bool) -> dict[str, float]:
    """Share of the chains that few anchors, and few rays, find among those that many of both find."""
    print(f"{'scene':12}{'array':>8}{'chains':>8}   recall by anchor spacing [m]            by rays")
    cases = [(scenes.procedural(seed=2), (-230.0, 0.0, 65.0), 16)]
    if not quick:
        munich = scenes.builtin("munich")
        cases += [(munich, (8.5, 21.0, 60.0), 64), (munich, (8.5, 21.0, 30.0), 128)]
    worst = {"recall_anchors": 1.0, "recall_rays": 1.0}
    for scene, position, side in cases:
        tracer, array = SionnaScene(scene, CARRIER_HZ, 3), UPA(side, side, CARRIER_HZ, position)
        users = _anywhere(scene, 30)
        every = 0.0 if side <= 16 else ANCHOR_SPACING_M / 2  # all elements, or twice as dense as the default

        def found(spacing: float, rays: int, tracer=tracer, array=array, users=users) -> set[Any]:  # type: ignore[no-untyped-def]
            return _chains_found(tracer, array, users, spacing, rays)

        full = found(every, FULL_RAYS)
        by_anchors = {
            gap: found(gap, FULL_RAYS) for gap in (4 * ANCHOR_SPACING_M, 2 * ANCHOR_SPACING_M, ANCHOR_SPACING_M)
        }
        by_rays = {rays: found(every, rays) for rays in (FULL_RAYS // 32, FULL_RAYS // 8, DEFAULT_RAYS)}
        anchors, rays = (
            {key: len(some & full) / len(full) for key, some in by.items()} for by in (by_anchors, by_rays)
        )
        told = "  ".join(f"{key:.2f}: {value:.4f}" for key, value in anchors.items())
        told += "  " + "  ".join(f"{key / 1e6:.2f} M: {value:.4f}" for key, value in rays.items())
        print(f"{scene.name:12}{side:>5}^2{len(full):>8}   {told}", flush=True)
        worst["recall_anchors"] = min(worst["recall_anchors"], anchors[ANCHOR_SPACING_M])
        worst["recall_rays"] = min(worst["recall_rays"], rays[DEFAULT_RAYS])
    return {key: round(value, 4) for key, value in worst.items()}


def _chains_found(
    tracer: SionnaScene, array: UPA, users: NDArray[np.float64], spacing_m: float, rays: int
) -> set[tuple[int, ...]]:
    anchors = np.arange(array.num_elements) if spacing_m == 0 else anchor_elements(array, spacing_m)
    view = ArrayView(np.array(array.position), array.element_positions[anchors], array.aperture_m / 2)
    settings = Settings(3, True, False, False, "tr38901", "V", rays, None, 0)
    found = Candidates(tracer.rays, tracer.triangles, view, settings).find(users)
    plane = np.where(found.chains.kinds == SPECULAR, tracer.triangles.plane[found.chains.triangle], 0)
    return {tuple(row) for row in np.column_stack([found.user, found.chains.kinds, plane]).tolist()}


def _anywhere(scene: Scene, count: int) -> NDArray[np.float64]:
    """Positions [N, 3] between 1.5 and 50 m above the middle of a scene, outside buildings."""
    low, high = (np.array([*scene.bounds[at : at + 2], height]) for at, height in ((0, 1.5), (2, 50.0)))
    low[:2], high[:2] = np.maximum(low[:2], -250.0), np.minimum(high[:2], 250.0)
    places = np.random.default_rng(0).uniform(low, high, (4 * count, 3))
    return places[~inside_buildings(scene, places)][:count]


def _sum(gain: NDArray[np.complex64], delay: NDArray[np.float64]) -> NDArray[np.complex128]:
    return np.asarray(np.sum(gain * np.exp(-2j * np.pi * CARRIER_HZ * delay), axis=1))


def _nmse_db(channel: NDArray[Any], reference: NDArray[Any]) -> float:
    return float(power_to_db(np.sum(np.abs(channel - reference) ** 2) / np.sum(np.abs(reference) ** 2)))


def _explain(link: _Link) -> None:
    """What a link's error is made of, on the element where it is largest: the paths of one side alone, and those of
    both by what they differ."""
    channels = _sum(*link.ours), _sum(*link.theirs)
    element = int(np.abs(channels[0] - channels[1]).argmax())
    scale = float(np.sqrt(np.mean(np.abs(channels[1]) ** 2)))
    sides = []
    for gain, delay in (link.ours, link.theirs):
        there = np.flatnonzero(np.abs(gain[element]) > 0)
        order = there[np.argsort(delay[element, there])]
        phasor = gain[element, order] * np.exp(-2j * np.pi * CARRIER_HZ * delay[element, order])
        sides.append((delay[element, order] * SPEED_OF_LIGHT, phasor / scale))
    print(f"element {element}, path by path, in dB of the channel:")
    (length, mine), (their_length, theirs) = sides
    same = np.abs(length[:, None] - their_length[None]) < ONE_PATH_M
    for row, at in enumerate(length):
        differs = f"error {_db(mine[row] - theirs[same[row]].sum()):.1f}" if same[row].any() else "ours only"
        print(f"    {at:10.3f} m {_db(mine[row]):8.1f}, {differs}")
    for at, wave in zip(their_length[~same.any(axis=0)], theirs[~same.any(axis=0)], strict=True):
        print(f"    {at:10.3f} m {_db(wave):8.1f}, the rival's only")
    print()


def _db(wave: complex) -> float:
    return float(power_to_db(abs(wave) ** 2))


SIDES = {"ours": _time_ours, "rival": _time_rival, "sustained": _sustain}

if __name__ == "__main__":
    main()
