"""LWM v1.0 and v1.1, key for key as their public weights (Large Wireless Model; Alikhani et al., arXiv 2411.08872).

Input patches of a channel (antennas x subcarriers) times 10^6, [CLS] first; a linear layer and a learned table of
positions, 12 post-norm layers, and a head that predicts the input patches. The table is fixed: no longer inputs.

Attribute names are those of the public state dicts, so that :func:`load_lwm_state` needs no translation. The two
versions differ in width, in what is normalised, and in v1.1's double residual (SPEC 5); v1.0 carries norms in every
layer that its forward pass never uses, and so does this one: they receive no gradient.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from channelfm.errors import InputError
from channelfm.tokens.patches import patchify

SCALE = 1e6  # of the channels; not per sample
CLS, MASK = 0.2, 0.1  # constant input patches

_DROPOUT = 0.1
_EPSILON = 1e-6
_DATA_PARALLEL = "module."  # a prefix that weights saved from torch's DataParallel carry


class LwmNorm(nn.Module):
    """alpha (x - mean) / (std + 1e-6) + bias over the last axis, std with n - 1: not torch's layer norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [..., width], normalised."""
        deviation = tokens - tokens.mean(dim=-1, keepdim=True)
        return self.alpha * deviation / (tokens.std(dim=-1, keepdim=True) + _EPSILON) + self.bias


class LwmEmbedding(nn.Module):
    """Linear embedding of input patches plus a learned table of positions, then norm."""

    def __init__(self, element: int, width: int, longest: int) -> None:
        super().__init__()
        self.proj = nn.Linear(element, width)
        self.pos_embed = nn.Embedding(longest, width)
        self.norm = LwmNorm(width)

    def forward(self, patches: Tensor) -> Tensor:
        """Tokens [N, t, width] of input patches [N, t, element]."""
        normed: Tensor = self.norm(self.proj(patches) + self.pos_embed.weight[: patches.shape[1]])
        return normed


class LwmAttention(nn.Module):
    """x + attention(x), the residual included; heads of floor(width / heads), 5 of 64 / 12 in v1.0."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, inner = heads, heads * (width // heads)
        self.W_Q, self.W_K, self.W_V = (nn.Linear(width, inner) for _ in range(3))
        self.linear = nn.Linear(inner, width)
        self.dropout = nn.Dropout(_DROPOUT)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [N, t, width], every one looking at all."""
        split = (
            layer(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.W_Q, self.W_K, self.W_V)
        )
        mixed = F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)
        result: Tensor = tokens + self.dropout(self.linear(mixed))
        return result


class LwmFeedForward(nn.Module):
    """Two linear layers with a ReLU between them, four times as wide inside; no residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(_DROPOUT)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [N, t, width], each by itself."""
        result: Tensor = self.fc2(self.dropout(F.relu(self.fc1(tokens))))
        return result


class Lwm10Layer(nn.Module):
    """A layer of v1.0: a = norm(x + attention(x)), then a + feed-forward(a), which is not normalised."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.enc_self_attn = LwmAttention(width, heads)
        self.pos_ffn = LwmFeedForward(width)
        self.norm = LwmNorm(width)
        # In the weights, but not in the published forward pass.
        self.enc_self_attn.norm = LwmNorm(width)
        self.pos_ffn.norm = LwmNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [N, t, width] updated."""
        tokens = self.norm(self.enc_self_attn(tokens))
        result: Tensor = tokens + self.pos_ffn.dropout(self.pos_ffn(tokens))
        return result


class Lwm11Layer(nn.Module):
    """A layer of v1.1: a = norm1(x + (x + attention(x))), then norm2(a + feed-forward(a))."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.enc_self_attn = LwmAttention(width, heads)
        self.pos_ffn = LwmFeedForward(width)
        self.norm1 = LwmNorm(width)
        self.norm2 = LwmNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [N, t, width] updated."""
        tokens = self.norm1(tokens + self.enc_self_attn(tokens))
        result: Tensor = self.norm2(tokens + self.pos_ffn(tokens))
        return result


class Lwm(nn.Module):
    """What both versions share; build :class:`Lwm10` or :class:`Lwm11`."""

    version = ""

    def __init__(self, layers: nn.ModuleList, width: int, element: int, longest: int) -> None:
        super().__init__()
        self.embedding = LwmEmbedding(element, width, longest)
        self.layers = layers
        self.linear = nn.Linear(width, width)
        self.norm = LwmNorm(width)
        self.decoder = nn.Linear(width, element, bias=False)
        self.decoder_bias = nn.Parameter(torch.zeros(element))

    def embed(self, patches: Tensor) -> Tensor:
        """Embeddings float32 [N, t, width] of input patches [N, t, element]; index 0 is [CLS]'s, for the whole channel.

        Raises InputError when there are more patches than learned positions, or patches of another length.
        """
        longest, element = self.embedding.pos_embed.num_embeddings, self.embedding.proj.in_features
        if patches.ndim != 3 or patches.shape[-1] != element:
            raise InputError(f"patches of shape {tuple(patches.shape)}: LWM {self.version} takes [N, t, {element}]")
        if patches.shape[1] > longest:
            raise InputError(
                f"{patches.shape[1]} patches with [CLS]: LWM {self.version} has {longest} learned positions; "
                "give a smaller channel or cut it in parts"
            )
        tokens = self.embedding(patches.to(self.decoder.weight.dtype))
        for layer in self.layers:
            tokens = layer(tokens)
        embeddings: Tensor = tokens.float()
        return embeddings

    def forward(self, patches: Tensor, masked_positions: Tensor | None = None) -> Tensor:
        """Predicted input patches float32 [N, m, element] at ``masked_positions``, or [N, t, element] at all.

        Parameters
        ----------
        patches : float [N, t, element], scaled, [CLS] first; see :func:`lwm10_patches`, :func:`lwm11_patches`.
        masked_positions : integer [N, m], indices along t, [CLS] counted as 0. Only read out there: hide the patches
            with :func:`mask_patches` first.
        """
        tokens = self.embed(patches).to(self.decoder.weight.dtype)
        if masked_positions is not None:
            tokens = tokens.gather(1, masked_positions.long()[..., None].expand(-1, -1, tokens.shape[-1]))
        tokens = self.norm(F.relu(self.linear(tokens)))
        predicted: Tensor = (self.decoder(tokens) + self.decoder_bias).float()
        return predicted


