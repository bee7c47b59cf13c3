"""Sample-and-hold: the trivial prediction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from channelfm.baselines.time.completion import complete_frames
from channelfm.estimator import SequenceEstimator

Complex = NDArray[np.complex64]


class SampleAndHold(SequenceEstimator):
    """The last frame, completed over frequency, as all that follow."""

    name = "sample-and-hold"

    def future(self, past: Complex, mask: NDArray[np.bool_], horizon: int) -> Complex:
        """See :class:`channelfm.estimator.SequenceEstimator`."""
        return np.repeat(complete_frames(past, mask)[:, -1:], horizon, axis=1)
