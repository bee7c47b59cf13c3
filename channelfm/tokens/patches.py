"""Patches: grids of any size cut into rectangular tokens and put together again without loss."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from channelfm.errors import InputError

Patch = int | tuple[int, int]  # rows and columns of a patch; one number for a square


def patch_counts(rows: int, cols: int, patch: Patch) -> tuple[int, int]:
    """Number of patches along rows and columns; the last ones may be padded."""
    height, width = _sides(patch)
    return -(-rows // height), -(-cols // width)


def patchify(grid: Tensor, patch: Patch) -> Tensor:
    """Cut [N, rows, cols, C] into tokens [N, tokens, height * width * C] of patches, row by row.

    Rows and columns are zero-padded at their ends up to a multiple of the patch; pad a mask the same way to know
    which entries are real. Within a token the order is row, column, channel.
    """
    if grid.ndim != 4:
        raise InputError(f"grid has shape {tuple(grid.shape)}: give [sample, row, column, channel]")
    count, rows, cols, channels = grid.shape
    height, width = _sides(patch)
    down, across = patch_counts(rows, cols, patch)
    if (down * height, across * width) != (rows, cols):
        grid = F.pad(grid, (0, 0, 0, across * width - cols, 0, down * height - rows))
    cut = grid.reshape(count, down, height, across, width, channels).permute(0, 1, 3, 2, 4, 5)
    return cut.reshape(count, down * across, height * width * channels)


def unpatchify(tokens: Tensor, rows: int, cols: int, patch: Patch) -> Tensor:
    """Inverse of :func:`patchify` for a grid of ``rows`` x ``cols``; the padding is cut off."""
    height, width = _sides(patch)
    down, across = patch_counts(rows, cols, patch)
    count, number, size = tokens.shape
    if number != down * across or size % (height * width):
        raise InputError(
            f"tokens of shape {tuple(tokens.shape)} do not make a {rows} x {cols} grid of {height} x {width} patches"
        )
    channels = size // (height * width)
    joined = tokens.reshape(count, down, across, height, width, channels).permute(0, 1, 3, 2, 4, 5)
    return joined.reshape(count, down * height, across * width, channels)[:, :rows, :cols]


def _sides(patch: Patch) -> tuple[int, int]:
    height, width = (patch, patch) if isinstance(patch, int) else patch
    if min(height, width) < 1:
        raise InputError(f"patches of {height} x {width}: give sides of at least 1")
    return height, width
