"""What every estimator of places has in common: checks, unit scale, one narrow-band sample of each link."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channelfm.arrays import UPA
from channelfm.baselines.samples import check_frames_seen
from channelfm.checks import all_finite
from channelfm.errors import InputError
from channelfm.estimator import POSITION, Examples
from channelfm.observation import Observation
from channelfm.waves.places import loudest_sample, places_of
from channelfm.waves.scale import scale_exponents, times_power_of_two

Float = NDArray[np.float64]


class Samples(NamedTuple):
    """One narrow-band sample of each of n links: ``field`` complex64 [n, rows, cols] at unit scale, 0 but where bool
    ``seen``; times 2^``exponents`` (int64 [n]) it is what was received. Each has an observed antenna that is not zero.
    """

    field: Tensor
    seen: Tensor
    exponents: Tensor
    array: UPA

    @property
    def spacing(self) -> float:
        """Element spacing in wavelengths."""
        return self.array.spacing_wavelengths

    @property
    def mean_power(self) -> Tensor:
        """Mean power [n] of the observed antennas, at unit scale."""
        return self.field.abs().square().sum((1, 2)) / self.seen.sum((1, 2))

    def select(self, index: Tensor) -> Samples:
        """Those of the links that ``index`` picks."""
        return Samples(self.field[index], self.seen[index], self.exponents[index], self.array)


class PlaceEstimator(ABC):
    """An Estimator of places in the array's own frame, from the loudest frequency of the first frame. Subclasses give
    ``name`` and :meth:`places`; ``samples_at_once`` bounds the memory."""

    name: str
    gives = POSITION
    samples_at_once = 32

    def check(self, observation: Observation) -> None:
        """See :meth:`channelfm.estimator.ChannelEstimator.check`."""
        observation.check()
        check_frames_seen(observation)

    def estimate(self, observation: Observation) -> Float:
        """See :class:`channelfm.estimator.Estimator`: places float64 [N, 3] in metres; straight ahead and as far as
        places are told (:func:`channelfm.waves.places.farthest_m`) where nothing but zeros was observed."""
        self.check(observation)
        samples = samples_of(observation)
        answer = places_of(np.zeros((len(observation), 3)), observation.grid.array)
        heard = torch.nonzero((samples.field != 0).any(2).any(1))[:, 0]
        for part in torch.split(heard, self.samples_at_once) if len(heard) else ():
            answer[part.numpy()] = self.places(samples.select(part))
        return answer

    @abstractmethod
    def places(self, samples: Samples) -> Float:
        """Places float64 [n, 3] of the users behind samples, finite."""


def samples_of(observation: Observation) -> Samples:
    """The loudest frequency of the first frame of each link, at unit scale."""
    links, loudest = np.arange(len(observation)), loudest_sample(observation.values)
    field, seen = (torch.from_numpy(part[links, 0, :, :, loudest]) for part in (observation.values, observation.mask))
    exponents = scale_exponents(field)
    return Samples(times_power_of_two(field, -exponents), seen, exponents, observation.grid.array)


def known_places(name: str, examples: Examples) -> Float:
    """Places float64 [N, 3] that examples tell estimator ``name``; InputError where they tell none."""
    target = examples.target
    if target.ndim != 2 or target.shape[1] != 3 or not len(target) or not all_finite(target):
        raise InputError(f"'{name}' learns places [link, 3] in metres: take a task that asks for them")
    return np.asarray(target, np.float64)


def not_taught(name: str) -> InputError:
    """The error of an estimator that has to learn first."""
    return InputError(f"'{name}' knows no places yet: first call learn(examples of a training split)")
