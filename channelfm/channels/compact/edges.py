"""Where antennas see a path, as the elements of a grid at which that changes, batched over paths."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bool = NDArray[np.bool_]


def encode_edges(seen: Bool, rows: int, cols: int) -> tuple[NDArray[np.uint16], NDArray[np.uint16], Bool]:
    """Where visibility changes along the elements of a grid: (changes, their number [R], whether column by column [R]).

    ``seen`` is [R, rows * cols]. Elements are walked row by row or, where that has fewer changes, column by column;
    before the first element nothing is seen, so that a path that all see has the single change 0.
    """
    orders = seen, seen.reshape(-1, rows, cols).transpose(0, 2, 1).reshape(-1, rows * cols)
    changes = [np.diff(order, axis=1, prepend=False) for order in orders]
    by_column = np.asarray(changes[1].sum(axis=1) < changes[0].sum(axis=1))
    flips = np.where(by_column[:, None], changes[1], changes[0])
    return np.nonzero(flips)[1].astype(np.uint16), flips.sum(axis=1).astype(np.uint16), by_column


def decode_edges(
    changes: NDArray[np.uint16], counts: NDArray[np.uint16], by_column: Bool, rows: int, cols: int
) -> Bool:
    """Visibility [R, rows * cols], row by row; inverse of :func:`encode_edges`."""
    flips = np.zeros((len(counts), rows * cols), np.bool_)
    flips[np.repeat(np.arange(len(counts)), counts), changes] = True
    seen = np.logical_xor.accumulate(flips, axis=1)
    turned = seen[by_column].reshape(-1, cols, rows).transpose(0, 2, 1)
    seen[by_column] = turned.reshape(-1, rows * cols)
    return np.asarray(seen)
