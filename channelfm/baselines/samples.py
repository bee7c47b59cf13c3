"""What every estimator of planar fields has in common: checks, scale, frequencies, chunks of samples."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from channelfm.errors import InputError
from channelfm.estimator import ChannelEstimator
from channelfm.observation import Combining, Complex, Entries, Observation, fold_frequency, unfold_frequency
from channelfm.waves.gathered import Gathered
from channelfm.waves.scale import at_unit_scale

_WEIGHTS_AT_ONCE = 1 << 22  # of RF chains, which bounds the memory


class FieldEstimator(ChannelEstimator):
    """Estimates one planar field at a time: each frequency of each frame is a narrow-band sample of its own.

    Subclasses give ``name`` and :meth:`fields`, which meets fields at unit scale; ``samples_at_once`` bounds the
    memory, and keeps what is computed with in a CPU's cache hierarchy. Those whose mathematics needs no single entries
    say ``takes_combined`` and give :meth:`combined`, too.

    Parameters
    ----------
    spacing_wavelengths : element spacing in wavelengths where ``predict`` is not told any.
    """

    samples_at_once: int
    takes_combined: ClassVar[bool] = False

    def __init__(self, spacing_wavelengths: float | None = None) -> None:
        self.spacing_wavelengths = spacing_wavelengths

    def check(self, observation: Observation) -> None:
        """See :class:`channelfm.estimator.ChannelEstimator`."""
        super().check(observation)
        if not isinstance(observation.operator, Combining):
            check_frames_seen(observation)
        elif not self.takes_combined:
            raise InputError(f"'{self.name}' takes single entries of the channel, not sums over antennas")

    def estimate(self, observation: Observation) -> Complex:
        """See :class:`channelfm.estimator.Estimator`; where nothing but zeros was observed the answer is zero."""
        self.check(observation)
        if isinstance(observation.operator, Combining):
            return self._through_chains(observation, observation.operator)
        frames, *size = observation.grid.shape
        parts = observation.values, observation.mask
        field, seen = (torch.from_numpy(fold_frequency(part.reshape(-1, *size))) for part in parts)
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

    def combined(self, measured: Gathered) -> Tensor:
        """Fields complex [n, rows, cols] from what RF chains measured of them, at unit scale and not all zero."""
        raise NotImplementedError

    def _through_chains(self, observation: Observation, operator: Combining) -> Complex:
        frames, rows, cols, frequencies = observation.grid.shape
        values = torch.from_numpy(np.moveaxis(observation.values, 3, 2).reshape(-1, operator.size[0]))
        answer = torch.zeros(len(values), rows, cols, dtype=torch.complex64)
        spacing = observation.grid.array.spacing_wavelengths

        def fields(part: Tensor, weights: Tensor) -> Tensor:
            return self.combined(Gathered.combined(part, weights, spacing))

        at_once = max(1, min(self.samples_at_once, _WEIGHTS_AT_ONCE // int(np.prod(operator.size))))
        heard = torch.nonzero((values != 0).any(1))[:, 0]
        for part in torch.split(heard, at_once) if len(heard) else ():
            weights = np.stack([operator.weights_of(int(sample) // (frames * frequencies)) for sample in part])
            answer[part] = at_unit_scale(fields, values[part], torch.from_numpy(weights))
        return np.moveaxis(answer.numpy().reshape(-1, frames, frequencies, rows, cols), 2, 4).copy()


def check_frames_seen(observation: Observation) -> None:
    """InputError where nothing is seen of some frame of some link, or measurements are no single entries."""
    if not observation.mask.any(axis=(2, 3, 4)).all():
        raise InputError("the mask hides every antenna of some snapshot: at least one must be observed")


def check_alike_over_frequency(observation: Observation, name: str) -> None:
    """InputError unless RF chains were heard, or antennas, in every frame, whose mask is the same on all subcarriers
    that are observed, which are those of all links: what estimators take that see all subcarriers together."""
    if isinstance(observation.operator, Entries):
        check_frames_seen(observation)
        seen = observation.mask
        antennas, tones = (np.asarray(seen.any(axis=axes, keepdims=True)) for axes in (4, (1, 2, 3)))
        if not np.array_equal(seen, antennas & tones) or np.any(tones != tones[:1]):
            raise InputError(f"'{name}' takes the same antennas on the same subcarriers of all links")
    elif not isinstance(observation.operator, Combining):
        raise InputError(f"'{name}' takes single entries or RF chains, not {observation.kind}")
