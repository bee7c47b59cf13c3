"""Users by the wave itself and its reflection on flat ground, the height of the array above it known."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from channelfm.arrays import UPA
from channelfm.baselines.places.base import Float, PlaceEstimator, Samples
from channelfm.baselines.places.strongest import found_waves
from channelfm.observation import Bool
from channelfm.waves.places import places_of, sources_of

_STEPS = 6  # Gauss-Newton steps
_SINE_STEP, _RANGE_STEP = 1e-6, 1e-4  # of differences: of sines, and of the inverse range, relative to it
# What a wave's source is told to, besides its own deviation: of the sines, and of the inverse range, relative to that
# of the Rayleigh distance. Walls and ground are no perfect mirrors.
_SINE_FLOOR, _RANGE_FLOOR = 3e-5, 1e-3
_LIKELY = 11.3  # largest misfit of a true reflection, of three degrees of freedom, 99 %


class GroundBounce(PlaceEstimator):
    """The strongest wave together with that other wave which is most likely its reflection on the ground.

    The mirror image of a user stands below the user, as deep as the user is high. So the directions of both tell how
    far away both are, far better than their curvature. The ground is taken to be flat, z = 0. Where no wave is likely
    to be the reflection it answers as ``joint-waves`` does. Needs the array's height and orientation, both of the
    observation's grid.
    """

    name = "ground-bounce"

    def places(self, samples: Samples) -> Float:
        """See :class:`PlaceEstimator`."""
        waves = found_waves(samples)
        sources, array = waves.sources.numpy(), samples.array
        least = _RANGE_FLOOR * array.wavelength_m / max(array.rayleigh_distance_m, array.wavelength_m)
        covariance = waves.covariance.numpy() + np.diag(np.square([_SINE_FLOOR, _SINE_FLOOR, least]))
        answer = sources[:, 0].copy()
        link, other = np.nonzero(waves.present.numpy()[:, 1:])
        if array.position[2] > 0 and len(link):
            pairs = _Pairs(sources[link, 0], covariance[link, 0], sources[link, other + 1], covariance[link, other + 1])
            found, misfit = _together(pairs, array)
            likely = misfit < _LIKELY
            best = np.flatnonzero(likely)[np.argsort(-misfit[likely], kind="stable")]
            answer[link[best]] = found[best]  # of several of one link the last stays, which has the least misfit
        return places_of(answer, array)


class _Pairs(NamedTuple):
    """P waves, each with one that may be its reflection: sources float64 [P, 3] and their covariances [P, 3, 3]."""

    source: Float
    covariance: Float
    image: Float
    image_covariance: Float


def mirrored(sources: Float, array: UPA) -> Float:
    """Sources float64 [P, 3] of the reflections on the ground, z = 0, of waves from ``sources``."""
    places = places_of(sources, array) @ array.rotation.T
    places[:, 2] = -(2 * array.position[2] + places[:, 2])
    return sources_of(places @ array.rotation, array)


def _together(pairs: _Pairs, array: UPA) -> tuple[Float, Float]:
    """The source [P, 3] that explains both waves of each pair best, and the misfit [P] there, infinite where there is
    no such place above the ground."""
    start, possible = _start(pairs, array)
    own, other = np.linalg.inv(pairs.covariance), np.linalg.inv(pairs.image_covariance)
    source, identity = start, np.eye(3)
    for _ in range(_STEPS):
        slope = _jacobian(lambda at: mirrored(at, array), source)
        normal = own + slope.mT @ other @ slope
        pull = own @ (pairs.source - source)[..., None]
        pull = pull + slope.mT @ other @ (pairs.image - mirrored(source, array))[..., None]
        source = _in_front(source + np.linalg.solve(normal + 1e-12 * identity, pull)[..., 0])
    apart = np.stack([pairs.source - source, pairs.image - mirrored(source, array)])
    misfit = np.einsum("kpi,kpij,kpj->p", apart, np.stack([own, other]), apart)
    return source, np.where(possible, misfit, np.inf)


def _start(pairs: _Pairs, array: UPA) -> tuple[Float, Bool]:
    """Where the directions of both waves say that the user is, and whether they say it at all: with the slopes of both
    rays over the ground, r (slope + slope of the image) = -2 height."""
    rays = [places_of(part, array) @ array.rotation.T for part in (pairs.source, pairs.image)]
    flat = [np.maximum(np.hypot(ray[:, 0], ray[:, 1]), 1e-9) for ray in rays]
    slopes = [ray[:, 2] / run for ray, run in zip(rays, flat, strict=True)]
    fall = -(slopes[0] + slopes[1])
    possible = fall > 1e-6
    run = 2 * array.position[2] / np.where(possible, fall, 1.0)
    possible &= array.position[2] + run * slopes[0] > 0  # above the ground
    q = array.wavelength_m / (run * np.hypot(1, slopes[0]))
    start = np.concatenate([pairs.source[:, :2], np.where(possible, q, pairs.source[:, 2])[:, None]], axis=1)
    return _in_front(start), possible


def _jacobian(function: Callable[[Float], Float], at: Float) -> Float:
    """Derivatives [P, 3, 3] of sources in sources [P, 3], by differences."""
    columns = []
    for axis in range(3):
        step = np.zeros_like(at)
        step[:, axis] = _SINE_STEP if axis < 2 else _RANGE_STEP * at[:, 2]
        columns.append((function(at + step) - function(at - step)) / (2 * step[:, axis, None]))
    return np.stack(columns, axis=2)


def _in_front(sources: Float) -> Float:
    """Sources kept within what places are told of."""
    sines = sources[:, :2] / np.maximum(np.linalg.norm(sources[:, :2], axis=1, keepdims=True) / 0.9999, 1.0)
    return np.concatenate([sines, np.clip(sources[:, 2:], 1e-7, 1.0)], axis=1)
