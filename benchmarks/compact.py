"""Size, accuracy and speed of the compact path form on ray-traced links at 64 x 64 elements.

    python -m benchmarks.compact [--quick] [--maps FILE FILE]

UAV flights and, with diffraction, street-level users in the Munich scene are traced, compressed and expanded again.
Each channel is compared with the one synthesised from the traced paths: at the carrier, over 100 MHz, 1 ms later, and,
for a few links, on 128 x 128 elements over the same aperture with those traced themselves.

Then pedestrians walk through two cities, Munich and a procedural one or those of ``--maps``, as in the recipe
``laetwin-hard``: with diffraction, with and without diffuse scattering. Their gains step across the array where a
reflection ends or another wall comes between. The rival is one polynomial for each path; links "in need" are those that
it leaves above -40 dB, "flagged" those whose record says that pieces leave so much, too.

Links without any path are left out. One thread. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import timeit
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from channelfm import mobility, scenes
from channelfm.arrays import UPA
from channelfm.channels import CompactPaths, compress, expand, synthesize
from channelfm.datasets.generate.sites import fly, place_array
from channelfm.datasets.recipe import ArrayRecipe, FlightRecipe
from channelfm.records import Paths, Scene, Trajectory
from channelfm.scenes.surface import inside_buildings
from channelfm.tracing import trace
from channelfm.tracing.trace import Tracer
from channelfm.units import power_to_db

ARRAY = UPA(64, 64, 7e9, (8.5, 21.0, 60.0))
DENSE = dataclasses.replace(ARRAY, rows=128, cols=128, spacing_wavelengths=0.25)
WIDE_BAND_HZ = ARRAY.carrier_hz + np.linspace(-50e6, 50e6, 32)
FEW = 6  # links that are compared over the band and on the dense array
BASE_STATION = ArrayRecipe(rows=64, cols=64, carrier_hz=7e9, height_m=30.0)
WALK = {"before_array": {"ahead_m": [15, 300], "aside_m": [-150, 150]}, "num_steps": 30, "interval_s": 5.0}
WANTED_DB = -40.0


def main() -> None:
    """Trace both sets of links and print what their compact form is worth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the links, or fewer")
    parser.add_argument("--maps", nargs=2, metavar="FILE", help="two OpenStreetMap extracts to walk through")
    options = parser.parse_args()
    quick = options.quick
    torch.set_num_threads(1)
    scene = scenes.builtin("munich")
    flight = mobility.cruise(scene, num_uavs=2 if quick else 10, num_steps=5, seed=1, bounds=(-120, -150, 200, 150))
    street = _street(scene, 4 if quick else 20)
    summary: dict[str, Any] = {}
    for name, movement, diffraction in (("flight", flight, False), ("street", street, True)):
        paths = trace(scene, movement, ARRAY, diffraction=diffraction)
        few = np.flatnonzero(paths.has_path)[:FEW]
        dense = synthesize(trace(scene, movement.select(few), DENSE, diffraction=diffraction), DENSE)
        result = _sizes_and_times(paths)
        print(
            f"{name}: {result['links']:.0f} links of {result['paths']:.1f} kept paths, {result['bytes']:.0f} bytes each"
        )
        print(f"    {result['ratio']:.0f} times smaller than complex64; ms per link: ", end="")
        print(", ".join(f"{key[:-3]} {result[key]:.2f}" for key in ("compress_ms", "expand_ms", "synthesize_ms")))
        summary |= {f"{name}_{key}": round(value, 2) for key, value in result.items()}
        for key, values in _errors(paths, few, dense).items():
            median, most, worst = np.percentile(values, (50, 90, 100)).tolist()
            print(f"    {key:10} NMSE median {median:.1f}, 90 % below {most:.1f}, worst {worst:.1f} dB", flush=True)
            summary |= {f"{name}_{key}_db": round(median, 1), f"{name}_{key}_worst_db": round(worst, 1)}
    cities = [scene, scenes.procedural(seed=2)] if options.maps is None else map(scenes.from_osm, options.maps)
    for city in cities:
        for diffuse in (False, True):
            name = f"{city.name}, {'with' if diffuse else 'no'} diffuse scattering"
            summary[name] = _report_steps(name, _walked(city, 1 if quick else 12, diffuse))
    print(json.dumps(summary))


def _street(scene: Scene, count: int) -> Trajectory:
    """Users 1.5 m above free ground, within 150 m of the array."""
    rng = np.random.default_rng(5)
    drawn = np.column_stack([rng.uniform(-140, 160, 8 * count), rng.uniform(-130, 170, 8 * count)])
    positions = np.column_stack([drawn, np.full(len(drawn), 1.5)])
    positions = positions[~inside_buildings(scene, positions)][:count]
    return Trajectory(
        times_s=np.arange(len(positions), dtype=float),
        positions_m=positions,
        velocities_mps=np.tile([10.0, 5.0, 0.0], (len(positions), 1)),
        track=np.arange(len(positions), dtype=np.int32),
        kind="street",
    )


def _walked(scene: Scene, users: int, diffuse: bool) -> Iterator[tuple[Paths, UPA]]:
    """The paths of one pedestrian after the other, and their array."""
    array = place_array(BASE_STATION, scene)
    recipe = FlightRecipe(name="walk", split="test", kind="pedestrians", num_uavs=users, **WALK)
    movement = fly(recipe, scene, array, seed=7)
    tracer = Tracer(scene, array, diffraction=True, diffuse=diffuse)
    for user in range(users):
        yield tracer.trace(movement.select(movement.track == user)), array


