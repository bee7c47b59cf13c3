"""Near or far field: whether a user is within the array's Rayleigh distance (seed 000, VI-B3)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from channelfm.datasets.blocks import Blocks
from channelfm.estimator import Examples
from channelfm.metrics import polar_peaks
from channelfm.observation import Bool, Complex, Float, Observation
from channelfm.records import Channels
from channelfm.tasks.detection import Detection
from channelfm.tasks.observing import Partial, PowerSpread, of_random_power

# Of the logarithm of the Rayleigh distance over the range of the strongest wave, where both classes are as likely, and
# its slope: fitted to true channels of the training cities of laetwin-dev and laetwin-hard together. A reflected wave
# seems to come from further away than its user is, so that the border lies at a little more than that distance.
_EVEN, _SLOPE = -0.16, 1.02
_NEAREST_M = 1e-3
_PLANE = 0.01  # ranges of a hundred Rayleigh distances and more are alike


# Groups by |ln(distance / Rayleigh distance)|: name and bounds.
_FROM_BORDER = {"within-10%": (0.0, 0.1), "10-to-30%": (0.1, 0.3), "beyond-30%": (0.3, np.inf)}


class NearField(Detection):
    """Is the user nearer than the Rayleigh distance of the array? Its strongest wave is curved, then.

    Links are of random transmit power, over ``power_spread_db``, so that no estimator can tell distance from power.
    They are grouped by sight and by how far from the border, as a ratio of distances, their users are.
    """

    kind: Literal["near-field"] = "near-field"
    power_spread_db: PowerSpread = 60.0

    question: ClassVar[str] = (
        "A base station hears a user with a few noisy antennas. Each method below says whether the user is "
        "within the Rayleigh distance of the array, where waves arrive curved."
    )

    def examples(self, blocks: Blocks, case: Partial, seed: int) -> Examples:
        """See :class:`Detection`."""
        return super().examples(of_random_power(blocks, self.power_spread_db, seed), case, seed)

    def groups(self, examples: Examples) -> dict[str, Bool]:
        """See :class:`Task`; users whose distance is not known are in no group by distance."""
        labels, array = examples.labels, examples.observation.grid.array
        offset = np.abs(np.log(np.maximum(labels.distance_m, _NEAREST_M) / array.rayleigh_distance_m))
        found = {"los": labels.line_of_sight, "nlos": ~labels.line_of_sight}
        found |= {name: (offset >= low) & (offset < high) for name, (low, high) in _FROM_BORDER.items()}
        return super().groups(examples) | {name: members for name, members in found.items() if members.any()}

    def truth(self, labels: Channels) -> Bool:
        """See :class:`Detection`."""
        return labels.near_field

    def logit(self, channel: Complex, observation: Observation) -> Float:
        """See :class:`Detection`; of the first frame."""
        array = observation.grid.array
        inverse_range = polar_peaks(channel[:, 0], array.spacing_wavelengths).inverse_range
        curvature = inverse_range * array.rayleigh_distance_m / array.wavelength_m
        return np.asarray(_SLOPE * (np.log(curvature + _PLANE) - _EVEN))
