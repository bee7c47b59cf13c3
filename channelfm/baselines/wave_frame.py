"""The waves of the canonical frame alone: what a network in that frame starts from, and has to improve on."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channelfm.baselines.samples import estimate_in_chunks
from channelfm.tasks.predictor import check_observation
from channelfm.waves.several import fit_waves

_SAMPLES_AT_ONCE = 64


class WaveFrame:
    """At most a fixed number of spherical waves by greedy search, where observed antennas keep their values.

    This is the canonical frame of ``tokens.canonical`` used as an estimator: the difference between its row and that
    of a network in the same frame is what the network has learned. ``waves`` is the number subtracted there.
    """

    name = "wave-frame"

    def __init__(self, spacing_wavelengths: float = 0.5, waves: int = 16) -> None:
        self.spacing_wavelengths, self.waves = spacing_wavelengths, waves

    def predict(self, observed: NDArray[np.complex64], mask: NDArray[np.bool_]) -> NDArray[np.complex64]:
        """See :class:`channelfm.tasks.predictor.Predictor`."""
        observed, mask = check_observation(observed, mask)
        return estimate_in_chunks(self._estimate, observed, mask, _SAMPLES_AT_ONCE)

    @torch.inference_mode()
    def _estimate(self, field: Tensor, seen: Tensor) -> Tensor:
        parts, _, _ = fit_waves(field, seen, self.waves, self.spacing_wavelengths)
        return torch.where(seen, field, parts.sum(1))
