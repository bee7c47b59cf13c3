"""Zero filling: the trivial answer, which every other estimator has to beat."""

from __future__ import annotations

import numpy as np

from channelfm.baselines.samples import check_frames_seen
from channelfm.estimator import ChannelEstimator
from channelfm.observation import Complex, Observation


class ZeroFilling(ChannelEstimator):
    """Returns what was observed as it is and zero elsewhere; its NMSE is the hidden share of the energy.

    ``spacing_wavelengths`` is accepted because every baseline is built alike; zeros do not depend on it.
    """

    name = "zero-filling"

    def __init__(self, spacing_wavelengths: float | None = None) -> None:
        self.spacing_wavelengths = 0.5 if spacing_wavelengths is None else spacing_wavelengths

    def check(self, observation: Observation) -> None:
        """See :class:`channelfm.estimator.ChannelEstimator`."""
        super().check(observation)
        check_frames_seen(observation)

    def estimate(self, observation: Observation) -> Complex:
        """See :class:`channelfm.estimator.Estimator`."""
        self.check(observation)
        return np.where(observation.mask, observation.values, np.complex64(0))
