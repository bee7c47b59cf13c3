"""What every estimator of planar fields has in common: checks, scale, frequencies, chunks of samples."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from channelfm.errors import InputError
from channelfm.estimator import ChannelEstimator
from channelfm.observation import Complex, Observation, fold_frequency, unfold_frequency
from channelfm.waves.scale import at_unit_scale


class FieldEstimator(ChannelEstimator):
    """Estimates one planar field at a time: each frequency of each frame is a narrow-band sample of its own.

    Subclasses give ``name`` and :meth:`fields`, which meets fields at unit scale; ``samples_at_once`` bounds the
    memory, and keeps what is computed with in a CPU's cache hierarchy.

    Parameters
    ----------
    spacing_wavelengths : element spacing in wavelengths where ``predict`` is not told any.
    """

    samples_at_once: int

    def __init__(self, spacing_wavelengths: float | None = None) -> None:
        self.spacing_wavelengths = spacing_wavelengths

    def estimate(self, observation: Observation) -> Complex:
        """See :class:`channelfm.estimator.Estimator`; where nothing but zeros was observed the answer is zero."""
        observation.check()
        mask = observation.mask
        if not mask.any(axis=(2, 3, 4)).all():
            raise InputError("the mask hides every antenna of some snapshot: at least one must be observed")
        frames, *size = observation.grid.shape
        field, seen = (torch.from_numpy(fold_frequency(part.reshape(-1, *size))) for part in (observation.values, mask))
        answer = torch.zeros_like(field)
        heard = torch.nonzero((field != 0).any(2).any(1))[:, 0]
        spacing = observation.grid.array.spacing_wavelengths
        for part in torch.split(heard, self.samples_at_once) if len(heard) else ():
            answer[part] = at_unit_scale(self.fields, field[part], seen[part], spacing)
        return np.ascontiguousarray(unfold_frequency(answer.numpy(), size[2]).reshape(-1, frames, *size))

    @abstractmethod
    def fields(self, field: Tensor, seen: Tensor, spacing_wavelengths: float) -> Tensor:
        """Fields complex [n, rows, cols] from ``field`` complex64 of that shape, 0 but where bool ``seen``.

        Each sample has an observed antenna that is not zero.
        """
