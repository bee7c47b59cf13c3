"""Least squares: what RF chains tell about a channel of which nothing else is known (seed 001, III-B)."""

from __future__ import annotations

import numpy as np

from channelfm.errors import InputError
from channelfm.estimator import ChannelEstimator
from channelfm.observation import Combining, Complex, Observation

_RESOLVED = 1e-10  # share of the largest eigenvalue of W^H W below which weights repeat each other


class LeastSquares(ChannelEstimator):
    """The channel of least norm among those that explain measurements y = W^H h best: W (W^H W)^-1 y.

    With fewer measurements than antennas it leaves all of the channel that is orthogonal to W.
    """

    name = "least-squares"

    def check(self, observation: Observation) -> None:
        """See :class:`channelfm.estimator.ChannelEstimator`."""
        super().check(observation)
        if not isinstance(observation.operator, Combining):
            raise InputError(f"'{self.name}' is for RF chains; for single entries that is zero-filling")

    def estimate(self, observation: Observation) -> Complex:
        """See :class:`channelfm.estimator.Estimator`."""
        self.check(observation)
        operator = observation.operator
        assert isinstance(operator, Combining)  # checked
        answer = np.empty((len(observation), *observation.grid.shape), np.complex64)
        for link, values in enumerate(observation.values):
            weights = operator.weights_of(link).reshape(operator.size[0], -1).astype(np.complex128)
            inverse = np.linalg.pinv(weights.conj() @ weights.T, rcond=_RESOLVED, hermitian=True)
            answer[link] = (weights.T @ (inverse @ values)).reshape(answer.shape[1:])
        return answer
