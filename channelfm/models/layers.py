"""Layers of the transformers: attention, feed-forward, sinusoidal embeddings."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from channelfm.errors import InputError


class Attention(nn.Module):
    """Multi-head attention softmax(Q K^T / sqrt(d_k) + B) V (SPEC 2); Q from ``queries``, K and V from ``context``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise InputError(f"width {width} is not a multiple of heads {heads}: change one of them")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, queries: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
        """[N, q, width] from queries [N, q, width], context [N, k, width] and additive ``bias`` [N, 1, 1, k]."""
        query = self.query(queries).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = self.key_value(context).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, None if bias is None else bias.to(query.dtype))
        result: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return result


class FeedForward(nn.Sequential):
    """Two linear layers with a GELU between them, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


class CrossAttentionBlock(nn.Module):
    """Pre-norm block: self-attention, cross-attention to the observed tokens, feed-forward; 16 width^2 weights."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_self, self.norm_cross, self.norm_feed = (nn.LayerNorm(width) for _ in range(3))
        self.self_attention = Attention(width, heads)
        self.cross_attention = Attention(width, heads)
        self.feed = FeedForward(width)

    def forward(self, tokens: Tensor, context: Tensor, bias: Tensor) -> Tensor:
        """Tokens [N, t, width] updated with context [N, t, width], of which ``bias`` [N, 1, 1, t] hides a part."""
        normed = self.norm_self(tokens)
        tokens = tokens + self.self_attention(normed, normed)
        tokens = tokens + self.cross_attention(self.norm_cross(tokens), context, bias)
        tokens = tokens + self.feed(self.norm_feed(tokens))
        return tokens


def sinusoids(position: Tensor, width: int, longest: float = 10_000.0) -> Tensor:
    """Sinusoidal embedding [..., width] of positions [...], width even: cosines, then sines.

    Periods run geometrically from 2 pi to 2 pi * ``longest`` (Vaswani et al. 2017, section 3.5).
    """
    half = width // 2
    rate = torch.exp(torch.arange(half, device=position.device) * (-math.log(longest) / half))
    angle = position[..., None].float() * rate
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def grid_positions(down: int, across: int, width: int, device: torch.device | None = None) -> Tensor:
    """2-D positions [down * across, width]: embeddings of column and row index, concatenated (seed 000, IV-C)."""
    row = sinusoids(torch.arange(down, device=device), width // 2)
    col = sinusoids(torch.arange(across, device=device), width // 2)
    both = torch.cat([col[None].expand(down, -1, -1), row[:, None].expand(-1, across, -1)], dim=-1)
    return both.reshape(down * across, width)
