"""Stochastic channels of the near field: a few scatterers or clusters of rays before the array, as spherical waves.

The model of the literature on near-field estimation (Cui & Dai 2022; seed 001, III-B; SPEC 8), which has no scene:

    h_m(f) = sum_r g_r exp(-j 2 pi (f - f_c) tau_r) exp(-j 2 pi f (|s_r - delta_m| - |s_r|) / c).

f is absolute, so that beams squint; the literature's arrays do not (``squint`` False: the carrier in the last factor).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from channelfm.arrays import UPA
from channelfm.errors import InputError
from channelfm.records import Channels

Float = NDArray[np.float64]
Complex = NDArray[np.complex64]

_CENTRES = ("azimuth_rad", "elevation_rad", "range_m", "delay_s", "power")
NEAREST_SHARE = 0.5  # of its cluster's range, nearer than which no ray comes from


@dataclass(frozen=True)
class NearFieldModel:
    """What users are drawn from: ``clusters`` of ``rays`` each (1: single paths).

    Clusters lie at ranges uniform in ``range_m``, azimuths and elevations uniform within ``azimuth_deg`` and
    ``elevation_deg`` of the boresight (no elevation for one row, no azimuth for one column) and delays uniform up to
    ``latest_s``. Their mean powers fall by ``decay_db`` from one to the next. Rays have complex normal gains; about
    their cluster's centre they scatter normally by ``azimuth_spread_deg`` in both angles, by the share ``range_spread``
    in range, and are late by the magnitude of a normal variable of ``delay_spread_s``.
    """

    clusters: int = 3
    rays: int = 1
    range_m: tuple[float, float] = (2.732, 32.732)
    azimuth_deg: float = 15.0
    elevation_deg: float = 15.0
    latest_s: float = 100e-9
    decay_db: float = 0.0
    azimuth_spread_deg: float = 0.0
    range_spread: float = 0.0
    delay_spread_s: float = 0.0
    squint: bool = True


# Name -> model: three ideal paths (SPEC 8), and three clusters of 20 rays, of which each has half the power of the last
NEAR_FIELD_MODELS = {
    "paths": NearFieldModel(),
    "clusters": NearFieldModel(
        rays=20, decay_db=10 * np.log10(2.0), azimuth_spread_deg=1.0, range_spread=0.05, delay_spread_s=5e-9
    ),
}


class SphericalRays(NamedTuple):
    """Rays of N channels, R each: ``sources`` float64 [N, R, 3] as (u_y, u_z, q), two direction sines and the inverse
    range per carrier wavelength; ``delays_s`` [N, R] at the array's centre; ``gains`` complex128 [N, R]."""

    sources: Float
    delays_s: Float
    gains: NDArray[np.complex128]

    def select(self, index: Any) -> SphericalRays:
        """Those of the channels that a NumPy index picks."""
        return SphericalRays(*(part[index] for part in self))


@dataclass(frozen=True)
class Clusters:
    """Centres of the clusters that N channels were drawn from, C each, float64 [N, C]: ``azimuth_rad``,
    ``elevation_rad``, ``range_m``, ``delay_s`` and mean ``power``, over which the channel's energy is one per entry on
    average; ``model`` says how rays scatter about them."""

    azimuth_rad: Float
    elevation_rad: Float
    range_m: Float
    delay_s: Float
    power: Float
    model: NearFieldModel

    def __len__(self) -> int:
        return len(self.power)

    def select(self, index: Any) -> Clusters:
        """Those of the channels that a NumPy index picks."""
        chosen = {name: getattr(self, name)[index] for name in _CENTRES}
        return Clusters(**chosen, model=self.model)

    @classmethod
    def joined(cls, parts: Sequence[Clusters]) -> Self:
        """Those of several, in order; of one model."""
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _CENTRES}
        return cls(**columns, model=parts[0].model)

    def rays(self, array: UPA, rays: int, generator: np.random.Generator) -> SphericalRays:
        """So many rays of every cluster, [N, C * rays], cluster by cluster, with gains of their clusters' powers."""
        model, shape = self.model, (*self.power.shape, rays)

        def about(centres: Float, spread: float) -> Float:
            return np.asarray(centres[..., None] + spread * generator.standard_normal(shape))

        azimuth = about(self.azimuth_rad, np.deg2rad(model.azimuth_spread_deg))
        elevation = about(self.elevation_rad, np.deg2rad(model.azimuth_spread_deg))
        share = np.maximum(about(np.ones_like(self.power), model.range_spread), NEAREST_SHARE)
        late = np.abs(about(np.zeros_like(self.power), model.delay_spread_s))
        parts = generator.standard_normal((*shape, 2)) @ np.array([1, 1j])
        gains = parts * np.sqrt(self.power / (2 * rays))[..., None]
        sources = np.stack(
            [
                np.sin(azimuth) * np.cos(elevation) * (array.cols > 1),
                np.sin(elevation) * (array.rows > 1),
                array.wavelength_m / (self.range_m[..., None] * share),
            ],
            axis=-1,
        )
        count = len(self)
        delays = (self.delay_s[..., None] + late).reshape(count, -1)
        return SphericalRays(sources.reshape(count, -1, 3), delays, gains.reshape(count, -1))


class NearFieldDraw(NamedTuple):
    """Channels ``response`` complex64 [N, antenna, F], and the ``clusters`` and ``rays`` that they consist of."""

    clusters: Clusters
    rays: SphericalRays
    response: Complex


