"""Near or far field: whether a user is within the array's Rayleigh distance (seed 000, VI-B3)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from channelfm.metrics import polar_peaks
from channelfm.observation import Bool, Complex, Float, Observation
from channelfm.records import Channels
from channelfm.tasks.detection import Detection

# Of the logarithm of the Rayleigh distance over the range of the strongest wave, where both classes are as likely, and
# its slope: fitted to true channels of the training cities of laetwin-dev and laetwin-hard together. A reflected wave
# seems to come from further away than its user is, so that the border lies at a little more than that distance.
_EVEN, _SLOPE = -0.16, 1.02
_PLANE = 0.01  # ranges of a hundred Rayleigh distances and more are alike


class NearField(Detection):
    """Is the user nearer than the Rayleigh distance of the array? Its strongest wave is curved, then."""

    kind: Literal["near-field"] = "near-field"

    question: ClassVar[str] = (
        "A base station hears a user with a few noisy antennas. Each method below says whether the user is "
        "within the Rayleigh distance of the array, where waves arrive curved."
    )

    def truth(self, labels: Channels) -> Bool:
        """See :class:`Detection`."""
        return labels.near_field

    def logit(self, channel: Complex, observation: Observation) -> Float:
        """See :class:`Detection`; of the first frame."""
        array = observation.grid.array
        inverse_range = polar_peaks(channel[:, 0], array.spacing_wavelengths).inverse_range
        curvature = inverse_range * array.rayleigh_distance_m / array.wavelength_m
        return np.asarray(_SLOPE * (np.log(curvature + _PLANE) - _EVEN))
