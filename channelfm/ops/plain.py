"""Sparse attention in plain PyTorch: the reference, and the same in chunks, for where nothing can be compiled.

Shapes as in :mod:`channelfm.ops.ssta`: queries, keys and values [batch, head, token, head width].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from channelfm.ops.neighbourhood import Grid, list_neighbours

Boxes = tuple[tuple[int, int, int], ...]

_CHUNK_BYTES = 1 << 25  # of the keys gathered at a time: larger chunks are no faster


def reference_attention(
    query: Tensor, key: Tensor, value: Tensor, grid: Grid, boxes: Boxes, kept: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Output, and logarithm of the softmax's denominator [batch, head, token] (equations 8 to 10).

    Differentiable, any dtype, exportable; it gathers every token's neighbours, so its memory grows with S * K.
    """
    tokens = torch.arange(math.prod(grid), device=query.device)
    number, inside = list_neighbours(boxes, grid, tokens, query.device)
    logits, _ = _logits(query, key, number, inside, kept)
    total = logits.logsumexp(-1)
    weight = (logits - total[..., None]).exp()
    return torch.einsum("bhsk,bhskd->bhsd", weight, value[:, :, number]), total


def _logits(
    query: Tensor, key: Tensor, number: Tensor, inside: Tensor, kept: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Logits [batch, head, token, neighbour], minus infinity where no attention is paid, and the smallest kept one."""
    logits = torch.einsum("bhsd,bhskd->bhsk", query, key[:, :, number]) / math.sqrt(query.shape[-1])
    logits = logits.masked_fill(~inside, -math.inf)
    if kept is None:
        return logits, None
    last = (kept.long() - 1)[:, None].expand(*logits.shape[:-1], 1)
    threshold = logits.detach().sort(dim=-1, descending=True).values.gather(-1, last)
    return logits.masked_fill(logits < threshold, -math.inf), threshold[..., 0]


def forward(
    query: Tensor, key: Tensor, value: Tensor, grid: Grid, boxes: Boxes, kept: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """As :func:`reference_attention` in bounded memory; also the smallest logit that routing kept (empty without)."""
    output = torch.empty_like(query)
    total = query.new_empty(query.shape[:-1])
    threshold = total.new_empty(total.shape if kept is not None else 0)
    for tokens in _chunks(query, grid, boxes):
        number, inside = list_neighbours(boxes, grid, tokens, query.device)
        logits, least = _logits(query[:, :, tokens], key, number, inside, None if kept is None else kept[tokens])
        total[:, :, tokens] = logits.logsumexp(-1)
        weight = (logits - total[:, :, tokens, None]).exp()
        output[:, :, tokens] = torch.einsum("bhsk,bhskd->bhsd", weight, value[:, :, number])
        if least is not None:
            threshold[:, :, tokens] = least
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
    """Gradients of query, key and value from ``upper``, the output's, and ``delta`` [batch, head, token]: the inner
    product of output and upper."""
    grad_query, grad_key, grad_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
    scale = 1 / math.sqrt(query.shape[-1])
    for tokens in _chunks(query, grid, boxes):
        number, inside = list_neighbours(boxes, grid, tokens, query.device)
        logits, _ = _logits(query[:, :, tokens], key, number, inside, None)
        if threshold.numel():
            logits = logits.masked_fill(logits < threshold[:, :, tokens, None], -math.inf)
        weight = (logits - total[:, :, tokens, None]).exp()
        slope = torch.einsum("bhsd,bhskd->bhsk", upper[:, :, tokens], value[:, :, number])
        slope = weight * (slope - delta[:, :, tokens, None]) * scale
        grad_query[:, :, tokens] = torch.einsum("bhsk,bhskd->bhsd", slope, key[:, :, number])
        flat = number.flatten()
        for grad, factor, token in ((grad_key, slope, query), (grad_value, weight, upper)):
            grad.index_add_(2, flat, (factor[..., None] * token[:, :, tokens, None]).flatten(2, 3))
    return grad_query, grad_key, grad_value


def _chunks(query: Tensor, grid: Grid, boxes: Boxes) -> tuple[Tensor, ...]:
    volume = sum((2 * down + 1) * (2 * across + 1) for _, down, across in boxes)
    per_token = query.shape[0] * query.shape[1] * query.shape[3] * volume * query.element_size()
    tokens = torch.arange(math.prod(grid), device=query.device)
    return torch.split(tokens, max(1, _CHUNK_BYTES // per_token))
