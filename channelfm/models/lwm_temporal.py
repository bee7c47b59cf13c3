"""LWM-Temporal: a transformer over angle, delay and time with sparse attention (seed 004, III-C to III-E).

Tokens are patches of angle-delay frames. A token of which nothing was observed is replaced by a learned one and keeps
its position, so that one network reconstructs, completes and, with hidden frames at the end, predicts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from channelfm.errors import InputError
from channelfm.ops.neighbourhood import Grid, Neighbourhood, Routing
from channelfm.ops.rotary import axial_rotation, flat_rotation, rotate
from channelfm.ops.ssta import sparse_attention
from channelfm.tokens.patches import patch_counts, patchify, unpatchify

Attend = Callable[[Tensor, Tensor, Tensor, Grid], Tensor]

_ROTATIONS = {"flat": flat_rotation, "axial": axial_rotation}


class LWMTemporal(nn.Module):
    """Estimates all entries of angle-delay frames from those that were observed.

    The defaults are table I's. Weights do not depend on the grid, nor on how tokens attend: a network that was
    pretrained bidirectionally is fine-tuned as a ``causal`` one.

    Parameters
    ----------
    width, depth, heads : of the transformer; ``width`` a multiple of twice the ``heads``.
    expansion : inner width of the SwiGLU layers as a multiple of ``width``.
    patch : angles and taps of a token.
    radii, offsets, drift : of the neighbourhood of eq. (7), in tokens (``ops.neighbourhood``).
    causal : tokens attend to their own frame and earlier ones.
    routed : attend to the strongest neighbours only (eq. 10, f = 0.2, at most 64).
    positions : rotary positions by the "flat" index of a token, as the paper has them, or "axial" by frame, angle, tap.
    dense : attend to all tokens instead (of earlier frames, if ``causal``): the rival without sparsity.
    """

    def __init__(
        self,
        width: int = 32,
        depth: int = 12,
        heads: int = 8,
        expansion: int = 4,
        patch: tuple[int, int] = (1, 1),
        radii: tuple[int, int] = (1, 1),
        offsets: tuple[int, ...] = (1, 2, 3, 4),
        drift: tuple[float, float] = (1.0, 1.0),
        causal: bool = False,
        routed: bool = False,
        positions: Literal["flat", "axial"] = "flat",
        dense: bool = False,
    ) -> None:
        super().__init__()
        if min(width, depth, heads, expansion) < 1 or width % (2 * heads):
            raise InputError(
                f"width {width}, depth {depth}, heads {heads}: width must be a multiple of twice the heads"
            )
        if positions not in _ROTATIONS:
            raise InputError(f"positions '{positions}': use one of: {', '.join(_ROTATIONS)}")
        if dense and routed:
            raise InputError("dense attention has no routing: leave one of them out")
        self.patch, self.heads, self.positions = (patch[0], patch[1]), heads, positions
        self.causal, self.dense = causal, dense
        self.neighbourhood = Neighbourhood((radii[0], radii[1]), tuple(offsets), (drift[0], drift[1]), causal)
        self.routing = Routing() if routed else None
        area = patch[0] * patch[1]
        self.embed_patch = nn.Linear(3 * area, width)
        self.hidden_token = nn.Parameter(0.02 * torch.randn(width))
        self.cls_token = nn.Parameter(0.02 * torch.randn(width))
        self.blocks = nn.ModuleList(Block(width, heads, expansion) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width)
        self.reconstruct = nn.Linear(width, 2 * area)
        nn.init.zeros_(self.reconstruct.weight)
        nn.init.zeros_(self.reconstruct.bias)

    def features(self, frames: Tensor, seen: Tensor) -> Tensor:
        """Normalised tokens [N, 1 + tokens, width] after the last block, [CLS] first; arguments as :meth:`forward`."""
        count, steps, angles, taps = seen.shape
        grid = (steps, *patch_counts(angles, taps, self.patch))
        dtype = self.reconstruct.weight.dtype
        visible = seen[..., None].to(dtype)
        values = torch.cat([torch.where(visible > 0, frames.to(dtype), 0), visible], dim=-1)
        patches = patchify(values.flatten(0, 1), self.patch)
        observed = patches[..., 2::3].amax(dim=-1, keepdim=True) > 0
        tokens = torch.where(observed, self.embed_patch(patches), self.hidden_token.to(dtype))
        tokens = tokens.reshape(count, -1, tokens.shape[-1])
        tokens = torch.cat([self.cls_token.to(dtype).expand(count, 1, -1), tokens], dim=1)
        angle = _ROTATIONS[self.positions](grid, tokens.shape[-1] // self.heads, cls=True)
        angle = angle.to(tokens.device, torch.float32)
        for block in self.blocks:
            tokens = block(tokens, angle, self.attend, grid)
        normalised: Tensor = self.norm_out(tokens)
        return normalised

    def attend(self, query: Tensor, key: Tensor, value: Tensor, grid: Grid) -> Tensor:
        """Attention of tokens [N, head, 1 + tokens, d] on a grid, sparse or dense."""
        if not self.dense:
            return sparse_attention(query, key, value, grid, self.neighbourhood, routing=self.routing, cls=True)
        if not self.causal:
            return F.scaled_dot_product_attention(query, key, value)
        time = torch.arange(grid[0], device=query.device).repeat_interleave(grid[1] * grid[2])
        allowed = F.pad(time[:, None] >= time, (1, 0))  # tokens do not see [CLS], which sees all
        allowed = torch.cat([torch.ones_like(allowed[:1]), allowed])
        return F.scaled_dot_product_attention(query, key, value, allowed)

    def forward(self, frames: Tensor, seen: Tensor) -> Tensor:
        """Estimates float32 [N, T, H, W, 2] of all entries.

        Parameters
        ----------
        frames : float [N, T, H, W, 2], scaled to a power of about 1; entries that were not observed are ignored.
        seen : bool [N, T, H, W], True = observed; or how far entries are to be trusted, float in [0, 1], 0 = hidden.

        Raises InputError where the shapes do not fit, or one is zero.
        """
        self.check(frames, seen)
        return self.as_frames(self.features(frames, seen)[:, 1:], (seen.shape[1], seen.shape[2], seen.shape[3]))

    def as_frames(self, tokens: Tensor, size: tuple[int, int, int]) -> Tensor:
        """Frames float32 [N, T, H, W, 2] of ``size`` (T, H, W) from tokens [N, tokens, width] without [CLS]."""
        patches = self.reconstruct(tokens)
        patches = patches.reshape(len(tokens) * size[0], -1, patches.shape[-1])
        return unpatchify(patches, size[1], size[2], self.patch).reshape(len(tokens), *size, 2).float()

    @staticmethod
    def check(frames: Tensor, seen: Tensor) -> None:
        """InputError where the shapes do not fit, or one is zero."""
        if seen.ndim != 4 or frames.shape != (*seen.shape, 2) or 0 in seen.shape:
            raise InputError(
                f"frames {tuple(frames.shape)} and seen {tuple(seen.shape)}: give [sample, frame, angle, tap, 2] and "
                "[sample, frame, angle, tap], none of them empty"
            )


class Block(nn.Module):
    """Pre-norm block of eq. (11): attention, then a SwiGLU layer (Shazeer 2020)."""

    def __init__(self, width: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.gate_value = nn.Linear(width, 2 * expansion * width)
        self.shrink = nn.Linear(expansion * width, width)

    def forward(self, tokens: Tensor, angle: Tensor, attend: Attend, grid: Grid) -> Tensor:
        """Tokens [N, 1 + tokens, width]; ``angle`` [1 + tokens, width / heads / 2] of their rotary positions."""
        parts = self.query_key_value(self.norm_attention(tokens)).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = attend(rotate(query, angle), rotate(key, angle), value, grid).to(tokens.dtype)
        tokens = tokens + self.mix(mixed.transpose(1, 2).flatten(2))
        gate, value = self.gate_value(self.norm_feed(tokens)).chunk(2, dim=-1)
        fed: Tensor = tokens + self.shrink(F.silu(gate) * value)
        return fed