class Lwm10(Lwm):
    """LWM v1.0: width 64, 12 layers of 12 heads of 5, patches of 16, 128 of them and [CLS]; 603,712 parameters."""

    version = "v1.0"

    def __init__(self) -> None:
        layers = nn.ModuleList(Lwm10Layer(width=64, heads=12) for _ in range(12))
        super().__init__(layers, width=64, element=16, longest=129)


class Lwm11(Lwm):
    """LWM v1.1: width 128, 12 layers of 8 heads, patches of 32, 512 of them and [CLS]; 2,470,304 parameters."""

    version = "v1.1"

    def __init__(self) -> None:
        layers = nn.ModuleList(Lwm11Layer(width=128, heads=8) for _ in range(12))
        super().__init__(layers, width=128, element=32, longest=513)


def lwm10_patches(channels: Tensor) -> Tensor:
    """Input patches float32 [N, 1 + 2 A S / 16, 16] of v1.0 from complex channels [N, A antennas, S subcarriers].

    All real parts (antenna by antenna), then all imaginary parts, times 10^6, cut in 16s; [CLS] first. Raises
    InputError when A S is no multiple of 16: a patch would mix real and imaginary parts.
    """
    _check_channels(channels)
    antennas, subcarriers = channels.shape[1:]
    if antennas * subcarriers % 16:
        raise InputError(
            f"{antennas} antennas x {subcarriers} subcarriers: LWM v1.0 takes multiples of 16 entries; zero-pad them"
        )
    parts = torch.view_as_real(channels.resolve_conj()).movedim(-1, 1)
    return _with_cls(parts.reshape(len(channels), -1, 16))


def lwm11_patches(channels: Tensor) -> Tensor:
    """Input patches float32 [N, 1 + ceil(A / 4) ceil(S / 4), 32] of v1.1 from complex channels [N, A, S].

    4 antennas x 4 subcarriers, real and imaginary parts interleaved along the subcarriers, times 10^6, row by row
    both within a patch and among patches, zero-padded at the ends; [CLS] first.
    """
    _check_channels(channels)
    return _with_cls(patchify(torch.view_as_real(channels.resolve_conj()), 4))


def mask_patches(patches: Tensor, positions: Tensor) -> Tensor:
    """A copy of input patches [N, t, element] with [MASK] at ``positions``, integer [N, m]; [CLS] is position 0.

    Raises InputError on a position outside 1 to t - 1: [CLS] is never masked.
    """
    if positions.numel() and (positions.min() < 1 or positions.max() >= patches.shape[1]):
        raise InputError(
            f"masked positions {int(positions.min())} to {int(positions.max())}: give 1 to {patches.shape[1] - 1}"
        )
    return patches.scatter(1, positions.long()[..., None].expand(-1, -1, patches.shape[-1]), MASK)


def load_lwm_state(network: Lwm, state: Mapping[str, Tensor]) -> None:
    """Load a public state dict, with or without the prefix ``module.``, into the network of its version.

    Raises InputError that names the first key which is missing, of another shape or unexpected; the network is then
    as it was.
    """
    given = {key.removeprefix(_DATA_PARALLEL): value for key, value in state.items()}
    wanted = network.state_dict()
    remedy = f"give the weights of LWM {network.version} ({len(wanted)} tensors; {len(given)} are given)"
    for key, weight in wanted.items():
        if key not in given:
            raise InputError(f"state dict: key '{key}' is missing; {remedy}")
        if not isinstance(given[key], Tensor) or given[key].shape != weight.shape:
            found = tuple(given[key].shape) if isinstance(given[key], Tensor) else type(given[key]).__name__
            raise InputError(f"state dict: key '{key}' is {found} instead of {tuple(weight.shape)}; {remedy}")
    unexpected = next((key for key in given if key not in wanted), None)
    if unexpected is not None:
        raise InputError(f"state dict: key '{unexpected}' is unexpected; {remedy}")
    network.load_state_dict(given)


def _check_channels(channels: Tensor) -> None:
    if channels.ndim != 3 or not channels.is_complex():
        raise InputError(
            f"channels of shape {tuple(channels.shape)}, {channels.dtype}: give complex [N, antennas, subcarriers]"
        )


def _with_cls(patches: Tensor) -> Tensor:
    return F.pad(patches.float() * SCALE, (0, 0, 1, 0), value=CLS)
