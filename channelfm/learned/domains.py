"""Domains: how what was received becomes a network's input, and its answer a channel; the same in training and in use.

``enter`` tells what it took out of the input, which ``leave`` puts back; heads are given it, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from channelfm.config import Recipe
from channelfm.tokens.angle_delay import (
    angle_delay_frames,
    from_angle_delay_frames,
    mirrored_past,
    observed_rms,
    phase_reference,
    turning_error,
)
from channelfm.tokens.canonical import Frame, FrameRecipe, expected_channel, find_frame, to_canonical
from channelfm.waves.scale import scale_exponents, strongest_phase, times_power_of_two
from channelfm.waves.search import strongest_wave

_GUESSED = 0.5  # how far a network trusts the mirrored past
_WEAKEST = 1e-30  # power, of which a logarithm is taken


@dataclass(frozen=True)
class InFrame:
    """Samples in a ``frame``, which holds what was taken out of them: ``known`` float32 [N, rows, cols, 2], 0 where
    ``seen`` bool [N, rows, cols] is False. ``received`` complex64 [N, rows, cols] is what they were."""

    known: Tensor
    seen: Tensor
    frame: Frame
    received: Tensor
    spacing_wavelengths: float

    def place(self, channel: Tensor) -> Tensor:
        """Channels complex64 [N, rows, cols] in the frame, float32 [N, rows, cols, 2]."""
        return torch.view_as_real(to_canonical(channel, self.frame)).contiguous()

    def leave(self, answer: Tensor) -> Tensor:
        """Channels complex64 [N, rows, cols] that are expected of an answer float [N, rows, cols, 2] in the frame."""
        return expected_channel(torch.view_as_complex(answer.float().contiguous()), self.frame)

    def taken_out(self) -> Tensor:
        """What the network cannot see, float32 [N, 6]: of the strongest wave the sines of its direction along the
        array's y and z and its 1 / range in 1 / Rayleigh distance; the logarithms of the share of the amplitude that
        the frame leaves, of the share that this wave explains, and of the mean power of the observed antennas."""
        rows, cols = self.seen.shape[1:]
        exponents = scale_exponents(self.received)
        received = times_power_of_two(self.received, -exponents)
        source, gain, _ = strongest_wave(received, self.seen, self.spacing_wavelengths)
        rayleigh = 2 * ((rows - 1) ** 2 + (cols - 1) ** 2) * self.spacing_wavelengths**2
        power = (received.abs().square() * self.seen).sum((1, 2)) / self.seen.sum((1, 2)).clamp_min(1)
        explained = gain.abs() / power.clamp_min(_WEAKEST).sqrt()
        left, explained, power = (part.clamp_min(_WEAKEST).log() for part in (self.frame.share, explained, power))
        logs = torch.stack([left, explained, power + 2 * math.log(2) * exponents], dim=1)
        return torch.cat([source[:, :2], source[:, 2:] * rayleigh, logs], dim=1).float()


def enter_frame(received: Tensor, seen: Tensor, recipe: FrameRecipe) -> InFrame:
    """Move what was received, complex64 [N, rows, cols] where bool ``seen``, into a frame that is found from it alone;
    ``recipe`` has the spacing of the array's elements."""
    frame = find_frame(received, seen, recipe)
    known = torch.view_as_real(torch.where(seen, to_canonical(received, frame), 0)).contiguous()
    return InFrame(known, seen, frame, received, recipe.spacing_wavelengths)


class SequenceDomain(Recipe):
    """In which domain a network sees sequences of channels.

    ``kind``: angle and delay (eq. 4 of seed 004), of which the first ``taps`` delays are kept (null: all), or antenna
    and frequency. ``turned``: every bin is seen relative to its phase where it was observed last, and the network adds
    to its past mirrored (:mod:`channelfm.tokens.angle_delay`); the paper's network has to find that out by itself.
    """

    kind: Literal["angle-delay", "antenna-frequency"] = "angle-delay"
    taps: int | None = Field(default=None, ge=1)
    turned: bool = False

    def frames(self, channels: Tensor) -> Tensor:
        """Frames complex [N, T, H, W] of channels complex [N, T, row, col, frequency], H = rows * cols."""
        frequencies = channels.shape[4]
        if self.kind == "angle-delay":
            return angle_delay_frames(channels, min(self.taps or frequencies, frequencies))
        return channels.flatten(2, 3)

    def enter(self, frames: Tensor, seen: Tensor, gain: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        """What a network sees of frames complex [N, T, H, W] where bool ``seen``, float32 [N, T, H, W, 2], 0 elsewhere,
        and what was taken out, [N, 1, H or 1, W or 1]: frames are divided by their RMS, with the phase of their largest
        value or, if ``turned``, of each bin. In training, ``gain`` makes them so much stronger."""
        rms = observed_rms(frames, seen)
        phase = phase_reference(frames, seen) if self.turned else strongest_phase(torch.where(seen, frames, 0))
        reference = rms * phase / gain
        return torch.view_as_real(torch.where(seen, frames / reference, 0)).contiguous(), reference

    def ask(self, network: nn.Module, known: Tensor, seen: Tensor) -> Tensor:
        """What a network says of what it sees, float32 [N, T, H, W, 2].

        If ``turned``, it is shown the mirrored past where that is known, trusted by a half; what it adds counts
        in units of how badly the bin's own past turns evenly.
        """
        if not self.turned:
            plain: Tensor = network(known, seen)
            return plain
        whole = torch.view_as_complex(known.float().contiguous())
        guess, inside = mirrored_past(whole, seen)
        unit = torch.where(inside, turning_error(whole, seen), 1)
        given = torch.view_as_real(torch.where(seen, whole, guess))
        trust = torch.where(seen, 1.0, torch.where(inside, _GUESSED, 0.0))
        added: Tensor = network(given, trust)
        return torch.view_as_real(guess) + unit[..., None] * added

    def leave(self, answer: Tensor, reference: Tensor, size: tuple[int, int, int]) -> Tensor:
        """Channels complex [N, T, *size] (rows, columns, frequencies) of an answer float [N, T, H, W, 2]; delays that
        were not kept are zero."""
        frames = torch.view_as_complex(answer.float().contiguous()) * reference
        if self.kind == "angle-delay":
            return from_angle_delay_frames(frames, *size)
        return frames.reshape(*frames.shape[:2], *size)
