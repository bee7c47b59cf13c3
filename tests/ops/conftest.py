"""Queries, keys and values that the tests of the operators share."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor


@pytest.fixture(scope="session")
def draw():
    """Query, key and value [batch, heads, S, width], laid out as a network's projections are, with gradients on."""

    def drawn(grid, *, heads=2, width=4, batch=1, cls=False, dtype=torch.float64, seed=0) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        shape = (batch, math.prod(grid) + cls, heads, width)
        values = (torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(3))
        return tuple(value.transpose(1, 2).requires_grad_() for value in values)

    return drawn
