"""CDDIM with a U-Net instead of the transformer, the comparison model of seed 000 (V-A1): diffusers' UNet2DModel.

The condition (observed channel, mask) is stacked on the noisy channel: 5 real channels in, 2 out. Convolutions carry
the observation to where nothing was observed; self-attention works at the coarsest level only.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from channelfm.errors import InputError

_HEADS = 4
_GROUPS = 4  # of the group norms


class UNet(nn.Module):
    """Predicts what :class:`channelfm.models.denoiser.Denoiser` does, from the same arguments.

    Parameters
    ----------
    width : channels at full resolution, a multiple of 4; level k has k times as many.
    levels : resolutions, each half the one before.
    depth : residual blocks per level on the way down, one more on the way up.
    """

    def __init__(self, width: int = 44, levels: int = 3, depth: int = 1) -> None:
        super().__init__()
        if width % _GROUPS or min(width, levels, depth) < 1:
            raise InputError(f"width {width}, levels {levels}, depth {depth}: width must be a multiple of {_GROUPS}")
        import diffusers

        unet: Any = diffusers.UNet2DModel
        self.multiple = 2 ** (levels - 1)
        self.body = unet(
            in_channels=5,
            out_channels=2,
            block_out_channels=tuple(width * level for level in range(1, levels + 1)),
            layers_per_block=depth,
            down_block_types=("DownBlock2D",) * (levels - 1) + ("AttnDownBlock2D",),
            up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * (levels - 1),
            norm_num_groups=_GROUPS,
            attention_head_dim=levels * width // _HEADS,
        )
        nn.init.zeros_(self.body.conv_out.weight)
        nn.init.zeros_(self.body.conv_out.bias)

    def forward(self, noisy: Tensor, step: Tensor, observed: Tensor, mask: Tensor) -> Tensor:
        """Prediction float32 [N, rows, cols, 2]; arguments as :meth:`channelfm.models.denoiser.Denoiser.forward`.

        Any size: rows and columns are zero-padded at their ends to a multiple of 2^(levels - 1), as unobserved, and
        cut again.
        """
        rows, cols = noisy.shape[1:3]
        visible = mask[..., None].to(noisy.dtype)
        stacked = torch.cat([noisy, observed.to(noisy.dtype) * visible, visible], dim=-1).permute(0, 3, 1, 2)
        padded = F.pad(stacked, (0, -cols % self.multiple, 0, -rows % self.multiple))
        image: Tensor = self.body(padded.to(self.body.conv_out.weight.dtype), step, return_dict=False)[0]
        return image[:, :, :rows, :cols].permute(0, 2, 3, 1).float()

    def features(self, noisy: Tensor, step: Tensor, observed: Tensor, mask: Tensor) -> Tensor:
        """Tokens [N, places, levels * width] at the lowest resolution; arguments as :meth:`forward`."""
        kept: list[Tensor] = []
        hook = self.body.mid_block.register_forward_hook(lambda module, given, found: kept.append(found))
        try:
            self(noisy, step, observed, mask)
        finally:
            hook.remove()
        return kept[0].flatten(2).transpose(1, 2)
