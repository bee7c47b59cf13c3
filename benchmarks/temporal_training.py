"""Training LWM-Temporal with sparse attention against the same network with dense attention.

    python -m benchmarks.temporal_training [--quick] [--threads 2]

One training step (forward, loss, backward, AdamW) on random frames of 20 x 32 x 32, in sequences per second: of
``lwm-temporal-small`` (tokens of 4 x 4, 1,281 of them) in batches of 4, and of table I's network (tokens of 1 x 1,
20,481 of them) one at a time, which ``--quick`` leaves out: dense attention takes minutes there. Memory is what the
peak resident memory of a fresh process grows by over the steps. The last line is one JSON object, for the largest case.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from typing import Any

import torch

from channelfm.models.zoo import build

SIZE = (20, 32, 32)
CASES: tuple[tuple[str, int, int], ...] = (("lwm-temporal-small", 4, 6), ("lwm-temporal", 1, 1))


def main() -> None:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="the small network only")
    options = parser.parse_args()
    print(f"float32, {options.threads} threads, frames of {' x '.join(map(str, SIZE))}")
    print(f"{'':24}{'sequences/s':>14}{'extra MB':>12}")
    summary: dict[str, Any] = {}
    for model, batch, repeats in CASES[:1] if options.quick else CASES:
        rates = {}
        for attention in ("sparse", "dense"):
            rate, extra = _in_fresh_process(model, attention == "dense", batch, repeats, options.threads)
            print(f"{f'{model}, {attention}':32}{rate:>6.3g}{extra:>12,.0f}")
            rates[attention] = (rate, extra)
        (sparse, held), (dense, dense_held) = rates["sparse"], rates["dense"]
        summary = {"model": model, "ratio": round(sparse / dense, 2), "mb": round(held), "dense_mb": round(dense_held)}
    print(json.dumps(summary))


def _in_fresh_process(*arguments: Any) -> tuple[float, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_train, arguments)


def _train(model: str, dense: bool, batch: int, repeats: int, threads: int) -> tuple[float, float]:
    """Sequences per second of the best of ``repeats`` steps after a first one, and the growth of memory in MB."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = build(model, dense=dense)
    optimizer = torch.optim.AdamW(network.parameters())
    frames, seen = torch.randn(batch, *SIZE, 2), torch.rand(batch, *SIZE) < 0.5
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    best = float("inf")
    for _ in range(1 + repeats):
        start = time.perf_counter()
        optimizer.zero_grad()
        (network(frames, seen) - frames).square().mean().backward()
        optimizer.step()
        best = min(best, time.perf_counter() - start)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return batch / best, grown / 1024


if __name__ == "__main__":
    main()
