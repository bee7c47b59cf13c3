"""Sparse spatio-temporal attention against dense attention, gathering, and FlexAttention, on 2 threads.

    python -m benchmarks.ssta [--quick] [--threads 2]

Heads and grid are those of LWM-Temporal (seed 004, table I): 8 heads of 4 over 32 x 32 angle-delay bins, 5, 20 and 160
frames, its 337 neighbours at most. Best of several runs; dense attention and the others once or twice, since seconds
tell. Ratios are dense time / ours. "masked dense" is the same result by a boolean mask; "gather" is our plain PyTorch
reference, which gathers all neighbours at once; "no compiler" is the fallback; FlexAttention has no backward pass on
processors. Extra memory is how much the peak resident memory of a fresh process grows in one forward
and backward pass, outputs and gradients included. The error is against masked dense attention in float64, over queries
spread evenly. The last line is one JSON object, for S = 20,480.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from channelfm.ops import compiled
from channelfm.ops.neighbourhood import Grid, Neighbourhood, Routing, list_neighbours
from channelfm.ops.plain import reference_attention
from channelfm.ops.ssta import sparse_attention

HEADS, WIDTH = 8, 4
NEIGHBOURHOOD = Neighbourhood()
SMALL, LARGE, LONG = (5, 32, 32), (20, 32, 32), (160, 32, 32)
CHECKED_QUERIES = 256
MASK_BYTES = 5  # per pair of tokens: a boolean mask and its float copy
GATHER_BYTES = 16  # per pair of neighbours and dimension: keys, values and their gradients
Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def main() -> None:
    """Run all cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="no FlexAttention, no growth beyond 20,480 tokens")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{HEADS} heads of {WIDTH}, float32, {options.threads} threads; ratio = dense / this")
    print(f"{'':26}{'S':>8}{'forward':>12}{'ratio':>8}{'+ backward':>12}{'ratio':>8}")
    summary: dict[str, float] = {}
    for grid in (SMALL, LARGE):
        summary = _compare(grid, options.quick)
    summary["extra_mb"] = round(_in_fresh_process(_extra_mb, LARGE, options.threads), 1)
    summary["max_abs_error"] = _largest_error(LARGE)
    print(f"extra memory at S = 20,480: {summary['extra_mb']:.1f} MB; largest error {summary['max_abs_error']:.1e}")
    if not options.quick:
        _growth(options.threads)
    order = ("S", "forward_ratio", "train_ratio", "extra_mb", "max_abs_error")
    print(json.dumps({name: summary[name] for name in order}))


def _compare(grid: Grid, quick: bool) -> dict[str, float]:
    """All implementations on one grid; our ratios."""
    inputs, tokens = _drawn(grid), math.prod(grid)
    dense = _timed("dense", F.scaled_dot_product_attention, inputs, 2)
    ours_of = partial(sparse_attention, grid=grid, neighbourhood=NEIGHBOURHOOD)
    ours = _timed("ours", ours_of, inputs, 20, dense)
    _timed("ours, routed", partial(ours_of, routing=Routing()), inputs, 5, dense)
    _timed("ours, [CLS]", partial(ours_of, cls=True), _drawn(grid, cls=True), 5, dense)
    with mock.patch.object(compiled, "library", return_value=None):
        _timed("ours, no compiler", ours_of, inputs, 1, dense)
    for name, attention, needed in _rivals(grid, quick):
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if needed > 0.8 * free:
            print(f"{name:26}{tokens:>8,}   needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB free: left out")
            continue
        try:
            flex = name == "FlexAttention"
            _timed(name, attention(), inputs, 2 if flex else 1, dense, backward=not flex)
        except (RuntimeError, NotImplementedError) as error:
            print(f"{name:26}{tokens:>8,}   failed: {str(error).splitlines()[0][:70]}")
    forward, train = (theirs / own for theirs, own in zip(dense, ours, strict=True))
    return {"S": tokens, "forward_ratio": round(forward, 1), "train_ratio": round(train, 1)}


def _rivals(grid: Grid, quick: bool) -> list[tuple[str, Callable[[], Attention], float]]:
    """Name, maker, and bytes that it needs."""
    tokens, boxes = math.prod(grid), NEIGHBOURHOOD.boxes
    volume = sum((2 * down + 1) * (2 * across + 1) for _, down, across in boxes)

    def masked() -> Attention:
        mask = _mask(grid)
        return lambda query, key, value: F.scaled_dot_product_attention(query, key, value, mask)

    def gathered() -> Attention:
        return lambda query, key, value: reference_attention(query, key, value, grid, boxes)[0]

    rivals = [
        ("masked dense", masked, MASK_BYTES * tokens**2),
        ("gather", gathered, GATHER_BYTES * tokens * volume * HEADS * WIDTH),
    ]
    return rivals if quick else [*rivals, ("FlexAttention", lambda: _flex(grid), 16.0 * tokens**2)]


