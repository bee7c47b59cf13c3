"""Line-of-sight detection: whether a user is seen directly (seed 003, sensing tasks)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch

from channelfm.metrics import polar_peaks
from channelfm.observation import Bool, Complex, Float, Observation
from channelfm.records import Channels
from channelfm.tasks.detection import Detection
from channelfm.waves.geometry import wave_of

# Of the logarithm of the power in the strongest spherical wave over all other power, where both classes are as likely,
# and its slope: fitted to true channels of the training cities of laetwin-dev and laetwin-hard together.
_EVEN, _SLOPE = 3.26, 0.91


class LineOfSight(Detection):
    """Is there a direct path? It is far stronger than all others together, which reflected ones seldom are."""

    kind: Literal["line-of-sight"] = "line-of-sight"

    question: ClassVar[str] = (
        "A base station hears a user with a few noisy antennas. Each method below says whether the user is "
        "seen directly."
    )

    def truth(self, labels: Channels) -> Bool:
        """See :class:`Detection`."""
        return labels.line_of_sight

    def logit(self, channel: Complex, observation: Observation) -> Float:
        """See :class:`Detection`; of the first frame, frequencies count by their power."""
        spacing, (_, rows, cols, _) = observation.grid.array.spacing_wavelengths, channel.shape[1:]
        field = channel[:, 0].astype(np.complex128)
        peaks = polar_peaks(channel[:, 0], spacing)
        sources = np.concatenate([peaks.sines, peaks.inverse_range[:, None]], axis=1)
        wave = wave_of(torch.from_numpy(sources), rows, cols, spacing).numpy().reshape(-1, rows, cols, 1)
        caught = np.sum(np.abs(np.sum(field * wave.conj(), axis=(1, 2))) ** 2, axis=1) / (rows * cols)
        power = np.sum(np.abs(field) ** 2, axis=(1, 2, 3))
        dominance = np.log((caught + 1e-300) / np.maximum(power - caught, 1e-6 * power + 1e-300))
        return np.asarray(_SLOPE * (dominance - _EVEN))
