"""Sparse spatio-temporal attention (SSTA) over an angle-delay-time grid (seed 004, III-D).

One operator, three implementations that agree: compiled C++ on the processor (``compiled``), Triton on the GPU
(``kernels``), plain PyTorch elsewhere and for export (``plain``). Time and memory grow linearly with the tokens.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from channelfm.errors import InputError
from channelfm.ops import compiled, plain, summary
from channelfm.ops.neighbourhood import Grid, Neighbourhood, Routing, count_neighbours
from channelfm.ops.plain import Boxes

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def sparse_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    grid: Grid,
    neighbourhood: Neighbourhood,
    *,
    routing: Routing | None = None,
    cls: bool = False,
) -> Tensor:
    """softmax(q . k / sqrt(d)) v over each token's neighbours (equations 7 to 10).

    Parameters
    ----------
    query, key, value : [batch, head, S, d] on one device, rotary positions applied
        (:func:`channelfm.ops.rotary.rotate`). float16 and bfloat16 are computed in float32; where dtypes differ, as
        they may under autocast, the widest counts.
    grid : frames, rows and columns of tokens (T, H, W).
    neighbourhood : which tokens see each other.
    routing : keep only each token's strongest neighbours; None keeps all.
    cls : token 0 is [CLS] and S = T * H * W + 1. It attends to all. All see it, beside their neighbours and whatever
        the routing; but not if the neighbourhood is causal, for it would tell them of later frames one layer on.

    Returns
    -------
    [batch, head, S, d] in the widest dtype. Differentiable once; safe under ``torch.compile``; ``torch.export`` writes
    the plain reference into the graph.

    Raises
    ------
    InputError : shapes, dtypes or devices that do not fit each other or the grid.
    """
    _check(query, key, value, grid, cls)
    dtype = torch.promote_types(torch.promote_types(query.dtype, key.dtype), value.dtype)
    query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    boxes, seen = neighbourhood.boxes, cls and not neighbourhood.causal
    kept = None if routing is None else routing.kept(count_neighbours(boxes, grid, query.device))
    if _exporting():
        return _reference(query, key, value, grid, boxes, kept, cls, seen)
    flat = [number for box in boxes for number in box]
    output: Tensor = torch.ops.channelfm.ssta(query, key, value, list(grid), flat, kept, cls, seen)[0]
    return output


def _check(query: Tensor, key: Tensor, value: Tensor, grid: Grid, cls: bool) -> None:
    if len(grid) != 3 or any(size < 1 for size in grid):
        raise InputError(f"grid {grid}: give frames, rows and columns, each at least 1")
    if query.ndim != 4 or not query.shape == key.shape == value.shape:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in (query, key, value))
        raise InputError(f"query, key and value are {shapes}: give three of one shape [batch, head, token, width]")
    tokens = math.prod(grid) + cls
    if query.shape[2] != tokens:
        also = " and [CLS]" if cls else ""
        raise InputError(f"{query.shape[2]} tokens, but grid {grid}{also} means {tokens}: change the grid or cls")
    if min(query.shape) < 1:
        raise InputError(f"query is {list(query.shape)}: give at least one sequence, head and dimension")
    for tensor in (query, key, value):
        if tensor.dtype not in _DTYPES:
            raise InputError(f"{tensor.dtype} is not supported: give one of {', '.join(map(str, _DTYPES))}")
        if tensor.device != query.device:
            raise InputError(f"query is on {query.device}, key or value on {tensor.device}: bring them to one device")


def _exporting() -> bool:
    found = getattr(torch.compiler, "is_exporting", None)  # PyTorch 2.7
    return bool(found is not None and found())


def _reference(
    query: Tensor, key: Tensor, value: Tensor, grid: Grid, boxes: Boxes, kept: Tensor | None, cls: bool, seen: bool
) -> Tensor:
    """The same in operators of PyTorch's own, whole and differentiable."""
    first = int(cls)
    own = query[:, :, first:]
    output, total = plain.reference_attention(own, key[:, :, first:], value[:, :, first:], grid, boxes, kept)
    if seen:
        output = summary.join(output, total, own, key, value)
    if cls:
        output = torch.cat(
            [F.scaled_dot_product_attention(query[:, :, :1], key, value).to(output.dtype), output], dim=2
        )
    return output


