"""Cramer-Rao bounds of sums of spherical waves seen through any operator: what no unbiased estimator can beat."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from channelfm.errors import InputError
from channelfm.observation import Observation
from channelfm.waves.geometry import coordinates, path_and_slope, phasors

Complex128 = NDArray[np.complex128]
Float = NDArray[np.float64]

_RESOLVED = 1e-10  # share of the largest eigenvalue of the scaled Fisher matrix below which a direction is not seen
_HARMLESS = 1e-6  # share of the largest change of the field below which a direction that is not seen changes nothing


class SphericalWaves(NamedTuple):
    """Waves of N channels: ``sources`` float64 [N, L, 3] as (u_y, u_z, q), two direction sines and the inverse distance
    per wavelength; ``gains`` complex128 [N, L] at the array's centre, 0 for no wave."""

    sources: Float
    gains: Complex128

    def select(self, index: Any) -> SphericalWaves:
        """Those of the channels that a NumPy index picks."""
        return SphericalWaves(self.sources[index], self.gains[index])


def field_bound(waves: SphericalWaves, observation: Observation) -> Float:
    """Least expected NMSE (linear) float64 [N] of unbiased estimates of the whole array's channel, in white noise.

    Every wave has a complex gain, two direction sines and an inverse range unknown, all waves together. The Fisher
    matrix is 2 Re(J^H J) / noise over the measurements (Kay 1993, section 15.7), with their derivatives J; the bound on
    the field's error is trace(G F^-1 G^H), with the derivatives G at all antennas, over the field's energy. What is
    asked is the field, so that waves that nothing tells apart count together (pseudo-inverse), as long as their sum is
    seen; where the measurements do not determine the field, the bound is infinite. It is 0 where the noise is.

    Raises InputError for several frames or frequencies, where the noise is not told, and for waves of other links.
    """
    return np.array([products.bound(products.waves) for products in _all_products(waves, observation)])


def best_order_bound(waves: SphericalWaves, observation: Observation) -> Float:
    """:func:`field_bound` where the number of waves is chosen as well as can be, NMSE (linear) float64 [N].

    Waves far below the noise cost an unbiased estimator more than they are worth; one that leaves them out is biased by
    their energy and may be better. So this is the least, over how many of the strongest waves are estimated, of their
    bound and of the energy of the others together, which only an oracle reaches: it knows the number. Raises as
    :func:`field_bound` does.
    """
    return np.array(
        [
            min(products.bound(count) + products.left[count] for count in range(products.waves + 1))
            for products in _all_products(waves, observation)
        ]
    )


class _Products(NamedTuple):
    """Of one link: ``noise`` power, ``energy`` of its field, number of ``waves`` L, and products Re(J^H J) of the
    derivatives, as they are ``seen`` and over the whole ``field``, float64 [P, P]: real, then imaginary parts of gains,
    then the sources' parameters, wave by wave, the strongest wave first. ``left`` float64 [L + 1]: share of the energy
    in what the 0, 1, ... strongest waves leave."""

    noise: float
    energy: float
    waves: int
    seen: Float
    field: Float
    left: Float

    def bound(self, count: int) -> float:
        """The bound on the sum of so many of the strongest waves, where there are no others, over the energy of all."""
        if not self.noise or not count:
            return 0.0
        first, each = 2 * self.waves, len(self.seen) // self.waves - 2
        kept = np.r_[0:count, self.waves : self.waves + count, first : first + each * count]
        return (
            self.noise / 2 * _least_error(*(part[np.ix_(kept, kept)] for part in (self.seen, self.field))) / self.energy
        )


def _all_products(waves: SphericalWaves, observation: Observation) -> Iterator[_Products]:
    """Of every link in turn."""
    frames, rows, cols, frequencies = observation.grid.shape
    if frames * frequencies != 1:
        raise InputError(f"bound of {frames} frames and {frequencies} frequencies: it is known for one of each")
    if observation.noise is None:
        raise InputError("the bound needs the power of the noise, and the observation does not tell it")
    if len(waves.gains) != len(observation):
        raise InputError(f"waves of {len(waves.gains)} links for an observation of {len(observation)}")
    spacing = observation.grid.array.spacing_wavelengths
    for link, noise in enumerate(observation.noise):
        there = np.argsort(-np.abs(waves.gains[link]), kind="stable")[: np.count_nonzero(waves.gains[link])]
        sources, gains = waves.sources[link][there], waves.gains[link][there]
        derivative = _derivatives(sources, gains, rows, cols, spacing)
        operator = observation.operator.select(slice(link, link + 1))
        seen = operator.forward(derivative.reshape(1, 1, rows, cols, -1).astype(np.complex64))
        parts = derivative[:, : len(gains)] * gains
        sums = np.cumsum(np.concatenate([np.zeros((len(parts), 1)), parts], axis=1), axis=1)
        energies = np.sum(np.abs(sums[:, -1:] - sums) ** 2, axis=0)
        yield _Products(
            float(noise),
            float(energies[0]),
            len(gains),
            _products(seen.reshape(-1, seen.shape[-1]), len(gains)),
            _products(derivative, len(gains)),
            energies / energies[0],
        )


def _derivatives(sources: Float, gains: Complex128, rows: int, cols: int, spacing: float) -> Complex128:
    """Derivatives complex128 [antenna, parameter] of the field of L waves: in the real parts of their gains, which are
    the waves themselves, and in those parameters of their sources that the array resolves."""
    y, z = coordinates(rows, cols, spacing)
    path, slope = path_and_slope(torch.from_numpy(sources)[None], y, z)
    wave = phasors(path[0]).numpy()
    resolved = [axis for axis, elements in enumerate((cols, rows)) if elements > 1] + [2] * (rows * cols > 2)
    phase = -2j * np.pi * gains[:, None, None] * slope[0].numpy()[:, resolved] * wave[:, None]
    return np.concatenate([wave, phase.reshape(-1, rows * cols)]).T


def _products(derivative: NDArray[Any], waves: int) -> Float:
    """Re(J^H J) float64 [parameter, parameter], with the imaginary parts of the gains put between."""
    whole = np.concatenate([derivative[:, :waves], 1j * derivative[:, :waves], derivative[:, waves:]], axis=1)
    parts = np.concatenate([whole.real, whole.imag]).astype(np.float64)
    return np.asarray(parts.T @ parts)


def _least_error(seen: Float, field: Float) -> float:
    """trace(field seen^-1) of two such products, of the measurements and of the whole field; parameters have different
    units, so that they are scaled first."""
    scale = 1 / np.sqrt(np.maximum(np.diag(seen), 1e-300))
    power, turn = np.linalg.eigh(seen * np.outer(scale, scale))
    change = np.einsum("pi,pq,qi->i", turn, field * np.outer(scale, scale), turn, optimize=True)
    told = power > _RESOLVED * power[-1]
    if np.any(change[~told] > _HARMLESS * change.max()):
        return float("inf")
    return float(np.sum(change[told] / power[told]))
