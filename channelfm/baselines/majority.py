"""The majority: the trivial answer where a task asks for classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from channelfm.errors import InputError
from channelfm.estimator import CLASSES, Examples
from channelfm.observation import Observation


class Majority:
    """The share of each class among the examples, whatever is observed."""

    name = "majority"
    gives = CLASSES

    def __init__(self) -> None:
        self._shares: NDArray[np.float64] | None = None

    def learn(self, examples: Examples) -> None:
        """See :class:`channelfm.estimator.Learns`; InputError where targets are no classes, which count from 0."""
        target = examples.target
        if target.ndim != 1 or not np.issubdtype(target.dtype, np.integer) or not len(target) or target.min() < 0:
            raise InputError(f"'{self.name}' learns classes, whole numbers from 0: take a task that asks for them")
        self._shares = np.bincount(target, minlength=2) / len(target)

    def check(self, observation: Observation) -> None:
        """See :meth:`channelfm.estimator.ChannelEstimator.check`."""
        observation.check()

    def estimate(self, observation: Observation) -> NDArray[np.float64]:
        """See :class:`channelfm.estimator.Estimator`: probabilities float64 [N, C]."""
        self.check(observation)
        if self._shares is None:
            raise InputError(f"'{self.name}' knows no classes yet: first call learn(examples of a training split)")
        return np.tile(self._shares, (len(observation), 1))
