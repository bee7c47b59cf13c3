"""Speed and memory of pretraining against a plain PyTorch loop with the same network and batches.

    python -m benchmarks.training [--quick] [--steps N]

Links are ray-traced in a procedural city at 64 x 64 elements and trained on as 32 x 32 and 64 x 64 arrays, synthesised
on the fly, in the canonical frame of four waves. The rival is what one writes first: each batch prepared before its
step, eager float32, AdamW as it comes, the average one tensor at a time. Our loop is ``pretrain_from``, with batches
prepared in line and by a process of its own. Every row runs in a fresh process; losses of all rows agree (checked), so
the same work is timed. ``channelfm pretrain`` lets OpenMP's threads spin less while they wait, which matters where
other work shares the cores; the rival is shown with and without. Utilisation is the share of one large matrix product's
rate on this machine. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from channelfm import mobility, scenes
from channelfm.arrays import UPA
from channelfm.channels import compress
from channelfm.pretraining.feed import prepare
from channelfm.pretraining.learner import Learner, launch, rate_factor
from channelfm.pretraining.loop import HISTORY, pretrain_from
from channelfm.pretraining.objectives import diffusion_loss, fresh_networks
from channelfm.pretraining.recipe import PretrainRecipe
from channelfm.pretraining.source import PathSource
from channelfm.pretraining.utilisation import matmul_peak, step_flops
from channelfm.pretraining.views import masked_views
from channelfm.tracing import trace

ARRAY = UPA(64, 64, 7e9, (0.0, 0.0, 60.0))
CPU = torch.device("cpu")
SPIN, SHORT = "GOMP_SPINCOUNT", "1000"  # as the command line sets it for pretraining
Work = Callable[[PathSource, PretrainRecipe], dict[str, float]]
OURS: dict[str, dict[str, Any]] = {
    "in line": {},
    "ahead": {"workers": 1},
    "compiled": {"workers": 1, "compile": True},
}


def main() -> None:
    """Measure every case and print what it is worth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the tiny network at 32 x 32 only, nothing compiled")
    parser.add_argument("--steps", type=int, default=10, help="steps that are timed, after as many that are not")
    options = parser.parse_args()
    cases = [("cddim-tiny", 32)] if options.quick else [("cddim-tiny", 32), ("cddim-tiny", 64), ("cddim-small", 32)]
    source = _links(4 if options.quick else 8)
    threads, peak = torch.get_num_threads(), matmul_peak(CPU, "32-true")
    print(f"{threads} threads; a large matrix product runs at {peak / 1e9:.0f} GFLOP/s", flush=True)
    summary: dict[str, Any] = {"threads": threads, "peak_gflops": round(peak / 1e9, 1)}
    for model, side in cases:
        recipe = _recipe(model, side, 2 * options.steps)
        print(f"{model}, {side} x {side}, batch of {recipe.batch_size}")
        works = {"plain PyTorch": (_rival, recipe, None), "plain, short spin": (_rival, recipe, SHORT)}
        for name, how in OURS.items():
            if not (options.quick and "compile" in how):
                works[f"ours, {name}"] = _ours, recipe.model_copy(update=how), SHORT
        rows = {name: _apart(source, *work) for name, work in works.items()}
        learner, few = Learner(launch(recipe), recipe, fresh_networks(recipe)), range(4)
        flops = step_flops(learner, prepare(source, recipe, 0, few)) / len(few)
        for name, row in rows.items():
            assert np.isclose(row["loss"], rows["plain PyTorch"]["loss"], rtol=1e-2), (name, row)
            times = row["samples_per_s"] / rows["plain PyTorch"]["samples_per_s"]
            row["utilisation"] = round(flops * row["samples_per_s"] / peak, 4)
            print(
                f"    {name:18} {row['samples_per_s']:7.1f} samples/s ({times:.2f} x), utilisation "
                f"{row['utilisation']:.2f}, peak memory {row['memory_mb']:.0f} MB",
                flush=True,
            )
        summary[f"{model}-{side}"] = rows
    print(json.dumps(summary))


def _links(uavs: int) -> PathSource:
    flight = mobility.cruise(scenes.procedural(seed=1), num_uavs=uavs, num_steps=8, seed=1)
    paths = trace(scenes.procedural(seed=1), flight, ARRAY)
    return PathSource([(ARRAY, compress(paths, ARRAY))])


def _recipe(model: str, side: int, steps: int) -> PretrainRecipe:
    values = {
        "predictor": {"model": model, "frame": {"waves": 4}, "diffusion": {"prediction": "sample"}},
        "source": {"arrays": [[side, side]]},
        "mask_ratio": [0.1, 0.95],
        "batch_size": 32,
        "steps": steps,
        "log_every": steps // 2,
        "save_every": 10 * steps,
        "accelerator": "cpu",
    }
    return PretrainRecipe.model_validate(values)


def _apart(source: PathSource, work: Work, recipe: PretrainRecipe, spin: str | None) -> dict[str, float]:
    """``work`` in a fresh process whose OpenMP waits as ``spin`` says."""
    os.environ.pop(SPIN, None)
    if spin is not None:
        os.environ[SPIN] = spin
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        result = executor.submit(work, source, recipe).result()
    return {name: float(f"{value:.4g}") for name, value in result.items()}


def _ours(source: PathSource, recipe: PretrainRecipe) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        pretrain_from(recipe, source, np.zeros((0, 1, 1, 1), np.complex64), folder)
        row = json.loads((Path(folder) / HISTORY).read_text())[-1]
    return {"samples_per_s": row["samples_per_s"], "loss": row["loss"], "memory_mb": _peak_memory_mb()}


def _rival(source: PathSource, recipe: PretrainRecipe) -> dict[str, float]:
    """The same training, written down plainly."""
    network, _ = fresh_networks(recipe)["network"]
    average = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.98)
    )
    begin = 0.0
    losses: list[float] = []
    for step in range(recipe.steps):
        if step == recipe.steps // 2:
            begin, losses = time.perf_counter(), []
        batch = masked_views(source, recipe, step, range(recipe.batch_size), CPU)
        batch.weight.div_(batch.weight.mean())
        loss = diffusion_loss(network, recipe, batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.gradient_clip)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * rate_factor(recipe, step)
        optimizer.step()
        with torch.no_grad():
            decay = min(recipe.ema_decay, (1 + step) / (10 + step))
            for mean, weight in zip(average.parameters(), network.parameters(), strict=True):
                mean.mul_(decay).add_(weight, alpha=1 - decay)
        losses.append(loss.item())
    rate = recipe.batch_size * len(losses) / (time.perf_counter() - begin)
    return {"samples_per_s": rate, "loss": float(np.mean(losses)), "memory_mb": _peak_memory_mb()}


def _peak_memory_mb() -> float:
    """Of this process and the largest of its children."""
    kilobytes = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return kilobytes / 1024


if __name__ == "__main__":
    main()
