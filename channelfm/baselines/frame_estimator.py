"""What the estimators of the rest have in common: the coarse wave is divided out first and multiplied back last."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from channelfm.baselines.samples import FieldEstimator
from channelfm.tokens.canonical import FrameRecipe, expected_channel, find_frame, to_canonical


class FrameEstimator(FieldEstimator):
    """Estimates fields in the frame of ``frame`` (``tokens.canonical``).

    In the canonical frame the dominant path is a constant and the others are slow ripples, which is what makes
    interpolation and covariances of antennas meaningful. Subclasses give ``name`` and :meth:`estimate_rest`;
    ``keeps_observed``: whether observed antennas keep their values, or get the estimate, which filters their noise.
    """

    frame = FrameRecipe()
    keeps_observed = True
    samples_at_once = 16

    @torch.inference_mode()
    def fields(self, field: Tensor, seen: Tensor, spacing_wavelengths: float) -> Tensor:
        """See :class:`FieldEstimator`."""
        frame = find_frame(field, seen, self.frame.at_spacing(spacing_wavelengths))
        rest = torch.where(seen, to_canonical(field, frame), 0).to(torch.complex128)
        estimate = expected_channel(self.estimate_rest(rest, seen), frame)
        return torch.where(seen & self.keeps_observed, field, estimate)

    @abstractmethod
    def estimate_rest(self, rest: Tensor, seen: Tensor) -> Tensor:
        """Fields complex128 [N, rows, cols] from ``rest`` of that shape, known where ``seen``, 0 elsewhere.

        Each sample has at least one observed antenna.
        """
