"""Rotary positions: inner products depend on differences alone."""

from __future__ import annotations

import pytest
import torch

from channelfm.errors import InputError
from channelfm.ops.rotary import axial_rotation, flat_rotation, rotate

GRID = (4, 5, 6)


def _products(angles, width):
    """Inner products [S, S] of one query and one key, put at every pair of positions."""
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 1, width, generator=generator, dtype=torch.float64)
    tokens = len(angles)
    return rotate(query.expand(tokens, -1), angles) @ rotate(key.expand(tokens, -1), angles).T


def test_flat_positions_count_the_sequence_from_cls() -> None:
    angles = flat_rotation(GRID, 4, cls=True)
    assert angles.shape == (121, 2)
    assert torch.equal(angles[:, 0], torch.arange(121.0, dtype=torch.float64))
    torch.testing.assert_close(angles[:, 1], angles[:, 0] / 100)


def test_flat_products_depend_on_the_difference_of_indices() -> None:
    products = _products(flat_rotation(GRID, 8), 8)
    for shift in (0, 1, 17):
        diagonal = products.diagonal(shift)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))


def test_axial_products_depend_on_the_offsets_in_frames_rows_and_columns() -> None:
    products = _products(axial_rotation(GRID, 8), 8).reshape(*GRID, *GRID)
    for place, other in (((0, 0, 0), (1, 2, 1)), ((2, 2, 3), (3, 4, 4)), ((1, 0, 4), (2, 2, 5))):
        torch.testing.assert_close(products[(*place, *other)], products[0, 0, 0, 1, 2, 1])
    assert not torch.isclose(products[0, 0, 0, 0, 0, 1], products[0, 0, 0, 0, 1, 0])


def test_turning_keeps_lengths_and_dtype_and_leaves_the_first_token_alone() -> None:
    tokens = torch.randn(2, 3, 121, 6, dtype=torch.bfloat16)
    turned = rotate(tokens, axial_rotation(GRID, 6, cls=True))
    assert turned.dtype == tokens.dtype
    assert torch.equal(turned[:, :, :2], tokens[:, :, :2])  # [CLS] and (0, 0, 0)
    torch.testing.assert_close(turned.float().norm(dim=-1), tokens.float().norm(dim=-1), rtol=2e-2, atol=0)


def test_far_indices_are_exact_in_single_precision() -> None:
    angles = flat_rotation((160, 32, 32), 4)
    tokens = torch.randn(len(angles), 4, dtype=torch.float64)
    torch.testing.assert_close(rotate(tokens.float(), angles).double(), rotate(tokens, angles), rtol=0, atol=2e-6)


def test_what_cannot_turn_is_refused() -> None:
    with pytest.raises(InputError, match="even"):
        flat_rotation(GRID, 3)
    with pytest.raises(InputError, match="at least 6"):
        axial_rotation(GRID, 4)
    with pytest.raises(InputError, match="this grid"):
        rotate(torch.zeros(1, 7, 4), flat_rotation(GRID, 4))
