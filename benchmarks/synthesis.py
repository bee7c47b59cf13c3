"""Time and agreement of channel synthesis against DeepMIMO 4.0.5, from the same paths on one core.

    python -m venv /tmp/deepmimo-venv && /tmp/deepmimo-venv/bin/pip install DeepMIMO==4.0.5
    python -m benchmarks.synthesis [--quick] [--deepmimo-python /tmp/deepmimo-venv/bin/python]

DeepMIMO (GPL) runs in a process and an environment of its own; paths and channels travel as .npz files. It knows plane
waves only, so both sides get plane waves. Two of its conventions are corrected in the paths that it is given: it leaves
out the carrier phase exp(-j 2 pi f_c tau) ("as it comes" shows what that does), and it steers from the array's first
element instead of its centre. It also steers every subcarrier as the first: the difference over the band is this beam
squint, while at the first subcarrier, placed at the carrier, both must agree. The best of several runs counts. The
last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.arrays import UPA
from channelfm.channels import synthesize
from channelfm.records import Paths
from channelfm.units import SPEED_OF_LIGHT, power_to_db

CARRIER_HZ = 7e9
SUBCARRIER_SPACING_HZ = 30e3
NUM_PATHS = 10
SINGLE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
CASES = {  # name: users, side of the array, subcarriers
    "wide band": (1000, 8, 64),
    "large array": (200, 32, 1),
}


def main() -> None:
    """Run all cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deepmimo-python", default="/tmp/deepmimo-venv/bin/python", help="interpreter with DeepMIMO")
    parser.add_argument("--quick", action="store_true", help="a tenth of the users, three runs")
    options = parser.parse_args()
    if not Path(options.deepmimo_python).is_file():
        parser.error(f"{options.deepmimo_python}: no such interpreter; make it as --help shows")
    if any(os.environ.get(name) != "1" for name in SINGLE_THREAD):  # BLAS reads these when it is loaded
        again = [sys.executable, "-m", "benchmarks.synthesis", *sys.argv[1:]]
        sys.exit(subprocess.run(again, env=_one_core()).returncode)
    summary: dict[str, float] = {}
    print("users x antennas x subcarriers x paths; difference at the first subcarrier, over the band, and as it comes")
    print(f"{'':30}{'ours':>12}{'DeepMIMO':>12}{'ratio':>8}{'first':>12}{'band':>10}{'as it comes':>14}")
    for name, (users, side, subcarriers) in CASES.items():
        drawn = users // 10 if options.quick else users
        result = _compare(drawn, side, subcarriers, options)
        print(f"{name:12}{f'{drawn} x {side * side} x {subcarriers} x {NUM_PATHS}':>18}", end="")
        print(f"{result['ours_ms']:>9.1f} ms{result['deepmimo_ms']:>9.1f} ms{result['ratio']:>8.1f}", end="")
        print(f"{result['agreement_db']:>9.1f} dB{result['band_db']:>7.1f} dB{result['raw_db']:>11.1f} dB", flush=True)
        summary |= {f"{name.replace(' ', '_')}_{key}": round(value, 2) for key, value in result.items()}
    print(json.dumps(summary))


def _one_core() -> dict[str, str]:
    return os.environ | SINGLE_THREAD | {"TQDM_DISABLE": "1"}


def _compare(users: int, side: int, subcarriers: int, options: argparse.Namespace) -> dict[str, float]:
    """Both sides on one case: milliseconds, ratio and differences."""
    array = UPA(side, side, CARRIER_HZ)
    paths = _drawn_paths(users)
    frequencies = CARRIER_HZ + SUBCARRIER_SPACING_HZ * np.arange(subcarriers)
    runs = 3 if options.quick else 7
    ours, seconds = synthesize(paths, array, frequencies), []
    for _ in range(runs):
        start = time.perf_counter()
        ours = synthesize(paths, array, frequencies)
        seconds.append(time.perf_counter() - start)
    theirs, their_seconds = _deepmimo(paths, array, subcarriers, runs, True, options.deepmimo_python)
    raw, _ = _deepmimo(paths, array, subcarriers, 1, False, options.deepmimo_python)
    return {
        "ours_ms": 1e3 * min(seconds),
        "deepmimo_ms": 1e3 * min(their_seconds),
        "ratio": min(their_seconds) / min(seconds),
        "agreement_db": _difference_db(theirs[..., :1], ours[..., :1]),
        "band_db": _difference_db(theirs, ours),
        "raw_db": _difference_db(raw, ours),
    }


