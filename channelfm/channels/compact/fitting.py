"""Paths -> compact paths: which are kept, and the fits of each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.arrays import UPA
from channelfm.channels.compact.record import CompactPaths
from channelfm.channels.compact.wavefronts import (
    basis_size,
    encode_edges,
    fit_smooth,
    fit_wavefront,
    gain_scale,
    local_coordinates,
    normalized,
    path_difference,
    smooth_basis,
)
from channelfm.errors import InputError
from channelfm.records import Paths
from channelfm.units import SPEED_OF_LIGHT

Float = NDArray[np.float64]
Index = NDArray[np.intp]

GAIN_DEGREES = (0, 1, 2, 3, 4, 5)
BEND_DEGREES = (0, 2, 3, 4, 5, 6)  # 0: a spherical wave is enough
NUMBERS_AT_ONCE = 1 << 17  # path-antenna pairs that are fitted together
MOST_ELEMENTS = 1 << 16  # that the places of edges can number


def compress(paths: Paths, array: UPA, accuracy_db: float = -70.0) -> CompactPaths:
    """The compact form of paths that were traced with ``array``; near-field or plane-wave.

    ``accuracy_db``: error power, of a snapshot's power, that may be spent on each path's wavefront and on each path's
    gains; the weakest paths, as many as together stay below it, are dropped. Snapshots without a path stay, empty.

    Raises
    ------
    InputError : when paths and array do not belong together, on more than 65,536 elements, or on an accuracy >= 0 dB.
    """
    if paths.gain.shape[2] not in (1, array.num_antennas) or paths.carrier_hz != array.carrier_hz:
        raise InputError(
            f"paths of {paths.gain.shape[2]} antennas at {paths.carrier_hz:g} Hz do not fit {array.num_antennas} "
            f"antennas at {array.carrier_hz:g} Hz: use the array that they were traced with"
        )
    if array.num_elements > MOST_ELEMENTS or not accuracy_db < 0:
        raise InputError(
            f"{array.num_elements} elements, accuracy {accuracy_db} dB: give at most {MOST_ELEMENTS} and less than 0"
        )
    snapshot, slot, allowed = _kept(paths, 10.0 ** (accuracy_db / 10.0))
    at_once = max(1, NUMBERS_AT_ONCE // paths.gain.shape[2])
    starts = range(0, max(1, len(snapshot)), at_once)
    pieces = [slice(start, start + at_once) for start in starts]
    fitted = [_fitted(paths, array, snapshot[piece], slot[piece], allowed[piece]) for piece in pieces]
    codes = np.bitwise_or.reduce(paths.interactions[snapshot, slot], axis=1).astype(np.uint8)
    return CompactPaths(
        path_count=np.bincount(snapshot, minlength=len(paths)).astype(np.uint16),
        **{name: np.concatenate([part[name] for part in fitted]) for name in fitted[0]},
        interactions=codes,
        times_s=paths.times_s,
        positions_m=paths.positions_m,
        array=array,
    )


def _kept(paths: Paths, share: float) -> tuple[Index, Index, Float]:
    """(snapshot, slot) of the paths to keep, in order, and the error energy that each may have."""
    power = np.zeros(paths.gain.shape[:2])
    for index in range(len(paths)):
        power[index] = np.sum(np.abs(paths.gain[index]) ** 2, axis=1, dtype=np.float64)
    total = power.sum(axis=1)
    weakest = np.argsort(power, axis=1, kind="stable")
    together = np.cumsum(np.take_along_axis(power, weakest, axis=1), axis=1)
    kept = np.zeros(power.shape, np.bool_)
    np.put_along_axis(kept, weakest, together > share * total[:, None], axis=1)
    snapshot, slot = np.nonzero(kept)
    return snapshot, slot, share * total[snapshot]


def _fitted(paths: Paths, array: UPA, snapshot: Index, slot: Index, allowed: Float) -> dict[str, NDArray[Any]]:
    """The fields of CompactPaths of some paths."""
    direction = (paths.arrival[snapshot, slot] @ array.rotation)[:, 1:]
    if paths.gain.shape[2] == 1:
        return _fitted_plane_waves(paths, snapshot, slot, direction)
    y, z = local_coordinates(array, array)
    basis = smooth_basis(*normalized(array, y, z), max(GAIN_DEGREES + BEND_DEGREES))
    folded = (len(snapshot), array.num_polarizations, array.num_elements)
    gain, delay, valid = (v[snapshot, slot].reshape(folded) for v in (paths.gain, paths.delay_s, paths.valid))
    seen = np.asarray(valid.any(axis=1))
    length = SPEED_OF_LIGHT * delay.max(axis=1)
    wave = fit_wavefront(length, seen, y, z, direction, length.max(axis=1, initial=0.0))
    direction, curvature = wave[:, 1:3].astype(np.float32), wave[:, 3].astype(np.float32)
    wide = direction.astype(np.float64)
    sphere = path_difference((wide[:, :1], wide[:, 1:]), curvature.astype(np.float64)[:, None], y, z)
    # An error of the length turns a path's phase: its energy, relative to the path's, is (2 pi / wavelength)^2 error^2.
    energy = np.sum(np.abs(gain) ** 2, axis=(1, 2), dtype=np.float64) / np.maximum(seen.sum(axis=1), 1)
    allowed_m2 = allowed / energy / (2.0 * np.pi / array.wavelength_m) ** 2
    left = np.where(seen, length - wave[:, :1] - sphere, 0.0)[:, None]
    bend_degree, bend = fit_smooth(left, seen, basis, BEND_DEGREES, allowed_m2, np.float32)
    bend_size = np.where(bend_degree > 0, basis_size(bend_degree.astype(int)), 0)
    gain_degree, smooth = fit_smooth(gain.astype(np.complex128), seen, basis, GAIN_DEGREES, allowed, np.float16)
    shift = paths.doppler_hz[snapshot, slot].reshape(folded).astype(np.float64)
    strongest = np.take_along_axis(shift, np.abs(shift).argmax(axis=1)[:, None], axis=1)
    _, doppler = fit_smooth(strongest, seen, basis, (1,), allowed, np.float32)
    edges, edge_count, by_column = encode_edges(seen, array.rows, array.cols)
    scale = gain_scale(smooth)
    packed = (smooth / scale[:, None, None])[_leading(basis_size(gain_degree.astype(int)), smooth)]
    return {
        "delay_s": wave[:, 0] / SPEED_OF_LIGHT,
        "direction": direction,
        "curvature_per_m": curvature,
        "bend_m": bend[_leading(bend_size, bend)].astype(np.float32),
        "bend_degree": bend_degree,
        "doppler_hz": doppler[:, 0, 0].astype(np.float32),
        "doppler_slope_hz": doppler[:, 0, 1:3].astype(np.float16),
        "gain": np.stack([packed.real, packed.imag], axis=-1).astype(np.float16),
        "gain_degree": gain_degree,
        "gain_scale": scale,
        "edges": edges,
        "edge_count": edge_count,
        "edges_by_column": by_column,
    }


def _fitted_plane_waves(paths: Paths, snapshot: Index, slot: Index, direction: Float) -> dict[str, NDArray[Any]]:
    """The fields of CompactPaths of some plane waves: nothing to fit."""
    count = len(snapshot)
    gain = paths.gain[snapshot, slot, 0]
    scale = gain_scale(gain[:, None, None])
    return {
        "delay_s": paths.delay_s[snapshot, slot, 0],
        "direction": direction.astype(np.float32),
        "curvature_per_m": np.zeros(count, np.float32),
        "bend_m": np.zeros(0, np.float32),
        "bend_degree": np.zeros(count, np.uint8),
        "doppler_hz": paths.doppler_hz[snapshot, slot, 0],
        "doppler_slope_hz": np.zeros((count, 2), np.float16),
        "gain": np.stack([gain.real / scale, gain.imag / scale], axis=-1).astype(np.float16),
        "gain_degree": np.zeros(count, np.uint8),
        "gain_scale": scale,
        "edges": np.zeros(count, np.uint16),
        "edge_count": np.ones(count, np.uint16),
        "edges_by_column": np.zeros(count, np.bool_),
    }


def _leading(counts: NDArray[Any], coefficients: NDArray[Any]) -> NDArray[np.bool_]:
    """Mask of the first counts [R] of the last axis of coefficients [R, Q, K]."""
    return np.broadcast_to(np.arange(coefficients.shape[2]) < counts[:, None, None], coefficients.shape)
