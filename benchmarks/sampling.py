"""Accuracy and time of a diffusion model against its number of sampling steps, in one run.

    python -m benchmarks.sampling [--model NAME_OR_FOLDER] [--distilled NAME_OR_FOLDER] [--data DIR] [--quick]

Validation links of a data set that stores paths, as 32 x 32 and 64 x 64 arrays with 90 % and 50 % of the antennas
hidden at random, are reconstructed by DDIM and DPM-Solver++ and, where given, by a distilled model, with and without
holding observed antennas to their values. "frame alone" is the same predictor around a network that answers nothing:
what the canonical frame gives, and the time that it takes. NMSE is of the linear mean in dB, with its 95 % bootstrap
interval over links. The paper's ablation of steps (seed 000, table IV) stands beside, for its own model and data. The
last line is one JSON object; ``within_1_db_steps`` are the fewest steps that lose at most 1 dB against 50 steps of the
model by DDIM in every case measured (null: none does).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from channelfm.benchmarking.recipe import SetRecipe
from channelfm.benchmarking.sets import load_set
from channelfm.checkpoints import load_model, packaged_models
from channelfm.datasets.blocks import Blocks
from channelfm.diffusion import SamplerRecipe
from channelfm.errors import ChannelfmError, InputError
from channelfm.estimator import Examples
from channelfm.learned.estimator import DiffusionEstimator, device_of
from channelfm.metrics import bootstrap_interval, bounded_db, nmse, summary
from channelfm.tasks import Extrapolation
from channelfm.tasks.observing import Partial

DEFAULT_MODEL = "cddim-small"
STEPS, FEW = (1, 2, 4, 8, 20, 50, 100, 200), (1, 2, 4, 8)
QUICK_STEPS = (1, 2, 4, 50)
REFERENCE_STEPS, TOLERANCE_DB = 50, 1.0
PAPER_DB = {10: -23.92, 20: -27.25, 50: -30.08, 100: -30.83, 200: -31.16}
BATCH = 32  # links per call

Row = dict[str, Any]


class Nothing(nn.Module):
    """A network that predicts zeros: nothing beside what the frame found."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(()))

    def forward(self, noisy: Tensor, step: Tensor, observed: Tensor, mask: Tensor) -> Tensor:
        """Zeros like ``noisy``."""
        return torch.zeros_like(noisy)


