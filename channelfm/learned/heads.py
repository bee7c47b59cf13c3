"""Heads: from a network's tokens, and what its domain took out, to what a task asks for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from channelfm.errors import InputError
from channelfm.estimator import CLASSES, POSITION
from channelfm.waves.places import places_seen


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


class PlaceHead(Head):
    """Places in the array's own frame: what the wave that was taken out tells, corrected by the mean of the tokens
    (seed 000, V-B3).

    The output [N, 5] is a distance in m, and cosine and sine of azimuth and elevation. It starts as the wave's own, in
    an array whose Rayleigh distance the examples tell, and learns how far to trust its range: with little curvature or
    much noise, what is usual is a better answer. Distances stay within twice what the examples have.
    """

    mean: Tensor
    spread: Tensor
    rayleigh_m: Tensor
    logs: Tensor

    def __init__(self, width: int, taken_out: Tensor, target: Tensor, hidden: int = 64) -> None:
        super().__init__(width, taken_out, target)
        distance = target.norm(dim=1).clamp_min(1e-6).float()
        self.register_buffer("mean", taken_out.mean(0))
        self.register_buffer("spread", taken_out.std(0, correction=0).clamp_min(1e-6))
        self.register_buffer("rayleigh_m", (distance * taken_out[:, 2].clamp_min(1e-6)).median())
        self.register_buffer("logs", torch.stack([(distance.min() / 2).log(), (distance.max() * 2).log()]))
        self.norm = nn.LayerNorm(width)
        last = nn.Linear(hidden, 6)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.Linear(width + taken_out.shape[1], hidden), nn.GELU(), last)

    @staticmethod
    def takes(target: NDArray[Any]) -> bool:
        """See :class:`Head`: three coordinates each."""
        return target.ndim == 2 and target.shape[1] == 3 and bool(np.issubdtype(target.dtype, np.floating))

    def forward(self, tokens: Tensor, taken_out: Tensor) -> Tensor:
        """See :class:`Head`: distance in m and the cosines and sines [N, 5]."""
        known = (taken_out - self.mean) / self.spread
        trust, shift, *turn = self.layers(torch.cat([self.norm(tokens.float().mean(1)), known], dim=1)).unbind(1)
        low, high = self.logs
        inside = ((self.rayleigh_m / taken_out[:, 2].clamp_min(1e-6)).log() - low) / (high - low)
        share = torch.sigmoid((1 + trust) * torch.logit(inside, 1e-3) + shift)
        sines = taken_out[:, :2]
        flat = (1 - sines[:, 1].square()).clamp_min(1e-6).sqrt()
        across = (sines[:, 0] / flat).clamp(-1, 1)
        wave = (1 - across.square()).sqrt(), across, flat, sines[:, 1]
        turned = [own + change for own, change in zip(wave, turn, strict=True)]
        return torch.stack([(low + (high - low) * share).exp(), *turned], dim=1)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """See :class:`Head`; ``target`` [N, 3] in m. Huber's loss of the distance, in units of a tenth of the Rayleigh
        distance and relative, and squared errors of cosines and sines (eqs. 27-29; the weights are lost: all are 1)."""
        distance = target.norm(dim=1).clamp_min(1e-6)
        flat = target[:, :2].norm(dim=1).clamp_min(1e-9)
        around, above = target[:, :2] / flat[:, None], torch.stack([flat, target[:, 2]], dim=1) / distance[:, None]
        off = output[:, 0] - distance
        parts = [off / unit for unit in (0.1 * self.rayleigh_m, distance)]
        huber = [nn.functional.huber_loss(part, torch.zeros_like(part)) for part in parts]
        return huber[0] + huber[1] + (output[:, 1:] - torch.cat([around, above], dim=1)).square().sum(1).mean()

    def answer(self, output: Tensor) -> NDArray[Any]:
        """See :class:`Head`: places float64 [N, 3] in m."""
        distance, *pairs = output.double().cpu().numpy().T
        views = [distance, np.arctan2(pairs[1], pairs[0]), np.arctan2(pairs[3], pairs[2])]
        return places_seen(np.stack(views, axis=1))


# What a task gives (channelfm.tasks.base.Task.gives) -> its head
HEADS: dict[str, type[Head]] = {CLASSES: ClassHead, POSITION: PlaceHead}


def asked_for(target: NDArray[Any]) -> str:
    """What examples with such targets ask for, a key of ``HEADS``; InputError where there is no head for it."""
    for gives, kind in HEADS.items():
        if kind.takes(target):
            return gives
    raise InputError(f"no head answers targets of type {target.dtype} and shape {target.shape}: {', '.join(HEADS)}")
