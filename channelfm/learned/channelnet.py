"""ChannelNet as an estimator, the task-specific rival of seed 000 (VI-A2)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from channelfm.baselines.interpolation import LinearInterpolation
from channelfm.errors import InputError
from channelfm.estimator import Examples
from channelfm.learned.descent import Descent, random_window
from channelfm.learned.networks import batches, sharing_weights
from channelfm.learned.redrawn import redrawn
from channelfm.models.channelnet import ChannelNet
from channelfm.observation import Observation, fold_frequency
from channelfm.tokens.canonical import find_frame, to_canonical

Answer = Callable[[Tensor], Tensor]


class _Pairs(NamedTuple):
    """Interpolated pilots (``given``) and ``clean`` channels float32 [S, rows, cols, 2], in the frames of the pilots,
    which are found from them alone."""

    given: Tensor
    clean: Tensor


class ChannelNetEstimator(LinearInterpolation):
    """Pilots interpolated linearly over the antennas, then ChannelNet, taught by :meth:`learn` in its two stages.

    The network sees channels with the strongest wave divided out, as the interpolation does: over the waves as they
    are, neither has anything smooth to work on. Observed antennas get what the network says of them. The same examples
    and ``seed`` give the same weights.

    Other than in the paper and its published code, images are of antennas, not of time and frequency; interpolation is
    linear, not by radial basis functions; one network serves all masks and signal-to-noise ratios, where theirs are
    trained for each; and by default it is smaller, and trained for far fewer steps.

    Parameters
    ----------
    spacing_wavelengths : element spacing in wavelengths where ``predict`` is not told any.
    width, depth : of the network, of 0.016 million parameters; the published 64 and 20, of 0.68 million, need an hour
        of training on a processor.
    draws : how often the examples' channels are observed anew, with masks and noises of one another.
    passes : over the examples of each draw in each stage.
    """

    name = "channelnet"
    keeps_observed = False

    def __init__(
        self,
        spacing_wavelengths: float | None = None,
        width: int = 16,
        depth: int = 8,
        draws: int = 2,
        passes: int = 4,
        batch_size: int = 16,
        learning_rate: float = 1e-3,
        seed: int = 0,
    ) -> None:
        super().__init__(spacing_wavelengths)
        self.width, self.depth, self.draws, self.passes = width, depth, draws, passes
        self.batch_size, self.learning_rate, self.seed = batch_size, learning_rate, seed
        self.network: ChannelNet | None = None

    def learn(self, examples: Examples) -> None:
        """See :class:`channelfm.estimator.Learns`."""
        generator = np.random.default_rng(self.seed)
        parts = [self._pairs(redrawn(examples, generator), examples) for _ in range(self.draws)]
        pairs = _Pairs(*(torch.cat(column) for column in zip(*parts, strict=True)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = ChannelNet(self.width, self.depth)
        self._descend(network.super_resolution, network.resolved, pairs, generator)
        network.super_resolution.requires_grad_(False)
        self._descend(network.restoration, network, pairs, generator)
        self.network = sharing_weights(network)

    def estimate_rest(self, rest: Tensor, seen: Tensor) -> Tensor:
        """See :class:`channelfm.baselines.frame_estimator.FrameEstimator`."""
        if self.network is None:
            raise InputError(f"'{self.name}' has learned nothing yet: call learn first")
        image = torch.view_as_real(super().estimate_rest(rest, seen)).float()
        return torch.view_as_complex(self.network(image).double().contiguous())

    @torch.no_grad()
    def _pairs(self, observation: Observation, examples: Examples) -> _Pairs:
        self.check(observation)
        _, *size = observation.grid.shape
        whole = observation.values, observation.mask, examples.channel
        folded = (torch.from_numpy(fold_frequency(part.reshape(-1, *size))) for part in whole)
        recipe = self.frame.at_spacing(observation.grid.array.spacing_wavelengths)
        parts = []
        for field, seen, clean in zip(*(torch.split(part, self.samples_at_once) for part in folded), strict=True):
            frame = find_frame(field, seen, recipe)
            rest = torch.where(seen, to_canonical(field, frame), 0).to(torch.complex128)
            both = super().estimate_rest(rest, seen), to_canonical(clean, frame)
            parts.append([torch.view_as_real(part).float() for part in both])
        return _Pairs(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def _descend(self, stage: nn.Module, answer: Answer, pairs: _Pairs, generator: np.random.Generator) -> None:
        """Teach one stage what ``answer`` says of interpolated pilots."""
        steps = self.passes * math.ceil(len(pairs.given) / self.batch_size)
        descent = Descent(self.name, [(stage.parameters(), self.learning_rate)], steps)
        for _ in range(self.passes):
            for some in batches(generator.permutation(len(pairs.given)), self.batch_size):
                down, across = random_window(pairs.given, generator)
                given, clean = (part[some][:, down, across] for part in pairs)
                descent.step((answer(given) - clean).square().mean())
