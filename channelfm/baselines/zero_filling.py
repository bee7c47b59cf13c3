"""Zero filling: the trivial answer, which every other predictor has to beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from channelfm.tasks.predictor import check_observation


class ZeroFilling:
    """Returns the observed antennas as they are and zero elsewhere; its NMSE is the hidden share of the energy.

    ``spacing_wavelengths`` is accepted because every baseline is built alike; zeros do not depend on it.
    """

    name = "zero-filling"

    def __init__(self, spacing_wavelengths: float | None = None) -> None:
        self.spacing_wavelengths = spacing_wavelengths

    def predict(
        self, observed: NDArray[np.complex64], mask: NDArray[np.bool_], spacing_wavelengths: float | None = None
    ) -> NDArray[np.complex64]:
        """See :class:`channelfm.tasks.predictor.Predictor`."""
        filled, _ = check_observation(observed, mask)
        return filled
