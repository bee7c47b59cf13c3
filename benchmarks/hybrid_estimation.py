"""The literature's rows of near-field estimation (Cui & Dai 2022; SPEC 8) beside ours, and the bounds.

N = 256, 28 GHz, 4 RF chains, 32 pilot slots, 10 dB, 4 users a cell, 3 paths, 64 subcarriers over 100 MHz without
squint, 2 L = 6 atoms; mean linear NMSE. Our phase shifters have four phases, the published ones two.

    python -m benchmarks.hybrid_estimation [--users 100]
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from numpy.typing import NDArray

from channelfm.arrays import UPA
from channelfm.baselines import (
    HybridFieldOMP,
    OffGridDelay,
    PolarSIGW,
    PolarSOMP,
    SimultaneousWeightedOMP,
)
from channelfm.channels.near_field import NearFieldModel, draw_near_field
from channelfm.estimator import ChannelEstimator
from channelfm.metrics import nmse
from channelfm.observation import Grid, RandomlyCombined, observe
from channelfm.waves.bounds import SphericalWaves, field_bound, free_gain_bound
from channelfm.waves.oracles import oracle_least_squares

ATOMS, CHAINS, SLOTS, SNR_DB, USERS = 6, 4, 32, 10.0, 4
RANGES = {"far": (34.0, 249.0), "near": (2.732, 32.732)}
PUBLISHED = {
    "far": {
        "sw-omp, 6 atoms": -10.97,
        "polar-somp, 6 atoms": -16.49,
        "polar-sigw, 6 atoms": -22.91,
        "oracle-ls": -26.15,
    },
    "near": {
        "sw-omp, 6 atoms": -2.66,
        "polar-somp, 6 atoms": -16.66,
        "polar-sigw, 6 atoms": -22.74,
        "oracle-ls": -26.31,
    },
}


def rows_of(setting: str, users: int) -> dict[str, tuple[float, float]]:
    """Mean NMSE in dB and milliseconds a link of every row, by name."""
    array = UPA(1, 256, 28e9)
    grid = Grid(array, np.zeros(1), 28e9 + (np.arange(64) - 31.5) * 100e6 / 64)
    model = NearFieldModel(range_m=RANGES[setting], squint=False)
    draw = draw_near_field(model, array, grid.frequencies_hz, users, seed=0)
    channel = draw.response.reshape(users, *grid.shape)
    operator = RandomlyCombined(0, np.arange(users) // USERS, CHAINS * SLOTS, 1, 256)
    observation = observe(channel, operator, grid, SNR_DB, np.random.default_rng(0))
    kinds = (SimultaneousWeightedOMP, HybridFieldOMP, PolarSOMP, PolarSIGW)
    estimators: list[tuple[str, ChannelEstimator]] = [
        (f"{kind.name}, {ATOMS} atoms", kind(atoms=ATOMS)) for kind in kinds
    ]
    estimators += [(kind.name, kind()) for kind in kinds] + [(OffGridDelay.name, OffGridDelay())]
    found = {}
    for name, estimator in estimators:
        begin = time.perf_counter()
        answer = estimator.estimate(observation)
        each_ms = 1e3 * (time.perf_counter() - begin) / users
        found[name] = (decibels(nmse(answer, channel)), each_ms)
    waves = SphericalWaves(draw.rays.sources, draw.rays.gains, draw.rays.delays_s, squint=False)
    found["oracle-ls"] = (decibels(nmse(oracle_least_squares(draw.rays, False, observation), channel)), 0.0)
    found["bound, free gains"] = (decibels(free_gain_bound(waves, observation)), 0.0)
    found["bound, one gain a path"] = (decibels(field_bound(waves, observation)), 0.0)
    return found


def decibels(values: NDArray[np.float64]) -> float:
    """The mean in dB."""
    return float(10 * np.log10(values.mean()))


def main() -> None:
    """Print the table, and as the last line everything as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100)
    users = parser.parse_args().users
    results = {setting: rows_of(setting, users) for setting in RANGES}
    for setting, rows in results.items():
        print(f"{setting}: mean NMSE [dB] of {users} users, as published, ms a link")
        for name, (value, each_ms) in rows.items():
            known = PUBLISHED[setting].get(name)
            print(f"  {name:28s} {value:7.2f} {'' if known is None else f'{known:.2f}':>7s} {each_ms:8.0f}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
