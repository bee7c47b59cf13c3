"""Channels of propagation paths: h_m(f, t) = sum_l a_{m,l} exp(-j 2 pi f tau_{m,l}) exp(+j 2 pi nu_{m,l} t).

f is the absolute frequency, so the carrier phase belongs to h (SPEC 1). Near-field paths carry a delay for
every element. Plane-wave paths (an antenna axis of length 1) are steered over the array by their arrival
direction u: tau_m = tau - u . delta_m / c, which keeps the beam squint of wide bands.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channelfm.arrays import UPA
from channelfm.channels.strongest import count_paths
from channelfm.errors import InputError
from channelfm.records import Channels, Paths, Trajectory
from channelfm.units import SPEED_OF_LIGHT

Float = NDArray[np.float64]
Complex = NDArray[np.complex64]
Index = NDArray[np.intp]

CHUNK_PHASES = 50_000  # phases held at once: some 2 MB, which stay in cache
LARGEST_ANGLE = 1.0  # rad that an antenna may turn, beyond its path, from the middle of a block of frequencies
FEWEST_IN_BLOCK = 4  # fewer frequencies are cheaper one by one
SERIES_ERROR = 3e-6  # of a phasor, at most: -110 dB
SAME = 1e-6  # m, rad or wavelengths: arrays that differ by less are one
STANDING_IN = 4  # elements nearest to the centre whose mean gives a plane wave its delay and gain


def synthesize(paths: Paths, array: UPA, frequencies_hz: ArrayLike | None = None, offset_s: ArrayLike = 0.0) -> Complex:
    """Channel [snapshot, antenna, frequency], complex64, at absolute frequencies [Hz] (None: the carrier alone).

    ``offset_s`` (a scalar, or one for each snapshot) is the time since the snapshot, over which the Doppler
    shifts turn the phases while gains and delays stay. A snapshot without any path is all zeros. Arithmetic is
    single precision, phases are reduced in double: the error against the sum written out is below -110 dB.

    Raises
    ------
    InputError : when paths were traced for another array (see :func:`check_array`), or a frequency is not positive
        and finite.
    """
    frequencies = checked_frequencies(paths.carrier_hz, frequencies_hz)
    check_array(paths, array)
    offsets = np.broadcast_to(np.asarray(offset_s, dtype=np.float64), (len(paths),))
    response = np.zeros((len(paths), array.num_antennas, len(frequencies)), dtype=np.complex64)
    used = np.asarray(paths.valid.any(axis=2))
    plane = paths.gain.shape[2] == 1
    kind = _PlaneWaves if plane else _SphericalWaves
    phases = array.rows + array.cols if plane and len(frequencies) == 1 else array.num_antennas
    step = max(1, CHUNK_PHASES // max(1, used.shape[1] * phases))
    for start in range(0, len(paths), step):
        chunk = slice(start, start + step)
        slots = np.flatnonzero(used[chunk].any(axis=0))
        if len(slots):
            _sum_over_band(kind.of(paths, array, chunk, slots, offsets[chunk]), frequencies, response[chunk])
    return response


def synthesize_symbols(paths: Paths, array: UPA, frequencies_hz: ArrayLike | None, offsets_s: ArrayLike) -> Complex:
    """Channels [snapshot, antenna, frequency, symbol] at times ``offsets_s`` [T] in s after each snapshot."""
    offsets = np.atleast_1d(np.asarray(offsets_s, dtype=np.float64))
    return np.stack([synthesize(paths, array, frequencies_hz, offset) for offset in offsets], axis=-1)


def plane_wave(paths: Paths, array: UPA) -> Paths:
    """Far-field approximation of near-field paths: one delay, gain and direction for each path.

    Delay, gain and Doppler are the mean over the valid elements nearest to the array centre, each brought
    to the centre along the arrival direction. Plane-wave paths come back as they are.

    Raises InputError when paths were traced for another array.
    """
    check_array(paths, array)
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
        frequencies_hz=checked_frequencies(paths.carrier_hz, frequencies_hz),
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
        path_count=count_paths(paths),
    )


@dataclass(frozen=True)
class _SphericalWaves:
    """Near-field paths of some snapshots, every antenna of which has a delay of its own.

    ``gain`` complex64, ``delay_s`` float64, ``valid`` [S, P, A]; ``turns``: cycles of the Doppler shifts.
    """

    gain: Complex
    delay_s: Float
    valid: NDArray[np.bool_]
    turns: Float | float

    @classmethod
    def of(cls, paths: Paths, array: UPA, chunk: slice, slots: Index, offsets: Float) -> _SphericalWaves:
        """The waves of a chunk of snapshots and of some slots; ``offsets`` [S] in s since each snapshot."""
        turns = paths.doppler_hz[chunk][:, slots] * offsets[:, None, None] if offsets.any() else 0.0
        return cls(paths.gain[chunk][:, slots], paths.delay_s[chunk][:, slots], paths.valid[chunk][:, slots], turns)

    def at(self, frequency_hz: float) -> Complex:
        """The waves [S, P, A] at one frequency."""
        return np.asarray(self.gain * unit_phasor(self.turns - frequency_hz * self.delay_s))

    def summed(self, frequency_hz: float) -> Complex:
        """Their sum over the paths [S, A]."""
        return np.asarray(self.at(frequency_hz).sum(axis=1))

    def delays(self) -> tuple[Float, Float]:
        """The middle [S, P] of the delays of each path's antennas, and what each antenna has beyond it [S, P, A]."""
        first, last = np.where(self.valid, self.delay_s, np.inf).min(axis=2), self.delay_s.max(axis=2)
        middle = np.where(self.valid.any(axis=2), (first + last) / 2.0, 0.0)
        return middle, np.where(self.valid, self.delay_s - middle[..., None], 0.0)


