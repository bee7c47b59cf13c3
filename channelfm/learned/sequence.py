"""A network as a SequencePredictor: frames in its domain, hidden frames where the future is asked for."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from channelfm.baselines.time.completion import complete_frames
from channelfm.config import Recipe
from channelfm.errors import InputError
from channelfm.estimator import SequenceEstimator, check_answer, check_past
from channelfm.observation import Bool, Complex
from channelfm.tokens.angle_delay import (
    angle_delay_frames,
    from_angle_delay_frames,
    mirrored_past,
    observed_rms,
    phase_reference,
    turning_error,
)
from channelfm.waves.scale import strongest_phase

_GUESSED = 0.5  # how far a network trusts the mirrored past


class SequenceDomain(Recipe):
    """In which domain a network sees sequences of channels.

    ``kind``: angle and delay (eq. 4 of seed 004), of which the first ``taps`` delays are kept (null: all), or antenna
    and frequency. ``turned``: every bin is seen relative to its phase where it was observed last, and the network adds
    to its past mirrored (:mod:`channelfm.tokens.angle_delay`); the paper's network has to find that out by itself.
    """

    kind: Literal["angle-delay", "antenna-frequency"] = "angle-delay"
    taps: int | None = Field(default=None, ge=1)
    turned: bool = False

    def reference(self, frames: Tensor, seen: Tensor) -> Tensor:
        """What frames complex [N, T, H, W] are divided by before the network sees them, [N, 1, H or 1, W or 1]: their
        RMS where ``seen``, with the phase of their largest value or, if ``turned``, of each bin."""
        rms = observed_rms(frames, seen)
        return rms * (phase_reference(frames, seen) if self.turned else strongest_phase(torch.where(seen, frames, 0)))

    def frames(self, channels: Tensor) -> Tensor:
        """Frames complex [N, T, H, W] of channels complex [N, T, row, col, frequency], H = rows * cols."""
        frequencies = channels.shape[4]
        if self.kind == "angle-delay":
            return angle_delay_frames(channels, min(self.taps or frequencies, frequencies))
        return channels.flatten(2, 3)

    def ask(self, network: nn.Module, frames: Tensor, seen: Tensor) -> Tensor:
        """What a network says of frames float [N, T, H, W, 2] that were divided by :meth:`reference`.

        If ``turned``, it is shown the mirrored past where that is known, trusted by a half; what it adds counts
        in units of how badly the bin's own past turns evenly.
        """
        if not self.turned:
            return _estimate(network, frames, seen)
        whole = torch.view_as_complex(frames.float().contiguous())
        guess, known = mirrored_past(whole, seen)
        unit = torch.where(known, turning_error(whole, seen), 1)
        given = torch.view_as_real(torch.where(seen, whole, guess))
        trust = torch.where(seen, 1.0, torch.where(known, _GUESSED, 0.0))
        return torch.view_as_real(guess) + unit[..., None] * _estimate(network, given, trust)

    def channels(self, frames: Tensor, rows: int, cols: int, frequencies: int) -> Tensor:
        """Channels complex [N, T, row, col, frequency] of frames; delays that were not kept are zero."""
        if self.kind == "angle-delay":
            return from_angle_delay_frames(frames, rows, cols, frequencies)
        return frames.reshape(*frames.shape[:2], rows, cols, frequencies)


def _estimate(network: nn.Module, frames: Tensor, seen: Tensor) -> Tensor:
    estimate: Tensor = network(frames, seen)
    return estimate


class SequenceNetwork(SequenceEstimator):
    """Predictor around a network ``(frames, seen) -> frames``, as ``models.lwm_temporal.LWMTemporal`` is.

    Works on the device and in the precision of the network's parameters. Frames observed in part are completed over
    frequency first (:func:`channelfm.baselines.time.completion.complete_frames`), as for classical predictors.
    """

    def __init__(self, name: str, network: nn.Module, domain: SequenceDomain, batch_size: int = 16) -> None:
        self.name, self.network, self.domain, self.batch_size = name, network.eval(), domain, batch_size

    @torch.no_grad()
    def future(self, past: Complex, mask: Bool, horizon: int) -> Complex:
        """See :class:`channelfm.estimator.SequenceEstimator`."""
        complete = torch.from_numpy(complete_frames(past, mask))
        parts = [
            self._predict(complete[start : start + self.batch_size], horizon).cpu()
            for start in range(0, len(complete), self.batch_size)
        ]
        return torch.cat(parts).numpy()

    def _predict(self, past: Tensor, horizon: int) -> Tensor:
        known = self.domain.frames(past.to(self.device))
        frames = torch.cat([known, known.new_zeros(known.shape[0], horizon, *known.shape[2:])], dim=1)
        seen = torch.zeros(frames.shape, dtype=torch.bool, device=self.device)
        seen[:, : known.shape[1]] = True
        reference = self.domain.reference(frames, seen)
        frames = frames / reference
        estimate = self.domain.ask(self.network, torch.view_as_real(frames), seen)[:, known.shape[1] :]
        future = torch.view_as_complex(estimate.float().contiguous()) * reference
        return self.domain.channels(future, *past.shape[2:])

    @torch.no_grad()
    def embed(self, sequences: Complex) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features of whole sequences complex64 [N, T, row, col, frequency], for one's own head.

        Returns float32 [N, tokens, width] without [CLS], and [CLS] [N, width]. Raises InputError for a network without
        tokens.
        """
        features = getattr(self.network, "features", None)
        if features is None:
            raise InputError(f"model '{self.name}' has no tokens to give as features: use an 'lwm-temporal' one")
        sequences, _ = check_past(sequences, np.ones((1, 1, 1, 1, 1), np.bool_), 1)
        parts = []
        for start in range(0, len(sequences), self.batch_size):
            batch = torch.from_numpy(sequences[start : start + self.batch_size]).to(self.device)
            frames = self.domain.frames(batch)
            seen = torch.ones(frames.shape, dtype=torch.bool, device=self.device)
            frames = frames / self.domain.reference(frames, seen)
            parts.append(features(torch.view_as_real(frames), seen).float().cpu())
        if not parts:
            raise InputError("no sequence to take features of: give at least one")
        tokens = torch.cat(parts).numpy()
        check_answer(tokens, self.name)
        return tokens[:, 1:], tokens[:, 0]

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return next(self.network.parameters()).device
