"""ChannelNet (Soltani et al. 2019): a channel's interpolated pilots as an image, super-resolved, then restored.

Super-resolution is SRCNN (Dong et al. 2014: kernels of 9, 1 and 5), restoration DnCNN (Zhang et al. 2017: it predicts
what is wrong with the image). Real and imaginary part are images of their own through the same weights. One addition:
SRCNN tells what is to be added to its image, too, and both start from nothing, so that few steps of training do not
make the interpolation worse.
"""

from __future__ import annotations

from torch import Tensor, nn

from channelfm.errors import InputError


class ChannelNet(nn.Module):
    """Both networks; the default sizes are the published ones, 0.68 million parameters.

    Parameters
    ----------
    width : channels of all layers of DnCNN and of SRCNN's first, whose second has half as many.
    depth : layers of DnCNN, at least 3.
    """

    def __init__(self, width: int = 64, depth: int = 20) -> None:
        super().__init__()
        if width < 2 or depth < 3:
            raise InputError(f"width {width}, depth {depth}: give at least 2 and 3")
        half = width // 2
        self.super_resolution = nn.Sequential(
            nn.Conv2d(1, width, 9, padding=4),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, half, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, 1, 5, padding=2),
        )
        inner = [
            layer
            for _ in range(depth - 2)
            for layer in (nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        ]
        self.restoration = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.ReLU(inplace=True), *inner, nn.Conv2d(width, 1, 3, padding=1)
        )

        for stage in (self.super_resolution, self.restoration):
            last = stage[-1]
            assert isinstance(last, nn.Conv2d)
            assert last.bias is not None
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def resolved(self, image: Tensor) -> Tensor:
        """After the first stage, float [N, rows, cols, 2] as ``image``, the interpolated pilots."""
        return image + _by_parts(self.super_resolution, image)

    def restored(self, image: Tensor) -> Tensor:
        """After the second stage, of what the first gives."""
        return image - _by_parts(self.restoration, image)

    def forward(self, image: Tensor) -> Tensor:
        """Channels float [N, rows, cols, 2] from interpolated pilots of that shape, whose parts are near one."""
        return self.restored(self.resolved(image))


def _by_parts(network: nn.Module, image: Tensor) -> Tensor:
    """A network of one channel in and out, applied to real and imaginary part alike."""
    count, rows, cols, parts = image.shape
    planes = image.permute(0, 3, 1, 2).reshape(-1, 1, rows, cols)
    answer: Tensor = network(planes)
    return answer.reshape(count, parts, rows, cols).permute(0, 2, 3, 1)