@dataclass(frozen=True)
class _PlaneWaves:
    """Plane-wave paths of some snapshots: steering is a product of a vector over rows and one over columns.

    ``gain`` complex64, ``delay_s``, ``turns`` float64 [S, P]; ``over_rows`` [S, P, rows] and ``over_columns``
    [S, P, cols] are the delays [s] that a row and a column add; ``polarizations`` share all of it.
    """

    gain: Complex
    delay_s: Float
    turns: Float
    over_rows: Float
    over_columns: Float
    polarizations: int

    @classmethod
    def of(cls, paths: Paths, array: UPA, chunk: slice, slots: Index, offsets: Float) -> _PlaneWaves:
        """The waves of a chunk of snapshots and of some slots; ``offsets`` [S] in s since each snapshot."""
        turns = paths.doppler_hz[chunk][:, slots, 0] * offsets[:, None]
        direction = paths.arrival[chunk][:, slots] @ array.rotation / SPEED_OF_LIGHT
        rows, columns = ((np.arange(n) - (n - 1) / 2) * array.spacing_m for n in (array.rows, array.cols))
        over_rows, over_columns = -direction[..., 2, None] * rows, -direction[..., 1, None] * columns
        gain, delay = paths.gain[chunk][:, slots, 0], paths.delay_s[chunk][:, slots, 0]
        return cls(gain, delay, turns, over_rows, over_columns, array.num_polarizations)

    def _factors(self, frequency_hz: float) -> tuple[Complex, Complex]:
        at_centre = (self.turns - frequency_hz * self.delay_s)[..., None]
        rows = self.gain[..., None] * unit_phasor(at_centre - frequency_hz * self.over_rows)
        return rows, unit_phasor(-frequency_hz * self.over_columns)

    def _flat(self, grid: NDArray[Any]) -> NDArray[Any]:
        return np.tile(grid.reshape(*grid.shape[:-2], -1), self.polarizations)

    def at(self, frequency_hz: float) -> Complex:
        """The waves [S, P, A] at one frequency."""
        rows, columns = self._factors(frequency_hz)
        return self._flat(rows[..., :, None] * columns[..., None, :])

    def summed(self, frequency_hz: float) -> Complex:
        """Their sum over the paths [S, A], a matrix product."""
        rows, columns = self._factors(frequency_hz)
        return self._flat(rows.transpose(0, 2, 1) @ columns)

    def delays(self) -> tuple[Float, Float]:
        """The delay at the array centre [S, P], and what each antenna has beyond it [S, P, A]."""
        return self.delay_s, self._flat(self.over_rows[..., :, None] + self.over_columns[..., None, :])


