"""A whole recipe, disk included: links per second, memory over time, and what table II of LAETwin-XL would take.

    python -m benchmarks.generation [--quick] [--links N] [--workers N] [-s KEY=VALUE]

Generates a data set of 64 x 64 arrays in Munich and in two procedural cities (recipe ``bench-generation``) in a process
of its own, and samples the memory of that process and its workers meanwhile. ``benchmarks.nearfield`` has the rival:
Sionna tracing every element. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from channelfm.datasets.dataset import open_dataset

TABLE_TWO = 57_236 + 13_450  # samples of LAETwin-XL, pretraining and downstream
SAMPLED_EVERY_S = 0.5
STARTING_UP = 0.25  # share of the run after which memory should be flat


def main() -> None:
    """Generate, watch, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few hundred links")
    parser.add_argument("--links", type=int, default=6_000, help="about how many links (default 6000)")
    parser.add_argument("--workers", type=int, help="processes; one per core by default")
    parser.add_argument("-s", "--set", action="append", default=[], metavar="KEY=VALUE", help="override the recipe")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds, memory_mb = _generate(Path(folder) / "data", 300 if options.quick else options.links, options)
        dataset = open_dataset(Path(folder) / "data")
        links = len(dataset)
        stored_mb = sum(shard.size for shard in dataset.manifest.shards) / 1e6
    settled = memory_mb[int(STARTING_UP * len(memory_mb)) :]
    halves = [float(np.median(half)) for half in np.array_split(settled, 2)]
    speed = links / seconds
    print(f"{links} links of 64 x 64 in {seconds:.0f} s: {speed:.1f} links/s, {1e3 / speed:.0f} ms per link")
    print(f"on disk {stored_mb:.1f} MB ({1e3 * stored_mb / links:.1f} kB per link; as complex64 channels 32.8 kB)")
    print(f"memory of all processes: peak {max(memory_mb):.0f} MB; settled {halves[0]:.0f}, later {halves[1]:.0f} MB")
    print(f"table II of LAETwin-XL ({TABLE_TWO} samples) would take {TABLE_TWO / speed / 3600:.2f} h")
    summary = {
        "links": links,
        "links_per_s": round(speed, 2),
        "kb_per_link": round(1e3 * stored_mb / links, 2),
        "peak_mb": round(max(memory_mb)),
        "memory_growth": round(halves[1] / halves[0], 3),
        "table_two_hours": round(TABLE_TWO / speed / 3600, 2),
    }
    print(json.dumps(summary))


def _generate(out: Path, links: int, options: argparse.Namespace) -> tuple[float, list[float]]:
    """Seconds of the whole command, and its memory in MB every half second."""
    users = max(1, round(links / 300))  # 3 scenes, 2 flights of 50 steps each
    settings = [f"flights.{flight}.num_uavs={users}" for flight in (0, 1)] + options.set
    command = [sys.executable, "-m", "channelfm.cli", "generate", "bench-generation", "--out", str(out)]
    command += [part for setting in settings for part in ("-s", setting)]
    command += [] if options.workers is None else ["--workers", str(options.workers)]
    start, memory_mb = time.perf_counter(), []
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        memory_mb.append(_memory_mb(process.pid))
        time.sleep(SAMPLED_EVERY_S)
    if process.returncode:
        sys.exit(f"error: generate ended with {process.returncode}")
    return time.perf_counter() - start, memory_mb


def _memory_mb(pid: int) -> float:
    """Memory of a process and all it started, shared pages counted once each (PSS)."""
    total = 0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            total += process.memory_full_info().pss
    except psutil.NoSuchProcess:
        pass  # it ended between two looks
    return total / 1e6


if __name__ == "__main__":
    main()
