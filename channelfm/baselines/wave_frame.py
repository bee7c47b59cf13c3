"""The waves of the canonical frame alone: what a network in that frame starts from, and has to improve on."""

from __future__ import annotations

import torch
from torch import Tensor

from channelfm.baselines.samples import FieldEstimator
from channelfm.waves.several import fit_waves


class WaveFrame(FieldEstimator):
    """At most a fixed number of spherical waves by greedy search, where observed antennas keep their values.

    This is the canonical frame of ``tokens.canonical`` used as an estimator: the difference between its row and that
    of a network in the same frame is what the network has learned. ``waves`` is the number subtracted there.
    """

    name = "wave-frame"
    samples_at_once = 64

    def __init__(self, spacing_wavelengths: float | None = None, waves: int = 16) -> None:
        super().__init__(spacing_wavelengths)
        self.waves = waves

    @torch.inference_mode()
    def fields(self, field: Tensor, seen: Tensor, spacing_wavelengths: float) -> Tensor:
        """See :class:`FieldEstimator`."""
        return torch.where(seen, field, fit_waves(field, seen, self.waves, spacing_wavelengths).total)
