"""Speed of reading random batches from a data set, against a raw memory map of one flat file, in one run.

    python -m benchmarks.reading [--gigabytes 5] [--quick] [--folder DIR]

Writes a data set of made-up channels of 64 x 64 antennas through the package's own shards, reads batches of random
samples from it, first with a cold and then with a warm file cache, deletes it, and does the same with one flat file of
the same size, read through numpy.memmap into a batch. The first reading ever of a shard compares its hash, which has a
row of its own. Every batch is checked. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from channelfm.arrays import UPA
from channelfm.datasets.dataset import open_dataset
from channelfm.datasets.manifest import Manifest, SceneEntry
from channelfm.datasets.recipe import DatasetRecipe, FlightRecipe, SceneRecipe
from channelfm.datasets.shards import write_shard
from channelfm.errors import InputError
from channelfm.records import Channels

Batch = NDArray[np.complex64]
ReadBatch = Callable[[NDArray[np.int64]], Batch]

ARRAY = UPA(64, 64, 7e9)
SAMPLE_BYTES = ARRAY.num_antennas * 8
PER_SHARD = 100  # snapshots of one user
BATCH = 256
WARM_ROUNDS = 5
FIRST, HASHING = "data set, hashed for the first time", "data set, hashing alone"
SETTLED_S = 0.2  # until a file that was written counts as unchanged


def main() -> None:
    """Write, read and delete the data set, then the flat file; print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=5.0, help="size of the data set")
    parser.add_argument("--quick", action="store_true", help="0.3 GB and few batches, some seconds")
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder")
    options = parser.parse_args()
    shards = max(1, round((0.3 if options.quick else options.gigabytes) * 1e9 / (SAMPLE_BYTES * PER_SHARD)))
    batches = 8 if options.quick else 40
    place = Path(tempfile.mkdtemp(prefix="reading-", dir=options.folder))
    try:
        rates = _of_dataset(place, shards, batches) | _of_flat_file(place, shards, batches)
    finally:
        shutil.rmtree(place)
    count = shards * PER_SHARD
    print(f"{count} samples of {SAMPLE_BYTES} bytes ({count * SAMPLE_BYTES / 1e9:.2f} GB), batches of {BATCH}")
    print(f"{'':38}{'cold cache':>22}{'warm cache':>24}")
    for name, (cold, warm) in rates.items():
        print(f"{name:38}{_in_words(cold):>24}{_in_words(warm):>24}")
    ours, raw = rates["data set, batches"], rates["flat file, memory map"]
    summary = {
        "gigabytes": round(count * SAMPLE_BYTES / 1e9, 2),
        "first_samples_per_s": round(rates[FIRST][0]),
        "hashing_warm_samples_per_s": round(rates[HASHING][1]),
        "cold_samples_per_s": round(ours[0]),
        "warm_samples_per_s": round(ours[1]),
        "raw_cold_samples_per_s": round(raw[0]),
        "raw_warm_samples_per_s": round(raw[1]),
        "cold_ratio": round(ours[0] / raw[0], 2),
        "warm_ratio": round(ours[1] / raw[1], 2),
    }
    print(json.dumps(summary))


def _in_words(rate: float) -> str:
    return f"{rate:,.0f} /s {rate * SAMPLE_BYTES / 1e9:6.2f} GB/s"


def _of_dataset(place: Path, shards: int, batches: int) -> dict[str, tuple[float, float]]:
    """Samples per second, cold and warm, of the data set: whole batches, and batches stacked of single samples."""
    folder = place / "dataset"
    _require_room(place, shards)
    start = time.perf_counter()
    _write_dataset(folder, shards)
    print(f"data set of {shards} shards written in {time.perf_counter() - start:.1f} s (hashed, each synced to disk)")

    def batched() -> ReadBatch:
        return open_dataset(folder).samples("train").batch

    def one_by_one() -> ReadBatch:
        samples = open_dataset(folder).samples("train")
        return lambda numbers: np.stack([samples[number] for number in numbers.tolist()])

    files = sorted(folder.rglob("*.safetensors"))
    batched()(np.arange(1))  # loads PyTorch
    time.sleep(SETTLED_S)
    ways = {FIRST: batched, "data set, batches": batched, "data set, single samples": one_by_one}
    os.environ["XDG_CACHE_HOME"] = str(place / "cache")  # in which no file is known to be whole
    rates = {name: _timed(way, files, shards * PER_SHARD, batches) for name, way in ways.items()}
    seconds = []
    for kept in (False, True):
        if not kept:
            _forget(files)
        start = time.perf_counter()
        open_dataset(folder, verify=True)
        seconds.append(time.perf_counter() - start)
    shutil.rmtree(folder)
    return rates | {HASHING: (shards * PER_SHARD / seconds[0], shards * PER_SHARD / seconds[1])}