def _sum_over_band(waves: _SphericalWaves | _PlaneWaves, frequencies: Float, response: Complex) -> None:
    """Write the sum over the paths at all frequencies into ``response`` [S, A, F].

    At a distance df from the middle of a block of frequencies, a path turns by exp(-j 2 pi df delay), the same at
    every antenna, times exp(-j x) with a small x = 2 pi df excess, whose power series separates antennas from
    frequencies: the sum over paths and powers is one matrix product. No beam squint is lost.
    """
    if len(frequencies) == 1:
        response[..., 0] = waves.summed(float(frequencies[0]))
        return
    delay, excess = waves.delays()
    longest = 2.0 * np.pi * float(np.abs(excess).max())
    for block in frequency_blocks(frequencies, LARGEST_ANGLE / longest if longest else np.inf):
        middle = float(frequencies[block].min() + frequencies[block].max()) / 2.0
        distance = frequencies[block] - middle
        reach = float(np.abs(distance).max())
        if len(distance) == 1:
            response[..., block] = waves.summed(middle)[..., None]
            continue
        angle = (2.0 * np.pi * reach * excess).astype(np.float32)
        over_antennas = [waves.at(middle)]
        over_frequencies = [unit_phasor(-distance * delay[..., None])]
        for power in range(1, series_terms(longest * reach)):
            over_antennas.append(over_antennas[-1] * (angle / np.float32(power)))
            over_frequencies.append(over_frequencies[-1] * (-1j * distance / reach).astype(np.complex64))
        left, right = np.concatenate(over_antennas, axis=1), np.concatenate(over_frequencies, axis=1)
        np.matmul(left.transpose(0, 2, 1), right, out=response[..., block])


def frequency_blocks(frequencies: Float, half_width: float) -> list[slice]:
    """Runs of consecutive frequencies that span at most twice ``half_width`` [Hz], single ones where few fit."""
    blocks, start = [], 0
    while start < len(frequencies):
        low, high = (accumulate(frequencies[start:]) for accumulate in (np.minimum.accumulate, np.maximum.accumulate))
        length = int(np.searchsorted(high - low, 2.0 * half_width, side="right"))
        length = length if length >= FEWEST_IN_BLOCK else 1
        blocks.append(slice(start, start + length))
        start += length
    return blocks


def series_terms(angle: float) -> int:
    """Number of terms after which the power series of exp(-j angle) is off by less than SERIES_ERROR."""
    terms, error = 1, angle
    while error > SERIES_ERROR:
        terms += 1
        error *= angle / terms
    return terms


def unit_phasor(cycles: Float) -> Complex:
    """exp(+j 2 pi cycles), complex64. Whole cycles are dropped in float64: f tau reaches 10^4 of them."""
    angle = np.subtract(cycles, np.rint(cycles), dtype=np.float64).astype(np.float32)
    angle *= np.float32(2.0 * np.pi)
    phasor = np.empty(angle.shape, dtype=np.complex64)
    np.cos(angle, out=phasor.real)
    np.sin(angle, out=phasor.imag)
    return phasor


def checked_frequencies(carrier_hz: float, frequencies_hz: ArrayLike | None) -> Float:
    """Absolute frequencies [F] in Hz, the carrier alone for None; InputError unless all are positive and finite."""
    chosen = carrier_hz if frequencies_hz is None else frequencies_hz
    frequencies = np.atleast_1d(np.asarray(chosen, dtype=np.float64))
    if frequencies.ndim != 1 or not len(frequencies) or not np.all(np.isfinite(frequencies) & (frequencies > 0)):
        raise InputError("frequencies_hz: give one or several positive absolute frequencies in Hz, as a list")
    return frequencies


def check_array(paths: Paths, array: UPA) -> None:
    """Raise InputError if paths were traced for another array than this one.

    Near-field paths hold for the very antennas that they were traced to. Plane-wave paths are given at the array's
    centre, so the array may have other rows, columns and spacing there. Paths that do not know their array are
    compared by carrier and number of antennas alone.
    """
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
    if paths.array is None:
        return
    of_the_grid = () if paths.gain.shape[2] == 1 else ("rows", "cols", "spacing_wavelengths")
    for name in ("position", "orientation_rad", "pattern", "polarization", *of_the_grid):
        traced, given = getattr(paths.array, name), getattr(array, name)
        same = traced == given if isinstance(traced, str) else np.allclose(traced, given, rtol=0.0, atol=SAME)
        if not same:
            raise InputError(
                f"paths traced for an array with {name} = {traced} do not fit one with {given}: "
                "use the array that they were traced with, or trace this one"
            )
