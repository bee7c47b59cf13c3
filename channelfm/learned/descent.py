"""How adapted networks and rivals learn from a few examples: steps along half a cosine, on windows of the array."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from channelfm.errors import InputError

_LARGEST_WINDOW = 32  # antennas along each side: a quarter of the cost of 64 x 64


class Descent:
    """AdamW over ``steps`` steps, with learning rates that fall along half a cosine from that of each group of
    parameters; ``name`` is whose losses these are."""

    def __init__(
        self, name: str, groups: Sequence[tuple[Iterable[nn.Parameter], float]], steps: int, weight_decay: float = 1e-2
    ) -> None:
        self.name, self.steps, self.done = name, steps, 0
        self._rates = [rate for _, rate in groups]
        self._optimizer = torch.optim.AdamW(
            [{"params": list(parameters), "lr": rate} for parameters, rate in groups], weight_decay=weight_decay
        )

    def step(self, loss: Tensor) -> None:
        """One step down a scalar loss; InputError where it is not finite."""
        if not torch.isfinite(loss.detach()):
            raise InputError(f"'{self.name}': the loss is {loss.item()} at step {self.done}: lower learning_rate")
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * (1 + math.cos(math.pi * self.done / self.steps)) / 2
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self.done += 1


def random_window(over: Tensor, generator: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns of some part of the arrays ``over`` [N, rows, cols, ...], of at most 32 antennas a side."""
    starts = [int(generator.integers(max(side - _LARGEST_WINDOW, 0) + 1)) for side in over.shape[1:3]]
    down, across = (slice(start, start + _LARGEST_WINDOW) for start in starts)
    return down, across