def _drawn_paths(users: int) -> Paths:
    """Plane-wave paths of random directions, delays of up to 3 us, and powers that fall by 3 dB from path to path."""
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(users, NUM_PATHS, 3))
    direction[..., 0] = np.abs(direction[..., 0])
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    shape = (users, NUM_PATHS, 1)
    modulus = 1e-5 * 10 ** (-0.15 * np.arange(NUM_PATHS))[:, None]
    return Paths(
        gain=(modulus * np.exp(2j * np.pi * rng.random(shape))).astype(np.complex64),
        delay_s=rng.uniform(1e-7, 3e-6, shape),
        valid=np.ones(shape, np.bool_),
        doppler_hz=np.zeros(shape, np.float32),
        interactions=np.zeros(shape, np.int32),
        points_m=np.zeros((*shape, 3)),
        departure=-direction,
        arrival=direction,
        times_s=np.zeros(users),
        positions_m=np.zeros((users, 3)),
        carrier_hz=CARRIER_HZ,
        method="drawn",
    )


def _deepmimo(
    paths: Paths, array: UPA, subcarriers: int, runs: int, corrected: bool, python: str
) -> tuple[NDArray[Any], list[float]]:
    """DeepMIMO's channels [user, antenna, subcarrier] of the paths, and the seconds of each run.

    The array is its transmitter (channels are reciprocal), so our arrival is its departure. ``corrected`` puts the
    carrier phase into its path phases, at the first element. Its channels carry 1 / sqrt(subcarriers), taken out here.
    """
    gain, delay, direction = paths.gain[..., 0].astype(np.complex128), paths.delay_s[..., 0], paths.arrival
    first = delay - direction @ array.element_offsets[0] / SPEED_OF_LIGHT
    phase = np.angle(gain * np.exp(-2j * np.pi * CARRIER_HZ * first)) if corrected else np.angle(gain)
    zeros = np.zeros(gain.shape)
    given = {
        "power": power_to_db(np.abs(gain) ** 2),
        "phase": np.rad2deg(phase),
        "delay": delay,
        "aod_az": np.rad2deg(np.arctan2(direction[..., 1], direction[..., 0])),
        "aod_el": np.rad2deg(np.arccos(direction[..., 2])),  # zenith angles
        "aoa_az": zeros,
        "aoa_el": zeros + 90.0,
        "rx_pos": paths.positions_m,
        "tx_pos": np.array([array.position]),
        "n_ue": len(paths),
        "runs": runs,
        "shape": np.array([array.cols, array.rows]),
        "subcarriers": subcarriers,
        "bandwidth_hz": subcarriers * SUBCARRIER_SPACING_HZ,
    }
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "paths.npz"), Path(folder, "channels.npz")
        np.savez(source, **given)
        rival = Path(__file__).with_name("synthesis_rival.py")
        subprocess.run([python, str(rival), str(source), str(target)], check=True, env=_one_core(), capture_output=True)
        result = np.load(target)
        return result["channel"] * np.sqrt(subcarriers), result["seconds"].tolist()


def _difference_db(theirs: NDArray[Any], ours: NDArray[Any]) -> float:
    return float(power_to_db(np.sum(np.abs(theirs - ours) ** 2) / np.sum(np.abs(ours) ** 2)))


if __name__ == "__main__":
    main()
