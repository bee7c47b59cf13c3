"""Sparse attention on the GPU, in Triton. Imported only where a tensor lies there.

A program takes a block of tokens of one head and visits the neighbours box by box, all of the block at the same offset;
keys and values come from the cache. As on the processor, the backward pass walks once by query and once by key, so
that nothing is added atomically and results are the same from run to run. Routing bisects for the smallest kept logit,
with the logits computed anew in each round: that takes no memory.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from channelfm.ops.neighbourhood import Grid
from channelfm.ops.plain import Boxes

_BLOCK = 128
_ROUNDS = 256  # of bisection, at most: from the largest float32 range to two neighbouring values


@triton.jit
def _box(boxes, number):
    """Step in time, reach in rows, reach in columns, and number of offsets of a box."""
    down = tl.load(boxes + 3 * number + 1)
    across = tl.load(boxes + 3 * number + 2)
    return tl.load(boxes + 3 * number), down, across, (2 * down + 1) * (2 * across + 1)


@triton.jit
def _neighbour(token, frames, rows, cols, step, down, across, offset):
    """Numbers of the tokens at one offset of a box, and whether they lie inside the grid."""
    frame = token // (rows * cols) + step
    row = token // cols % rows + offset // (2 * across + 1) - down
    col = token % cols + offset % (2 * across + 1) - across
    inside = (frame >= 0) & (frame < frames) & (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
    return (frame * rows + row) * cols + col, inside & (token < frames * rows * cols)


@triton.jit
def _rows(base, token, inside, DIMS: tl.constexpr, WIDTH: tl.constexpr):
    """Vectors [block, WIDTH] of tokens, zeros where not ``inside`` and beyond DIMS."""
    dims = tl.arange(0, WIDTH)
    mask = inside[:, None] & (dims < DIMS)[None, :]
    return tl.load(base + token[:, None] * DIMS + dims[None, :], mask=mask, other=0.0)


@triton.jit
def _store(base, token, inside, value, DIMS: tl.constexpr, WIDTH: tl.constexpr):
    dims = tl.arange(0, WIDTH)
    mask = inside[:, None] & (dims < DIMS)[None, :]
    tl.store(base + token[:, None] * DIMS + dims[None, :], value, mask=mask)


@triton.jit
def _place(frames, rows, cols, BLOCK: tl.constexpr):
    """Tokens of this program, which of them exist, and the head's first token and number in the whole batch."""
    tokens = frames * rows * cols
    blocks = tl.cdiv(tokens, BLOCK)
    head = (tl.program_id(0) // blocks).to(tl.int64)
    token = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    return token, token < tokens, head * tokens


@triton.jit
def _reaching(q, key, level, token, boxes, count, frames, rows, cols, DIMS: tl.constexpr, WIDTH: tl.constexpr):
    """How many neighbours' logits reach ``level``."""
    number = tl.zeros_like(token)
    for n in range(count):
        step, down, across, volume = _box(boxes, n)
        for offset in range(volume):
            other, inside = _neighbour(token, frames, rows, cols, step, down, across, offset)
            logit = tl.sum(q * _rows(key, other, inside, DIMS, WIDTH), axis=1)
            number += (inside & (logit >= level)).to(tl.int32)
    return number


@triton.jit
def _threshold_kernel(
    query, key, threshold, kept, boxes, count, frames, rows, cols,
    SCALE: tl.constexpr, ROUNDS: tl.constexpr, DIMS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    token, exists, first = _place(frames, rows, cols, BLOCK)
    key += first * DIMS
    q = _rows(query + first * DIMS, token, exists, DIMS, WIDTH) * SCALE
    most = tl.load(kept + token, mask=exists, other=0)
    high = tl.zeros([BLOCK], dtype=q.dtype) - 1e30
    low = -high
    for n in range(count):
        step, down, across, volume = _box(boxes, n)
        for offset in range(volume):
            other, inside = _neighbour(token, frames, rows, cols, step, down, across, offset)
            logit = tl.sum(q * _rows(key, other, inside, DIMS, WIDTH), axis=1)
            high = tl.maximum(high, tl.where(inside, logit, high))
            low = tl.minimum(low, tl.where(inside, logit, low))
    at_top = _reaching(q, key, high, token, boxes, count, frames, rows, cols, DIMS, WIDTH) >= most
    low = tl.where(at_top, high, low)
    open_ = exists & ~at_top
    rounds = 0
    while (tl.sum(open_.to(tl.int32)) > 0) & (rounds < ROUNDS):
        middle = low + (high - low) * 0.5
        open_ = open_ & (middle > low) & (middle < high)
        number = _reaching(q, key, middle, token, boxes, count, frames, rows, cols, DIMS, WIDTH)
        low = tl.where(open_ & (number >= most), middle, low)
        high = tl.where(open_ & (number < most), middle, high)
        open_ = open_ & (number != most)
        rounds += 1
    tl.store(threshold + first + token, low, mask=exists)


@triton.jit
def _forward_kernel(
    query, key, value, out, total, threshold, boxes, count, frames, rows, cols,
    ROUTED: tl.constexpr, SCALE: tl.constexpr, DIMS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    token, exists, first = _place(frames, rows, cols, BLOCK)
    key += first * DIMS
    value += first * DIMS
    q = _rows(query + first * DIMS, token, exists, DIMS, WIDTH) * SCALE
    sum_ = tl.zeros([BLOCK, WIDTH], dtype=q.dtype)
    weights = tl.zeros([BLOCK], dtype=q.dtype)
    top = weights - 1e30
    if ROUTED:
        least = tl.load(threshold + first + token, mask=exists, other=0.0)
    for n in range(count):
        step, down, across, volume = _box(boxes, n)
        for offset in range(volume):
            other, inside = _neighbour(token, frames, rows, cols, step, down, across, offset)
            logit = tl.sum(q * _rows(key, other, inside, DIMS, WIDTH), axis=1)
            if ROUTED:
                inside = inside & (logit >= least)
            logit = tl.where(inside, logit, float("-inf"))
            raised = tl.maximum(top, logit)
            weight = tl.exp(logit - raised)
            shrink = tl.exp(top - raised)
            weights = weights * shrink + weight
            sum_ = sum_ * shrink[:, None] + weight[:, None] * _rows(value, other, inside, DIMS, WIDTH)
            top = raised
    weights = tl.where(exists, weights, 1.0)
    _store(out + first * DIMS, token, exists, sum_ / weights[:, None], DIMS, WIDTH)
    tl.store(total + first + token, top + tl.log(weights), mask=exists)


@triton.jit
def _query_kernel(
    query, key, value, upper, total, delta, threshold, grad_query, boxes, count, frames, rows, cols,
    ROUTED: tl.constexpr, SCALE: tl.constexpr, DIMS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    token, exists, first = _place(frames, rows, cols, BLOCK)
    key += first * DIMS
    value += first * DIMS
    q = _rows(query + first * DIMS, token, exists, DIMS, WIDTH) * SCALE
    g = _rows(upper + first * DIMS, token, exists, DIMS, WIDTH)
    level = tl.load(total + first + token, mask=exists, other=0.0)
    mean = tl.load(delta + first + token, mask=exists, other=0.0)
    sum_ = tl.zeros([BLOCK, WIDTH], dtype=q.dtype)
    if ROUTED:
        least = tl.load(threshold + first + token, mask=exists, other=0.0)
    for n in range(count):
        step, down, across, volume = _box(boxes, n)
        for offset in range(volume):
            other, inside = _neighbour(token, frames, rows, cols, step, down, across, offset)
            k = _rows(key, other, inside, DIMS, WIDTH)
            logit = tl.sum(q * k, axis=1)
            if ROUTED:
                inside = inside & (logit >= least)
            weight = tl.exp(tl.where(inside, logit - level, float("-inf")))
            slope = weight * (tl.sum(g * _rows(value, other, inside, DIMS, WIDTH), axis=1) - mean)
            sum_ += slope[:, None] * k
    _store(grad_query + first * DIMS, token, exists, sum_ * SCALE, DIMS, WIDTH)


@triton.jit
def _key_kernel(
    query, key, value, upper, total, delta, threshold, grad_key, grad_value, boxes, count, frames, rows, cols,
    ROUTED: tl.constexpr, SCALE: tl.constexpr, DIMS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    token, exists, first = _place(frames, rows, cols, BLOCK)
    query += first * DIMS
    upper += first * DIMS
    k = _rows(key + first * DIMS, token, exists, DIMS, WIDTH)
    v = _rows(value + first * DIMS, token, exists, DIMS, WIDTH)
    sum_key = tl.zeros([BLOCK, WIDTH], dtype=k.dtype)
    sum_value = tl.zeros([BLOCK, WIDTH], dtype=k.dtype)
    for n in range(count):
        step, down, across, volume = _box(boxes, n)
        for offset in range(volume):  # boxes are symmetric in rows and columns: who sees this token is at -step
            other, inside = _neighbour(token, frames, rows, cols, -step, down, across, offset)
            q = _rows(query, other, inside, DIMS, WIDTH) * SCALE
            g = _rows(upper, other, inside, DIMS, WIDTH)
            level = tl.load(total + first + other, mask=inside, other=0.0)
            mean = tl.load(delta + first + other, mask=inside, other=0.0)
            logit = tl.sum(q * k, axis=1)
            if ROUTED:
                inside = inside & (logit >= tl.load(threshold + first + other, mask=inside, other=0.0))
            weight = tl.exp(tl.where(inside, logit - level, float("-inf")))
            slope = weight * (tl.sum(g * v, axis=1) - mean)
            sum_key += slope[:, None] * q
            sum_value += weight[:, None] * g
    _store(grad_key + first * DIMS, token, exists, sum_key, DIMS, WIDTH)
    _store(grad_value + first * DIMS, token, exists, sum_value, DIMS, WIDTH)


def forward(
    query: Tensor, key: Tensor, value: Tensor, grid: Grid, boxes: Boxes, kept: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """As :func:`channelfm.ops.plain.forward`."""
    query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
    output = torch.empty_like(query)
    total = query.new_empty(query.shape[:-1])
    threshold = total.new_empty(total.shape if kept is not None else 0)
    routed = kept is not None
    programs, walk, sizes = _launch(query, grid, boxes, routed)
    with torch.cuda.device_of(query):
        if kept is not None:
            _threshold_kernel[programs](query, key, threshold, kept.contiguous(), *walk, ROUNDS=_ROUNDS, **sizes)
        _forward_kernel[programs](query, key, value, output, total, threshold, *walk, ROUTED=routed, **sizes)
    return output, total, threshold


def backward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    upper: Tensor,
    total: Tensor,
    delta: Tensor,
    threshold: Tensor,
    grid: Grid,
    boxes: Boxes,
) -> tuple[Tensor, Tensor, Tensor]:
    """As :func:`channelfm.ops.plain.backward`."""
    given = [tensor.contiguous() for tensor in (query, key, value, upper, total, delta, threshold)]
    grads = tuple(torch.empty_like(tensor) for tensor in given[:3])
    routed = threshold.numel() > 0
    programs, walk, sizes = _launch(given[0], grid, boxes, routed)
    with torch.cuda.device_of(query):
        _query_kernel[programs](*given, grads[0], *walk, ROUTED=routed, **sizes)
        _key_kernel[programs](*given, grads[1], grads[2], *walk, ROUTED=routed, **sizes)
    return grads[0], grads[1], grads[2]


def _launch(
    query: Tensor, grid: Grid, boxes: Boxes, routed: bool
) -> tuple[tuple[int], tuple[object, ...], dict[str, object]]:
    """Number of programs, arguments that say which neighbours to visit, and what is known when compiling."""
    batch, heads, tokens, dims = query.shape
    programs = (batch * heads * triton.cdiv(tokens, _BLOCK),)
    walk = (torch.tensor(boxes, dtype=torch.int32, device=query.device), len(boxes), *grid)
    sizes = {"SCALE": dims**-0.5, "DIMS": dims, "WIDTH": triton.next_power_of_2(dims), "BLOCK": _BLOCK}
    if routed:  # a logit must be the same number in every kernel, or the last one kept is lost again
        sizes["enable_fp_fusion"] = False
    return programs, walk, sizes
