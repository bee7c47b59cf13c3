"""The CDDIM network: a transformer that looks at a noisy channel and at the antennas that were observed.

Queries come from patches of the noisy channel, keys and values from patches of (observed channel, mask); a
cross-attention bias of -inf hides the patches without any observed antenna (seed 000, section IV-C, eq. 11).
Real and imaginary parts are separate channels throughout; any array size fits.

One addition to the paper: ``observed_in_query`` gives the query patches the observed channel and mask as well, so
that a token knows its own antennas without first learning to find them by attention.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from channelfm.errors import InputError
from channelfm.models.layers import CrossAttentionBlock, grid_positions, sinusoids
from channelfm.tokens.patches import patch_counts, patchify, unpatchify


class Denoiser(nn.Module):
    """Predicts noise, clean channel or velocity (whatever it was trained for) from a noisy channel.

    Parameters
    ----------
    width, depth, heads : of the transformer; ``width`` a multiple of 4 and of ``heads``.
    patch : side of the square patches, in antennas.
    observed_in_query : also embed (observed, mask) into the queries; False is the paper's network.
    """

    def __init__(
        self, width: int = 128, depth: int = 4, heads: int = 4, patch: int = 4, observed_in_query: bool = True
    ) -> None:
        super().__init__()
        if width % 4 or min(width, depth, heads, patch) < 1:
            raise InputError(
                f"width {width}, depth {depth}, heads {heads}, patch {patch}: width must be a multiple of 4"
            )
        self.width, self.patch, self.observed_in_query = width, patch, observed_in_query
        area = patch * patch
        self.embed_noisy = nn.Linear((5 if observed_in_query else 2) * area, width)
        self.embed_observed = nn.Linear(3 * area, width)
        self.embed_step = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))
        self.norm_context = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(CrossAttentionBlock(width, heads) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width)
        self.project = nn.Linear(width, 2 * area)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def features(self, noisy: Tensor, step: Tensor, observed: Tensor, mask: Tensor) -> Tensor:
        """Normalised tokens [N, tokens, width] after the last block; arguments as :meth:`forward`."""
        rows, cols = noisy.shape[1:3]
        dtype = self.project.weight.dtype
        down, across = patch_counts(rows, cols, self.patch)
        positions = grid_positions(down, across, self.width, noisy.device).to(dtype)
        visible = mask[..., None].to(dtype)
        condition = torch.cat([observed.to(dtype) * visible, visible], dim=-1)
        seen = patchify(visible, self.patch).amax(dim=-1) > 0
        # A sample of which nothing was observed looks at every (empty) patch: attention to nothing is zero or NaN,
        # depending on kernel and version.
        hidden = ~seen & seen.any(dim=1, keepdim=True)
        bias = torch.zeros_like(seen, dtype=dtype).masked_fill(hidden, float("-inf"))[:, None, None]
        context = self.norm_context(self.embed_observed(patchify(condition, self.patch)) + positions)
        query = torch.cat([noisy.to(dtype), condition], dim=-1) if self.observed_in_query else noisy.to(dtype)
        time = self.embed_step(sinusoids(step, self.width).to(dtype))
        tokens = self.embed_noisy(patchify(query, self.patch)) + positions + time[:, None]
        for block in self.blocks:
            tokens = block(tokens, context, bias)
        normalised: Tensor = self.norm_out(tokens)
        return normalised

    def forward(self, noisy: Tensor, step: Tensor, observed: Tensor, mask: Tensor) -> Tensor:
        """Prediction float32 [N, rows, cols, 2].

        Parameters
        ----------
        noisy : float [N, rows, cols, 2], the channel at diffusion step ``step``.
        step : integer [N].
        observed : float [N, rows, cols, 2]; entries where ``mask`` is False are ignored.
        mask : bool [N, rows, cols], True = observed. Predictors refuse a sample of which nothing was observed; the
            network answers it from ``noisy`` alone.
        """
        tokens = self.project(self.features(noisy, step, observed, mask))
        return unpatchify(tokens, noisy.shape[1], noisy.shape[2], self.patch).float()
