"""Time, memory and agreement of near-field tracing against tracing every element, in one run.

    python -m benchmarks.nearfield [--quick]

Part 1 times a flight at 64 x 64 elements (16 x 16 with --quick) against Sionna's own ``synthetic_array=False`` on
a few of its positions, with a tenth of its default rays; each side runs in a process of its own, so that its peak
memory is its own. Part 2 compares channels link by link on smaller arrays in two scenes, at all of Sionna's rays, with
the plane-wave approximation for contrast; with --explain, every miss above -35 dB is listed path by path. The last
line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm import mobility, scenes
from channelfm.arrays import UPA
from channelfm.channels import synthesize
from channelfm.records import Scene, Trajectory
from channelfm.tracing import trace
from channelfm.tracing.antennas import look_at_angles
from channelfm.tracing.sionna import SionnaScene
from channelfm.units import SPEED_OF_LIGHT, power_to_db

CARRIER_HZ = 7e9
TIMED_RAYS, TIMED_CHAINS = 100_000, 5_000  # a tenth of Sionna's default rays, and twice the candidates they find
COMPARED_RAYS, COMPARED_CHAINS = 1_000_000, 100_000  # enough candidates per element that none is dropped
EXPLAINED_DB = -35.0


def main() -> None:
    """Run both parts, or one side of part 1 in a child process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small arrays and few links, about three minutes")
    parser.add_argument("--explain", action="store_true", help="list the paths that differ where a link misses -35 dB")
    parser.add_argument("--side", choices=["ours", "rival"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps((_time_ours if options.side == "ours" else _time_rival)(options.quick)))
        return
    ours, rival = (_in_own_process(side, options.quick) for side in ("ours", "rival"))
    ratio = rival["ms_per_link"] / ours["ms_per_link"]
    print(f"{ours['elements']} elements, {ours['links']} positions ({rival['links']} for the rival)")
    print(f"{'':28}{'ms per link':>14}{'peak memory':>16}")
    print(f"{'near field (this package)':28}{ours['ms_per_link']:>14.1f}{ours['peak_mb']:>13.0f} MB")
    print(f"{'every element (Sionna)':28}{rival['ms_per_link']:>14.1f}{rival['peak_mb']:>13.0f} MB")
    print(f"ratio {ratio:.0f}\n")
    errors = _agreement(options.quick, options.explain)
    summary = {
        "ratio": round(ratio, 1),
        "ms_per_link": round(ours["ms_per_link"], 2),
        "nmse_db": round(float(np.median(errors["near field"])), 1),
        "nmse_worst_db": round(float(np.max(errors["near field"])), 1),
        "plane_wave_nmse_db": round(float(np.median(errors["plane wave"])), 1),
        "peak_mb": round(ours["peak_mb"]),
        "rival_ms_per_link": round(rival["ms_per_link"], 1),
        "rival_peak_mb": round(rival["peak_mb"]),
    }
    print(json.dumps(summary))


def _in_own_process(side: str, quick: bool) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.nearfield", "--side", side, *(["--quick"] if quick else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _timed_flight(quick: bool) -> tuple[Scene, UPA, Trajectory]:
    scene = scenes.builtin("munich")
    side = 16 if quick else 64
    flight = mobility.cruise(scene, num_uavs=4, num_steps=16, seed=1, bounds=(-120, -150, 200, 150))
    return scene, UPA(side, side, CARRIER_HZ, (8.5, 21.0, 60.0)), flight


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _time_ours(quick: bool) -> dict[str, float]:
    scene, array, flight = _timed_flight(quick)
    trace(scene, flight.select(slice(0, 16)), array)  # compiles the kernels
    start = time.perf_counter()
    synthesize(trace(scene, flight, array), array)
    milliseconds = (time.perf_counter() - start) * 1e3 / len(flight)
    return {"ms_per_link": milliseconds, "peak_mb": _peak_mb(), "links": len(flight), "elements": array.num_elements}


def _time_rival(quick: bool) -> dict[str, float]:
    scene, array, flight = _timed_flight(quick)
    tracer = SionnaScene(scene, CARRIER_HZ, 3, refraction=True, diffraction=False)
    positions = flight.positions_m[:: len(flight) // 3][:3]
    _every_element(tracer, array, positions[0], TIMED_RAYS, TIMED_CHAINS)  # compiles the kernels
    start = time.perf_counter()
    for position in positions:
        _every_element(tracer, array, position, TIMED_RAYS, TIMED_CHAINS)
    milliseconds = (time.perf_counter() - start) * 1e3 / len(positions)
    return {"ms_per_link": milliseconds, "peak_mb": _peak_mb(), "links": len(positions)}


def _every_element(
    tracer: SionnaScene, array: UPA, position: NDArray[np.float64], rays: int, chains: int, plane_wave: bool = False
) -> tuple[NDArray[np.complex64], NDArray[np.float64]]:
    look = np.array(look_at_angles(position, np.array(array.position)))
    most = chains * (1 if plane_wave else array.num_elements)
    return tracer.every_element(position, look, array, "tr38901", rays, most, plane_wave)


def _agreement(quick: bool, explain: bool) -> dict[str, list[float]]:
    """NMSE [dB] of every link against tracing every element, for the near field and for plane waves."""
    errors: dict[str, list[float]] = {"near field": [], "plane wave": []}
    print(f"{'scene':12}{'array':>8}{'link':>6}{'near field':>14}{'plane wave':>14}   [dB NMSE]")
    for scene, position, bounds in (
        (scenes.builtin("munich"), (8.5, 21.0, 60.0), (-120, -150, 200, 150)),
        (scenes.procedural(seed=2), (-230.0, 0.0, 65.0), None),
    ):
        flight = mobility.cruise(scene, num_uavs=2 if quick else 5, num_steps=1, seed=3, bounds=bounds)
        tracer = SionnaScene(scene, CARRIER_HZ, 3, refraction=True, diffraction=False)
        for side in (8,) if quick else (8, 16):
            array = UPA(side, side, CARRIER_HZ, position)
            paths = trace(scene, flight, array, rays_per_user=200_000)
            channels = synthesize(paths, array)[:, :, 0]
            for link, place in enumerate(flight.positions_m):
                gain, delay = _every_element(tracer, array, place, COMPARED_RAYS, COMPARED_CHAINS)
                reference = _sum(gain, delay)
                plane = _sum(*_every_element(tracer, array, place, COMPARED_RAYS, COMPARED_CHAINS, plane_wave=True))
                near_db, plane_db = _nmse_db(channels[link], reference), _nmse_db(plane, reference)
                errors["near field"].append(near_db)
                errors["plane wave"].append(plane_db)
                print(f"{scene.name:12}{side:>5}^2{link:>6}{near_db:>14.1f}{plane_db:>14.1f}", flush=True)
                if explain and near_db > EXPLAINED_DB:
                    _explain(gain[0], delay[0], paths.gain[link, :, 0], paths.delay_s[link, :, 0])
    print(f"median {np.median(errors['near field']):.1f}, worst {np.max(errors['near field']):.1f} dB; ", end="")
    print(f"plane wave: median {np.median(errors['plane wave']):.1f} dB\n")
    return errors


def _sum(gain: NDArray[np.complex64], delay: NDArray[np.float64]) -> NDArray[np.complex128]:
    return np.asarray(np.sum(gain * np.exp(-2j * np.pi * CARRIER_HZ * delay), axis=1))


def _nmse_db(channel: NDArray[Any], reference: NDArray[Any]) -> float:
    return float(power_to_db(np.sum(np.abs(channel - reference) ** 2) / np.sum(np.abs(reference) ** 2)))


def _explain(
    their_gain: NDArray[Any], their_delay: NDArray[Any], our_gain: NDArray[Any], our_delay: NDArray[Any]
) -> None:
    """Paths of the first element that one side has and the other lacks: length [m] and gain [dB]."""
    theirs = [(d * SPEED_OF_LIGHT, abs(g)) for g, d in zip(their_gain, their_delay, strict=True) if abs(g) > 0]
    mine = [(d * SPEED_OF_LIGHT, abs(g)) for g, d in zip(our_gain, our_delay, strict=True) if abs(g) > 0]
    for name, these, others in (("only the rival", theirs, mine), ("only this package", mine, theirs)):
        for length, gain in these:
            if not any(abs(length - other) < 0.01 for other, _ in others):
                print(f"    {name} has a path of {length:.2f} m, {20 * np.log10(gain):.1f} dB")


if __name__ == "__main__":
    main()
