"""The critic of the conditional GAN, the comparison model of seed 000 (V-A1): is this channel a real one?

Patch-wise as pix2pix's (Isola et al. 2017, section 3.2.2), so that any array size fits and every region is judged;
spectral norms keep it from running away from the generator (Miyato et al. 2018).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from channelfm.errors import InputError


class Critic(nn.Module):
    """Judges patches of a channel, given what was observed of it.

    Parameters
    ----------
    width : channels of the first level, doubled at each further one.
    levels : halvings of the resolution; a logit sees about 2^(levels + 2) antennas a side.
    """

    def __init__(self, width: int = 64, levels: int = 3) -> None:
        super().__init__()
        if min(width, levels) < 1:
            raise InputError(f"width {width}, levels {levels}: give at least 1 of each")
        layers: list[nn.Module] = []
        channels = 5
        for level in range(levels):
            wider = width * 2**level
            layers += [_convolution(channels, wider, stride=2), nn.LeakyReLU(0.2)]
            channels = wider
        layers += [_convolution(channels, channels, stride=1), nn.LeakyReLU(0.2), _convolution(channels, 1, stride=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, channel: Tensor, observed: Tensor, mask: Tensor) -> Tensor:
        """Logits float32 [N, rows / 2^levels, cols / 2^levels], rounded up; positive means real.

        Parameters
        ----------
        channel : float [N, rows, cols, 2], real or generated.
        observed : float [N, rows, cols, 2]; entries where ``mask`` is False are ignored.
        mask : bool [N, rows, cols], True = observed.
        """
        visible = mask[..., None].to(channel.dtype)
        stacked = torch.cat([channel, observed.to(channel.dtype) * visible, visible], dim=-1).permute(0, 3, 1, 2)
        logits: Tensor = self.layers(stacked.to(next(self.parameters()).dtype))
        return logits[:, 0].float()


def _convolution(channels: int, wider: int, stride: int) -> nn.Module:
    """A 3 x 3 convolution under a spectral norm; odd, so that even a single row has an output."""
    return spectral_norm(nn.Conv2d(channels, wider, kernel_size=3, stride=stride, padding=1))
