"""A mixture of linear predictions: which predictor to believe, by angle, delay and horizon.

Linear predictors are hard to beat where their model holds, and no one of them holds everywhere: autoregressions follow
clean bins to -60 dB, waves fitted to all samples together survive noise. The network sees what each of them predicts
and answers with weights, and a small correction; it needs to know no channel by heart. All it sees and answers is
relative to one candidate's phase, so that it commutes with a turn of the channel's phase.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from channelfm.errors import InputError

_FLOOR = 1e-7  # of powers relative to the mean: -70 dB


class LinearMixture(nn.Module):
    """Predictions from those of several linear predictors.

    Parameters
    ----------
    candidates : number of predictors; the first one gives the phase that all is relative to.
    width, depth : channels and number of residual blocks of two 3 x 3 convolutions over angle and delay, both circular.
    """

    def __init__(self, candidates: int = 5, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        if min(candidates, width, depth) < 1:
            raise InputError(f"candidates {candidates}, width {width}, depth {depth}: give numbers of at least 1")
        self.candidates = candidates
        self.enter = nn.Conv2d(4 * candidates + 3, width, 1)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.weigh = nn.Conv2d(width, candidates + 2, 1, bias=False)  # of candidates; what is added
        nn.init.zeros_(self.weigh.weight)

    def forward(self, candidates: Tensor, noise: Tensor, ahead: Tensor) -> Tensor:
        """Predicted frames float32 [N, horizon, angle, delay, 2].

        Parameters
        ----------
        candidates : float [N, candidate, horizon, angle, delay, 2], their predictions in angle and delay.
        noise : float [N], the noise power of the past relative to its mean power.
        ahead : integer [horizon], how many frames ahead they are.
        """
        if candidates.ndim != 6 or candidates.shape[1] != self.candidates or noise.shape != candidates.shape[:1]:
            raise InputError(
                f"candidates {tuple(candidates.shape)} and noise {tuple(noise.shape)}: give [sample, "
                f"{self.candidates}, horizon, angle, delay, 2] and [sample]"
            )
        guess = torch.view_as_complex(candidates.float().contiguous()).transpose(1, 2)  # [N, H, K, A, D]
        count, horizon = guess.shape[:2]
        size = guess.abs().square().mean(2, keepdim=True)
        level = size.mean((3, 4), keepdim=True).clamp_min(1e-30)
        turn = torch.polar(size.add(_FLOOR * level).sqrt(), guess[:, :, :1].angle())
        relative = guess / turn
        apart = (guess - guess.mean(2, keepdim=True)).abs().square().mean((3, 4), keepdim=True) / level
        planes = [
            relative.real,
            relative.imag,
            _logarithm((guess - guess[:, :, :1]).abs().square() / level),
            _logarithm(apart).expand_as(relative.real),
            _logarithm(size / level),
            _logarithm(noise.float()).view(-1, 1, 1, 1, 1).expand_as(size),
            ahead.float().log().view(1, -1, 1, 1, 1).expand_as(size),
        ]
        dtype = self.weigh.weight.dtype
        features = self.enter(torch.cat(planes, 2).flatten(0, 1).to(dtype))
        for block in self.blocks:
            features = block(features)
        answer = self.weigh(F.gelu(features)).float().unflatten(0, (count, horizon))
        mixed = (answer[:, :, :-2].softmax(2) * guess).sum(2)
        # What is added can be as large as the candidates are apart: where they agree, it is nothing.
        spread = (guess - mixed[:, :, None]).abs().square().mean(2).add(1e-30).sqrt()
        unit = turn[:, :, 0] / turn[:, :, 0].abs().clamp_min(1e-30)
        return torch.view_as_real(mixed + torch.complex(answer[:, :, -2], answer[:, :, -1]) * unit * spread)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1, padding_mode="circular") for _ in range(2))

    def forward(self, planes: Tensor) -> Tensor:
        changed: Tensor = planes + self.second(F.gelu(self.first(F.gelu(planes))))
        return changed


def _logarithm(power: Tensor) -> Tensor:
    """Powers on a scale on which 70 dB are 2."""
    return power.add(_FLOOR).log10() / 3.5