def _of_flat_file(place: Path, shards: int, batches: int) -> dict[str, tuple[float, float]]:
    """The same of one flat file through numpy.memmap."""
    path, count = place / "flat", shards * PER_SHARD
    _require_room(place, shards)
    with path.open("wb") as file:
        for response in _responses(shards):
            file.write(response.tobytes())
        file.flush()
        os.fsync(file.fileno())

    def mapped() -> ReadBatch:
        samples = np.memmap(path, dtype=np.complex64, mode="r", shape=(count, ARRAY.num_antennas, 1))
        return lambda numbers: np.asarray(samples[numbers])

    return {"flat file, memory map": _timed(mapped, [path], count, batches)}


def _timed(opened: Callable[[], ReadBatch], files: Iterable[Path], count: int, batches: int) -> tuple[float, float]:
    """Samples per second with a cold cache, and the median of several rounds over the same batches with a warm one."""
    drawn = np.random.default_rng(0).permutation(count)[: batches * BATCH]
    wanted = np.array_split(drawn, max(1, len(drawn) // BATCH))
    _forget(files)
    read = opened()
    seconds = []
    for _ in range(1 + WARM_ROUNDS):
        took = 0.0
        for numbers in wanted:
            start = time.perf_counter()
            batch = read(numbers)
            took += time.perf_counter() - start
            if not np.array_equal(batch[:, 0, 0].real, numbers):
                raise AssertionError("a batch holds other samples than those asked for")
        seconds.append(took)
    return len(drawn) / seconds[0], len(drawn) / statistics.median(seconds[1:])


def _forget(files: Iterable[Path]) -> None:
    """Drop the files from the system's cache (nobody maps them)."""
    for path in files:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _responses(shards: int) -> Iterable[Batch]:
    """Responses [snapshot, antenna, 1], shard by shard; the first entry of a sample is its number."""
    rng = np.random.default_rng(0)
    shape = (PER_SHARD, ARRAY.num_antennas, 1)
    response = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    for shard in range(shards):
        response[:, 0, 0] = shard * PER_SHARD + np.arange(PER_SHARD)
        yield response


def _write_dataset(folder: Path, shards: int) -> None:
    """A data set with one split, made up, in the form that ``generate`` writes."""
    recipe = DatasetRecipe(
        name="reading",
        scenes=(SceneRecipe(name="none", source="threegpp:cdl-a"),),
        flights=(FlightRecipe(name="f", split="train", num_uavs=shards, num_steps=PER_SHARD),),
    )
    where = {"split": "train", "scene": "none", "flight": "f", "method": "made up"}
    entries = [
        write_shard(folder, _channels(response, number), unit=f"none--f--{number:04d}", **where)
        for number, response in enumerate(_responses(shards))
    ]
    scene = SceneEntry("none", None, {"bs": ARRAY}, "")
    Manifest(recipe, "reading", {}, (scene,), tuple(entries)).save(folder)


def _channels(response: Batch, track: int) -> Channels:
    zeros, flags = np.zeros(PER_SHARD), np.zeros(PER_SHARD, dtype=np.bool_)
    return Channels(
        response=response,
        frequencies_hz=np.array([ARRAY.carrier_hz]),
        positions_m=np.zeros((PER_SHARD, 3)),
        velocities_mps=np.zeros((PER_SHARD, 3)),
        times_s=np.arange(PER_SHARD, dtype=np.float64),
        track=np.full(PER_SHARD, track, dtype=np.int32),
        line_of_sight=flags,
        near_field=flags,
        has_path=~flags,
        distance_m=zeros,
        azimuth_rad=zeros,
        elevation_rad=zeros,
        rows=ARRAY.rows,
        cols=ARRAY.cols,
        carrier_hz=ARRAY.carrier_hz,
    )


def _require_room(place: Path, shards: int) -> None:
    needed, free = 1.1 * shards * PER_SHARD * SAMPLE_BYTES, shutil.disk_usage(place).free
    if needed > free:
        raise InputError(f"{place}: has {free / 1e9:.1f} GB left, {needed / 1e9:.1f} GB are needed; give --folder")


if __name__ == "__main__":
    main()
