"""Users where the strongest wave comes from: taken alone, with weaker ones, or with what is known of users."""

from __future__ import annotations

import numpy as np
import torch

from channelfm.baselines.places.base import Float, PlaceEstimator, Samples, known_places, not_taught
from channelfm.estimator import Examples
from channelfm.observation import Observation
from channelfm.waves.joint import JointWaves, joint_waves
from channelfm.waves.places import places_of
from channelfm.waves.search import strongest_wave

_STEPS = 400  # of the grid of distances ...
_NEARER, _FURTHER = 3.0, 3.0  # ... which reaches so many times beyond those that were met in training
_BANDWIDTH = 0.15  # of the density of logarithms of distances
_ANYWHERE = 0.02  # probability that a user is as likely at any distance of the grid, whatever was met in training


class SingleWave(PlaceEstimator):
    """The source of the one spherical wave that explains most of what was observed: maximum likelihood where there is
    no other. Paths beside it pull the range."""

    name = "single-wave"

    @torch.inference_mode()
    def places(self, samples: Samples) -> Float:
        """See :class:`PlaceEstimator`."""
        sources, _, _ = strongest_wave(samples.field, samples.seen, samples.spacing)
        return places_of(sources.double().numpy(), samples.array)


class StrongestWave(PlaceEstimator):
    """The source of the strongest of all waves, fitted together (:mod:`channelfm.waves.joint`): maximum likelihood."""

    name = "joint-waves"

    def places(self, samples: Samples) -> Float:
        """See :class:`PlaceEstimator`."""
        return places_of(found_waves(samples).sources[:, 0].numpy(), samples.array)


class WavePosterior(PlaceEstimator):
    """The median of the distances that a user may have, by the strongest of all waves and by how far from their arrays
    the users of the examples were.

    The inverse range of the wave is Gaussian about its estimate; the density of distances is that of their logarithms
    in the examples, smoothed, in a small part the same everywhere. Far away, where the curvature tells nothing, it
    answers what is usual. The direction is what is left of the wave's at that range.
    """

    name = "wave-posterior"

    def __init__(self) -> None:
        self._distances: Float | None = None

    def learn(self, examples: Examples) -> None:
        """See :class:`channelfm.estimator.Learns`: the distances of the users."""
        self._distances = np.linalg.norm(known_places(self.name, examples), axis=1)

    def estimate(self, observation: Observation) -> Float:
        """See :class:`PlaceEstimator`; InputError before anything was learned."""
        if self._distances is None:
            raise not_taught(self.name)
        return super().estimate(observation)

    def places(self, samples: Samples) -> Float:
        """See :class:`PlaceEstimator`."""
        assert self._distances is not None
        waves = found_waves(samples)
        source, covariance = (part[:, 0].numpy() for part in (waves.sources, waves.covariance))
        grid, prior = distance_density(self._distances)
        q, deviation = samples.array.wavelength_m / grid, np.sqrt(np.maximum(covariance[:, 2, 2], 1e-30))
        exponent = -(((q - source[:, 2:]) / deviation[:, None]) ** 2) / 2
        posterior = prior * np.exp(exponent - exponent.max(axis=1, keepdims=True))
        # Where the wave is far from all that the grid knows, or is known better than its steps, it is believed alone.
        fine = deviation > np.abs(np.gradient(q))[np.abs(q - source[:, 2:]).argmin(axis=1)]
        inside = fine & (exponent.max(axis=1) > -4.5)
        total = np.cumsum(posterior, axis=1)
        middle = (total < total[:, -1:] / 2).sum(axis=1)
        median = np.where(inside, q[np.minimum(middle, len(q) - 1)], source[:, 2])
        slope = covariance[:, :2, 2] / deviation[:, None] ** 2
        sines = source[:, :2] + slope * (median - source[:, 2])[:, None]
        return places_of(np.concatenate([sines, median[:, None]], axis=1), samples.array)


@torch.inference_mode()
def found_waves(samples: Samples) -> JointWaves:
    """All waves of samples, fitted together at a mean power of 1."""
    field = samples.field / samples.mean_power.sqrt()[:, None, None]
    return joint_waves(field, samples.seen, samples.spacing)


def distance_density(distances: Float) -> tuple[Float, Float]:
    """A grid of distances in m, even in their logarithm, and how likely each is after those that were met."""
    met = np.log(distances)
    grid = np.linspace(met.min() - np.log(_NEARER), met.max() + np.log(_FURTHER), _STEPS)
    likely = np.exp(-(((grid[:, None] - met) / _BANDWIDTH) ** 2) / 2).sum(axis=1)
    return np.exp(grid), (1 - _ANYWHERE) * likely / likely.sum() + _ANYWHERE / _STEPS
