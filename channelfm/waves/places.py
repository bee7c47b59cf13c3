"""From the source of a wave to a place in front of the array, and back.

Places are in metres in the array's own frame: boresight +x, columns along +y, rows along +z.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from channelfm.arrays import UPA
from channelfm.observation import Complex

Float = NDArray[np.float64]

# In Rayleigh distances: over the array, a wave from further away differs from a plane one by less than a phase of
# 0.01 rad, so that one that looks plane may come from anywhere beyond, and is said to come from there.
FARTHEST = 100.0


def farthest_m(array: UPA) -> float:
    """The distance in m beyond which no place is told; for a single antenna, that many wavelengths."""
    return FARTHEST * max(array.rayleigh_distance_m, array.wavelength_m)


def places_of(sources: Float, array: UPA) -> Float:
    """Places float64 [..., 3] of sources [..., 3] as (u_y, u_z, q): two direction sines, inverse range per wavelength.

    Always finite: a plane wave, q = 0, and whatever is further away than :func:`farthest_m`, comes from that distance;
    sines beyond the horizon come from the horizon.
    """
    sines = np.asarray(sources[..., :2], np.float64)
    sines = sines / np.maximum(np.linalg.norm(sines, axis=-1, keepdims=True), 1.0)
    forward = np.sqrt(np.maximum(1 - np.sum(sines**2, axis=-1, keepdims=True), 0.0))
    least = array.wavelength_m / farthest_m(array)
    distance = array.wavelength_m / np.maximum(np.asarray(sources[..., 2:], np.float64), least)
    return np.asarray(distance * np.concatenate([forward, sines], axis=-1))


def sources_of(places: Float, array: UPA) -> Float:
    """Sources float64 [..., 3] of places [..., 3] in front of the array; inverse of :func:`places_of`."""
    distance = np.linalg.norm(places, axis=-1, keepdims=True)
    return np.concatenate([places[..., 1:] / distance, array.wavelength_m / distance], axis=-1)


def views_of(places: Float) -> Float:
    """Distance [m], azimuth and elevation [rad] float64 [..., 3] of places in the array's frame."""
    x, y, z = np.moveaxis(places, -1, 0)
    horizontal = np.hypot(x, y)
    return np.stack([np.hypot(horizontal, z), np.arctan2(y, x), np.arctan2(z, horizontal)], axis=-1)


def places_seen(views: Float) -> Float:
    """Places float64 [..., 3] of views [..., 3]; inverse of :func:`views_of`."""
    distance, azimuth, elevation = np.moveaxis(views, -1, 0)
    x, y = np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth)
    return np.asarray(distance[..., None] * np.stack([x, y, np.sin(elevation)], axis=-1))


def loudest_sample(values: Complex) -> NDArray[np.int64]:
    """Which frequency of the first frame of [N, T, row, col, F] has most energy, int64 [N]: a place is found from one
    narrow-band sample."""
    first = values[:, 0].astype(np.complex128)
    return np.asarray(np.sum(first.real**2 + first.imag**2, axis=(1, 2)).argmax(axis=-1))
