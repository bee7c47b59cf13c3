"""The off-grid estimate, and a Gaussian process for what its waves leave: the strongest classical answer here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from channelfm.baselines.gaussian_process import GaussianProcess
from channelfm.baselines.off_grid import OffGrid
from channelfm.tasks.predictor import known_spacing


class OffGridProcess:
    """First the waves that the observation supports, then smoothness for diffuse paths and edges that they miss.

    The rest at the observed antennas is treated as an observation of its own: its strongest wave is divided out, and a
    Gaussian process with hyperparameters of its own interpolates it. In strong white noise the off-grid estimate
    alone is better, since the strongest wave of pure noise is noise.
    """

    name = "off-grid-gp"

    def __init__(self, spacing_wavelengths: float | None = None) -> None:
        self.spacing_wavelengths = spacing_wavelengths
        self.waves, self.rest = OffGrid(), GaussianProcess()

    def predict(
        self, observed: NDArray[np.complex64], mask: NDArray[np.bool_], spacing_wavelengths: float | None = None
    ) -> NDArray[np.complex64]:
        """See :class:`channelfm.tasks.predictor.Predictor`."""
        spacing = known_spacing(self.name, spacing_wavelengths, self.spacing_wavelengths)
        explained = self.waves.predict(observed, mask, spacing)
        return explained + self.rest.predict(observed - explained, mask, spacing)
