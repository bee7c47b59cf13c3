"""Put the data sets of the benchmarks into the package: compact paths, or the exact channels of a few links, with
manifest, card and whom to credit.

    CHANNELFM_MAPS=maps/ python scripts/package_sets.py                # all of them, anew where a recipe changed
    CHANNELFM_MAPS=maps/ python scripts/package_sets.py dynamic-quick  # some of them

The measured split is made whole. Of the others only as many users as learning rows need are made: the first of each
flight, with the bytes that they have in the whole data set. What is made lies in build/sets, where a run that was
broken off goes on (delete it after a change to the code that makes channels); scenes stay there, for they are maps more
than channels. All of them take half an hour of two cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import time
from pathlib import Path

from channelfm.datasets import Dataset, open_dataset
from channelfm.datasets.card import write_card
from channelfm.datasets.generate import Workforce, generate_excerpt

ROOT = Path(__file__).resolve().parent.parent
MADE, PACKAGED = ROOT / "build" / "sets", ROOT / "channelfm" / "sets"

# Users of each flight by split; the test split is whole. Who learns is taught with some hundred links.
EXCERPTS: dict[str, dict[str, int]] = {
    "laetwin-dev": {"train": 1, "val": 0},
    "laetwin-hard": {"train": 1, "val": 0},
    "dynamic-quick": {},
    "generalise-128": {},
    "generalise-3500": {},
    "generalise-28000": {},
    "exact-cities": {},
    "exact-flights": {},
}


def package(made: Dataset) -> Path:
    """Copy a data set into the package, without its scenes and without what only its making needs."""
    folder = PACKAGED / made.name
    shutil.rmtree(folder, ignore_errors=True)
    for shard in made.manifest.shards:
        (folder / shard.file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made.folder / shard.file, folder / shard.file)
    scenes = tuple(dataclasses.replace(scene, record=None) for scene in made.manifest.scenes)
    dataclasses.replace(made.manifest, scenes=scenes).save(folder)
    write_card(open_dataset(folder, verify=True))
    return folder


def main() -> None:
    """Read the arguments, make what is missing and copy it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(EXCERPTS)}; default: all")
    parser.add_argument("--workers", type=int, default=None, help="processes; default: one per core")
    options = parser.parse_args()
    for name in options.names or EXCERPTS:
        start = time.perf_counter()
        made = generate_excerpt(name, MADE / name, EXCERPTS[name], workforce=Workforce(options.workers))
        folder = package(made)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
        print(f"{name}: {len(made)} links, {size:.2f} MB, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
