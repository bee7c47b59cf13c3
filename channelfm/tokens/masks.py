"""Which antennas are observed. True = observed; the mask ratio is the share that is hidden (SPEC 2).

Every kind is a function (generator, count, rows, cols, ratio) -> bool [count, rows, cols, 1]. ``ratio`` is one number
or one per sample, in [0, 1]; every mask observes at least one antenna and comes as close to the ratio as its kind
allows, which each function states. All raise InputError on a ratio outside [0, 1], and for an array without antennas.
``MASKS`` is the one list of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from channelfm.checks import as_numbers, as_whole
from channelfm.errors import InputError

Ratio = float | NDArray[np.float64]
Mask = NDArray[np.bool_]
Integers = NDArray[np.int64]


def random_mask(generator: np.random.Generator, count: int, rows: int, cols: int, ratio: Ratio) -> Mask:
    """Antennas hidden independently of their place: exactly round(ratio * rows * cols) of them, all but one at most."""
    _check_size(count, rows, cols)
    return _random_lines(generator, count, rows * cols, ratio).reshape(count, rows, cols, 1)


def row_mask(generator: np.random.Generator, count: int, rows: int, cols: int, ratio: Ratio) -> Mask:
    """Whole rows observed, chosen at random: exactly round(ratio * rows) are hidden, all but one at most."""
    _check_size(count, rows, cols)
    seen = _random_lines(generator, count, rows, ratio)
    return np.repeat(seen[:, :, None, None], cols, axis=2)


def column_mask(generator: np.random.Generator, count: int, rows: int, cols: int, ratio: Ratio) -> Mask:
    """Whole columns observed, chosen at random: exactly round(ratio * cols) are hidden, all but one at most."""
    _check_size(count, rows, cols)
    seen = _random_lines(generator, count, cols, ratio)
    return np.repeat(seen[:, None, :, None], rows, axis=1)


def block_mask(generator: np.random.Generator, count: int, rows: int, cols: int, ratio: Ratio) -> Mask:
    """One contiguous rectangle observed, at a random place, of about the array's aspect.

    Its height is the nearest to sqrt(1 - ratio) * rows, its width then the one that comes closest to the ratio: within
    half a column of the rectangle's height. All places are equally likely.
    """
    _check_size(count, rows, cols)
    shown = 1.0 - _ratios(ratio, count)
    height = np.clip(np.round(np.sqrt(shown) * rows), 1, rows).astype(np.int64)
    width = np.clip(np.round(shown * rows * cols / height), 1, cols).astype(np.int64)
    top, left = generator.integers(0, rows - height + 1), generator.integers(0, cols - width + 1)
    row, col = np.arange(rows) - top[:, None], np.arange(cols) - left[:, None]
    return _crossing((row >= 0) & (row < height[:, None]), (col >= 0) & (col < width[:, None]))


def comb_mask(generator: np.random.Generator, count: int, rows: int, cols: int, ratio: Ratio) -> Mask:
    """A two-dimensional comb: every k-th row crossed with every l-th column, from a random first row and column.

    Steps differ by one at most where the array is large enough, so that shares of 1, 1/2, 1/4, 1/6, 1/9, 1/12 ...
    are observed, and the one nearest to 1 - ratio is taken: a ratio of 0.9 hides 8/9, one below 0.25 hides nothing.
    Where a step does not divide the array's side, single masks differ from the share by up to one row and column.
    """
    _check_size(count, rows, cols)
    row_steps, col_steps = _comb_steps(rows, cols)
    distance = np.abs(1.0 / (row_steps * col_steps) - (1.0 - _ratios(ratio, count))[:, None])
    chosen = distance.argmin(axis=1)
    row_step, col_step = row_steps[chosen], col_steps[chosen]
    first_row, first_col = generator.integers(0, row_step), generator.integers(0, col_step)
    row = (np.arange(rows) - first_row[:, None]) % row_step[:, None]
    col = (np.arange(cols) - first_col[:, None]) % col_step[:, None]
    return _crossing(row == 0, col == 0)


MASKS: dict[str, Callable[[np.random.Generator, int, int, int, Ratio], Mask]] = {
    "random": random_mask,
    "rows": row_mask,
    "columns": column_mask,
    "block": block_mask,
    "comb": comb_mask,
}


def _check_size(count: int, rows: int, cols: int) -> None:
    for name, number, least in (("count", count, 0), ("rows", rows, 1), ("cols", cols, 1)):
        as_whole(number, name, least)


def _ratios(ratio: Ratio, count: int) -> NDArray[np.float64]:
    """One ratio for each sample [count]; InputError on one outside [0, 1]."""
    given = as_numbers(ratio, "mask ratio")
    if given.shape not in ((), (1,), (count,)) or not ((given >= 0) & (given <= 1)).all():
        told = str(ratio)[:40]
        raise InputError(f"mask ratio {told}: give the share of hidden antennas, between 0 and 1, one or {count}")
    return np.broadcast_to(given.astype(np.float64), (count,))


def _random_lines(generator: np.random.Generator, count: int, lines: int, ratio: Ratio) -> Mask:
    """Which of some lines are observed, bool [count, lines]; round(ratio * lines) are hidden, all but one at most."""
    hidden = np.minimum(np.round(_ratios(ratio, count) * lines), lines - 1).astype(np.int64)
    # The rank of independent uniform numbers is a random permutation; the lowest ranks are hidden.
    rank = generator.random((count, lines)).argsort(axis=1).argsort(axis=1)
    return np.asarray(rank >= hidden[:, None])


def _crossing(rows: Mask, cols: Mask) -> Mask:
    """Observed rows [count, rows] crossed with observed columns [count, cols]."""
    return (rows[:, :, None] & cols[:, None, :])[..., None]


def _comb_steps(rows: int, cols: int) -> tuple[Integers, Integers]:
    """Steps (k [n], l [n]) of all combs of an array, the finest first: (1, 1), (1, 2), (2, 2), (2, 3), ...

    Along a side that is too short for a step, the step is the side: one row or column is observed.
    """
    longest = max(rows, cols)
    first = np.repeat(np.arange(1, longest + 1), 2)
    second = first + np.tile([0, 1], longest)
    return np.minimum(first, rows), np.minimum(second, cols)