def _report_steps(name: str, walks: Iterator[tuple[Paths, UPA]]) -> dict[str, float]:
    """Print and return what pieces are worth on the links of some walks, against one polynomial for each path."""
    found = []
    for paths, array in walks:
        seen = paths.has_path
        channel = synthesize(paths, array)[seen]
        with mock.patch("channelfm.channels.compact.fitting.in_pieces", return_value=[]):
            single = compress(paths, array).select(seen)
        split = compress(paths, array).select(seen)
        errors = [_nmse_db(expand(compact), channel) for compact in (single, split)]
        counts = split.error_db, split.path_count, split.split_count
        found.append(np.stack([*errors, _bytes(single), _bytes(split), *counts]))
    single_db, split_db, single_bytes, split_bytes, known_db, kept, further = np.concatenate(found, axis=1)
    in_need, flagged, growth = single_db > WANTED_DB, known_db > WANTED_DB, split_bytes / single_bytes
    print(f"pedestrians of {name}: {len(kept)} links of {kept.mean():.1f} kept paths")
    for how, values, size in (("one polynomial", single_db, single_bytes), ("pieces", split_db, split_bytes)):
        half, most, nearly, worst = np.percentile(values, (50, 90, 99, 100)).tolist()
        good = 100.0 * np.mean(values <= WANTED_DB)
        print(
            f"    {how}: median {half:.1f}, 90 % below {most:.1f}, 99 % below {nearly:.1f}, worst {worst:.1f} dB; ",
            end="",
        )
        print(f"{good:.2f} % at {WANTED_DB:.0f} dB or better; {size.mean():.0f} bytes per link")
    print(f"    {in_need.sum()} links in need, {np.sum(further > 0)} in pieces, ", end="")
    print(f"which take {growth.max():.2f} times the bytes at most; {flagged.sum()} flagged", flush=True)
    result = {
        "links": len(kept),
        "paths": kept.mean(),
        "in_need": in_need.sum(),
        "in_pieces": np.sum(further > 0),
        "flagged": flagged.sum(),
        "single_share": np.mean(single_db <= WANTED_DB),
        "share": np.mean(split_db <= WANTED_DB),
        "single_worst_db": single_db.max(),
        "worst_db": split_db.max(),
        "single_bytes": single_bytes.mean(),
        "bytes": split_bytes.mean(),
        "growth_worst": growth.max(),
        "flag_off_db": np.abs(known_db - split_db).max(),
    }
    return {key: round(float(value), 4) for key, value in result.items()}


def _bytes(compact: CompactPaths) -> list[int]:
    """Bytes of each link by itself."""
    return [compact.select([index]).num_bytes for index in range(len(compact))]


def _sizes_and_times(paths: Paths) -> dict[str, float]:
    """Figures of a link on average; times are the best of three."""
    compact, links = compress(paths, ARRAY), int(np.count_nonzero(paths.has_path))
    actions: dict[str, Callable[[], Any]] = {
        "compress_ms": lambda: compress(paths, ARRAY),
        "expand_ms": lambda: expand(compact, ARRAY),
        "synthesize_ms": lambda: synthesize(paths, ARRAY),
    }
    return {
        "links": links,
        "paths": len(compact.delay_s) / links,
        "bytes": compact.num_bytes / links,
        "ratio": 8 * ARRAY.num_antennas * links / compact.num_bytes,
    } | {name: 1e3 * min(timeit.repeat(action, number=1, repeat=3)) / links for name, action in actions.items()}


def _errors(paths: Paths, few: NDArray[np.intp], dense: NDArray[np.complex64]) -> dict[str, NDArray[np.float64]]:
    """NMSE [dB] of every link (or of ``few``), by what is compared."""
    compact, seen = compress(paths, ARRAY), paths.has_path
    later = 1e-3
    return {
        "carrier": _nmse_db(expand(compact, ARRAY)[seen], synthesize(paths, ARRAY)[seen]),
        "wide_band": _nmse_db(
            expand(compact, ARRAY, WIDE_BAND_HZ, snapshots=few), synthesize(_chosen(paths, few), ARRAY, WIDE_BAND_HZ)
        ),
        "later": _nmse_db(expand(compact, ARRAY, offset_s=later)[seen], synthesize(paths, ARRAY, offset_s=later)[seen]),
        "dense": _nmse_db(expand(compact, DENSE, snapshots=few), dense),
    }


def _chosen(paths: Paths, index: NDArray[np.intp]) -> Paths:
    arrays = {item.name: getattr(paths, item.name) for item in dataclasses.fields(paths)}
    chosen = {name: values[index] for name, values in arrays.items() if isinstance(values, np.ndarray)}
    return dataclasses.replace(paths, **chosen)


def _nmse_db(estimate: torch.Tensor, truth: NDArray[np.complex64]) -> NDArray[np.float64]:
    error = np.sum(np.abs(estimate.numpy() - truth) ** 2, axis=(1, 2), dtype=np.float64)
    return power_to_db(error / np.sum(np.abs(truth) ** 2, axis=(1, 2), dtype=np.float64))


if __name__ == "__main__":
    main()
