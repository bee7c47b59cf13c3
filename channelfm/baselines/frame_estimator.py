"""What the estimators of the rest have in common: the coarse wave is divided out first and multiplied back last."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channelfm.baselines.samples import estimate_in_chunks
from channelfm.tasks.predictor import check_observation
from channelfm.tokens.canonical import FrameRecipe, find_frame, from_canonical, to_canonical


class FrameEstimator(ABC):
    """A Predictor that estimates channels in the frame of ``frame_recipe`` (``tokens.canonical``), sample by sample.

    In the canonical frame the dominant path is a constant and the others are slow ripples, which is what makes
    interpolation and covariances of antennas meaningful. Subclasses give ``name`` and :meth:`estimate_rest`;
    ``keeps_observed``: whether observed antennas keep their values, or get the estimate, which filters their noise;
    ``samples_at_once`` bounds the memory.
    """

    name: str
    keeps_observed = True
    samples_at_once = 16

    def __init__(self, frame_recipe: FrameRecipe) -> None:
        self.frame_recipe = frame_recipe

    def predict(self, observed: NDArray[np.complex64], mask: NDArray[np.bool_]) -> NDArray[np.complex64]:
        """See :class:`channelfm.tasks.predictor.Predictor`; each frequency is estimated as its own sample."""
        observed, mask = check_observation(observed, mask)
        return estimate_in_chunks(self._estimate, observed, mask, self.samples_at_once)

    @torch.inference_mode()
    def _estimate(self, field: Tensor, seen: Tensor) -> Tensor:
        frame = find_frame(field, seen, self.frame_recipe)
        rest = torch.where(seen, to_canonical(field, frame), 0).to(torch.complex128)
        estimate = from_canonical(self.estimate_rest(rest, seen), frame)
        return torch.where(seen & self.keeps_observed, field, estimate)

    @abstractmethod
    def estimate_rest(self, rest: Tensor, seen: Tensor) -> Tensor:
        """Fields complex128 [N, rows, cols] from ``rest`` of that shape, known where ``seen``, 0 elsewhere.

        Each sample has at least one observed antenna.
        """
