"""A mixture of linear predictors as a SequenceEstimator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from channelfm.baselines.time.noise import estimate_noise
from channelfm.estimator import SequenceEstimator
from channelfm.observation import Bool, Complex
from channelfm.tokens.angle_delay import angle_delay_frames, from_angle_delay_frames


class MixturePredictor(SequenceEstimator):
    """Asks ``candidates`` and then the network (:class:`channelfm.models.mixture.LinearMixture`) whom to believe.

    Works on the device and in the precision of the network's parameters; the candidates on the processor.
    """

    def __init__(
        self, name: str, network: nn.Module, candidates: Sequence[SequenceEstimator], batch_size: int = 16
    ) -> None:
        self.name, self.network, self.batch_size = name, network.eval(), batch_size
        self.candidates = tuple(candidates)

    @torch.no_grad()
    def future(self, past: Complex, mask: Bool, horizon: int) -> Complex:
        """See :class:`channelfm.estimator.SequenceEstimator`."""
        parts = []
        device = next(self.network.parameters()).device
        for start in range(0, len(past), self.batch_size):
            chosen = slice(start, start + self.batch_size)
            guesses, noise = mixture_input(self.candidates, past[chosen], mask[chosen], horizon)
            ahead = torch.arange(1, horizon + 1, device=device)
            answer = self.network(torch.view_as_real(guesses).to(device), noise.to(device), ahead)
            frames = torch.view_as_complex(answer.contiguous().cpu())
            parts.append(from_angle_delay_frames(frames, *past.shape[2:]).numpy())
        return np.concatenate(parts)


def mixture_input(
    candidates: Sequence[SequenceEstimator], past: Complex, mask: NDArray[np.bool_], horizon: int
) -> tuple[Tensor, Tensor]:
    """What the network is given: predictions of all candidates in angle and delay, complex64
    [N, candidate, horizon, angle, delay], and the noise relative to the power of the past, float32 [N]."""
    guesses = [torch.from_numpy(candidate.predict(past, mask, horizon)) for candidate in candidates]
    frames = torch.stack([angle_delay_frames(guess, guess.shape[4]) for guess in guesses], dim=1)
    power = np.sum(np.abs(past) ** 2, axis=(1, 2, 3, 4)) / mask.sum(axis=(1, 2, 3, 4))
    noise = estimate_noise(past, mask) / np.where(power > 0, power, 1.0)
    return frames, torch.from_numpy(noise.astype(np.float32))
