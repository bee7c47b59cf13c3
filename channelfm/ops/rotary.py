"""Rotary positions (seed 004, equation 6): pairs of head dimensions turn by an angle that grows with the position.

Pair (2i, 2i + 1) of a query or key at position p turns by p * theta_i, so that inner products depend on differences
of positions. Rates are spaced logarithmically from 1 to 1 / 10,000 (Su et al. 2021, section 3.2.2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from channelfm.errors import InputError
from channelfm.ops.neighbourhood import Grid

_LONGEST = 10_000.0
_AXES = 3


def flat_rotation(grid: Grid, head_width: int, *, cls: bool = False) -> Tensor:
    """Angles float64 [S, head_width / 2] in radians by the index in the flattened sequence, [CLS] (if any) first.

    Raises InputError if ``head_width`` is odd.
    """
    _check_even(head_width)
    position = torch.arange(grid[0] * grid[1] * grid[2] + cls, dtype=torch.float64)
    return position[:, None] * _rates(head_width // 2)


def axial_rotation(grid: Grid, head_width: int, *, cls: bool = False) -> Tensor:
    """Angles float64 [S, head_width / 2] in radians by frame, row and column, to which the pairs go in turn.

    Inner products then depend on the three offsets apart, whatever the grid. [CLS] does not turn, no more than the
    token at (0, 0, 0). Raises InputError if ``head_width`` is odd or below 6, one pair per axis.
    """
    _check_even(head_width)
    if head_width < 2 * _AXES:
        raise InputError(f"head width {head_width}: axial positions need at least {2 * _AXES}; use fewer heads")
    place = torch.cartesian_prod(*(torch.arange(size, dtype=torch.float64) for size in grid))
    pairs = head_width // 2
    angles = torch.empty(len(place), pairs, dtype=torch.float64)
    for axis in range(_AXES):
        own = len(range(axis, pairs, _AXES))
        angles[:, axis::_AXES] = place[:, axis, None] * _rates(own)
    return torch.cat([angles.new_zeros(int(cls), pairs), angles])


def rotate(tokens: Tensor, angles: Tensor) -> Tensor:
    """Queries or keys [..., S, head_width], turned by ``angles`` [S, head_width / 2]; the dtype stays.

    Raises InputError if the shapes do not match.
    """
    if tokens.shape[-2:] != (angles.shape[0], 2 * angles.shape[1]):
        raise InputError(
            f"tokens {list(tokens.shape)} do not match angles {list(angles.shape)}: "
            "make the angles for this grid and head width"
        )
    exact = torch.float64 if tokens.dtype == torch.float64 else torch.float32
    cos, sin = (turn.to(tokens.device, exact) for turn in (angles.cos(), angles.sin()))
    even, odd = tokens[..., 0::2].to(exact), tokens[..., 1::2].to(exact)
    turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return turned.flatten(-2).to(tokens.dtype)


def _rates(pairs: int) -> Tensor:
    return _LONGEST ** -(torch.arange(pairs, dtype=torch.float64) / pairs)


def _check_even(head_width: int) -> None:
    if head_width < 2 or head_width % 2:
        raise InputError(f"head width {head_width}: rotary positions need an even one")
