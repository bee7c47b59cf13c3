"""What every estimator of planar fields has in common: checks, scale, frequencies, chunks of samples."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channelfm.tasks.predictor import check_observation, fold_frequency, known_spacing, unfold_frequency
from channelfm.waves.scale import at_unit_scale


class FieldEstimator(ABC):
    """A Predictor that estimates one planar field at a time: each frequency is a narrow-band sample of its own.

    Subclasses give ``name`` and :meth:`estimate`, which meets fields at unit scale; ``samples_at_once`` bounds the
    memory, and keeps what is computed with in a CPU's cache hierarchy.

    Parameters
    ----------
    spacing_wavelengths : element spacing in wavelengths where ``predict`` is not told any.
    """

    name: str
    samples_at_once: int

    def __init__(self, spacing_wavelengths: float | None = None) -> None:
        self.spacing_wavelengths = spacing_wavelengths

    def predict(
        self, observed: NDArray[np.complex64], mask: NDArray[np.bool_], spacing_wavelengths: float | None = None
    ) -> NDArray[np.complex64]:
        """See :class:`channelfm.tasks.predictor.Predictor`; where nothing but zeros was observed the answer is zero."""
        observed, mask = check_observation(observed, mask)
        spacing = known_spacing(self.name, spacing_wavelengths, self.spacing_wavelengths)
        field, seen = torch.from_numpy(fold_frequency(observed)), torch.from_numpy(fold_frequency(mask))
        answer = torch.zeros_like(field)
        heard = torch.nonzero((field != 0).any(2).any(1))[:, 0]
        for part in torch.split(heard, self.samples_at_once) if len(heard) else ():
            answer[part] = at_unit_scale(self.estimate, field[part], seen[part], spacing)
        return unfold_frequency(answer.numpy(), observed.shape[3])

    @abstractmethod
    def estimate(self, field: Tensor, seen: Tensor, spacing_wavelengths: float) -> Tensor:
        """Fields complex [n, rows, cols] from ``field`` complex64 of that shape, 0 but where bool ``seen``.

        Each sample has an observed antenna that is not zero.
        """
