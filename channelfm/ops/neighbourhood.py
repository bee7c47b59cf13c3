"""Which tokens of an angle-delay-time grid a token attends to (seed 004, equations 7 and 10).

Tokens lie frame by frame, row by row: token (t, h, w) of a grid (T, H, W) is number (t * H + h) * W + w. A
neighbourhood is a few boxes, one per frame that is looked at: (step in time, reach in rows, reach in columns).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from channelfm.errors import InputError

Grid = tuple[int, int, int]


@dataclass(frozen=True)
class Neighbourhood:
    """Same-frame window and temporal corridors (equation 7).

    ``radii``: r_h and r_w of the window in the token's own frame. ``offsets``: the distances |dt| in frames at which
    it also looks, backwards and forwards, or backwards alone if ``causal``. ``drift``: gamma_h and gamma_w, tokens per
    frame; at distance |dt| it sees tokens up to floor(gamma * abs(dt)) away. The defaults are table I's. What lies
    outside the grid is left out, so that the token itself is always among its neighbours.

    Raises InputError for negative or non-finite values and for offsets that are not distinct and at least 1.
    """

    radii: tuple[int, int] = (1, 1)
    offsets: tuple[int, ...] = (1, 2, 3, 4)
    drift: tuple[float, float] = (1.0, 1.0)
    causal: bool = False

    def __post_init__(self) -> None:
        if len(self.radii) != 2 or any(not isinstance(radius, int) or radius < 0 for radius in self.radii):
            raise InputError(f"radii {self.radii}: give two integers of at least 0, r_h and r_w")
        if len(self.drift) != 2 or any(not math.isfinite(drift) or drift < 0 for drift in self.drift):
            raise InputError(f"drift {self.drift}: give two finite numbers of at least 0, gamma_h and gamma_w")
        if any(not isinstance(offset, int) or offset < 1 for offset in self.offsets):
            raise InputError(
                f"offsets {self.offsets}: give distances in frames of at least 1; causal=True drops later frames"
            )
        if len(set(self.offsets)) != len(self.offsets):
            raise InputError(f"offsets {self.offsets}: give each distance once")

    @property
    def boxes(self) -> tuple[tuple[int, int, int], ...]:
        """(dt, reach in rows, reach in columns) of every frame that is looked at, the own frame first."""
        signs = (-1,) if self.causal else (-1, 1)
        reaches = [(far, math.floor(self.drift[0] * far), math.floor(self.drift[1] * far)) for far in self.offsets]
        return ((0, *self.radii), *((sign * far, down, across) for far, down, across in reaches for sign in signs))


@dataclass(frozen=True)
class Routing:
    """Of a token's neighbours, only the K_r with the largest logits count (equation 10).

    K_r = clip(floor(``fraction`` * N), ``least``, ``most``), N neighbours inside the grid, and never more than N.
    Neighbours whose logit equals the last one's stay as well, so that the result does not depend on their order. The
    choice has no gradient. ``fraction`` and ``most`` are table I's; the paper does not state K_min (*chosen*: 8).

    Raises InputError unless 0 < fraction <= 1 and 1 <= least <= most.
    """

    fraction: float = 0.2
    least: int = 8
    most: int = 64

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise InputError(f"routing fraction {self.fraction}: give a number above 0 and up to 1")
        if not 1 <= self.least <= self.most:
            raise InputError(f"routing keeps {self.least} to {self.most} neighbours: give 1 <= least <= most")

    def kept(self, counts: Tensor) -> Tensor:
        """K_r int32 of as many neighbours as ``counts`` int32 says."""
        share = (self.fraction * counts.double()).floor().to(torch.int32)
        return torch.minimum(share.clamp(self.least, self.most), counts)


def count_neighbours(boxes: Sequence[Sequence[int]], grid: Grid, device: torch.device | None = None) -> Tensor:
    """Number of neighbours inside the grid of every token, int32 [T * H * W]."""
    frames, rows, cols = (torch.arange(size, dtype=torch.int32, device=device) for size in grid)

    def inside(place: Tensor, reach: int) -> Tensor:
        return (place + reach).clamp_max(len(place) - 1) - (place - reach).clamp_min(0) + 1

    total = torch.zeros(grid, dtype=torch.int32, device=device)
    for step, down, across in boxes:
        seen = ((frames + step >= 0) & (frames + step < len(frames))).int()
        total = total + seen[:, None, None] * inside(rows, down)[:, None] * inside(cols, across)
    return total.flatten()


def list_neighbours(
    boxes: Sequence[Sequence[int]], grid: Grid, tokens: Tensor, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Neighbours of the given ``tokens`` int64 [n]: their numbers int64 [n, K] and whether they lie inside the grid,
    bool [n, K]; outside it the number is the token's own. K is the same for all tokens: the boxes' volume."""
    steps = torch.cat([_box_steps(*box) for box in boxes]).to(device)
    sizes = torch.tensor(grid, device=device)
    place = torch.stack([tokens // (grid[1] * grid[2]), tokens // grid[2] % grid[1], tokens % grid[2]], dim=-1)
    found = place[:, None] + steps
    inside = ((found >= 0) & (found < sizes)).all(-1)
    number = (found[..., 0] * grid[1] + found[..., 1]) * grid[2] + found[..., 2]
    return torch.where(inside, number, tokens[:, None]), inside


def _box_steps(step: int, down: int, across: int) -> Tensor:
    return torch.cartesian_prod(
        torch.tensor([step]), torch.arange(-down, down + 1), torch.arange(-across, across + 1)
    ).reshape(-1, 3)


def attention_mask(neighbourhood: Neighbourhood, grid: Grid, *, cls: bool = False) -> Tensor:
    """The same pattern for dense attention: bool [S, S], row = query, true where it attends; S = T * H * W + ``cls``.

    [CLS] is token 0. It attends to all; all see it, except in a causal neighbourhood (:func:`sparse_attention`).
    For tests and figures: it takes S^2 bytes.
    """
    tokens = torch.arange(math.prod(grid))
    number, inside = list_neighbours(neighbourhood.boxes, grid, tokens)
    mask = torch.zeros(len(tokens), len(tokens), dtype=torch.bool)
    mask[tokens[:, None].expand_as(number)[inside], number[inside]] = True
    if not cls:
        return mask
    whole = torch.ones(len(tokens) + 1, len(tokens) + 1, dtype=torch.bool)
    whole[1:, 1:] = mask
    whole[1:, 0] = not neighbourhood.causal
    return whole
