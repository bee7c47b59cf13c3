"""Heads: from a network's tokens, and what its domain took out, to what a task asks for."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from channelfm.errors import InputError
from channelfm.estimator import CLASSES


class ClassHead(nn.Module):
    """Classes from the mean of the tokens and from what was taken out, by one hidden layer; made of the width of the
    tokens, and of what was taken out and asked for in the examples that it will learn from.

    All classes count alike in the loss, however often they are met.
    """

    mean: Tensor
    spread: Tensor
    weight: Tensor

    def __init__(self, width: int, taken_out: Tensor, target: Tensor, hidden: int = 32) -> None:
        super().__init__()
        counts = torch.bincount(target).float()
        if len(counts) < 2 or not counts.all():
            raise InputError(f"classes: {len(counts)} of them, some without an example: give examples of each")
        self.register_buffer("mean", taken_out.mean(0))
        self.register_buffer("spread", taken_out.std(0).clamp_min(1e-6))
        self.register_buffer("weight", 1 / counts)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.Sequential(
            nn.Linear(width + taken_out.shape[1], hidden), nn.GELU(), nn.Linear(hidden, len(counts))
        )

    def forward(self, tokens: Tensor, taken_out: Tensor) -> Tensor:
        """Logits [N, class] from tokens [N, token, width] and what was taken out [N, K]
        (:meth:`channelfm.learned.domains.InFrame.taken_out`)."""
        known = (taken_out - self.mean) / self.spread
        logits: Tensor = self.layers(torch.cat([self.norm(tokens.float().mean(1)), known], dim=1))
        return logits

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """What learning minimises, a scalar; ``target`` int64 [N]."""
        return nn.functional.cross_entropy(output, target, self.weight)

    def answer(self, output: Tensor) -> NDArray[Any]:
        """The answer of an estimator: probabilities float64 [N, class]."""
        return output.double().softmax(1).cpu().numpy()


# What a task gives (channelfm.tasks.base.Task.gives) -> its head
HEADS: dict[str, type[ClassHead]] = {CLASSES: ClassHead}
