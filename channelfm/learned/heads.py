"""Heads: from a network's tokens, and what its domain took out, to what a task asks for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from channelfm.errors import InputError
from channelfm.estimator import CLASSES


class Head(nn.Module, ABC):
    """What answers from tokens; made of the width of the tokens, and of what was taken out and asked for, as tensors,
    in the examples that it will learn from."""

    @abstractmethod
    def __init__(self, width: int, taken_out: Tensor, target: Tensor) -> None:
        super().__init__()

    @staticmethod
    @abstractmethod
    def takes(target: NDArray[Any]) -> bool:
        """Whether a head of this kind answers what examples with such targets ask for."""

    @abstractmethod
    def forward(self, tokens: Tensor, taken_out: Tensor) -> Tensor:
        """Output [N, ...] from tokens [N, token, width] and what was taken out [N, K]
        (:meth:`channelfm.learned.domains.InFrame.taken_out`)."""

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """What learning minimises, a scalar."""

    @abstractmethod
    def answer(self, output: Tensor) -> NDArray[Any]:
        """The answer of an estimator."""


class ClassHead(Head):
    """Classes from the mean of the tokens and from what was taken out, by one hidden layer.

    All classes count alike in the loss, however often they are met.
    """

    mean: Tensor
    spread: Tensor
    weight: Tensor

    def __init__(self, width: int, taken_out: Tensor, target: Tensor, hidden: int = 32) -> None:
        super().__init__(width, taken_out, target)
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

    @staticmethod
    def takes(target: NDArray[Any]) -> bool:
        """See :class:`Head`: whole numbers, one a link."""
        return target.ndim == 1 and bool(np.issubdtype(target.dtype, np.integer))

    def forward(self, tokens: Tensor, taken_out: Tensor) -> Tensor:
        """See :class:`Head`: logits [N, class]."""
        known = (taken_out - self.mean) / self.spread
        logits: Tensor = self.layers(torch.cat([self.norm(tokens.float().mean(1)), known], dim=1))
        return logits

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """See :class:`Head`; ``target`` int64 [N]."""
        return nn.functional.cross_entropy(output, target, self.weight)

    def answer(self, output: Tensor) -> NDArray[Any]:
        """See :class:`Head`: probabilities float64 [N, class]."""
        return output.double().softmax(1).cpu().numpy()


class FocalClassHead(ClassHead):
    """The same by the focal loss (Lin et al. 2017; eq. 23 of seed 000), which spends itself on what is still wrong, so
    that probabilities are less extreme than those of the cross-entropy."""

    focus = 2.0

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """See :class:`Head`; ``target`` int64 [N]. Weights are the inverse frequencies of the classes."""
        log_share = output.log_softmax(1).gather(1, target[:, None])[:, 0]
        weight = self.weight[target]
        return -(weight * (1 - log_share.exp()) ** self.focus * log_share).sum() / weight.sum()


# What a task gives (channelfm.tasks.base.Task.gives) -> its head
HEADS: dict[str, type[Head]] = {CLASSES: ClassHead}


def asked_for(target: NDArray[Any]) -> str:
    """What examples with such targets ask for, a key of ``HEADS``; InputError where there is no head for it."""
    for gives, kind in HEADS.items():
        if kind.takes(target):
            return gives
    raise InputError(f"no head answers targets of type {target.dtype} and shape {target.shape}: {', '.join(HEADS)}")
