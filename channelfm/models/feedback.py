"""Feedback of channels: what a pretrained network saw, in a few bits per token, and back (seed 004, III-E)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from channelfm.errors import InputError
from channelfm.models.lwm_temporal import LWMTemporal


class FeedbackHead(nn.Module):
    """Each token as ``values`` numbers of ``bits`` bits: what a user would send, and what comes out of it."""

    def __init__(self, width: int, values: int = 4, bits: int = 2) -> None:
        super().__init__()
        if values < 1 or not 1 <= bits <= 8:
            raise InputError(f"values {values}, bits {bits}: give at least one value of 1 to 8 bits")
        self.values, self.bits = values, bits
        self.shrink, self.widen = nn.Linear(width, values), nn.Linear(values, width)

    def encode(self, tokens: Tensor) -> Tensor:
        """Codes uint8 [..., token, values], each below 2^bits, of tokens [..., token, width]."""
        return self._levels(tokens).round().to(torch.uint8)

    def decode(self, codes: Tensor) -> Tensor:
        """Tokens [..., token, width] of codes."""
        widened: Tensor = self.widen(2 * codes.to(self.widen.weight.dtype) / (2**self.bits - 1) - 1)
        return widened

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens after the way there and back; gradients pass the rounding as if there were none."""
        levels = self._levels(tokens)
        return self.decode(levels + (levels.round() - levels).detach())

    def _levels(self, tokens: Tensor) -> Tensor:
        levels: Tensor = (2**self.bits - 1) * (self.shrink(tokens).tanh() + 1) / 2
        return levels


class LWMFeedback(LWMTemporal):
    """LWM-Temporal with a :class:`FeedbackHead` between its blocks and its reconstruction; takes its weights.

    ``values`` and ``bits`` are those of a token; the other options are LWMTemporal's.
    """

    def __init__(self, values: int = 4, bits: int = 2, **options: Any) -> None:
        super().__init__(**options)
        self.feedback = FeedbackHead(self.cls_token.numel(), values, bits)

    def encode(self, frames: Tensor, seen: Tensor) -> Tensor:
        """What is sent: codes uint8 [N, tokens, values]; arguments as :meth:`forward`."""
        codes: Tensor = self.feedback.encode(self.features(frames, seen)[:, 1:])
        return codes

    def decode(self, codes: Tensor, size: tuple[int, int, int]) -> Tensor:
        """Frames float32 [N, T, H, W, 2] of ``size`` (T, H, W) from codes."""
        frames: Tensor = self.as_frames(self.feedback.decode(codes), size)
        return frames

    def forward(self, frames: Tensor, seen: Tensor) -> Tensor:
        """What comes back of frames float [N, T, H, W, 2] that were sent as codes; see :meth:`LWMTemporal.forward`."""
        self.check(frames, seen)
        tokens = self.feedback(self.features(frames, seen)[:, 1:])
        return self.as_frames(tokens, (seen.shape[1], seen.shape[2], seen.shape[3]))
