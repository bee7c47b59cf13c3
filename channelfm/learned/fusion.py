"""Multi-time features: a diffusion network's tokens at several noise levels, fused by attention (seed 000, V-B1)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from channelfm.diffusion import levels
from channelfm.errors import InputError
from channelfm.estimator import CLASSES
from channelfm.learned.domains import InFrame
from channelfm.learned.estimator import DiffusionEstimator, FrameNetwork, TokenNetwork
from channelfm.learned.heads import HEADS, FocalClassHead, Head
from channelfm.models.layers import FeedForward, grid_positions
from channelfm.waves.ranging import strongest_range
from channelfm.waves.scale import scale_exponents, times_power_of_two

# Of the forward process; the paper's five steps are lost.
STEP_SHARES = (0.05, 0.2, 0.4, 0.6, 0.8)
# Tokens of one step are averaged over as many cells along each side of the array at most: attention among all of
# 5 x 256 tokens would cost a processor more than the network itself.
_CELLS = 4
_HEADS = 4  # of attention
_FARTHEST = 0.01  # inverse ranges, in inverse Rayleigh distances, below which all are alike
_SURE = 30.0  # the largest evidence
_SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)  # of the evidence, that may be believed


def timed_tokens(encoder: FrameNetwork, known: Tensor, seen: Tensor) -> Tensor:
    """Tokens [N, step, down, across, width] of what is ``known`` in the frame, float [N, rows, cols, 2], where bool
    ``seen``: at each of ``STEP_SHARES`` with the noise of that step, the same for all links.

    Raises InputError for a network that knows no steps of diffusion, or has no tokens.
    """
    if not (isinstance(encoder, DiffusionEstimator) and isinstance(encoder.network, TokenNetwork)):
        raise InputError(f"model '{encoder.name}' knows no steps of diffusion to fuse: use a 'cddim' one")
    process, noise = encoder.recipe.diffusion, encoder.noise(known)
    cells = []
    for share in STEP_SHARES:
        step = torch.full((len(known),), int(share * process.steps), device=known.device)
        signal, sigma = (level.to(known.dtype) for level in levels(process, step, known))
        cells.append(
            in_cells(encoder.network.features(signal * known + sigma * noise, step, known, seen), *seen.shape[1:])
        )
    return torch.stack(cells, dim=1)


def in_cells(tokens: Tensor, rows: int, cols: int) -> Tensor:
    """Tokens [N, token, width] of an array, row by row, averaged over its cells [N, down, across, width]."""
    count, number, width = tokens.shape
    down = max(round(math.sqrt(number * rows / cols)), 1)
    down = down if number % down == 0 else 1
    image = tokens.reshape(count, down, number // down, width).permute(0, 3, 1, 2)
    size = min(down, _CELLS), min(number // down, _CELLS)
    return F.adaptive_avg_pool2d(image, size).permute(0, 2, 3, 1)


def range_told(inside: InFrame) -> Tensor:
    """What the waves that the frame takes out tell of the range, float32 [N, 4]: logarithms of the strongest one's
    inverse range and of its deviation, in inverse Rayleigh distances; how many deviations it is within the Rayleigh
    distance (inverse hyperbolic sine); and the evidence, the logarithm of how much likelier within than beyond."""
    rows, cols = inside.seen.shape[1:]
    rayleigh = 2 * ((rows - 1) ** 2 + (cols - 1) ** 2) * inside.spacing_wavelengths**2
    received = times_power_of_two(inside.received, -scale_exponents(inside.received))
    source, deviation = strongest_range(received, inside.seen, inside.spacing_wavelengths)
    inverse, deviation = source[:, 2] * rayleigh, (deviation * rayleigh).clamp(1e-4, 1e4)
    within = ((inverse - 1) / deviation).double()
    evidence = (torch.special.log_ndtr(within) - torch.special.log_ndtr(-within)).clamp(-_SURE, _SURE)
    told = [(inverse + _FARTHEST).log(), deviation.log(), within.asinh(), evidence]
    return torch.stack([part.float() for part in told], dim=1)


class InformedClassHead(FocalClassHead):
    """Classes of which the last column of what was taken out is evidence for the second of two: the output is what the
    evidence says, as far as the examples confirm it, and a correction that starts at none.

    That share is the one of a few that has the least loss on the examples; of what is no question of range, it is 0.
    """

    def __init__(self, width: int, taken_out: Tensor, target: Tensor) -> None:
        super().__init__(width, taken_out[:, :-1], target)
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.two = len(self.weight) == 2
        share = _confirmed_share(taken_out[:, -1], target, self.weight) if self.two else 0.0
        self.share = nn.Parameter(torch.tensor(share), requires_grad=self.two)

    def forward(self, tokens: Tensor, taken_out: Tensor) -> Tensor:
        """See :class:`channelfm.learned.heads.Head`: logits [N, class]."""
        correction = super().forward(tokens, taken_out[:, :-1])
        return correction + self.share * _odds(taken_out[:, -1]) if self.two else correction


def _confirmed_share(evidence: Tensor, target: Tensor, weight: Tensor) -> float:
    losses = [nn.functional.cross_entropy(share * _odds(evidence), target, weight) for share in _SHARES]
    return _SHARES[int(torch.stack(losses).argmin())]


def _odds(evidence: Tensor) -> Tensor:
    """Logits [N, 2]."""
    return torch.stack([-evidence, evidence], dim=1) / 2


FUSED_HEADS: dict[str, type[Head]] = HEADS | {CLASSES: InformedClassHead}


class FusedHead(Head):
    """A head behind the fusion of tokens [N, step, down, across, width] of several steps: embeddings of place and step
    (eq. 19), one pre-norm encoder layer over all tokens together (eq. 20), their mean (eq. 21).

    Places are sinusoids through a learned linear map, so that any number of them fits.
    """

    def __init__(self, width: int, taken_out: Tensor, target: Tensor, gives: str = CLASSES) -> None:
        super().__init__(width, taken_out, target)
        self.place = nn.Linear(width, width)
        self.step = nn.Parameter(0.02 * torch.randn(len(STEP_SHARES), width))
        self.norm_in, self.norm_mix, self.norm_feed = (nn.LayerNorm(width) for _ in range(3))
        self.mix = nn.MultiheadAttention(width, _HEADS, batch_first=True)
        self.feed = FeedForward(width)
        self.head = FUSED_HEADS[gives](width, taken_out, target)

    @staticmethod
    def takes(target: NDArray[Any]) -> bool:
        """See :class:`channelfm.learned.heads.Head`: whatever one of ``FUSED_HEADS`` takes."""
        return any(kind.takes(target) for kind in FUSED_HEADS.values())

    def forward(self, tokens: Tensor, taken_out: Tensor) -> Tensor:
        """See :class:`channelfm.learned.heads.Head`, but for the shape of the tokens."""
        _, _, down, across, width = tokens.shape
        places = self.place(grid_positions(down, across, width, tokens.device))
        embedded = self.norm_in(tokens.float().flatten(2, 3)) + places + self.step[:, None]
        mixed = embedded.flatten(1, 2)
        normed = self.norm_mix(mixed)
        mixed = mixed + self.mix(normed, normed, normed, need_weights=False)[0]
        mixed = mixed + self.feed(self.norm_feed(mixed))
        output: Tensor = self.head(mixed.mean(1, keepdim=True), taken_out)
        return output

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """See :class:`channelfm.learned.heads.Head`."""
        return self.head.loss(output, target)

    def answer(self, output: Tensor) -> NDArray[Any]:
        """See :class:`channelfm.learned.heads.Head`."""
        return self.head.answer(output)
