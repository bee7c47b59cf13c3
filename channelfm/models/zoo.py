"""Every network by name, and by what it is asked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

from torch import nn

from channelfm.errors import InputError
from channelfm.models.clusters import LearnedClusters
from channelfm.models.critic import Critic
from channelfm.models.denoiser import Denoiser
from channelfm.models.feedback import LWMFeedback
from channelfm.models.filters import AdaptedFilters
from channelfm.models.lwm import Lwm10, Lwm11
from channelfm.models.lwm_temporal import LWMTemporal
from channelfm.models.mixture import LinearMixture
from channelfm.models.recurrent import RecurrentPredictor
from channelfm.models.unet import UNet
from channelfm.models.wavefield import Wavefield
from channelfm.models.wifo import WiFo

Builder = Callable[..., nn.Module]

# Sequences in tokens of 4 x 4, which a processor can train; blobs drift less than a token in several frames.
_SMALL: dict[str, Any] = {
    "width": 96,
    "depth": 6,
    "expansion": 2,
    "patch": (4, 4),
    "offsets": (1, 2, 3, 4, 6, 8),
    "drift": (0.25, 0.25),
    "positions": "axial",
}

# Networks by what they are asked, which is how a recipe knows whom its method can ask.
# (noisy, step, observed, mask) -> channel or noise. ``cddim-base`` is the paper's network: 4 x 4 patches, width 512,
# depth 10, 44.2 million parameters (table IV). ``unet-small`` has about the 3.51 million of its CDDIM with U-Net
# (V-A1), ``unet-tiny`` as many as ``cddim-tiny``.
DENOISERS: dict[str, Builder] = {
    "cddim-demo": partial(Denoiser, width=128, depth=4, heads=4),
    "cddim-tiny": partial(Denoiser, width=96, depth=4, heads=4),
    "cddim-small": partial(Denoiser, width=256, depth=5, heads=8),
    "cddim-base": partial(Denoiser, width=512, depth=10, heads=8, observed_in_query=False),
    "unet-tiny": partial(UNet, width=20),
    "unet-small": partial(UNet, width=44),
}
# (partial, mask, spacing) -> channel, which find the waves themselves
WAVE_NETWORKS: dict[str, Builder] = {"wavefield-small": partial(Wavefield, width=32, steps=3)}
# (frames, seen) -> frames: ``lwm-temporal`` is seed 004's (table I), ``lwm-temporal-small`` has larger tokens,
# ``dense-temporal-small`` dense attention as well; ``wifo-tiny`` and ``-base`` are WiFo's sizes.
SEQUENCE_NETWORKS: dict[str, Builder] = {
    "lwm-temporal": LWMTemporal,
    "lwm-temporal-small": partial(LWMTemporal, **_SMALL),
    "dense-temporal-small": partial(LWMTemporal, dense=True, **_SMALL),
    "lwm-temporal-small-feedback": partial(LWMFeedback, **_SMALL),
    "lstm-small": partial(RecurrentPredictor, kind="lstm"),
    "gru-small": partial(RecurrentPredictor, kind="gru"),
    "wifo-tiny": partial(WiFo, width=64),
    "wifo-base": partial(WiFo, width=512),
}
# (candidates, noise, ahead) -> frames
MIXTURES: dict[str, Builder] = {"linear-mixture": LinearMixture}
# (measured, noise, detuned_hz) -> channel
CLUSTER_NETWORKS: dict[str, Builder] = {"clusters": LearnedClusters}
# (noisy, sigma, until) -> clean, in angle and delay
PRIORS: dict[str, Builder] = {"adapted-filters": AdaptedFilters}
# patches -> tokens; they take the public weights
ENCODERS: dict[str, Builder] = {"lwm-1.0": Lwm10, "lwm-1.1": Lwm11}
# (channel, observed, mask) -> judgement: the discriminator of a CGAN, whose generator is a denoiser
CRITICS: dict[str, Builder] = {"critic": partial(Critic, width=64, levels=3)}

BUILDERS = DENOISERS | WAVE_NETWORKS | SEQUENCE_NETWORKS | MIXTURES | CLUSTER_NETWORKS | PRIORS | ENCODERS | CRITICS


LARGEST_OPTION = 2048  # width, depth, ...: the paper's largest network is 512 wide


def build(name: str, **options: Any) -> nn.Module:
    """The network of that name, with any of its arguments overridden; InputError names what exists."""
    if name not in BUILDERS:
        raise InputError(f"model '{name[:40]}': no such network; use one of: {', '.join(BUILDERS)}")
    builder = BUILDERS[name]
    known = signature(builder).parameters
    for option, value in options.items():
        kind = known[option].annotation if option in known else None
        if (kind, isinstance(value, bool)) in (("int", True), ("bool", False)):
            raise InputError(f"model '{name}': option {option} = {value}: give it as {kind}")
        if isinstance(value, int) and not 0 <= value <= LARGEST_OPTION:
            raise InputError(f"model '{name}': option {option} = {value:.3g}: give it from 0 to {LARGEST_OPTION}")
    try:
        return builder(**options)
    except (TypeError, ValueError, ZeroDivisionError, RuntimeError) as error:
        told = f"model '{name}' with options {options}: {error}"
        raise InputError(" ".join(told.split())[:300]) from error
