"""Channels of a few clusters seen from linear arrays at both ends, of which the covariance is known.

The spatial channel model of 3GPP as the literature on learned estimators has it (Neumann et al. 2018; Fesl et al. 2024;
SPEC 8): h ~ CN(0, C_b x C_m) given the clusters, x the Kronecker product, since users and base station scatter
independently; each end's covariance is that of a few clusters with Laplacian power over the angle,

    C = sum_p g_p int laplace(theta; theta_p, spread) a(theta) a(theta)^H dtheta,

with g uniform, then brought to a sum of one, and theta_p uniform over the half plane before the array.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from channelfm.errors import InputError

Complex = NDArray[np.complex64]

_SPREADS_DEG = (2.0, 35.0)  # of base station and user
_MIDPOINTS, _FARTHEST = 384, 12.0  # of either side of a Laplacian density, and their reach in its mean deviation


class SpatialDraw(NamedTuple):
    """``channels`` complex64 [N, user antenna, station antenna] of unit power per entry, and both ends' covariances:
    ``station`` complex128 [N, S, S] and ``user`` [N, U, U]."""

    channels: Complex
    station: NDArray[np.complex128]
    user: NDArray[np.complex128]


def draw_spatial(station: int, user: int, links: int, seed: int, clusters: int = 3) -> SpatialDraw:
    """``links`` channels between arrays of so many antennas, half a wavelength apart; each has its own clusters.

    Raises InputError unless all numbers are positive, ``seed`` at least 0.
    """
    if min(station, user, links, clusters) < 1 or seed < 0:
        raise InputError(
            f"antennas {station}, {user}, links {links}, clusters {clusters}, seed {seed}: at least 1 each"
        )
    generator = np.random.default_rng((seed, *b"spatial"))
    shares = generator.random((links, clusters))
    shares /= shares.sum(1, keepdims=True)
    ends = []
    for antennas, spread in zip((station, user), np.deg2rad(_SPREADS_DEG), strict=True):
        angles = generator.uniform(-np.pi / 2, np.pi / 2, (links, clusters))
        ends.append(_covariances(antennas, angles, shares, spread))
    at_station, at_user = ends
    parts = generator.standard_normal((links, user, station, 2)) @ np.array([1, 1j]) / np.sqrt(2)
    channels = _root(at_user) @ parts @ np.swapaxes(_root(at_station), 1, 2)
    return SpatialDraw(channels.astype(np.complex64), at_station, at_user)


def genie_lmmse(draw: SpatialDraw, received: Complex, noise: float) -> Complex:
    """The conditional mean of the channels, their covariances known, from ``received`` = channels + white noise of
    power ``noise``: complex64 [N, U, S]. No estimator has a smaller mean squared error."""
    (station, to_station), (user, to_user) = (np.linalg.eigh(end) for end in (draw.station, draw.user))
    power = np.maximum(user, 0)[:, :, None] * np.maximum(station, 0)[:, None]
    inside = np.conj(np.swapaxes(to_user, 1, 2)) @ received @ np.conj(to_station)
    return np.asarray(to_user @ (inside * power / (power + noise)) @ np.swapaxes(to_station, 1, 2), np.complex64)


def _covariances(
    antennas: int, angles: NDArray[np.float64], shares: NDArray[np.float64], spread: float
) -> NDArray[np.complex128]:
    """Toeplitz covariances [N, antenna, antenna] of clusters [N, P]; densities are summed at their midpoints."""
    far = (np.arange(_MIDPOINTS) + 0.5) / _MIDPOINTS * _FARTHEST
    offsets = spread / np.sqrt(2) * np.concatenate([-far, far])
    density = np.tile(np.exp(-far), 2)
    density /= density.sum()
    sines = np.sin(angles[..., None] + offsets)
    step = np.exp(1j * np.pi * sines)
    lags, power = np.empty((len(angles), antennas), np.complex128), np.ones_like(step)
    for lag in range(antennas):
        lags[:, lag] = ((power @ density) * shares).sum(1)
        power = power * step
    apart = np.arange(antennas)[:, None] - np.arange(antennas)
    return np.where(apart >= 0, lags[:, np.abs(apart)], np.conj(lags[:, np.abs(apart)]))


def _root(covariances: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Matrices whose product with their adjoint is each covariance."""
    values, vectors = np.linalg.eigh(covariances)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0))[:, None])