def main() -> int:
    """Measure all combinations and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL, help=f"packaged name or checkpoint folder ({DEFAULT_MODEL})")
    parser.add_argument("--distilled", help="a distilled model, packaged name or checkpoint folder")
    parser.add_argument("--data", default="data/laetwin-dev", help="data set with a split 'val' (data/laetwin-dev)")
    parser.add_argument("--links", type=int, default=32, help="links at 32 x 32, and half as many at 64 x 64 (32)")
    parser.add_argument("--device", default="cpu", help="where the networks work (cpu)")
    parser.add_argument("--quick", action="store_true", help="16 links, 32 x 32, 90 %% hidden, few numbers of steps")
    options = parser.parse_args()
    try:
        models = {name: _diffusion_model(name, options.device) for name in (options.model, options.distilled) if name}
        rows = list(_measure(models, options))
    except ChannelfmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    fewest = {
        f"{model} {sampler}": _fewest_steps(rows, options.model, model, sampler)
        for model, sampler in dict.fromkeys((row["model"], row["sampler"]) for row in rows if row["steps"])
    }
    for name, steps in fewest.items():
        print(f"{name}: fewest steps within {TOLERANCE_DB:g} dB of the model's {REFERENCE_STEPS}: {steps or 'none'}")
    print(json.dumps({"model": options.model, "rows": rows, "within_1_db_steps": fewest}))
    return 0


def _diffusion_model(name: str, device: str) -> DiffusionEstimator:
    if name == DEFAULT_MODEL and name not in packaged_models():
        raise InputError(
            f"'{name}' is not packaged with this version: train one with 'channelfm pretrain' and give its folder, "
            "--model runs/.../checkpoint"
        )
    model = load_model(name, device)
    if not isinstance(model, DiffusionEstimator):
        raise InputError(f"{name} is not asked step by step: give a diffusion model")
    return model


def _measure(models: dict[str, DiffusionEstimator], options: argparse.Namespace) -> Iterator[Row]:
    """Rows of all arrays, mask ratios, models, samplers and numbers of steps, printed as they come."""
    numbers: tuple[int, ...] = QUICK_STEPS if options.quick else STEPS
    base = models[options.model]
    plans = [(options.model, "ddim", numbers), (options.model, "dpm-solver++", numbers)]
    if options.distilled:
        plans.append((options.distilled, "ddim", tuple(steps for steps in numbers if steps in FEW)))
    for side, ratio in product((32,) if options.quick else (32, 64), (0.9,) if options.quick else (0.9, 0.5)):
        case = Extrapolation().examples(_links(options, side), Partial("random", ratio), 0)
        print(f"\n{side} x {side} antennas, {ratio:.0%} hidden, {len(case.target)} links")
        print(f"{'model':28}{'sampler':14}{'held':>6}{'steps':>7}{'NMSE':>9}{'95 % interval':>18}", end="")
        print(f"{'median':>9}{'ms/link':>10}{'paper':>9}")
        conditions = {"array": side, "mask_ratio": ratio}
        yield _printed(_row(_alone(base), case, "frame alone", conditions))
        for (name, sampler, steps), held in product(plans, (True, False)):
            for count in steps:
                chosen = SamplerRecipe(sampler=sampler, steps=count, data_consistency=held)
                recipe = models[name].recipe.model_copy(update={"sampler": chosen})
                yield _printed(_row(DiffusionEstimator(models[name].network, recipe), case, name, conditions))


def _links(options: argparse.Namespace, side: int) -> Blocks:
    """Validation links of the data set as side x side arrays, evenly spaced over the split."""
    count = 16 if options.quick else max(1, options.links * 32 // side)
    return load_set(SetRecipe(dataset=options.data, split="val", array=(side, side)), None, count).blocks


def _alone(model: DiffusionEstimator) -> DiffusionEstimator:
    diffusion = model.recipe.diffusion.model_copy(update={"prediction": "sample"})
    recipe = model.recipe.model_copy(update={"diffusion": diffusion, "sampler": SamplerRecipe(steps=1)})
    return DiffusionEstimator(Nothing().to(device_of(model.network)), recipe)


def _row(estimator: DiffusionEstimator, case: Examples, name: str, conditions: Row) -> Row:
    """One measurement; a first call that is not timed warms up."""
    sampler = estimator.recipe.sampler
    network = not isinstance(estimator.network, Nothing)
    estimator.estimate(case.only(slice(0, 2)).observation)
    start = time.perf_counter()
    parts = [
        estimator.estimate(case.only(slice(first, first + BATCH)).observation)
        for first in range(0, len(case.target), BATCH)
    ]
    seconds = time.perf_counter() - start
    errors = nmse(np.concatenate(parts), case.target)
    numbers, (low, high) = summary(errors), bootstrap_interval(errors)
    return conditions | {
        "model": name,
        "sampler": sampler.sampler,
        "data_consistency": sampler.data_consistency,
        "steps": sampler.steps if network else 0,
        "nmse_db": round(numbers.mean_db, 3),
        "nmse_db_low": round(bounded_db(low), 3),
        "nmse_db_high": round(bounded_db(high), 3),
        "nmse_median_db": round(numbers.median_db, 3),
        "latency_ms": round(1e3 * seconds / len(case.target), 3),
        "samples": len(case.target),
    }


def _printed(row: Row) -> Row:
    interval = f"{row['nmse_db_low']:.1f} .. {row['nmse_db_high']:.1f}"
    held, paper = "yes" if row["data_consistency"] else "no", PAPER_DB.get(row["steps"])
    print(f"{row['model'][-27:]:28}{row['sampler']:14}{held:>6}{row['steps']:>7}{row['nmse_db']:>9.2f}", end="")
    print(f"{interval:>18}{row['nmse_median_db']:>9.2f}{row['latency_ms']:>10.2f}{paper or '':>9}", flush=True)
    return row


def _fewest_steps(rows: list[Row], reference: str, model: str, sampler: str) -> int | None:
    """Fewest steps, observed antennas held, that are within the tolerance in every array and mask ratio."""

    def errors(of: str, by: str, steps: int) -> list[float]:
        return [
            row["nmse_db"]
            for row in rows
            if (row["model"], row["sampler"], row["steps"], row["data_consistency"]) == (of, by, steps, True)
        ]

    limits = errors(reference, "ddim", REFERENCE_STEPS)
    for steps in sorted({row["steps"] for row in rows if row["model"] == model and row["sampler"] == sampler}):
        found = errors(model, sampler, steps)
        if all(error <= limit + TOLERANCE_DB for error, limit in zip(found, limits, strict=True)):
            return int(steps)
    return None


if __name__ == "__main__":
    sys.exit(main())
