"""Paths -> compact paths: which are kept, and the fits of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.arrays import UPA
from channelfm.channels.compact.edges import encode_edges
from channelfm.channels.compact.pieces import in_pieces
from channelfm.channels.compact.record import CompactPaths
from channelfm.channels.compact.smooth import (
    BEND_DEGREES,
    GAIN_DEGREES,
    basis_size,
    fit_smooth,
    gain_scale,
    rounded,
    smooth_basis,
)
from channelfm.channels.compact.wavefronts import fit_wavefront, local_coordinates, normalized, path_difference
from channelfm.channels.strongest import WEAKEST_DB, all_but_weakest, energies, path_energy
from channelfm.channels.synthesis import check_array, synthesize, unit_phasor
from channelfm.errors import InputError
from channelfm.records import Paths
from channelfm.units import SPEED_OF_LIGHT, power_to_db

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Complex = NDArray[np.complex64]
Index = NDArray[np.intp]
Fields = dict[str, NDArray[Any]]

NUMBERS_AT_ONCE = 1 << 17  # path-antenna pairs that are fitted together
MOST_ELEMENTS = 1 << 16  # that the places of edges can number


def compress(paths: Paths, array: UPA, accuracy_db: float = WEAKEST_DB) -> CompactPaths:
    """The compact form of paths that were traced with ``array``; near-field or plane-wave.

    ``accuracy_db``: error power, of a snapshot's power, that may be spent on each path's wavefront and on each path's
    gains; the weakest paths, as many as together stay below it, are dropped. Gains that miss it are split into pieces
    where they step. A path's length has no steps: one that jumps by more than half a wavelength is two paths. What has
    been reached is the record's ``error_db``, for each snapshot; to the rounding of traced lengths, which no wavefront
    follows, belong -49 dB at 350 m and 7 GHz. Snapshots without a path stay, empty.

    Raises
    ------
    InputError : when paths and array do not belong together, on more than 65,536 elements, or on an accuracy >= 0 dB.
    """
    check_array(paths, array)
    if array.num_elements > MOST_ELEMENTS or not accuracy_db < 0:
        raise InputError(
            f"{array.num_elements} elements, accuracy {accuracy_db} dB: give at most {MOST_ELEMENTS} and less than 0"
        )
    share = 10.0 ** (accuracy_db / 10.0)
    power = path_energy(paths)
    kept = all_but_weakest(power, share)
    snapshot, slot = np.nonzero(kept)
    allowed = share * power.sum(axis=1)[snapshot]
    aperture, response = _Aperture.of(array), np.zeros((len(paths), array.num_antennas), np.complex64)
    parts: list[Fields] = []
    at_once = max(1, NUMBERS_AT_ONCE // array.num_antennas)
    for start in range(0, max(1, len(snapshot)), at_once):
        some = slice(start, start + at_once)
        if paths.gain.shape[2] == 1:
            fields, waves = aperture.plane(paths, snapshot[some], slot[some])
        else:
            fields, waves = aperture.spherical(paths, snapshot[some], slot[some], allowed[some])
        _add_up(response, snapshot[some], waves)
        parts.append(fields)
    fields = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    counts, further = kept.sum(axis=1), fields.pop("pieces") - 1
    number = np.arange(len(snapshot)) - (np.cumsum(counts) - counts)[snapshot]
    return CompactPaths(
        path_count=counts.astype(np.uint16),
        **fields,
        interactions=np.bitwise_or.reduce(paths.interactions[snapshot, slot], axis=1).astype(np.uint8),
        split_count=np.bincount(snapshot, further, len(paths)).astype(np.uint16),
        split_path=np.repeat(number, further).astype(np.uint16),
        error_db=_error_db(response, synthesize(paths, array)[..., 0]),
        times_s=paths.times_s,
        positions_m=paths.positions_m,
        array=array,
    )


def _add_up(total: Complex, snapshot: Index, rows: Complex) -> None:
    """Add rows [R, ...] to the ``total`` [S, ...] of their snapshots, which are in order."""
    if len(rows):
        first = np.flatnonzero(np.diff(snapshot, prepend=-1))
        total[snapshot[first]] += np.add.reduceat(rows, first, axis=0)


def _error_db(response: Complex, channel: Complex) -> NDArray[np.float16]:
    """Energy of the error [S, A] of responses, relative to the channels' [dB]; NaN where a channel is 0."""
    energy = energies(channel)
    ratio = energies(response - channel) / np.where(energy > 0.0, energy, np.nan)
    return power_to_db(ratio).astype(np.float16)


