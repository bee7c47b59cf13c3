"""A prior as locally adapted filters: the conditional mean of a noisy channel in angle and delay.

Given its clusters a channel is Gaussian and its conditional mean linear, so that all a network has to say is which
linear map; in angle and delay, where neighbours alone are correlated, that is a small complex filter for every bin. The
network sees powers and the products of neighbours, from which a turn of the phase has gone, and so commutes with it.
Means along either axis are part of every block, since angles and delays, or the angles of two ends, often scatter
independently. Far lighter than a network that answers bins, as light as Fesl et al. (2024) ask for.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from channelfm.errors import InputError

_REACH = 1  # bins to each side in a filter
_SHIFTS = [(down, across) for down in range(-_REACH, _REACH + 1) for across in range(-_REACH, _REACH + 1)]
_PLANES = 7
_LEAST = 1e-3  # of the noise's power: what a logarithm is taken of


class AdaptedFilters(nn.Module):
    """Clean samples from noisy ones, of unit power on average.

    Parameters
    ----------
    width : channels of the network.
    depth : residual blocks.
    """

    def __init__(self, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        if min(width, depth) < 1:
            raise InputError(f"width {width}, depth {depth}: give at least 1 each")
        self.embed = nn.Conv2d(_PLANES, width, 1)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.answer = nn.Conv2d(width, 2 * len(_SHIFTS), 1)
        nn.init.zeros_(self.answer.weight)
        assert self.answer.bias is not None
        nn.init.zeros_(self.answer.bias)

    def forward(self, noisy: Tensor, sigma: Tensor, until: Tensor) -> Tensor:
        """Samples float32 [N, H, W, 2] of ``noisy`` [N, H, W, 2], both in angle and delay, whose axes are circles.

        ``sigma`` [N] is the amplitude of the noise. The answer is E[clean | noisy] where ``until`` is ``sigma``; below
        it, networks that were trained for that answer the clean sample to which the average velocity down to ``until``
        leads.
        """
        level = sigma[:, None, None]
        scaled = noisy.permute(0, 3, 1, 2) / level[:, None]
        power = scaled.square().sum(1)
        planes = [power.add(_LEAST).log() / 3]
        for axis in (1, 2):
            beside = scaled.roll(1, axis + 1)
            real = (scaled * beside).sum(1)
            imaginary = scaled[:, 1] * beside[:, 0] - scaled[:, 0] * beside[:, 1]
            size = (power * power.roll(1, axis)).add(1).sqrt()
            planes += [real / size, imaginary / size]
        planes += [level.log().expand_as(power) / 3, (until / sigma)[:, None, None].expand_as(power)]
        hidden = self.embed(torch.stack(planes, 1))
        for block in self.blocks:
            hidden = block(hidden)
        weights = self.answer(F.gelu(hidden)).unflatten(1, (len(_SHIFTS), 2))
        # Filters are those of a white sample of unit power where the network says nothing.
        start = 1 / (1 + level.square())
        real, imaginary = noisy[..., 0], noisy[..., 1]
        clean = [start * real, start * imaginary]
        for number, shift in enumerate(_SHIFTS):
            there = real.roll(shift, (1, 2)), imaginary.roll(shift, (1, 2))
            own = weights[:, number, 0], weights[:, number, 1]
            clean[0] = clean[0] + own[0] * there[0] - own[1] * there[1]
            clean[1] = clean[1] + own[0] * there[1] + own[1] * there[0]
        return torch.stack(clean, -1)


class _Block(nn.Module):
    """A circular 3 x 3 convolution and the means along both axes, then a pointwise layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.near = nn.Conv2d(width, width, 3, padding=1, padding_mode="circular")
        self.far = nn.Conv2d(2 * width, width, 1)
        self.point = nn.Conv2d(width, width, 1)

    def forward(self, planes: Tensor) -> Tensor:
        active = F.gelu(planes)
        means = [active.mean(axis, keepdim=True).expand_as(active) for axis in (2, 3)]
        changed: Tensor = planes + self.point(F.gelu(self.near(active) + self.far(torch.cat(means, 1))))
        return changed
