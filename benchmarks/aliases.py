"""Regular masks: waves found over all aliases against waves that know of none, and what looking for aliases costs.

    python -m benchmarks.aliases [--links 60] [--quick]

Part 1 hides antennas by combs, which leave every plane wave several directions, from links of the test cities (the
shipped sets ``laetwin-dev``, and of ``laetwin-hard`` those without line of sight and with more than 6 paths, 64 x 64).
Rows: zero filling; the wave frame as if directions could not be mistaken; one wave over its aliases; the wave frame and
the off-grid estimate over the aliases of all waves. Printed are mean (95 % interval over links) and median NMSE in dB,
and the share of links whose estimate has its strongest wave where the truth has it. Part 2 gives the processor time of
estimators on random masks, which leave no direction in doubt, over that of the same without looking for aliases. One
thread. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channelfm.baselines import BASELINES
from channelfm.baselines.wave_frame import WaveFrame
from channelfm.benchmarking.recipe import KeepRecipe, SetRecipe
from channelfm.benchmarking.sets import load_set
from channelfm.datasets.blocks import Blocks, join_blocks
from channelfm.estimator import Estimator, Examples
from channelfm.metrics import bootstrap_interval, bounded_db, nmse, polar_peaks
from channelfm.tasks import Extrapolation
from channelfm.tasks.observing import Partial

SETS = (
    SetRecipe(name="easy", dataset="laetwin-dev"),
    SetRecipe(name="hard", dataset="laetwin-hard", keep=KeepRecipe(line_of_sight=False, more_paths_than=6)),
)
CASES: tuple[tuple[float, float | None], ...] = ((0.75, None), (0.9, None), (0.75, 10.0), (0.9, 10.0))
SAME_DIRECTION = 0.1  # sum of the differences of both sines
TIMED, REPEATS = ("wave-frame", "off-grid", "polar-omp"), 5
LOOKS_FOR_ALIASES = ("channelfm.waves.search.by_aliases", "channelfm.baselines.matching_pursuit.by_aliases")
Complex = NDArray[np.complex64]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--links", type=int, default=60, help="links of each set (60)")
    parser.add_argument("--quick", action="store_true", help="6 links of each set")
    options = parser.parse_args()
    torch.set_num_threads(1)
    count = 6 if options.quick else options.links
    links = {recipe.name: load_set(recipe, None, count, progress=False).blocks for recipe in SETS}
    summary = {"combs": _combs(links), "time_over_without": _times(links)}
    print(json.dumps(summary))


def _combs(links: dict[str, Blocks]) -> dict[str, dict[str, float]]:
    """The first table."""
    rows: dict[str, Callable[[Examples], Complex]] = {
        "zero filling": lambda case: case.observation.values,
        "wave frame, no alias known": lambda case: _without_aliases(WaveFrame(), case),
        "one wave over its aliases": lambda case: WaveFrame(waves=1).estimate(case.observation),
        "wave frame": lambda case: WaveFrame().estimate(case.observation),
        "off-grid": lambda case: BASELINES["off-grid"]().estimate(case.observation),
    }
    summary = {}
    for name, blocks in links.items():
        spacing = blocks.grid.array.spacing_wavelengths
        for ratio, snr_db in CASES:
            case = Extrapolation().examples(blocks, Partial("comb", ratio, snr_db), 0)
            right = polar_peaks(case.target[:, 0], spacing).sines
            print(f"\n{name}, comb {ratio:g}, {'clean' if snr_db is None else f'{snr_db:g} dB'}, {len(blocks)} links")
            for row, answer in rows.items():
                estimate = answer(case)
                error = nmse(estimate, case.target)
                low, high = (bounded_db(value) for value in bootstrap_interval(error))
                mean, median = bounded_db(np.mean(error)), bounded_db(np.median(error))
                apart = np.abs(polar_peaks(estimate[:, 0], spacing).sines - right).sum(axis=1)
                share = float(np.mean(apart < SAME_DIRECTION))
                print(f"{row:28}{mean:8.1f} ({low:6.1f} .. {high:6.1f}){median:8.1f} dB   right {100 * share:5.1f} %")
                summary[f"{name} {ratio:g} {snr_db} {row}"] = {"mean_db": mean, "median_db": median, "right": share}
    return summary


def _times(links: dict[str, Blocks]) -> dict[str, float]:
    """The second table: least processor times of some links of both sets, with and without in turns."""
    blocks = join_blocks([part.select(slice(None, None, max(1, len(part) // 8))) for part in links.values()])
    summary = {}
    print("\nprocessor time on random masks [ms per link]")
    for ratio in (0.5, 0.9):
        case = Extrapolation().examples(blocks, Partial("random", ratio), 0)
        for name in TIMED:
            estimator = BASELINES[name]()
            known, unknown = [], []
            for _ in range(REPEATS):
                known.append(_seconds(lambda e=estimator, c=case: e.estimate(c.observation)))  # type: ignore[misc]
                unknown.append(_seconds(lambda e=estimator, c=case: _without_aliases(e, c)))  # type: ignore[misc]
            summary[f"{name} {ratio:g}"] = min(known) / min(unknown)
            each = 1e3 / len(blocks)
            print(f"{name:12}{ratio:5g}{min(known) * each:8.1f}, without {min(unknown) * each:8.1f}")
    return summary


def _seconds(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def _without_aliases(estimator: Estimator, case: Examples) -> Complex:
    """What an estimator answers where every direction counts as the only one."""
    with _no_alias_known():
        return estimator.estimate(case.observation)


@contextlib.contextmanager
def _no_alias_known() -> Iterator[None]:
    def one_group(mask: Tensor, spacing_wavelengths: float) -> list[tuple[Tensor, Tensor]]:
        return [(torch.arange(len(mask)), torch.zeros(1, 2))]

    with contextlib.ExitStack() as stack:
        for name in LOOKS_FOR_ALIASES:
            stack.enter_context(mock.patch(name, one_group))
        yield


if __name__ == "__main__":
    main()