@dataclass(frozen=True)
class _Aperture:
    """An array's elements (y, z) [M] in m in its local frame, and the smooth functions [K, M] over them."""

    array: UPA
    y: Float
    z: Float
    basis: Float

    @classmethod
    def of(cls, array: UPA) -> _Aperture:
        y, z = local_coordinates(array, array)
        return cls(array, y, z, smooth_basis(*normalized(array, y, z), max(GAIN_DEGREES + BEND_DEGREES)))

    def spherical(self, paths: Paths, snapshot: Index, slot: Index, allowed: Float) -> tuple[Fields, Complex]:
        """Fields of CompactPaths of some near-field paths, and the waves [R, A] at the carrier that they stand for.

        ``allowed`` [R] is the error energy of each; ``pieces`` [R] among the fields is how many its gains have come to.
        """
        folded = len(snapshot), self.array.num_polarizations, self.array.num_elements
        gain, delay = paths.gain[snapshot, slot].reshape(folded), paths.delay_s[snapshot, slot].reshape(folded)
        seen = np.asarray(paths.valid[snapshot, slot].reshape(folded).any(axis=1))
        # An error of the length turns a path's phase: relative to its energy that is (2 pi / wavelength)^2 error^2.
        energy = energies(gain) / np.maximum(seen.sum(axis=1), 1)
        allowed_m2 = allowed / energy / (2.0 * np.pi / self.array.wavelength_m) ** 2
        direction = (paths.arrival[snapshot, slot] @ self.array.rotation)[:, 1:]
        length = SPEED_OF_LIGHT * delay.max(axis=1)
        wavefronts, stored = self._wavefronts(length, seen, direction, allowed_m2)
        # What a wavefront leaves of the phase at the carrier belongs to the gain.
        turn = unit_phasor(np.where(seen, stored - length, 0.0) / self.array.wavelength_m)
        gains, kept = self._gains(gain, gain * turn[:, None], seen, allowed)
        shifts = self._shifts(paths.doppler_hz[snapshot, slot].reshape(folded), seen)
        waves = kept * unit_phasor(-stored / self.array.wavelength_m)[:, None]
        return wavefronts | shifts | gains, waves.reshape(len(snapshot), self.array.num_antennas)

    def _wavefronts(self, length: Float, seen: Bool, direction: Float, allowed_m2: Float) -> tuple[Fields, Float]:
        """Wavefronts that fit lengths [R, M], and the lengths [R, M] that their fields stand for."""
        found = fit_wavefront(length, seen, self.y, self.z, direction, length.max(axis=1, initial=0.0))
        fields: Fields = {
            "delay_s": found[:, 0] / SPEED_OF_LIGHT,
            "direction": found[:, 1:3].astype(np.float32),
            "curvature_per_m": found[:, 3].astype(np.float32),
        }
        u_y, u_z, curvature = np.column_stack([fields["direction"], fields["curvature_per_m"]]).astype(np.float64).T
        sphere = found[:, :1] + path_difference((u_y[:, None], u_z[:, None]), curvature[:, None], self.y, self.z)
        left = np.where(seen, length - sphere, 0.0)
        bend = fit_smooth(left[:, None], seen, self.basis, BEND_DEGREES, allowed_m2, np.float32)
        bent = np.flatnonzero(bend.degree)
        sphere[bent] += bend.coefficients[bent, 0] @ self.basis[: bend.coefficients.shape[2]]
        size = np.where(bend.degree > 0, basis_size(bend.degree.astype(int)), 0)
        fields["bend_m"] = bend.coefficients[_leading(size, bend.coefficients)].astype(np.float32)
        fields["bend_degree"] = bend.degree
        return fields, sphere

    def _shifts(self, doppler_hz: NDArray[np.float32], seen: Bool) -> Fields:
        """Doppler shifts [R, Q, M], of the polarisation where they are largest, as planes over the aperture."""
        strongest = np.take_along_axis(doppler_hz, np.abs(doppler_hz).argmax(axis=1)[:, None], axis=1)
        plane = fit_smooth(strongest.astype(np.float64), seen, self.basis, (1,), np.zeros(len(seen)), np.float32)
        shift = plane.coefficients[:, 0].astype(np.float32)
        return {"doppler_hz": shift[:, 0], "doppler_slope_hz": shift[:, 1:].astype(np.float16)}

    def _gains(self, gain: Complex, turned: Complex, seen: Bool, allowed: Float) -> tuple[Fields, Complex]:
        """Polynomials that fit gains [R, Q, M], and the gains [R, Q, M] that they stand for.

        In pieces where one polynomial misses ``turned``, the gains turned by what the wavefronts leave.
        """
        fit = fit_smooth(gain.astype(np.complex128), seen, self.basis, GAIN_DEGREES, allowed, np.float16)
        kept = self._evaluated(fit.coefficients) * seen[:, None]
        error = energies(kept - turned)
        missed = np.flatnonzero(error > allowed)
        wanted = turned[missed].astype(np.complex128), seen[missed]
        grid = self.array.rows, self.array.cols
        split = in_pieces(*wanted, grid, self.basis, allowed[missed], error[missed])
        row, region, degree, coefficients = [np.arange(len(seen))], [seen], [fit.degree], [fit.coefficients]
        for pieces in split:
            number = missed[pieces.path]
            fit.degree[number], fit.coefficients[number] = pieces.fit.degree[0], pieces.fit.coefficients[0]
            kept[number] = np.sum(self._evaluated(pieces.fit.coefficients) * pieces.region[:, None], axis=0)
            row.append(np.full(len(pieces.region) - 1, number))
            region.append(pieces.region[1:])
            degree.append(pieces.fit.degree[1:])
            coefficients.append(pieces.fit.coefficients[1:])
        every = np.concatenate(row)
        order = np.argsort(every, kind="stable")
        fields = self._packed(*(np.concatenate(part)[order] for part in (region, degree, coefficients)))
        return fields | {"pieces": np.bincount(every, minlength=len(seen))}, kept

    def _evaluated(self, coefficients: NDArray[Any]) -> Complex:
        """Polynomials [R, Q, M] of coefficients [R, Q, K]."""
        return (coefficients @ self.basis[: coefficients.shape[2]]).astype(np.complex64)

    def _packed(self, region: Bool, degree: NDArray[np.uint8], coefficients: NDArray[Any]) -> Fields:
        """The fields of pieces of gains, where they are seen and what they are there."""
        edges, edge_count, by_column = encode_edges(region, self.array.rows, self.array.cols)
        scale = gain_scale(coefficients)
        scaled = (coefficients / scale[:, None, None])[_leading(basis_size(degree.astype(int)), coefficients)]
        return {
            "gain": np.stack([scaled.real, scaled.imag], axis=-1).astype(np.float16),
            "gain_degree": degree,
            "gain_scale": scale,
            "edges": edges,
            "edge_count": edge_count,
            "edges_by_column": by_column,
        }

    def plane(self, paths: Paths, snapshot: Index, slot: Index) -> tuple[Fields, Complex]:
        """The same of some plane waves: nothing to fit."""
        count = len(snapshot)
        gain, direction = paths.gain[snapshot, slot, :, None].astype(np.complex128), paths.arrival[snapshot, slot]
        across = (direction @ self.array.rotation)[:, 1:].astype(np.float32)
        whole = np.ones((count, self.array.num_elements), np.bool_)
        fields = self._packed(whole, np.zeros(count, np.uint8), gain) | {
            "pieces": np.ones(count, np.intp),
            "delay_s": paths.delay_s[snapshot, slot, 0],
            "direction": across,
            "curvature_per_m": np.zeros(count, np.float32),
            "bend_m": np.zeros(0, np.float32),
            "bend_degree": np.zeros(count, np.uint8),
            "doppler_hz": paths.doppler_hz[snapshot, slot, 0],
            "doppler_slope_hz": np.zeros((count, 2), np.float16),
        }
        length = SPEED_OF_LIGHT * fields["delay_s"][:, None] - across @ np.stack([self.y, self.z])
        waves = rounded(gain, np.float16)[..., 0] * unit_phasor(-length / self.array.wavelength_m)
        return fields, np.tile(waves.astype(np.complex64), (1, self.array.num_polarizations))


def _leading(counts: NDArray[Any], coefficients: NDArray[Any]) -> Bool:
    """Mask of the first counts [R] of the last axis of coefficients [R, Q, K]."""
    return np.broadcast_to(np.arange(coefficients.shape[2]) < counts[:, None, None], coefficients.shape)
