"""WiFo, a masked autoencoder of channel sequences over space, time and frequency (Liu et al., arXiv 2412.08908).

Published, and so here: patches of 4 x 4 x 4; 6 encoder and 4 decoder blocks of 8 heads; widths 64 (tiny, 0.3 million
parameters), 128, 256 and 512 (base, 21.6 million); pre-norm blocks with a feed-forward part twice as wide; the encoder
sees visible patches only, the decoder all, with one learned mask token; sinusoidal positions, the width divided among
time, rows and columns (22, 22 and 20 of 64; 170, 170 and 172 of 512); Xavier weights. Three pretraining masks: of 85 %
of the patches, of the last half of the frames, of the last half of the subcarriers.

Chosen: a patch of which any entry was seen is visible, with zeros where it was not (the paper's patches are seen
whole or not at all, and no flags tell them apart); time is padded at the front, so that a future of a multiple of 4
frames starts with a patch. The authors' code also holds learned position tables which its sinusoids leave unused;
they are left out here.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from channelfm.errors import InputError
from channelfm.models.layers import Attention, sinusoids

Sides = tuple[int, int, int]  # along time, rows and columns

PATCH: Sides = (4, 4, 4)
_NORM_EPSILON = 1e-6
_MASK_TOKEN_SPREAD = 0.02


class WiFoBlock(nn.Module):
    """Pre-norm block: self-attention, then a GELU feed-forward part twice as wide; 8 width^2 weights."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_self, self.norm_feed = (nn.LayerNorm(width, _NORM_EPSILON) for _ in range(2))
        self.attention = Attention(width, heads)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        """Tokens [N, t, width] updated; ``bias`` [N, 1, 1, t] hides a part of them."""
        normed = self.norm_self(tokens)
        tokens = tokens + self.attention(normed, normed, bias)
        result: Tensor = tokens + self.feed(self.norm_feed(tokens))
        return result


class WiFo(nn.Module):
    """Estimates every entry of a sequence of frames from those that were seen.

    Parameters
    ----------
    width, heads : of encoder and decoder; ``width`` even and a multiple of ``heads``, 6 at least.
    depth, decoder_depth : numbers of blocks.
    patch : sides of the patches along time, rows and columns.
    """

    def __init__(
        self, width: int = 64, depth: int = 6, decoder_depth: int = 4, heads: int = 8, patch: Sides = PATCH
    ) -> None:
        super().__init__()
        if width % 2 or width < 6 or min(depth, decoder_depth, heads, *patch) < 1:
            raise InputError(
                f"width {width}, depth {depth}, decoder_depth {decoder_depth}, heads {heads}, patch {patch}: "
                "width must be even and at least 6, the others at least 1"
            )
        self.width = width
        # A recipe's triple is a list.
        self.patch: Sides = (patch[0], patch[1], patch[2])
        volume = patch[0] * patch[1] * patch[2]
        self.embed = nn.Linear(2 * volume, width)
        self.encoder = nn.ModuleList(WiFoBlock(width, heads) for _ in range(depth))
        self.norm_encoder = nn.LayerNorm(width, _NORM_EPSILON)
        self.embed_decoder = nn.Linear(width, width)
        self.mask_token = nn.Parameter(torch.randn(width) * _MASK_TOKEN_SPREAD)
        self.decoder = nn.ModuleList(WiFoBlock(width, heads) for _ in range(decoder_depth))
        self.norm_decoder = nn.LayerNorm(width, _NORM_EPSILON)
        self.project = nn.Linear(width, 2 * volume)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, frames: Tensor, seen: Tensor) -> Tensor:
        """Estimate float32 [N, T, rows, cols, 2] of every entry.

        Time is zero-padded at the front, rows and columns at their ends, to whole patches, and cut again. A sample of
        which nothing was seen is answered from the mask token alone.

        Parameters
        ----------
        frames : float [N, T, rows, cols, 2]; entries where ``seen`` is False are ignored.
        seen : bool [N, T, rows, cols], True = observed. All False in frames that are asked for.
        """
        predicted = self.project(self.features(frames, seen)).float()
        return _join(predicted, tuple(seen.shape[1:]), self.patch)

    def features(self, frames: Tensor, seen: Tensor) -> Tensor:
        """Normalised tokens [N, t, width] after the decoder; arguments as :meth:`forward`."""
        given = frames.to(self.mask_token.dtype).masked_fill(~seen[..., None], 0.0)
        grid = _patches(tuple(seen.shape[1:]), self.patch)
        positions = stf_positions(grid, self.width, frames.device).to(given.dtype)
        visible = _cut(seen[..., None], self.patch).any(dim=-1)
        tokens = self._encode(self.embed(_cut(given, self.patch)) + positions, visible) + positions
        for block in self.decoder:
            tokens = block(tokens)
        normalised: Tensor = self.norm_decoder(tokens)
        return normalised

    def _encode(self, tokens: Tensor, visible: Tensor) -> Tensor:
        """Decoder input [N, t, width]: encoded tokens where ``visible`` [N, t], the mask token elsewhere.

        Only visible tokens pass the encoder, as many of every sample as the fullest one has; a bias hides the surplus.
        """
        most = max(int(visible.sum(dim=1).max()), 1)
        order = visible.byte().argsort(dim=1, descending=True, stable=True)[:, :most]
        kept = visible.gather(1, order)
        # A sample without any visible token looks at hidden ones, whose results are dropped: attention to nothing is
        # zero or NaN, depending on kernel and version.
        hidden = ~kept & kept.any(dim=1, keepdim=True)
        bias = torch.zeros_like(kept, dtype=tokens.dtype).masked_fill(hidden, float("-inf"))[:, None, None]
        index = order[..., None].expand(-1, -1, self.width)
        chosen = tokens.gather(1, index)
        for block in self.encoder:
            chosen = block(chosen, bias)
        chosen = self.embed_decoder(self.norm_encoder(chosen))
        spread = torch.zeros_like(tokens).scatter(1, index, chosen)
        return torch.where(visible[..., None], spread, self.mask_token)


