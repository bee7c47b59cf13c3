"""Channels of propagation paths: h_m(f, t) = sum_l a_{m,l} exp(-j 2 pi f tau_{m,l}) exp(+j 2 pi nu_{m,l} t).

f is the absolute frequency, so the carrier phase belongs to h (SPEC 1). Near-field paths carry a delay for
every element. Plane-wave paths (an antenna axis of length 1) are steered over the array by their arrival
direction u: tau_m = tau - u . delta_m / c, which keeps the beam squint of wide bands.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channelfm.arrays import UPA
from channelfm.errors import InputError
from channelfm.records import Channels, Paths, Trajectory
from channelfm.units import SPEED_OF_LIGHT

Float = NDArray[np.float64]
Complex = NDArray[np.complex64]

CHUNK_PHASES = 500_000  # phases held at once: some 20 MB
STANDING_IN = 4  # elements nearest to the centre whose mean gives a plane wave its delay and gain


def synthesize(paths: Paths, array: UPA, frequencies_hz: ArrayLike | None = None, offset_s: ArrayLike = 0.0) -> Complex:
    """Channel [snapshot, antenna, frequency], complex64, at absolute frequencies [Hz] (None: the carrier alone).

    ``offset_s`` (a scalar, or one for each snapshot) is the time since the snapshot, over which the Doppler
    shifts turn the phases while gains and delays stay. A snapshot without any path is all zeros.

    Raises
    ------
    InputError : when paths and array do not belong together, or a frequency is not positive and finite.
    """
    frequencies = _checked_frequencies(paths, frequencies_hz)
    _check_array(paths, array)
    offsets = np.broadcast_to(np.asarray(offset_s, dtype=np.float64), (len(paths),))
    response = np.zeros((len(paths), array.num_antennas, len(frequencies)), dtype=np.complex64)
    used = np.asarray(paths.valid.any(axis=2))
    for snapshot in np.flatnonzero(paths.has_path).tolist():
        slots = used[snapshot]
        delay = _element_delays(paths, array, snapshot, slots)
        turns = paths.doppler_hz[snapshot, slots].astype(np.float64) * offsets[snapshot]
        gain = paths.gain[snapshot, slots]
        step = max(1, CHUNK_PHASES // delay.size)
        for start in range(0, len(frequencies), step):
            part = slice(start, start + step)
            rotation = _unit_phasor(turns[..., None] - frequencies[part] * delay[..., None])
            response[snapshot, :, part] = np.sum(gain[..., None] * rotation, axis=0)
    return response


def synthesize_symbols(paths: Paths, array: UPA, frequencies_hz: ArrayLike | None, offsets_s: ArrayLike) -> Complex:
    """Channels [snapshot, antenna, frequency, symbol] at times ``offsets_s`` [T] in s after each snapshot."""
    offsets = np.atleast_1d(np.asarray(offsets_s, dtype=np.float64))
    return np.stack([synthesize(paths, array, frequencies_hz, offset) for offset in offsets], axis=-1)


def plane_wave(paths: Paths, array: UPA) -> Paths:
    """Far-field approximation of near-field paths: one delay, gain and direction for each path.

    Delay, gain and Doppler are the mean over the valid elements nearest to the array centre, each brought
    to the centre along the arrival direction. Plane-wave paths come back as they are.
    """
    _check_array(paths, array)
    if paths.gain.shape[2] == 1:
        return paths
    distance = np.linalg.norm(array.antenna_offsets, axis=1)
    ranked = np.where(paths.valid, distance, np.inf)
    count = min(STANDING_IN, array.num_antennas)
    nearest = np.argpartition(ranked, count - 1, axis=2)[..., :count]
    weight = np.take_along_axis(paths.valid, nearest, axis=2).astype(np.float64)
    weight /= np.maximum(weight.sum(axis=2, keepdims=True), 1.0)

    def mean(values: NDArray[Any]) -> NDArray[Any]:
        chosen = np.take_along_axis(values, nearest, axis=2)
        return np.asarray((chosen * weight).sum(axis=2, keepdims=True).astype(values.dtype))

    at_centre = paths.delay_s + paths.arrival @ array.antenna_offsets.T / SPEED_OF_LIGHT
    return dataclasses.replace(
        paths,
        gain=mean(paths.gain),
        delay_s=mean(np.where(paths.valid, at_centre, 0.0)),
        valid=np.asarray(paths.valid.any(axis=2, keepdims=True)),
        doppler_hz=mean(paths.doppler_hz),
        method=f"{paths.method}, plane waves",
    )


def observe(trajectory: Trajectory, paths: Paths, array: UPA, frequencies_hz: ArrayLike | None = None) -> Channels:
    """Channels of a traced trajectory with all labels; angles and distance are seen from the array.

    ``near_field`` is distance < Rayleigh distance (SPEC 1). A snapshot without any path stays, with a
    response of zeros and ``has_path`` False.

    Raises
    ------
    InputError : when trajectory, paths and array do not belong together, or a frequency is not usable.
    """
    if len(trajectory) != len(paths) or not np.allclose(trajectory.positions_m, paths.positions_m, atol=1e-3):
        raise InputError(
            f"{len(paths)} traced snapshots are not those of this trajectory of {len(trajectory)}: trace it again"
        )
    views = array.view_angles(trajectory.positions_m)
    return Channels(
        response=synthesize(paths, array, frequencies_hz),
        frequencies_hz=_checked_frequencies(paths, frequencies_hz),
        positions_m=trajectory.positions_m,
        velocities_mps=trajectory.velocities_mps,
        times_s=trajectory.times_s,
        track=trajectory.track,
        line_of_sight=paths.line_of_sight,
        near_field=views[:, 0] < array.rayleigh_distance_m,
        has_path=paths.has_path,
        distance_m=views[:, 0],
        azimuth_rad=views[:, 1],
        elevation_rad=views[:, 2],
        rows=array.rows,
        cols=array.cols,
        carrier_hz=array.carrier_hz,
        spacing_wavelengths=array.spacing_wavelengths,
    )


def _element_delays(paths: Paths, array: UPA, snapshot: int, slots: NDArray[np.bool_]) -> Float:
    """Delays [path, antenna] in s of the used slots of one snapshot."""
    delay = paths.delay_s[snapshot, slots]
    if delay.shape[1] == array.num_antennas and delay.shape[1] > 1:
        return np.asarray(delay)
    return np.asarray(delay - paths.arrival[snapshot, slots] @ array.antenna_offsets.T / SPEED_OF_LIGHT)


def _unit_phasor(cycles: Float) -> Complex:
    """exp(+j 2 pi cycles), complex64. Whole cycles are dropped in float64: f tau reaches 10^4 of them."""
    angle = (2.0 * np.pi * (cycles - np.rint(cycles))).astype(np.float32)
    phasor = np.empty(angle.shape, dtype=np.complex64)
    np.cos(angle, out=phasor.real)
    np.sin(angle, out=phasor.imag)
    return phasor


def _checked_frequencies(paths: Paths, frequencies_hz: ArrayLike | None) -> Float:
    chosen = paths.carrier_hz if frequencies_hz is None else frequencies_hz
    frequencies = np.atleast_1d(np.asarray(chosen, dtype=np.float64))
    if frequencies.ndim != 1 or not len(frequencies) or not np.all(np.isfinite(frequencies) & (frequencies > 0)):
        raise InputError("frequencies_hz: give one or several positive absolute frequencies in Hz, as a list")
    return frequencies


def _check_array(paths: Paths, array: UPA) -> None:
    if paths.gain.shape[2] not in (1, array.num_antennas):
        raise InputError(
            f"paths of {paths.gain.shape[2]} antennas do not fit {array.rows} x {array.cols} elements: "
            "use the array that they were traced with"
        )
    if paths.carrier_hz != array.carrier_hz:
        raise InputError(
            f"paths traced at {paths.carrier_hz:g} Hz do not fit an array at {array.carrier_hz:g} Hz: "
            "use the array that they were traced with"
        )
