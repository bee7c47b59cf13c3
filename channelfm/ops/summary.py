"""[CLS] beside the grid: token 0 attends to all tokens, and all may see it, without a place in their neighbourhoods.

The grid's softmax and [CLS] are joined by their denominators, so that the kernels need not know of it, and no row of
theirs grows with the sequence. Shapes as in :mod:`channelfm.ops.ssta`, S = 1 + T * H * W.
"""

from __future__ import annotations

import math
from types import ModuleType

import torch
from torch import Tensor

from channelfm.ops.neighbourhood import Grid
from channelfm.ops.plain import Boxes


def forward(
    backend: ModuleType,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    grid: Grid,
    boxes: Boxes,
    kept: Tensor | None,
    seen: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """As :func:`channelfm.ops.plain.forward` with [CLS] in front; ``seen``: whether the grid's tokens see it."""
    own = query[:, :, 1:]
    found, total, threshold = backend.forward(own, key[:, :, 1:], value[:, :, 1:], grid, boxes, kept)
    output = torch.empty_like(query)
    output[:, :, 1:] = join(found, total, own, key, value) if seen else found
    joint = query.new_empty(query.shape[:-1])
    joint[:, :, 1:] = torch.logaddexp(total, _logits(own, key[:, :, :1])[..., 0]) if seen else total
    logits = _logits(query[:, :, :1], key)
    joint[:, :, :1] = logits.logsumexp(-1)
    output[:, :, :1] = (logits - joint[:, :, :1, None]).exp() @ value
    return output, joint, threshold


def join(found: Tensor, total: Tensor, own: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention ``found`` by the grid's tokens ``own``, and logarithm of its denominator, with [CLS] among the keys."""
    odds = (_logits(own, key[:, :, :1])[..., 0] - total).sigmoid()[..., None]  # the share that [CLS] takes
    return torch.lerp(found, value[:, :, :1].expand_as(found), odds.expand_as(found))


def backward(
    backend: ModuleType, tensors: tuple[Tensor, ...], grid: Grid, boxes: Boxes, seen: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """As :func:`channelfm.ops.plain.backward`, whose ``tensors`` these are, with [CLS] in front.

    Given the joint denominators, the grid's own part is what it is without [CLS]; its row and its column are added.
    """
    *whole, threshold = tensors
    query, key, value = whole[:3]
    tokens, first = ([tensor[:, :, part] for tensor in whole] for part in (slice(1, None), slice(1)))
    grads = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
    for grad, part in zip(grads, backend.backward(*tokens, threshold, grid, boxes), strict=True):
        grad[:, :, 1:] = part
    grads[0][:, :, :1], *row = _part(first[0], key, value, *first[3:])
    grads[1].add_(row[0])
    grads[2].add_(row[1])
    if seen:
        grad_query, *column = _part(tokens[0], first[1], first[2], *tokens[3:])
        grads[0][:, :, 1:] += grad_query
        grads[1][:, :, :1] += column[0]
        grads[2][:, :, :1] += column[1]
    return grads


def _part(
    query: Tensor, key: Tensor, value: Tensor, upper: Tensor, total: Tensor, delta: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of dense attention between few queries and many keys, or the reverse."""
    weight = (_logits(query, key) - total[..., None]).exp()
    slope = weight * (upper @ value.mT - delta[..., None]) / math.sqrt(query.shape[-1])
    return slope @ key, slope.mT @ query, weight.mT @ upper


def _logits(query: Tensor, key: Tensor) -> Tensor:
    return query @ key.mT / math.sqrt(query.shape[-1])