def stf_positions(grid: Sides, width: int, device: torch.device | None = None) -> Tensor:
    """Positions [t * rows * cols, width] of a grid of patches: sinusoids of time, row and column, concatenated.

    Time and row have the even number nearest to a third of the width each, the column the rest.
    """
    share = 2 * round(width / 6)
    parts = []
    for axis, part in enumerate((share, share, width - 2 * share)):
        shape = [1, 1, 1, part]
        shape[axis] = grid[axis]
        parts.append(sinusoids(torch.arange(grid[axis], device=device), part).reshape(shape).expand(*grid, -1))
    return torch.cat(parts, dim=-1).flatten(0, 2)


def wifo_mask(
    kind: Literal["random", "temporal", "frequency"],
    frames: int,
    rows: int,
    cols: int,
    ratio: float,
    generator: np.random.Generator,
) -> NDArray[np.bool_]:
    """Which entries are seen, bool [frames, rows, cols], True = observed, in whole patches of 4 x 4 x 4.

    Hidden is the share ``ratio`` (rounded, one is always seen) of the patches at random, of the last patches in time
    or of the last patches of columns (subcarriers); the paper's ratios are 0.85, 0.5 and 0.5. Patches are aligned as in
    :class:`WiFo`. Raises InputError on another kind, a ratio outside [0, 1) and an empty grid.
    """
    if min(frames, rows, cols) < 1 or not 0 <= ratio < 1:
        raise InputError(f"mask of {frames} x {rows} x {cols}, ratio {ratio}: sides from 1, ratio from 0 to below 1")
    grid = _patches((frames, rows, cols), PATCH)
    hidden = np.zeros(grid, np.bool_)
    if kind == "random":
        hidden.flat[generator.permutation(hidden.size)[: _share(ratio, hidden.size)]] = True
    elif kind == "temporal":
        hidden[grid[0] - _share(ratio, grid[0]) :] = True
    elif kind == "frequency":
        hidden[:, :, grid[2] - _share(ratio, grid[2]) :] = True
    else:
        raise InputError(f"mask '{kind}': use one of: random, temporal, frequency")
    seen = ~hidden
    for axis, side in enumerate(PATCH):
        seen = seen.repeat(side, axis)
    return seen[-frames:, :rows, :cols]


def _share(ratio: float, patches: int) -> int:
    return min(round(ratio * patches), patches - 1)


def _patches(sides: tuple[int, ...], patch: Sides) -> Sides:
    """Numbers of patches along time, rows and columns."""
    times, down, across = (-(-side // step) for side, step in zip(sides, patch, strict=True))
    return times, down, across


def _cut(frames: Tensor, patch: Sides) -> Tensor:
    """Tokens [N, t, volume * C] of frames [N, T, rows, cols, C], time padded at the front, the rest at the end."""
    count, times, rows, cols, channels = frames.shape
    padded = F.pad(frames, (0, 0, 0, -cols % patch[2], 0, -rows % patch[1], -times % patch[0], 0))
    grid = _patches((times, rows, cols), patch)
    split = padded.reshape(count, grid[0], patch[0], grid[1], patch[1], grid[2], patch[2], channels)
    return split.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(count, grid[0] * grid[1] * grid[2], -1)


def _join(tokens: Tensor, sides: tuple[int, ...], patch: Sides) -> Tensor:
    """Inverse of :func:`_cut` for frames of ``sides`` (T, rows, cols)."""
    grid = _patches(sides, patch)
    split = tokens.reshape(len(tokens), *grid, *patch, -1).permute(0, 1, 4, 2, 5, 3, 6, 7)
    joined = split.flatten(5, 6).flatten(3, 4).flatten(1, 2)
    return joined[:, -sides[0] :, : sides[1], : sides[2]]
