"""The range rule: near or far by the range of the strongest wave, without any channel reconstructed."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr

from channelfm.baselines.samples import check_frames_seen
from channelfm.errors import InputError
from channelfm.estimator import CLASSES, Examples
from channelfm.observation import Float, Observation, fold_frequency
from channelfm.waves.ranging import strongest_range
from channelfm.waves.scale import scale_exponents, times_power_of_two

_LEAST_DEVIATION = 1e-3  # of the inverse Rayleigh distance: the wave model itself is no better
_SHORTEST_M = 1e-12  # distance, of a single antenna's


class RangeRule:
    """Probabilities that a user is beyond, and within, the Rayleigh distance of the array.

    The strongest wave, fitted together with weaker ones to what was observed, tells the user's inverse range and its
    deviation (:func:`channelfm.waves.ranging.strongest_range`): the probability is that of a Gaussian about it.
    Frequencies and frames count by their precision. What it answers is the question of the task "near-field" alone:
    :meth:`learn` has nothing else to find out.
    """

    name = "range-rule"
    gives = CLASSES
    samples_at_once = 64

    def learn(self, examples: Examples) -> None:
        """See :class:`channelfm.estimator.Learns`; InputError where classes are not those of near and far users."""
        if not np.array_equal(examples.target, examples.labels.near_field.astype(np.int64)):
            raise InputError(f"'{self.name}' tells whether users are near, and the examples ask for something else")

    def check(self, observation: Observation) -> None:
        """See :meth:`channelfm.estimator.ChannelEstimator.check`."""
        observation.check()
        check_frames_seen(observation)

    def estimate(self, observation: Observation) -> NDArray[np.float64]:
        """See :class:`channelfm.estimator.Estimator`: probabilities float64 [N, 2] of far and near."""
        self.check(observation)
        inverse_range, deviation = self._ranges(observation)
        array = observation.grid.array
        border = array.wavelength_m / max(array.rayleigh_distance_m, _SHORTEST_M)
        precision = 1 / (deviation**2 + (_LEAST_DEVIATION * border) ** 2)
        weight = precision.sum(axis=1)
        mean = (precision * inverse_range).sum(axis=1) / np.where(weight > 0, weight, 1)
        near = ndtr((mean - border) * np.sqrt(weight))
        return np.stack([1 - near, near], axis=1)

    def _ranges(self, observation: Observation) -> tuple[Float, Float]:
        """Inverse range per wavelength and its deviation, float64 [N, samples]."""
        frames, *size = observation.grid.shape
        parts = observation.values, observation.mask
        field, seen = (torch.from_numpy(fold_frequency(part.reshape(-1, *size))) for part in parts)
        field = times_power_of_two(field, -scale_exponents(field))
        told = torch.zeros(len(field), 2, dtype=torch.float64)
        for some in torch.split(torch.arange(len(field)), self.samples_at_once) if len(field) else ():
            found = strongest_range(field[some], seen[some], observation.grid.array.spacing_wavelengths)
            told[some] = torch.stack([found.source[:, 2], found.deviation], dim=1).double()
        inverse_range, deviation = told.reshape(-1, frames * size[2], 2).unbind(2)
        return inverse_range.numpy(), deviation.numpy()
