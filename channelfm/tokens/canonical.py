"""The canonical frame: channels relative to the spherical waves that the observed antennas show (SPEC 3).

Multiplying by the conjugate of the strongest wave turns the dominant path into a constant and every other path into a
slow ripple, whatever the direction, range, carrier or array size; dividing by the RMS of the observed antennas removes
the path loss. With more than one wave, their sum is subtracted as well and the scale is that of what is left, so that
a network spends itself on what the waves miss. The raw frame divides by a complex number. All are invertible to float
precision, and found from the observed antennas alone, so that a model is trained and used in the same frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from channelfm.config import Recipe
from channelfm.waves.geometry import wave_of
from channelfm.waves.scale import scale_exponents, strongest_phase, times_power_of_two
from channelfm.waves.search import strongest_wave
from channelfm.waves.several import fit_waves
from channelfm.waves.spherical import CoarseWave, coarse_spherical_wave

__all__ = [
    "CoarseWave",
    "Frame",
    "FrameRecipe",
    "coarse_spherical_wave",
    "expected_channel",
    "find_frame",
    "from_canonical",
    "to_canonical",
]

WIDEST_SPACING = 100.0  # of an array's elements, in wavelengths
# What the waves leave is scaled up by 60 dB at most: below that it is rounding and the wave model's own error.
_SMALLEST_REST = 1e-3


class FrameRecipe(Recipe):
    """Which frame a model works in.

    ``kind`` canonical or raw (scale and the phase of the strongest antenna only); ``waves`` of the canonical frame: 1
    is SPEC 3's frame, more are subtracted; ``spacing_wavelengths`` of the array's elements.
    """

    kind: Literal["canonical", "raw"] = "canonical"
    waves: int = Field(default=1, ge=1, le=16)
    spacing_wavelengths: float = Field(default=0.5, gt=0, le=WIDEST_SPACING)

    def at_spacing(self, spacing_wavelengths: float) -> FrameRecipe:
        """The same for an array of another element spacing."""
        return self.model_copy(update={"spacing_wavelengths": spacing_wavelengths})


@dataclass(frozen=True)
class Frame:
    """How to move N samples into a frame and back.

    ``wave`` complex64 [N, rows, cols], or [N, 1, 1] for the raw frame, one phase: the unit-modulus reference.
    ``offset`` complex64, shape as ``wave``: what is subtracted after the reference is divided out; 0 for one wave.
    ``scale`` float32 [N]: RMS of the observed antennas after both; 1 where these are all zero.
    ``share`` float32 [N]: ``scale`` over the RMS of the observation, at most about 1.
    ``certainty`` float32 [N]: probability that the one wave is no alias of the right one; 1 for several waves, whose
    field is expected over all aliases already.
    """

    wave: Tensor
    offset: Tensor
    scale: Tensor
    share: Tensor
    certainty: Tensor


def find_frame(observed: Tensor, mask: Tensor, recipe: FrameRecipe) -> Frame:
    """Frame of complex64 [N, rows, cols] seen where bool ``mask`` (of that shape) is True.

    The reference carries the phase of the strongest wave's gain too, so that the dominant path becomes a positive
    constant. Values where ``mask`` is False have no influence. In its frame, c times a channel is the same for any
    complex c, to the bit for powers of two.
    """
    seen = torch.where(mask, observed, 0)
    exponents = scale_exponents(seen)
    frame = _frame_at_unit_scale(times_power_of_two(seen, -exponents), mask, recipe)
    offset, scale = (times_power_of_two(part, exponents) for part in (frame.offset, frame.scale))
    return replace(frame, offset=offset, scale=scale)


def _frame_at_unit_scale(observed: Tensor, mask: Tensor, recipe: FrameRecipe) -> Frame:
    rms = _masked_rms(observed, mask)
    sure = torch.ones_like(rms)
    if recipe.kind == "raw":
        wave = strongest_phase(observed)
        return Frame(wave, torch.zeros_like(wave), rms, sure, sure)
    if recipe.waves == 1:
        source, gain, certainty = strongest_wave(observed, mask, recipe.spacing_wavelengths)
        wave = wave_of(source, observed.shape[1], observed.shape[2], recipe.spacing_wavelengths)
        return Frame(_with_phase(wave, gain), torch.zeros_like(wave), rms, sure, certainty)
    total, strongest, doubt = fit_waves(observed, mask, recipe.waves, recipe.spacing_wavelengths)
    wave = torch.polar(torch.ones_like(strongest.real), strongest.angle())
    offset = total * wave.conj()
    rest = _masked_rms(observed * wave.conj() - offset, mask)
    # Few antennas fit several waves by chance: what hides in the waves' uncertainty counts as well.
    scale = torch.maximum(torch.maximum(rest, doubt), _SMALLEST_REST * rms)
    return Frame(wave, offset, scale, scale / rms, sure)


def to_canonical(channel: Tensor, frame: Frame) -> Tensor:
    """Channels complex64 [N, rows, cols] in the frame."""
    return (channel * frame.wave.conj() - frame.offset) / frame.scale[:, None, None]


def from_canonical(channel: Tensor, frame: Frame) -> Tensor:
    """Inverse of :func:`to_canonical`."""
    return (channel * frame.scale[:, None, None] + frame.offset) * frame.wave


def expected_channel(channel: Tensor, frame: Frame) -> Tensor:
    """What is expected of an estimate complex64 [N, rows, cols] in the frame: :func:`from_canonical` of it, and nothing
    as far as its wave may be an alias."""
    return from_canonical(channel, frame) * frame.certainty[:, None, None]


def _with_phase(wave: Tensor, gain: Tensor) -> Tensor:
    return wave * torch.polar(torch.ones_like(gain.real), gain.angle())[:, None, None]


def _masked_rms(values: Tensor, mask: Tensor) -> Tensor:
    """RMS magnitude [N] over the observed antennas; 1 where they are all zero."""
    energy = torch.where(mask, values.abs().square(), 0).sum((1, 2))
    rms = (energy / mask.sum((1, 2)).clamp_min(1)).sqrt()
    return torch.where(rms > 0, rms, torch.ones_like(rms))
