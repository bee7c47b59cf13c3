"""Every network by name: one visible dict."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from channelfm.errors import InputError
from channelfm.models.critic import Critic
from channelfm.models.denoiser import Denoiser
from channelfm.models.unet import UNet
from channelfm.models.wavefield import Wavefield

Builder = Callable[..., nn.Module]

# ``cddim-base`` is the paper's network: 4 x 4 patches, width 512, depth 10, 44.2 million parameters (table IV).
# ``unet-small`` has about the 3.51 million of its CDDIM with U-Net (V-A1), ``unet-tiny`` as many as ``cddim-tiny``.
# ``critic`` is the discriminator of the CGAN, whose generator is one of the others.
BUILDERS: dict[str, Builder] = {
    "cddim-demo": partial(Denoiser, width=128, depth=4, heads=4),
    "cddim-tiny": partial(Denoiser, width=96, depth=4, heads=4),
    "cddim-small": partial(Denoiser, width=256, depth=5, heads=8),
    "cddim-base": partial(Denoiser, width=512, depth=10, heads=8, observed_in_query=False),
    "unet-tiny": partial(UNet, width=20),
    "unet-small": partial(UNet, width=44),
    "wavefield-small": partial(Wavefield, width=32, steps=3),
    "critic": partial(Critic, width=64, levels=3),
}


def build(name: str, **options: Any) -> nn.Module:
    """The network of that name, with any of its arguments overridden; InputError names what exists."""
    if name not in BUILDERS:
        raise InputError(f"model '{name}': no such network; use one of: {', '.join(BUILDERS)}")
    try:
        return BUILDERS[name](**options)
    except TypeError as error:
        raise InputError(f"model '{name}' with options {options}: {error}") from error
