"""Angle-delay-time tokens: sequences of channels as frames of angle and delay, in patches (seed 004, III-A, III-B).

In angle and delay, the energy of a channel is sparse and its blobs drift smoothly from frame to frame, which sparse
spatio-temporal attention and its masks build on.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from channelfm.errors import InputError
from channelfm.tokens.patches import patch_counts, patchify, unpatchify


class SequenceShape(NamedTuple):
    """Shape of sequences of frames: ``frames`` T, ``angles`` H (rows * cols of the array), ``taps`` W."""

    frames: int
    angles: int
    taps: int

    def token_grid(self, patch: tuple[int, int]) -> tuple[int, int, int]:
        """Tokens along time, angle and delay; the last patches of a frame may be padded."""
        return (self.frames, *patch_counts(self.angles, self.taps, patch))


def angle_delay_frames(channels: Tensor, taps: int) -> Tensor:
    """Frames complex [N, T, H, W] of channels complex [N, T, row, col, frequency], by their first W = ``taps`` taps.

    Eq. (4) with unitary transforms: a DFT over rows and columns (H = rows * cols, bins row by row, each in FFT order)
    and an inverse DFT over frequency. All taps together keep the energy. Raises InputError for channels of another
    shape, empty or not finite, and for taps that are not there.
    """
    if channels.ndim != 5 or not channels.is_complex() or 0 in channels.shape:
        raise InputError(
            f"sequences of shape {tuple(channels.shape)} and type {channels.dtype}: give complex "
            "[sample, frame, row, col, frequency], none of them empty"
        )
    if not torch.isfinite(torch.view_as_real(channels)).all():
        raise InputError("sequences hold NaN or infinity: remove those samples")
    frequencies = channels.shape[4]
    if not 1 <= taps <= frequencies:
        raise InputError(f"taps {taps}: give 1 to {frequencies}, the number of frequencies")
    beams = torch.fft.fft2(channels, dim=(2, 3), norm="ortho")
    frames: Tensor = torch.fft.ifft(beams, dim=4, norm="ortho")[..., :taps].flatten(2, 3)
    return frames


def from_angle_delay_frames(frames: Tensor, rows: int, cols: int, frequencies: int) -> Tensor:
    """Channels complex [N, T, rows, cols, frequencies] of frames [N, T, rows * cols, W]; taps beyond W are zero.

    Inverse of :func:`angle_delay_frames` where that kept all taps, else its least-squares inverse. Raises InputError
    where the numbers do not fit.
    """
    if frames.ndim != 4 or frames.shape[2] != rows * cols or frames.shape[3] > frequencies:
        raise InputError(
            f"frames of shape {tuple(frames.shape)}: they are none of a {rows} x {cols} array with at most "
            f"{frequencies} taps"
        )
    padded = F.pad(frames, (0, frequencies - frames.shape[3]))
    padded = padded.reshape(*frames.shape[:2], rows, cols, frequencies)
    channels: Tensor = torch.fft.ifft2(torch.fft.fft(padded, dim=4, norm="ortho"), dim=(2, 3), norm="ortho")
    return channels


def observed_rms(frames: Tensor, seen: Tensor) -> Tensor:
    """RMS float32 [N, 1, 1, 1] of what was observed of frames complex [N, T, H, W]; 1 where all of it is zero."""
    power = (frames.abs().square() * seen).sum((1, 2, 3), keepdim=True)
    rms = (power / seen.sum((1, 2, 3), keepdim=True).clamp_min(1)).sqrt()
    return torch.where(rms > 0, rms, 1)


def phase_reference(frames: Tensor, seen: Tensor) -> Tensor:
    """Unit phases complex [N, 1, H, W]: of each bin of frames [N, T, H, W] where it was ``seen`` (bool) last; else 1.

    Frames divided by them show how each bin turns, whatever its phase: the same movement looks the same.
    """
    value = torch.where(seen, frames, 0).gather(1, _last_seen(seen))
    size = value.abs()
    return torch.where(size > 0, value / torch.where(size > 0, size, 1), 1)


def mirrored_past(frames: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """What frames complex [N, T, H, W] would be after each bin was ``seen`` (bool) last, if it were one turning wave.

    exp(j nu t) after t = 0 is the conjugate of what it was before, so the past is mirrored about the last frame seen:
    x(L + k) = x(L)^2 / |x(L)|^2 conj(x(L - k)).

    Returns that, 0 where it is not known, and where it is known: bool [N, T, H, W].
    """
    number = torch.arange(frames.shape[1], device=frames.device).view(1, -1, 1, 1)
    last = _last_seen(seen)
    source = 2 * last - number
    inside = (source >= 0) & (source < last)
    source = source.clamp(0, frames.shape[1] - 1)
    inside = inside & seen.gather(1, source)
    image = phase_reference(frames, seen).square() * frames.gather(1, source).conj()
    return torch.where(inside, image, 0), inside


def turning_error(frames: Tensor, seen: Tensor) -> Tensor:
    """RMS float [N, 1, H, W] by which bins differ from a wave that turns evenly, from one ``seen`` frame to the next.

    0 for one clean path in a bin; about the noise, or the power of other paths, where there is any.
    """
    pairs = seen[:, 1:] & seen[:, :-1]
    before, after = (torch.where(pairs, part, 0) for part in (frames[:, :-1], frames[:, 1:]))
    turn = (after * before.conj()).sum(1, keepdim=True)
    size = turn.abs()
    rest = after - torch.where(size > 0, turn / torch.where(size > 0, size, 1), 1) * before
    return (rest.abs().square().sum(1, keepdim=True) / pairs.sum(1, keepdim=True).clamp_min(1)).sqrt()


def _last_seen(seen: Tensor) -> Tensor:
    """Frame int64 [N, 1, H, W] in which each bin was seen last; 0 where it never was."""
    number = torch.arange(1, seen.shape[1] + 1, device=seen.device).view(1, -1, 1, 1)
    return (seen * number).argmax(1, keepdim=True)


def sequence_tokens(frames: Tensor, patch: tuple[int, int] = (1, 1)) -> Tensor:
    """Tokens float [N, T * tokens of a frame, 2 P_h P_w] of frames complex [N, T, H, W], eq. (5) without [CLS].

    They are ordered by time, angle and delay; within a token by angle, delay, real and imaginary part. Frames are
    zero-padded up to a multiple of the patch.
    """
    count, steps, angles, taps = frames.shape
    parts = torch.view_as_real(frames).reshape(count * steps, angles, taps, 2)
    tokens = patchify(parts, patch)
    return tokens.reshape(count, -1, tokens.shape[2])


def sequence_frames(tokens: Tensor, shape: SequenceShape, patch: tuple[int, int] = (1, 1)) -> Tensor:
    """Frames complex [N, T, H, W] of tokens; inverse of :func:`sequence_tokens`, with the padding cut off."""
    steps, down, across = shape.token_grid(patch)
    if tokens.ndim != 3 or tokens.shape[1] != steps * down * across:
        raise InputError(
            f"tokens of shape {tuple(tokens.shape)}: {tuple(shape)} frames, angles and taps in patches of {patch} "
            f"have {steps * down * across} tokens"
        )
    frames = tokens.reshape(-1, down * across, tokens.shape[2])
    parts = unpatchify(frames, shape.angles, shape.taps, patch)
    return torch.view_as_complex(parts.reshape(-1, *shape, 2).contiguous())
