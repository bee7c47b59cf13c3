"""Patches: grids of any size cut into square tokens and put together again without loss."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from channelfm.errors import InputError


def patch_counts(rows: int, cols: int, patch: int) -> tuple[int, int]:
    """Number of patches along rows and columns; the last ones may be padded."""
    return -(-rows // patch), -(-cols // patch)


def patchify(grid: Tensor, patch: int) -> Tensor:
    """Cut [N, rows, cols, C] into tokens [N, tokens, patch * patch * C], row by row.

    Rows and columns are zero-padded at their ends up to a multiple of ``patch``; pad a mask the same way to know
    which entries are real. Within a token the order is row, column, channel.
    """
    if grid.ndim != 4:
        raise InputError(f"grid has shape {tuple(grid.shape)}: give [sample, row, column, channel]")
    count, rows, cols, channels = grid.shape
    down, across = patch_counts(rows, cols, patch)
    if (down * patch, across * patch) != (rows, cols):
        grid = F.pad(grid, (0, 0, 0, across * patch - cols, 0, down * patch - rows))
    cut = grid.reshape(count, down, patch, across, patch, channels).permute(0, 1, 3, 2, 4, 5)
    return cut.reshape(count, down * across, patch * patch * channels)


def unpatchify(tokens: Tensor, rows: int, cols: int, patch: int) -> Tensor:
    """Inverse of :func:`patchify` for a grid of ``rows`` x ``cols``; the padding is cut off."""
    down, across = patch_counts(rows, cols, patch)
    count, number, size = tokens.shape
    if number != down * across or size % patch**2:
        raise InputError(
            f"tokens of shape {tuple(tokens.shape)} do not make a {rows} x {cols} grid of {patch} x {patch} patches"
        )
    channels = size // patch**2
    joined = tokens.reshape(count, down, across, patch, patch, channels).permute(0, 1, 3, 2, 4, 5)
    return joined.reshape(count, down * patch, across * patch, channels)[:, :rows, :cols]
