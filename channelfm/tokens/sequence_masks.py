"""Which tokens of a sequence are seen: masks in time, angle and delay (PI-MCM, seed 004, IV-A).

Every kind is a function (generator, grid, ratio) -> bool [T, H, W] for a grid of T x H x W tokens. True = observed, as
everywhere here (the paper's M is 1 where a token is hidden). Exactly floor(ratio * T * H * W) tokens are hidden,
whatever the kind: its pattern is trimmed or extended at random, so that all kinds give the same amount to learn.
Raises InputError on a ratio outside [0, 1) and on an empty grid. ``SEQUENCE_MASKS`` is the one list of kinds.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from channelfm.checks import as_whole
from channelfm.errors import InputError

Mask = NDArray[np.bool_]
Grid = tuple[int, int, int]
Generator = np.random.Generator

_ANGLES_PER_BLOCK, _DELAYS_PER_BLOCK = 2, 4  # a half of the angles at most, a quarter of the delays: narrow in delay
_DRIFT = 1  # of a tube from frame to frame, in tokens
_LARGEST_COMB_STEP = 8


def random_tokens(generator: Generator, grid: Grid, ratio: float) -> Mask:
    """Tokens hidden independently of their place."""
    return _exactly(generator, np.zeros(grid, np.bool_), hidden_tokens(grid, ratio))


def rectangles(generator: Generator, grid: Grid, ratio: float) -> Mask:
    """Compact blocks hidden in single frames, wider in angle than in delay: a cluster that one frame misses."""
    wanted = hidden_tokens(grid, ratio)
    hidden = np.zeros(grid, np.bool_)
    while hidden.sum() < wanted:
        (height, width), frame = _block(generator, grid), generator.integers(grid[0])
        top, left = _corner(generator, grid, height, width)
        hidden[frame, top : top + height, left : left + width] = True
    return _exactly(generator, hidden, wanted)


def tubes(generator: Generator, grid: Grid, ratio: float) -> Mask:
    """Blocks hidden over consecutive frames that drift by at most a token a frame: a path that is shadowed a while."""
    wanted = hidden_tokens(grid, ratio)
    hidden = np.zeros(grid, np.bool_)
    frames, angles, taps = grid
    while hidden.sum() < wanted:
        height, width = _block(generator, grid)
        top, left = _corner(generator, grid, height, width)
        first = generator.integers(frames)
        for frame in range(first, generator.integers(first, frames) + 1):
            hidden[frame, top : top + height, left : left + width] = True
            down, across = generator.integers(-_DRIFT, _DRIFT + 1, 2)
            top, left = np.clip(top + down, 0, angles - height), np.clip(left + across, 0, taps - width)
    return _exactly(generator, hidden, wanted)


def comb(generator: Generator, grid: Grid, ratio: float) -> Mask:
    """A lattice over time and delay observed at all angles, as pilots are: the one whose share is nearest to 1 - ratio.

    Among equally near ones chance decides, as it does on the lattice's offsets.
    """
    wanted = hidden_tokens(grid, ratio)
    frames, _, taps = grid
    steps = [
        (time, delay)
        for time in range(1, min(frames, _LARGEST_COMB_STEP) + 1)
        for delay in range(1, min(taps, _LARGEST_COMB_STEP) + 1)
    ]
    distance = [abs(1 / (time * delay) - (1 - ratio)) for time, delay in steps]
    nearest = [step for step, value in zip(steps, distance, strict=True) if value <= min(distance) + 1e-12]
    time, delay = nearest[generator.integers(len(nearest))]
    on_time = np.arange(frames) % time == generator.integers(time)
    on_delay = np.arange(taps) % delay == generator.integers(delay)
    hidden = ~(on_time[:, None] & on_delay)[:, None].repeat(grid[1], axis=1)
    return _exactly(generator, hidden, wanted)


SEQUENCE_MASKS: dict[str, Callable[[Generator, Grid, float], Mask]] = {
    "random": random_tokens,
    "rect": rectangles,
    "tube": tubes,
    "comb": comb,
}


def hidden_tokens(grid: Grid, ratio: float) -> int:
    """How many tokens of a grid are hidden: floor(ratio * T * H * W), with the ratio as it is written."""
    if len(grid) != 3 or min(as_whole(size, "tokens", 0) for size in grid) < 1:
        raise InputError(f"{' x '.join(map(str, grid))} tokens: give at least one frame, angle and tap")
    if not (isinstance(ratio, float | int) and 0 <= ratio < 1):
        raise InputError(f"mask ratio {ratio}: give the share of hidden tokens, at least 0 and below 1")
    return int(Fraction(str(ratio)) * grid[0] * grid[1] * grid[2])  # 0.29 * 100 in binary is less than 29


def _exactly(generator: Generator, hidden: Mask, wanted: int) -> Mask:
    """Observed tokens, after random ones are shown, or hidden as well, so that ``wanted`` are hidden."""
    surplus = int(hidden.sum()) - wanted
    flat = hidden.ravel().copy()
    candidates = np.flatnonzero(flat if surplus > 0 else ~flat)
    flat[generator.choice(candidates, abs(surplus), replace=False)] ^= True
    return ~flat.reshape(hidden.shape)


def _block(generator: Generator, grid: Grid) -> tuple[int, int]:
    """Height in angle and width in delay of a block."""
    height = generator.integers(1, max(1, grid[1] // _ANGLES_PER_BLOCK) + 1)
    width = generator.integers(1, max(1, grid[2] // _DELAYS_PER_BLOCK) + 1)
    return int(height), int(width)


def _corner(generator: Generator, grid: Grid, height: int, width: int) -> tuple[int, int]:
    """A place for a block within the frame."""
    top, left = generator.integers(0, (grid[1] - height + 1, grid[2] - width + 1))
    return int(top), int(left)
