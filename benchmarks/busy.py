"""How much slower training, wave search and statistics become beside busy processes, against their fair share.

    python -m benchmarks.busy [--beside 2] [--quick]

Runs the same work in fresh processes, alone and beside ``--beside`` others that would each keep a core busy: with
threads as the libraries set them by themselves, and as the package sets them (channelfm/processes.py). What those
others get of a core meanwhile is a thread's fair share, whatever else the machine does. With it, a single thread would
be done after the least processor time that the work has needed alone, over the share. The last line is one JSON object:
``over_fair_share`` is the time that the work took over that one, ``processor_ratio`` the processor time that it took,
by computing or by waiting for itself, over that least.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import psutil
from lightning_fabric import Fabric
from numpy.typing import NDArray

from channelfm.arrays import spherical_wave
from channelfm.baselines import BASELINES
from channelfm.config import load_recipe
from channelfm.estimator import Examples, Learns
from channelfm.pretraining.feed import prepare
from channelfm.pretraining.learner import Learner
from channelfm.pretraining.objectives import OBJECTIVES, fresh_networks
from channelfm.pretraining.recipe import PretrainRecipe
from channelfm.pretraining.source import ArraySource
from channelfm.processes import SHARING, cores
from channelfm.tasks import Extrapolation
from channelfm.tasks.observing import Partial

SIDE = 32  # antennas of an array's row and column
LINKS, SEQUENCES = 120, 48
STEPS, BATCH = 12, 16
HORIZON = 4
# What libraries do where nobody says anything, said aloud: the package's own settings give way to it.
BY_THEMSELVES = {"GOMP_SPINCOUNT": "300000", "OPENBLAS_NUM_THREADS": str(cores())}
LOOP = "while True: pass"


class Took(NamedTuple):
    """Seconds that some work took on the wall and of all threads together, and of the others beside it on average."""

    wall: float
    processor: float
    others: float


Parts = dict[str, Took]


def main() -> None:
    """Measure the four combinations in turn and print them; or, asked by itself, do the work once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beside", type=int, default=2, help="busy processes")
    parser.add_argument("--quick", action="store_true", help="a third of the work")
    parser.add_argument("--work-beside", type=int, nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work_beside is not None:
        print(json.dumps(work(3 if options.quick else 1, options.work_beside)))
        return
    print(f"{cores()} cores, {os.getloadavg()[0]:.1f} processes running before")
    ways = {"libraries": BY_THEMSELVES, "channelfm": SHARING}
    alone = {name: measured(settings, 0, options.quick) for name, settings in ways.items()}
    beside = {name: measured(settings, options.beside, options.quick) for name, settings in ways.items()}
    needed = {part: min(parts[part].processor for parts in alone.values()) for part in alone["channelfm"]}
    summary: dict[str, float] = {}
    for name in ways:
        print(f"\nthreads as set by {name}: seconds (and of all threads), alone and beside {options.beside}")
        found = shown(alone[name], beside[name], needed)
        summary |= {f"{name}_{key}": value for key, value in found.items()}
    print(json.dumps(summary))


def work(part: int, others: Sequence[int]) -> Parts:
    """What each kind of work takes, a ``part``-th of it, after a first call that loads and compiles."""
    rivals = [psutil.Process(number) for number in others]
    kinds: dict[str, tuple[Callable[[int], None], int]] = {
        "training": (trainer(), STEPS),
        "wave search": (lambda count: reconstruct("off-grid", count), LINKS),
        "LMMSE": (lambda count: reconstruct("lmmse", count), LINKS),
        "prediction": (predict, SEQUENCES),
    }
    found = {}
    for name, (do, amount) in kinds.items():
        do(1)
        before = _clocks(rivals)
        do(amount // part)
        found[name] = Took(*(now - then for now, then in zip(_clocks(rivals), before, strict=True)))
    return found


def trainer() -> Callable[[int], None]:
    """Training steps of the demo's network."""
    recipe = load_recipe(PretrainRecipe, "pretrain-cddim-demo", [f"batch_size={BATCH}", "accelerator=cpu"])
    source = ArraySource(channels(64, 0))
    learner = Learner(Fabric(accelerator="cpu", devices=1), recipe, fresh_networks(recipe))
    objective = OBJECTIVES[recipe.objective.kind]

    def train(steps: int) -> None:
        for step in range(steps):
            objective.step(learner, prepare(source, recipe, step, range(BATCH)))

    return train


def reconstruct(name: str, count: int) -> None:
    """Links with nine tenths of their antennas hidden, by a classical estimator, which learns first if it has to."""
    estimator = BASELINES[name]()
    if isinstance(estimator, Learns):
        estimator.learn(Examples.of_channels(channels(4 * count, 1)))
    links = Examples.of_channels(channels(count, 2)).blocks
    estimator.estimate(Extrapolation().examples(links, Partial(), 0).observation)


def predict(count: int) -> None:
    """Sequences of ten frames, continued by the pursuit of waves, in NumPy."""
    turns = np.exp(2j * np.pi * np.random.default_rng(3).uniform(-0.2, 0.2, (count, 1)) * np.arange(10))
    past = channels(count, 4)[:, None, :1] * turns[:, :, None, None, None] * np.ones(16)
    everything = np.ones((1, 1, 1, 1, 1), np.bool_)
    BASELINES["harmonic-pursuit"]().predict(past.astype(np.complex64), everything, HORIZON)


def channels(count: int, seed: int) -> NDArray[np.complex64]:
    """Channels complex64 [count, row, column, 1] of three spherical waves."""
    generator = np.random.default_rng(seed)
    sources = generator.uniform([50, -100, -60], [300, 100, 60], (count, 3, 3))
    gains = np.array([1.0, 0.4, 0.2]) * np.exp(2j * np.pi * generator.random((count, 3)))
    field = (spherical_wave(SIDE, SIDE, sources) * gains[..., None, None]).sum(axis=1)
    return np.asarray(1e-6 * field[..., None], np.complex64)


def measured(settings: dict[str, str], beside: int, quick: bool) -> Parts:
    """The work in a fresh process with these settings, beside so many busy processes."""
    command = [sys.executable, "-m", "benchmarks.busy", *(["--quick"] if quick else []), "--work-beside"]
    with busy(beside) as numbers:
        command += map(str, numbers)
        done = subprocess.run(command, env=os.environ | settings, stdout=subprocess.PIPE, text=True, check=True)
    return {part: Took(*took) for part, took in json.loads(done.stdout.splitlines()[-1]).items()}


@contextlib.contextmanager
def busy(count: int) -> Iterator[list[int]]:
    """``count`` processes that would keep a core busy each; their numbers."""
    started = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(count)]
    try:
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()


def shown(alone: Parts, beside: Parts, needed: Mapping[str, float]) -> dict[str, float]:
    """Print a table; the sums of its columns. ``needed``: the least processor time of each part."""
    print(f"{'':14}{'alone':>19}{'beside others':>19}{'share':>8}{'fair':>8}{'over':>7}")
    fair = {part: needed[part] * took.wall / took.others for part, took in beside.items()}
    for part, took in beside.items():
        columns = f"{_seconds(alone[part])}{_seconds(took)}{took.others / took.wall:8.2f}{fair[part]:8.1f}"
        print(f"{part:14}{columns}{took.wall / fair[part]:7.2f}")
    wall, processor = (sum(getattr(took, name) for took in beside.values()) for name in ("wall", "processor"))
    return {
        "alone_s": round(sum(took.wall for took in alone.values()), 1),
        "beside_s": round(wall, 1),
        "processor_ratio": round(processor / sum(needed.values()), 2),
        "over_fair_share": round(wall / sum(fair.values()), 2),
    }


def _seconds(took: Took) -> str:
    return f"{took.wall:10.2f} ({took.processor:6.2f})"


def _clocks(others: Sequence[psutil.Process]) -> Took:
    """The time now: on the wall, of this process, and of the others on average (nothing, where there are none)."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    theirs = [sum(other.cpu_times()[:2]) for other in others]
    return Took(time.perf_counter(), own.ru_utime + own.ru_stime, sum(theirs) / max(1, len(theirs)))


if __name__ == "__main__":
    main()
