"""Users where those of the examples were: on average, where the power says, where the channel looked alike."""

from __future__ import annotations

import numpy as np
import torch

from channelfm.arrays import UPA, element_amplitude
from channelfm.baselines.places.base import Float, PlaceEstimator, Samples, known_places, not_taught, samples_of
from channelfm.baselines.places.strongest import found_waves
from channelfm.errors import InputError
from channelfm.estimator import Examples
from channelfm.observation import Observation
from channelfm.waves.places import farthest_m, places_of, views_of

_WAVES = 4  # that a fingerprint tells of
_FAINTEST_DB = -40.0  # relative power at which a wave counts as missing
_NEIGHBOURS = 5
_LARGEST_CURVATURE = 3.0  # Rayleigh distance over range, beyond which fingerprints are alike


class MeanPosition(PlaceEstimator):
    """The mean distance of the examples' users, in their mean direction, whatever is observed: the trivial answer."""

    name = "mean-position"

    def __init__(self) -> None:
        self._place: Float | None = None

    def learn(self, examples: Examples) -> None:
        """See :class:`channelfm.estimator.Learns`; InputError where the examples tell no places."""
        places = known_places(self.name, examples)
        distances = np.linalg.norm(places, axis=1, keepdims=True)
        direction = np.mean(places / np.maximum(distances, 1e-9), axis=0)
        length = np.linalg.norm(direction)
        self._place = distances.mean() * (direction / length if length > 0 else np.array([1.0, 0.0, 0.0]))

    def estimate(self, observation: Observation) -> Float:
        """See :class:`PlaceEstimator`."""
        self.check(observation)
        if self._place is None:
            raise not_taught(self.name)
        return np.tile(self._place, (len(observation), 1))

    def places(self, samples: Samples) -> Float:
        """See :class:`PlaceEstimator`."""
        raise AssertionError("the same for all")


class PowerRanging(PlaceEstimator):
    """Distance by the law of free space from the amplitude of the strongest wave, the transmit power known from the
    examples; direction as that wave's. Of use only where all users transmit alike."""

    name = "power-ranging"

    def __init__(self) -> None:
        self._amplitude: float | None = None  # at 1 m

    def learn(self, examples: Examples) -> None:
        """See :class:`channelfm.estimator.Learns`: the median over users in sight (over all where none is)."""
        distances = np.linalg.norm(known_places(self.name, examples), axis=1)
        samples = samples_of(examples.observation)
        heard = torch.nonzero((samples.field != 0).any(2).any(1))[:, 0]
        if not len(heard):
            raise InputError(f"'{self.name}' heard nothing in its examples: give links with a path")
        parts = [_directions(samples.select(part)) for part in torch.split(heard, self.samples_at_once)]
        amplitude = np.concatenate([part[1] for part in parts]) * distances[heard.numpy()]
        direct = examples.labels.line_of_sight[heard.numpy()]
        self._amplitude = float(np.median(amplitude[direct] if direct.any() else amplitude))

    def estimate(self, observation: Observation) -> Float:
        """See :class:`PlaceEstimator`; InputError before anything was learned."""
        if self._amplitude is None:
            raise not_taught(self.name)
        return super().estimate(observation)

    def places(self, samples: Samples) -> Float:
        """See :class:`PlaceEstimator`."""
        assert self._amplitude is not None
        sources, amplitude = _directions(samples)
        distance = np.minimum(self._amplitude / np.maximum(amplitude, 1e-300), farthest_m(samples.array))
        q = samples.array.wavelength_m / np.maximum(distance, samples.array.wavelength_m)
        return places_of(np.concatenate([sources[:, :2], q[:, None]], axis=1), samples.array)


class Fingerprints(PlaceEstimator):
    """The mean place of those examples whose strongest waves are most alike in direction, range and relative power,
    nearer ones counting more. It knows the scenes of its examples, and no others: in another city it can but guess."""

    name = "fingerprint-knn"

    def __init__(self) -> None:
        self._places: Float | None = None

    def learn(self, examples: Examples) -> None:
        """See :class:`channelfm.estimator.Learns`; InputError where the examples tell no places."""
        places, samples = known_places(self.name, examples), samples_of(examples.observation)
        heard = torch.nonzero((samples.field != 0).any(2).any(1))[:, 0]
        if not len(heard):
            raise InputError(f"'{self.name}' heard nothing in its examples: give links with a path")
        prints = [_fingerprints(samples.select(part)) for part in torch.split(heard, self.samples_at_once)]
        self._prints = np.concatenate(prints)
        self._spread = np.maximum(self._prints.std(axis=0), 1e-6)
        self._places = places[heard.numpy()]

    def estimate(self, observation: Observation) -> Float:
        """See :class:`PlaceEstimator`; InputError before anything was learned."""
        if self._places is None:
            raise not_taught(self.name)
        return super().estimate(observation)

    def places(self, samples: Samples) -> Float:
        """See :class:`PlaceEstimator`."""
        assert self._places is not None
        apart = (_fingerprints(samples)[:, None] - self._prints) / self._spread
        away = np.linalg.norm(apart, axis=2)
        nearest = np.argsort(away, axis=1, kind="stable")[:, :_NEIGHBOURS]
        weight = 1 / (np.take_along_axis(away, nearest, axis=1) + 1e-6)
        share = weight / weight.sum(axis=1, keepdims=True)
        return np.asarray(np.einsum("nk,nkc->nc", share, self._places[nearest]))


def _directions(samples: Samples) -> tuple[Float, Float]:
    """Sources float64 [n, 3] of the strongest waves, and the amplitude [n] with which an isotropic antenna would have
    received them."""
    waves = found_waves(samples)
    sources = waves.sources[:, 0].numpy()
    scale = samples.mean_power.double().sqrt() * torch.pow(2.0, samples.exponents.double())
    _, azimuth, elevation = views_of(places_of(sources, samples.array)).T
    pattern = element_amplitude(samples.array.pattern, np.pi / 2 - elevation, azimuth)
    return sources, (waves.gains[:, 0].abs() * scale).numpy() / np.maximum(pattern, 1e-3)


def _fingerprints(samples: Samples) -> Float:
    """Float64 [n, 4 _WAVES]: direction, curvature and relative power of the strongest waves."""
    waves = found_waves(samples)
    sources, gains = waves.sources[:, :_WAVES], waves.gains[:, :_WAVES].abs()
    ratio = (gains / gains.amax(1, keepdim=True).clamp_min(1e-30)).clamp_min(10 ** (_FAINTEST_DB / 20))
    curvature = (sources[..., 2:] * _rayleigh_wavelengths(samples.array)).clamp(0, _LARGEST_CURVATURE)
    known = waves.present[:, :_WAVES, None]
    each = torch.cat([sources[..., :2] * known, curvature * known, ratio.log()[..., None]], dim=2)
    return np.asarray(each.flatten(1).numpy())


def _rayleigh_wavelengths(array: UPA) -> float:
    return array.rayleigh_distance_m / array.wavelength_m