def draw_near_field(model: NearFieldModel, array: UPA, frequencies_hz: Float, users: int, seed: int) -> NearFieldDraw:
    """Channels of ``users`` at absolute frequencies [F]; each user follows from ``seed`` and its number alone.

    The energy of every channel is one per entry. Element pattern, place and orientation of the array have no part in
    the model. Raises InputError for a setting out of range.
    """
    _check(model, users, seed)
    frequencies = np.asarray(frequencies_hz, np.float64)
    drawn = [_drawn(model, array, frequencies, np.random.default_rng((seed, user))) for user in range(users)]
    clusters, rays, response = zip(*drawn, strict=True)
    joined = SphericalRays(*(np.concatenate(column) for column in zip(*rays, strict=True)))
    return NearFieldDraw(Clusters.joined(clusters), joined, np.concatenate(response))


def near_field_channels(model: NearFieldModel, array: UPA, frequencies_hz: Float, users: int, seed: int) -> Channels:
    """:func:`draw_near_field` as a record: users of one cell, all of one track.

    Labels tell the strongest cluster as the user's place, without line of sight, at time 0.
    """
    clusters, _, response = draw_near_field(model, array, frequencies_hz, users, seed)
    number, strongest = np.arange(users), clusters.power.argmax(axis=1)
    distance, azimuth, elevation = (
        part[number, strongest] for part in (clusters.range_m, clusters.azimuth_rad, clusters.elevation_rad)
    )
    along = np.stack([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)], 1)
    never = np.zeros(users, np.bool_)
    return Channels(
        response=response,
        frequencies_hz=np.asarray(frequencies_hz, np.float64),
        positions_m=np.asarray(array.position) + distance[:, None] * along @ array.rotation.T,
        velocities_mps=np.zeros((users, 3)),
        times_s=np.zeros(users),
        track=np.zeros(users, np.int32),
        line_of_sight=never,
        near_field=distance < array.rayleigh_distance_m,
        has_path=~never,
        distance_m=distance,
        azimuth_rad=azimuth,
        elevation_rad=elevation,
        rows=array.rows,
        cols=array.cols,
        carrier_hz=array.carrier_hz,
        spacing_wavelengths=array.spacing_wavelengths,
    )


def ray_response(rays: SphericalRays, array: UPA, frequencies_hz: Float, squint: bool) -> NDArray[np.complex128]:
    """Responses complex128 [N, antenna, F] of rays over an array."""
    row, col = np.divmod(np.arange(array.num_elements), array.cols)
    y, z = (
        (place - (size - 1) / 2) * array.spacing_wavelengths for place, size in ((col, array.cols), (row, array.rows))
    )
    detuned = np.asarray(frequencies_hz, np.float64) - array.carrier_hz
    response = np.empty((len(rays.gains), array.num_elements, len(detuned)), np.complex128)
    for link, (sources, delays, gains) in enumerate(zip(*rays, strict=True)):
        u_y, u_z, q = sources.T[..., None]
        bend = q * (y**2 + z**2)
        along = u_y * y + u_z * z
        path = (bend - 2 * along) / (1 + np.sqrt(np.maximum(1 - q * (2 * along - bend), 0)))  # loses no digits
        tones = gains[:, None] * np.exp(-2j * np.pi * np.multiply.outer(delays, detuned))
        if squint:
            turn = np.exp(-2j * np.pi * path[..., None] * (1 + detuned / array.carrier_hz))
            response[link] = np.einsum("rmf,rf->mf", turn, tones, optimize=True)
        else:
            response[link] = np.exp(-2j * np.pi * path).T @ tones
    return response


def _drawn(model: NearFieldModel, array: UPA, frequencies: Float, generator: np.random.Generator) -> NearFieldDraw:
    """One user."""
    shape = (1, model.clusters)
    half_azimuth, half_elevation = np.deg2rad(model.azimuth_deg), np.deg2rad(model.elevation_deg)
    clusters = Clusters(
        azimuth_rad=generator.uniform(-half_azimuth, half_azimuth, shape) * (array.cols > 1),
        elevation_rad=generator.uniform(-half_elevation, half_elevation, shape) * (array.rows > 1),
        range_m=generator.uniform(*model.range_m, shape),
        delay_s=generator.uniform(0, model.latest_s, shape),
        power=10 ** (-model.decay_db * np.arange(model.clusters) / 10)[None],
        model=model,
    )
    rays = clusters.rays(array, model.rays, generator)
    response = ray_response(rays, array, frequencies, model.squint)
    power = float(np.mean(np.abs(response) ** 2))
    scaled = replace(clusters, power=clusters.power / power)
    rays = rays._replace(gains=rays.gains / np.sqrt(power))
    return NearFieldDraw(scaled, rays, (response / np.sqrt(power)).astype(np.complex64))


def _check(model: NearFieldModel, users: int, seed: int) -> None:
    """InputError, naming the field, for settings out of range."""
    low, high = model.range_m
    spreads = (model.azimuth_spread_deg, model.range_spread, model.delay_spread_s, model.latest_s, model.decay_db)
    if min(model.clusters, model.rays, users) < 1 or seed < 0:
        raise InputError(
            f"clusters = {model.clusters}, rays = {model.rays}, users = {users}, seed = {seed}: at least 1, 1, 1, 0"
        )
    if not 0 < low <= high < np.inf:
        raise InputError(f"range_m = ({low}, {high}): give two positive distances in m, the smaller one first")
    if not (0 <= model.azimuth_deg < 90 and 0 <= model.elevation_deg < 90):
        raise InputError(f"azimuth_deg = {model.azimuth_deg}, elevation_deg = {model.elevation_deg}: give 0 to 90 each")
    if not (np.isfinite(spreads).all() and min(spreads) >= 0):
        raise InputError("spreads, latest_s and decay_db: give finite numbers of at least 0")