def _mask(grid: Grid) -> Tensor:
    """Dense boolean mask [S, S], filled frame by frame: the lists of all tokens at once would take gigabytes."""
    tokens = math.prod(grid)
    mask = torch.zeros(tokens, tokens, dtype=torch.bool)
    for part in torch.arange(tokens).split(1024):
        number, inside = list_neighbours(NEIGHBOURHOOD.boxes, grid, part)
        mask[part[:, None].expand_as(number)[inside], number[inside]] = True
    return mask


def _flex(grid: Grid) -> Attention:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    frame, cols, tokens = grid[1] * grid[2], grid[2], math.prod(grid)

    def near(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        apart = (key // frame - query // frame).abs()
        down = (key // cols % grid[1] - query // cols % grid[1]).abs()
        across = (key % cols - query % cols).abs()
        reach = torch.where(apart == 0, 1, apart)
        return (apart <= 4) & (down <= reach) & (across <= reach)

    blocks = create_block_mask(near, None, None, tokens, tokens, device="cpu")
    compiled = torch.compile(flex_attention)
    return lambda query, key, value: compiled(
        query.contiguous(), key.contiguous(), value.contiguous(), block_mask=blocks
    )


def _timed(
    name: str,
    attention: Attention,
    inputs: tuple[Tensor, ...],
    repeats: int,
    dense: tuple[float, float] | None = None,
    *,
    backward: bool = True,
) -> tuple[float, float]:
    """Seconds of the forward pass and of forward and backward pass; prints the line."""

    def forward() -> None:
        with torch.no_grad():
            attention(*inputs)

    def train() -> None:
        output = attention(*inputs)
        torch.autograd.grad(output, inputs, torch.ones_like(output))

    seconds = _best(forward, repeats), _best(train, repeats) if backward else math.nan
    line = f"{name:26}{inputs[0].shape[2]:>8,}"
    for own, theirs in zip(seconds, dense or seconds, strict=True):
        line += f"{1e3 * own:>9.1f} ms{theirs / own:>8.1f}" if math.isfinite(own) else f"{'-':>12}{'-':>8}"
    print(line, flush=True)
    return seconds


def _best(task: Callable[[], None], repeats: int) -> float:
    """Seconds of the fastest run; the first warms up, unless a single one is asked for."""
    seconds = []
    for _ in range(repeats + (repeats > 1)):
        start = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _drawn(grid: Grid, cls: bool = False) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    shape = (1, math.prod(grid) + cls, HEADS, WIDTH)
    return tuple(torch.randn(shape, generator=generator).transpose(1, 2).requires_grad_() for _ in range(3))


def _largest_error(grid: Grid) -> float:
    query, key, value = (tensor.detach() for tensor in _drawn(grid))
    ours = sparse_attention(query, key, value, grid, NEIGHBOURHOOD)
    tokens = torch.linspace(0, math.prod(grid) - 1, CHECKED_QUERIES).long()
    number, inside = list_neighbours(NEIGHBOURHOOD.boxes, grid, tokens)
    mask = torch.zeros(len(tokens), math.prod(grid), dtype=torch.bool)
    mask[torch.arange(len(tokens))[:, None].expand_as(number)[inside], number[inside]] = True
    dense = F.scaled_dot_product_attention(query[:, :, tokens].double(), key.double(), value.double(), mask)
    return float((ours[:, :, tokens] - dense).abs().max())


def _extra_mb(grid: Grid) -> float:
    """Growth of the peak resident memory in one forward and backward pass."""
    _train_once(_drawn((1, 2, 2)), (1, 2, 2))  # loads the library
    inputs = _drawn(grid)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is resident now
    before = _peak_mb()
    _train_once(inputs, grid)
    return _peak_mb() - before


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def _train_once(inputs: tuple[Tensor, ...], grid: Grid) -> None:
    output = sparse_attention(*inputs, grid, NEIGHBOURHOOD)
    torch.autograd.grad(output, inputs, torch.ones_like(output))


def _growth(threads: int) -> None:
    """Time and memory per token from 5,120 to 163,840 tokens: constant, if growth is linear."""
    print(f"{'growth':26}{'S':>8}{'forward':>12}{'per token':>12}{'+ backward':>12}{'per token':>12}{'extra':>10}")
    for frames in (SMALL[0], 10, LARGE[0], 40, 80, LONG[0]):
        grid = (frames, *LARGE[1:])
        inputs, tokens = _drawn(grid), math.prod(grid)
        with torch.no_grad():
            forward = _best(lambda: sparse_attention(*inputs, grid, NEIGHBOURHOOD), 5)  # noqa: B023
        train = _best(lambda: _train_once(inputs, grid), 5)  # noqa: B023
        extra = _in_fresh_process(_extra_mb, grid, threads)
        line = f"{'':26}{tokens:>8,}{1e3 * forward:>9.1f} ms{1e6 * forward / tokens:>9.2f} us"
        print(f"{line}{1e3 * train:>9.1f} ms{1e6 * train / tokens:>9.2f} us{extra:>7.0f} MB", flush=True)


def _in_fresh_process(task: Callable[[Grid], float], grid: Grid, threads: int) -> float:
    with multiprocessing.get_context("spawn").Pool(1, torch.set_num_threads, (threads,)) as pool:
        return pool.apply(task, (grid,))


if __name__ == "__main__":
    main()
