"""The past mirrored: the trivial prediction for waves that turn."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channelfm.baselines.time.bins import bounded
from channelfm.baselines.time.completion import complete_frames
from channelfm.estimator import SequenceEstimator
from channelfm.tokens.angle_delay import angle_delay_frames, from_angle_delay_frames, mirrored_past

Complex = NDArray[np.complex64]


class MirroredPast(SequenceEstimator):
    """Every angle-delay bin as one turning wave, whose future is the conjugate of its past about the last frame.

    Nothing is fitted (:func:`channelfm.tokens.angle_delay.mirrored_past`). Further ahead than the past reaches back, it
    is mirrored again about the furthest frame; a single frame is held. Networks whose domain is ``turned`` start here.
    """

    name = "mirrored-past"

    def future(self, past: Complex, mask: NDArray[np.bool_], horizon: int) -> Complex:
        """See :class:`channelfm.estimator.SequenceEstimator`."""
        frames = angle_delay_frames(torch.from_numpy(complete_frames(past, mask)), past.shape[4])
        if frames.shape[1] == 1:
            frames = frames.expand(-1, 2, -1, -1)
        future = frames[:, :0]
        while future.shape[1] < horizon:
            latest = frames[:, -1:]
            further = _continued(frames)
            future, frames = torch.cat([future, further], dim=1), torch.cat([latest, further], dim=1)
        return bounded(from_angle_delay_frames(future[:, :horizon], *past.shape[2:]).numpy(), past)


def _continued(frames: Tensor) -> Tensor:
    """The T - 1 frames after frames [N, T, H, W]."""
    steps = frames.shape[1]
    frames = torch.cat([frames, torch.zeros_like(frames[:, 1:])], dim=1)
    seen = torch.zeros(frames.shape, dtype=torch.bool)
    seen[:, :steps] = True
    return mirrored_past(frames, seen)[0][:, steps:]
