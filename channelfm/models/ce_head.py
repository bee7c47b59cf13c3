"""The CE head: a U-Net that predicts the noise of pilots (seed 000, V-A2 and figure 6)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from channelfm.errors import InputError


def _conv_norm_relu(inside: int, outside: int) -> nn.Sequential:
    """CBR: convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)
    )


class _Block(nn.Sequential):
    """Two CBR operations, then dropout."""

    def __init__(self, inside: int, outside: int, dropout: float) -> None:
        super().__init__(_conv_norm_relu(inside, outside), _conv_norm_relu(outside, outside), nn.Dropout2d(dropout))


class CEHead(nn.Module):
    """Denoises what was observed of a channel, of any size: h_p = M * (y - head([Re y, Im y, M])) (eq. 16).

    Parameters
    ----------
    width : channels at full resolution, twice as many at each of the four levels. Of sizes the paper tells only the
        number of parameters, 3.13 million: that of a width of 20 with a bottleneck 12 times as wide (chosen).
    dropout : after every block; chosen.
    """

    LEVELS = 4

    def __init__(self, width: int = 20, dropout: float = 0.1) -> None:
        super().__init__()
        if width < 1 or not 0 <= dropout < 1:
            raise InputError(f"width {width}, dropout {dropout}: give at least 1, and a share below 1")
        widths = [width * 2**level for level in range(self.LEVELS)] + [12 * width]
        self.first = _conv_norm_relu(3, width)
        self.down = nn.ModuleList(
            _Block(inside, outside, dropout) for inside, outside in zip([width, *widths], widths[:-1], strict=False)
        )
        self.bottom = _Block(widths[-2], widths[-1], dropout)
        self.rise = nn.ModuleList(
            nn.ConvTranspose2d(below, above, 4, stride=2, padding=1)
            for below, above in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.up = nn.ModuleList(_Block(2 * above, above, dropout) for above in widths[-2::-1])
        self.last = nn.Conv2d(width, 2, 1)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # it starts from the pilots as they are

    def forward(self, received: Tensor, mask: Tensor) -> Tensor:
        """Denoised channels float [N, rows, cols, 2], 0 where hidden, from ``received`` of that shape, known where bool
        ``mask`` [N, rows, cols]."""
        visible = mask[..., None].to(received.dtype)
        given = torch.cat([received * visible, visible], dim=-1)
        return (received - self.noise(given)) * visible

    def noise(self, given: Tensor) -> Tensor:
        """The predicted noise [N, rows, cols, 2] of [N, rows, cols, 3]; sides are padded to multiples of 16."""
        rows, cols = given.shape[1:3]
        multiple = 2**self.LEVELS
        image = F.pad(given.permute(0, 3, 1, 2), (0, -cols % multiple, 0, -rows % multiple))
        image, skips = self.first(image), []
        for block in self.down:
            image = block(image)
            skips.append(image)
            image = F.max_pool2d(image, 2)
        image = self.bottom(image)
        for rise, block, skip in zip(self.rise, self.up, reversed(skips), strict=True):
            image = block(torch.cat([rise(image), skip], dim=1))
        answer: Tensor = self.last(image)[:, :, :rows, :cols].permute(0, 2, 3, 1)
        return answer
