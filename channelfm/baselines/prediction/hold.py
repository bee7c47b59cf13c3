"""Sample-and-hold: the trivial prediction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from channelfm.tasks.completion import complete_frames
from channelfm.tasks.prediction import check_past

Complex = NDArray[np.complex64]


class SampleAndHold:
    """The last frame, completed over frequency, as all that follow."""

    name = "sample-and-hold"

    def predict(self, past: Complex, mask: NDArray[np.bool_], horizon: int) -> Complex:
        """See :class:`channelfm.tasks.prediction.SequencePredictor`."""
        past, mask = check_past(past, mask, horizon)
        return np.repeat(complete_frames(past, mask)[:, -1:], horizon, axis=1)
