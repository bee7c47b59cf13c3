"""A pretrained network adapted to a task: which of its weights learn, and the estimator with a head."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from channelfm.errors import InputError
from channelfm.estimator import Examples
from channelfm.learned.descent import Descent
from channelfm.learned.estimator import FrameNetwork, Model, estimator_of
from channelfm.learned.fusion import FusedHead, range_told, timed_tokens
from channelfm.learned.heads import HEADS, Head, asked_for
from channelfm.learned.networks import batches, device_of
from channelfm.observation import Observation

Mode = Literal["probe", "partial", "lora", "full"]


class LowRank(nn.Module):
    """A linear layer and a learned change of low rank, which starts at zero (LoRA; Hu et al. 2022)."""

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.down = nn.Linear(linear.in_features, rank, bias=False)
        self.up = nn.Linear(rank, linear.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, values: Tensor) -> Tensor:
        """As the linear layer's."""
        changed: Tensor = self.linear(values) + self.up(self.down(values))
        return changed


def adapted(network: nn.Module, mode: Mode, rank: int = 4, last: int = 1) -> nn.Module:
    """A copy of a network of which only what the mode says learns: nothing ("probe"), its ``last`` blocks ("partial"; 3
    in seed 000), a change of low ``rank`` of each linear layer in its blocks ("lora"), or all ("full").

    Raises InputError for another mode, and for a network without blocks where the mode needs them.
    """
    if mode not in get_args(Mode):
        raise InputError(f"mode '{mode}': use one of: {', '.join(get_args(Mode))}")
    network = copy.deepcopy(network).requires_grad_(mode == "full")
    blocks = getattr(network, "blocks", None)
    if mode in ("partial", "lora") and not isinstance(blocks, nn.ModuleList):
        raise InputError(f"mode '{mode}': the network has no blocks to adapt; use probe or full")
    if mode == "partial" and isinstance(blocks, nn.ModuleList):
        blocks[-last:].requires_grad_(True)
    if mode == "lora" and isinstance(blocks, nn.ModuleList):
        for module in list(blocks.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(module, name, LowRank(child, rank).to(child.weight))
    return network


class _Inputs(NamedTuple):
    """N links as a network and its head see them, each by S narrow-band samples: ``known`` [N, S, rows, cols, 2],
    ``seen`` [N, S, rows, cols] and, the mean over them, ``taken_out`` [N, K]."""

    known: Tensor
    seen: Tensor
    taken_out: Tensor


@dataclass
class Adapted:
    """A model with a head; :meth:`learn` trains the head and what ``mode`` says of a copy of the model's network, the
    same from the same examples and ``seed``.

    ``gives``: what it answers, a key of :data:`channelfm.learned.heads.HEADS`; empty: what examples ask for. ``fused``:
    the head sees tokens of several diffusion steps (:mod:`channelfm.learned.fusion`) and what the waves tell of the
    range, in place of the mean token of one step. ``last``: blocks that learn with mode "partial". ``steps`` of
    ``batch_size`` links each, with a learning rate that falls from ``learning_rate`` along half a cosine.
    """

    model: Model
    mode: Mode = "probe"
    gives: str = ""
    name: str = ""
    steps: int = 400
    batch_size: int = 32
    learning_rate: float = 2e-3
    seed: int = 0
    fused: bool = False
    last: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.model, FrameNetwork):
            raise InputError(f"model '{self.model.name}' has no tokens for a head: use a 'cddim' one")
        if self.gives and self.gives not in HEADS:
            raise InputError(f"no head gives '{self.gives}': use one of: {', '.join(HEADS)}")
        self.name = self.name or f"{self.model.name}-{'fusion' if self.fused else self.mode}"
        self._encoder: FrameNetwork = self.model
        self._head: Head | None = None

    def learn(self, examples: Examples) -> None:
        """See :class:`channelfm.estimator.Learns`; InputError where no head answers what they ask for."""
        self.gives = self.gives or asked_for(examples.target)
        if not HEADS[self.gives].takes(examples.target):
            about = f"targets of type {examples.target.dtype} and shape {examples.target.shape}"
            raise InputError(f"'{self.name}' gives {self.gives}, not {about}: adapt the model anew for them")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            encoder = estimator_of(adapted(self.model.network, self.mode, last=self.last), self.model.recipe)
            assert isinstance(encoder, FrameNetwork)
            self._encoder = encoder
            inputs = self._enter(examples.observation)
            target = torch.from_numpy(examples.target).to(inputs.taken_out.device)
            width = self._tokens(inputs, np.arange(1)).shape[-1]
            self._head = head = self._new_head(width, inputs.taken_out, target).to(target.device)
        learning = [part for net in (encoder.network, head) for part in net.parameters() if part.requires_grad]
        descent = Descent(self.name, [(learning, self.learning_rate)], self.steps)
        fixed = self._all_tokens(inputs) if self.mode == "probe" else None
        generator, left = np.random.default_rng(self.seed), np.zeros(0, np.int64)
        for _ in range(self.steps):
            if len(left) < min(self.batch_size, len(target)):
                left = generator.permutation(len(target))
            some, left = left[: self.batch_size], left[self.batch_size :]
            tokens = fixed[some] if fixed is not None else self._tokens(inputs, some)
            descent.step(head.loss(head(tokens, inputs.taken_out[some]), target[some]))

    @torch.no_grad()
    def estimate(self, observation: Observation) -> NDArray[Any]:
        """See :class:`channelfm.estimator.Estimator`; InputError before anything was learned."""
        if self._head is None:
            raise InputError(f"'{self.name}' has learned nothing yet: call learn first")
        inputs = self._enter(observation)
        return self._head.answer(self._head(self._all_tokens(inputs), inputs.taken_out))

    def _new_head(self, width: int, taken_out: Tensor, target: Tensor) -> Head:
        if self.fused:
            return FusedHead(width, taken_out, target, self.gives)
        return HEADS[self.gives](width, taken_out, target)

    @torch.no_grad()
    def _enter(self, observation: Observation) -> _Inputs:
        encoder = self._encoder
        partial, seen = (torch.from_numpy(part) for part in encoder.samples(observation))
        spacing, device = observation.grid.array.spacing_wavelengths, device_of(encoder.network)
        parts = []
        for some in batches(np.arange(len(partial)), encoder.batch_size):
            inside = encoder.enter(partial[some].to(device), seen[some].to(device), spacing)
            told = [inside.taken_out(), *([range_told(inside)] if self.fused else [])]
            parts.append((inside.known, inside.seen, torch.cat(told, dim=1)))
        known, where, taken_out = (torch.cat(part) for part in zip(*parts, strict=True))
        samples = len(known) // len(observation)
        known, where, taken_out = (part.reshape(-1, samples, *part.shape[1:]) for part in (known, where, taken_out))
        return _Inputs(known, where, taken_out.mean(1))

    def _tokens(self, inputs: _Inputs, links: NDArray[np.int64]) -> Tensor:
        """Tokens [n, samples * token, width] of some links or, fused, [n, step, down, across, width], the mean over
        their samples."""
        known, seen = (part[links].flatten(0, 1) for part in inputs[:2])
        if self.fused:
            tokens = timed_tokens(self._encoder, known, seen)
            return tokens.reshape(len(links), -1, *tokens.shape[1:]).mean(1)
        tokens = self._encoder.tokens(known, seen)
        return tokens.reshape(len(links), -1, tokens.shape[2])

    @torch.no_grad()
    def _all_tokens(self, inputs: _Inputs) -> Tensor:
        """Tokens of all links: fused ones as they are, others pooled to [N, 1, width], since heads that see them do not
        train what gives them."""
        numbers = batches(np.arange(len(inputs.taken_out)), self._encoder.batch_size)
        parts = [self._tokens(inputs, some) for some in numbers]
        return torch.cat([part if self.fused else part.mean(1, keepdim=True) for part in parts])
