"""Samples of any power brought to unit scale by powers of two, which rounds nothing.

Path loss spreads channels over a hundred decibels, and nobody says in which units they come. What estimates them works
near one, where single precision neither overflows nor loses digits and a constant means the same for all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def at_unit_scale(answer: Callable[..., Tensor], values: Tensor, *others: Any) -> Tensor:
    """``answer(values, *others)`` to complex ``values`` [N, ...], each of which it meets with a largest component in
    [1/2, 1).

    Returns complex64 at the scale of ``values``: of 2^k times the values, 2^k times the same bits.
    """
    exponents = scale_exponents(values)
    return times_power_of_two(answer(times_power_of_two(values, -exponents), *others), exponents)


def scale_exponents(values: Tensor) -> Tensor:
    """Exponents int64 [N] of complex [N, ...]: the largest real or imaginary part of a sample lies in [1/2, 1) 2^e.

    0 for samples of zeros alone.
    """
    if not values.numel():
        return torch.zeros(len(values), dtype=torch.int64, device=values.device)
    return torch.frexp(torch.view_as_real(values).flatten(1).abs().amax(1)).exponent.long()


def times_power_of_two(values: Tensor, exponents: Tensor) -> Tensor:
    """Values [N, ...], real or complex, times 2^exponents [N]: exact, but for what single precision cannot hold.

    Returns float32 or complex64.
    """
    parts = torch.view_as_real(values) if values.is_complex() else values
    # The bits of a double of that exponent, since powers may be off by a rounding.
    power = ((exponents + 1023) << 52).view(torch.float64).reshape(-1, *[1] * (parts.ndim - 1))
    product = (parts * power).to(torch.float32)
    return torch.view_as_complex(product) if values.is_complex() else product


def strongest_phase(values: Tensor) -> Tensor:
    """Unit phase complex64 [N, 1, ...] of the entry of complex [N, ...] that is largest; 1 where all are zero."""
    flat = values.flatten(1)
    if not flat.numel():
        return values.new_ones(len(values), *[1] * (values.ndim - 1))
    largest = flat.gather(1, flat.abs().argmax(1, keepdim=True)).reshape(-1, *[1] * (values.ndim - 1))
    return torch.polar(torch.ones_like(largest.real), largest.angle())