def _backend(tensor: Tensor) -> ModuleType:
    if tensor.is_cuda:
        from channelfm.ops import gpu  # Triton is not everywhere

        return gpu.backend()
    return plain if tensor.device.type != "cpu" or compiled.library() is None else compiled


def _grid(sizes: list[int]) -> Grid:
    return sizes[0], sizes[1], sizes[2]


def _triples(flat: list[int]) -> Boxes:
    return tuple((flat[n], flat[n + 1], flat[n + 2]) for n in range(0, len(flat), 3))


def _computed(tensor: Tensor) -> Tensor:
    """In the precision that kernels compute in."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _full_precision(tensor: Tensor) -> torch.autocast:
    """Autocast, which reaches into an operator's own matrix products, is off."""
    return torch.autocast(tensor.device.type, enabled=False)


def _like(result: Tensor, model: Tensor) -> Tensor:
    """The result in the dtype and strides that the fake implementation promises."""
    promised = torch.empty_like(model)
    if result.dtype == promised.dtype and result.stride() == promised.stride():
        return result
    return promised.copy_(result)


@torch.library.custom_op(
    "channelfm::ssta",
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor value, int[] grid, int[] boxes, Tensor? kept, bool cls, bool seen) "
    "-> (Tensor, Tensor, Tensor)",
)
def _ssta(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    grid: list[int],
    boxes: list[int],
    kept: Tensor | None,
    cls: bool,
    seen: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Output, logarithm of the denominator [batch, head, S], and of the grid's tokens the smallest kept logit (empty
    without routing). ``seen``: whether the grid's tokens see [CLS]."""
    given = (_computed(query), _computed(key), _computed(value), _grid(grid), _triples(boxes), kept)
    backend = _backend(query)
    with _full_precision(query):
        output, total, threshold = summary.forward(backend, *given, seen) if cls else backend.forward(*given)
    return _like(output, query), total, threshold


@_ssta.register_fake
def _(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    grid: list[int],
    boxes: list[int],
    kept: Tensor | None,
    cls: bool,
    _: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    exact = torch.float64 if query.dtype == torch.float64 else torch.float32
    total = query.new_empty(query.shape[:-1], dtype=exact)
    shape = (*total.shape[:2], total.shape[2] - cls) if kept is not None else (0,)
    return torch.empty_like(query), total, total.new_empty(shape)


@torch.library.custom_op(
    "channelfm::ssta_backward",
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor value, Tensor upper, Tensor total, Tensor delta, Tensor threshold, "
    "int[] grid, int[] boxes, bool cls, bool seen) -> (Tensor, Tensor, Tensor)",
)
def _ssta_backward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    upper: Tensor,
    total: Tensor,
    delta: Tensor,
    threshold: Tensor,
    grid: list[int],
    boxes: list[int],
    cls: bool,
    seen: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    tensors = (*map(_computed, (query, key, value, upper, total, delta)), threshold)
    where = (_grid(grid), _triples(boxes))
    backend = _backend(query)
    with _full_precision(query):
        grads = summary.backward(backend, tensors, *where, seen) if cls else backend.backward(*tensors, *where)
    return _like(grads[0], query), _like(grads[1], key), _like(grads[2], value)


@_ssta_backward.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, *_: object) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    query, key, value, grid, boxes, _, cls, seen = inputs
    ctx.settings = (grid, boxes, cls, seen)
    ctx.save_for_backward(query, key, value, *output)
    ctx.mark_non_differentiable(*output[1:])


def _differentiate(ctx: Any, upper: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    query, key, value, output, total, threshold = ctx.saved_tensors
    delta = (output.to(total.dtype) * upper.to(total.dtype)).sum(-1)
    given = (query, key, value, upper, total, delta, threshold)
    grads = torch.ops.channelfm.ssta_backward(*given, *ctx.settings)
    return *grads, None, None, None, None, None


_ssta.register_autograd(_differentiate, setup_context=_remember)
