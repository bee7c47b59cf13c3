"""Cramer-Rao bounds on where a wave comes from: distance, direction and place of the strongest of several waves.

All waves' sources and gains are unknown. The Fisher matrix is that of :mod:`channelfm.waves.bounds`, through any
operator, so that a bound on the field and one on a place speak of the same waves in the same noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from channelfm.observation import Observation
from channelfm.waves.bounds import SphericalWaves, WaveProducts, wave_products

Float = NDArray[np.float64]

_RESOLVED = 1e-10  # share of the largest eigenvalue of the scaled Fisher matrix below which a direction is not seen
_HARMLESS = 1e-6  # squared part of a parameter in directions that are not seen, with which it still counts as told


class PlaceBound(NamedTuple):
    """Least root mean square errors, float64 [N], of where each link's strongest wave comes from: ``distance_m``,
    ``azimuth_rad``, ``elevation_rad``, and ``place_m``, of the place in space. Infinite where the measurements do not
    tell, and for the distance of a plane wave."""

    distance_m: Float
    azimuth_rad: Float
    elevation_rad: Float
    place_m: Float


class _Strongest(NamedTuple):
    """Of one link's waves, the strongest first: ``gains`` complex128 [L], the ``source`` float64 [3] of the first, and
    which of its parameters the array ``resolves`` int [R]."""

    products: WaveProducts
    gains: NDArray[np.complex128]
    source: Float
    resolves: list[int]


def source_bound(waves: SphericalWaves, observation: Observation) -> Float:
    """Least covariance float64 [N, 3, 3] of unbiased estimates of the source (u_y, u_z, q) of each link's strongest
    wave, all others and all gains unknown together.

    Parameters that the measurements do not tell (the sine across a linear array) have an infinite variance and no
    covariance. 0 where there is no noise. Raises as :func:`channelfm.waves.bounds.field_bound` does.
    """
    return np.array([_mean_squares(link, len(link.gains)) for link in _links(waves, observation)]).reshape(-1, 3, 3)


def place_bound(waves: SphericalWaves, observation: Observation) -> PlaceBound:
    """Least errors of the place of each link's strongest wave, where the number of waves is chosen as well as can be.

    As with the channel (:func:`channelfm.waves.bounds.best_order_bound`), waves far below the noise cost an unbiased
    estimator more than they are worth; one that leaves them out is off by what they shift the others, to first order.
    So each error is the least, over how many of the strongest waves are estimated, of the root of variance and squared
    shift together, which only an oracle reaches: it knows the number. Raises as :func:`source_bound` does.
    """
    wavelength = observation.grid.array.wavelength_m
    least = [
        np.min([_place_squares(link, order, wavelength) for order in range(1, len(link.gains) + 1)], axis=0)
        for link in _links(waves, observation)
    ]
    return PlaceBound(*np.sqrt(np.array(least).reshape(-1, 4).T))


def _links(waves: SphericalWaves, observation: Observation) -> Iterator[_Strongest]:
    """Of every link in turn, in the order of the products of their derivatives."""
    _, rows, cols, _ = observation.grid.shape
    resolves = [axis for axis, elements in enumerate((cols, rows)) if elements > 1] + [2] * (rows * cols > 2)
    for number, products in enumerate(wave_products(waves, observation)):
        order = np.argsort(-np.abs(waves.gains[number]), kind="stable")[: products.waves]
        yield _Strongest(products, waves.gains[number][order], waves.sources[number][order[0]], resolves)


def _mean_squares(link: _Strongest, order: int) -> Float:
    """Least mean square errors float64 [3, 3] of the strongest wave's source (u_y, u_z, q) if ``order`` waves are
    estimated, and the others taken for noise: inverse Fisher information, and the square of the shift."""
    errors = np.diag(np.full(3, np.inf))
    waves, each = len(link.gains), len(link.products.seen) // len(link.gains) - 2  # with the delay, where there is one
    first = 2 * waves
    estimated = np.r_[0:order, waves : waves + order, first : first + each * order]
    others = np.r_[order:waves, waves + order : first]
    inverse, told = _inverse(link.products.seen[np.ix_(estimated, estimated)])
    own = 2 * order + np.arange(len(link.resolves))
    covariance = link.products.noise / 2 * inverse[np.ix_(own, own)]
    left_out = np.concatenate([link.gains[order:].real, link.gains[order:].imag])
    shift = inverse[own] @ link.products.seen[np.ix_(estimated, others)] @ left_out
    squares = covariance + np.outer(shift, shift)
    squares[~told[own]] = squares[:, ~told[own]] = 0.0
    errors[np.ix_(link.resolves, link.resolves)] = squares + np.diag(np.where(told[own], 0.0, np.inf))
    return errors


def _inverse(information: Float) -> tuple[Float, NDArray[np.bool_]]:
    """Pseudo-inverse of a Fisher matrix, whose parameters have different units, and which of them it tells."""
    scale = 1 / np.sqrt(np.maximum(np.diag(information), 1e-300))
    power, turn = np.linalg.eigh(information * np.outer(scale, scale))
    seen = power > _RESOLVED * power[-1]
    hidden = np.sum(turn[:, ~seen] ** 2, axis=1)
    inverse = (turn[:, seen] / power[seen]) @ turn[:, seen].T
    return inverse * np.outer(scale, scale), hidden < _HARMLESS


def _place_squares(link: _Strongest, order: int, wavelength_m: float) -> Float:
    """Mean square errors float64 [4] of distance, azimuth, elevation and place."""
    errors, near = _mean_squares(link, order), link.source[2] > 0
    slopes = _place_slopes(link.source if near else np.append(link.source[:2], 1.0), wavelength_m)
    known = np.isfinite(np.diag(errors))
    inside = slopes[:, known]
    squares = np.einsum("qi,ij,qj->q", inside, errors[np.ix_(known, known)], inside)
    squares[np.any(slopes[:, ~known] != 0, axis=1)] = np.inf
    return np.append(squares[:3], squares[3:].sum()) + np.where(near, 0.0, [np.inf, 0.0, 0.0, np.inf])


def _place_slopes(source: Float, wavelength_m: float) -> Float:
    """Derivatives float64 [6, 3] of distance, azimuth, elevation and the three coordinates by (u_y, u_z, q), q > 0."""
    u_y, u_z, q = source
    forward = np.sqrt(max(1 - u_y**2 - u_z**2, 1e-12))
    flat, distance = forward**2 + u_y**2, wavelength_m / q
    slopes = np.zeros((6, 3))
    slopes[0, 2] = -distance / q
    slopes[1, :2] = 1 / forward, u_y * u_z / (forward * flat)
    slopes[2, 1] = 1 / np.sqrt(flat)
    slopes[3:, :2] = distance * np.array([[-u_y / forward, -u_z / forward], [1, 0], [0, 1]])
    slopes[3:, 2] = -distance / q * np.array([forward, u_y, u_z])
    return slopes
