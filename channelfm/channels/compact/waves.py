"""The waves of compact paths over an array, batched over snapshots in torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channelfm.arrays import UPA
from channelfm.channels.compact.edges import decode_edges
from channelfm.channels.compact.record import CompactPaths, members
from channelfm.channels.compact.smooth import BEND_DEGREES, GAIN_DEGREES, basis_size, smooth_basis
from channelfm.channels.compact.wavefronts import local_coordinates, normalized, path_difference
from channelfm.channels.synthesis import LARGEST_ANGLE, frequency_blocks, series_terms
from channelfm.errors import InputError
from channelfm.units import SPEED_OF_LIGHT

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Waves:
    """Waves of some snapshots, on the device.

    ``delay_s``, ``turns`` float64 [S, P]: delay and cycles of the Doppler shift at the array centre; ``excess_s``
    float32 [S, P, M]: what an element's delay has beyond it; ``spread`` float32 [S, P, M] or 0: and what its Doppler
    cycles have; ``gain`` complex64 [S, P, pol, M]: 0 where unseen or beyond a snapshot's paths. Single precision is
    enough beyond the centre: an aperture spans some hundred wavelengths, and its phases are right to -90 dB.
    """

    delay_s: Tensor
    turns: Tensor
    excess_s: Tensor
    spread: Tensor | float
    gain: Tensor

    def at(self, frequency_hz: float) -> Tensor:
        """The waves complex64 [S, P, A] at one frequency."""
        at_centre = self.turns - frequency_hz * self.delay_s
        phasor = _unit_phasor(_fraction(at_centre)[..., None] - frequency_hz * self.excess_s + self.spread)
        return (self.gain * phasor[:, :, None]).flatten(2)


class Aperture:
    """Where the antennas of an array lie in the traced aperture: the same for all snapshots."""

    def __init__(self, traced: UPA, array: UPA, device: torch.device) -> None:
        for name in ("carrier_hz", "pattern", "polarization"):
            if getattr(array, name) != getattr(traced, name):
                raise InputError(
                    f"array with {name} = {getattr(array, name)} does not fit paths traced with "
                    f"{getattr(traced, name)}: change it, or trace that array"
                )
        y, z = local_coordinates(traced, array)
        shares = normalized(traced, y, z)
        col, row = (
            np.clip(((share + 1.0) / 2.0 * count).astype(np.intp), 0, count - 1)
            for share, count in zip(shares, (traced.cols, traced.rows), strict=True)
        )
        self.traced, self.array, self.device = traced, array, device
        self.nearest = row * traced.cols + col
        self.y, self.z, self.basis = (
            self._moved(values.astype(np.float32))
            for values in (y, z, smooth_basis(*shares, max(GAIN_DEGREES + BEND_DEGREES)))
        )

    def waves(self, part: CompactPaths, offsets: Float) -> Waves:
        """The waves of some snapshots, ``offsets`` [S] in s after each."""
        place = _Slots(part)
        direction, curvature = (self._moved(place.filled(v)) for v in (part.direction, part.curvature_per_m))
        excess = path_difference((direction[..., :1], direction[..., 1:]), curvature[..., None], self.y, self.z)
        if part.bend_m.size:
            bend = place.filled(_ragged(part.bend_m, part.counts()["bend_m"]))
            excess += self._moved(bend) @ self.basis[: bend.shape[-1]]
        spread: Tensor | float = 0.0
        if offsets.any():
            slopes = place.filled(part.doppler_slope_hz) * offsets[:, None, None]
            spread = self._moved(slopes.astype(np.float32)) @ self.basis[1:3]
        turns = self._moved(place.filled(part.doppler_hz.astype(np.float64)) * offsets[:, None])
        delay = self._moved(place.filled(part.delay_s))
        return Waves(delay, turns, excess / SPEED_OF_LIGHT, spread, self._gain(part, place))

    def _gain(self, part: CompactPaths, place: _Slots) -> Tensor:
        """Gains complex64 [S, P, pol, M]."""
        scaled = part.gain.astype(np.float32) @ np.array([1, 1j], np.complex64)
        sizes = basis_size(part.gain_degree.astype(np.int64))
        by_piece = _ragged(scaled, np.repeat(sizes, part.polarizations))
        by_piece = by_piece.reshape(len(sizes), part.polarizations, -1) * part.gain_scale[:, None, None]
        functions = self.basis[: by_piece.shape[-1]].to(torch.complex64)
        path = np.repeat(np.arange(len(part.delay_s)), part.pieces)
        rank = np.arange(len(path)) - np.searchsorted(path, path)  # 0: the path's own, the others its further pieces
        gain = self._moved(place.filled(by_piece[rank == 0])) @ functions
        whole = (part.edge_count == 1) & (_ragged(part.edges, part.edge_count)[:, 0] == 0)
        for turn in range(int(rank.max(initial=0)) + 1):
            some = np.flatnonzero((rank == turn) & ~(whole & (rank == 0)))
            slots = place.snapshot[path[some]], place.slot[path[some]]
            seen = self._moved(self._seen(part, some))[:, None]
            if turn == 0:
                gain[slots] *= seen
            else:
                gain[slots] = torch.where(seen, self._moved(by_piece[some]) @ functions, gain[slots])
        return gain.expand(-1, -1, self.array.num_polarizations, -1)

    def _seen(self, part: CompactPaths, pieces: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Visibility [N, M] of some pieces by this array's elements."""
        changes = part.edges[members(part.edge_count, pieces)]
        grid = self.traced.rows, self.traced.cols
        return decode_edges(changes, part.edge_count[pieces], part.edges_by_column[pieces], *grid)[:, self.nearest]

    def _moved(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)


class _Slots:
    """Where the flat paths of snapshots go in an array [S, P, ...] with room for the most paths of any snapshot."""

    def __init__(self, part: CompactPaths) -> None:
        self.shape = len(part), int(part.path_count.max())
        self.snapshot = np.repeat(np.arange(len(part)), part.path_count)
        self.slot = members(part.path_count, np.arange(len(part))) - (np.cumsum(part.path_count) - part.path_count)[
            self.snapshot
        ].astype(np.intp)

    def filled(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values [R, ...] as [S, P, ...], 0 beyond a snapshot's paths."""
        slots = np.zeros((*self.shape, *values.shape[1:]), values.dtype)
        slots[self.snapshot, self.slot] = values
        return slots


def _ragged(values: NDArray[Any], counts: NDArray[Any]) -> NDArray[Any]:
    """Flat values as rows [R, K] of the given lengths [R], padded with zeros to the longest."""
    rows = np.zeros((len(counts), int(counts.max(initial=1))), values.dtype)
    rows[np.arange(rows.shape[1]) < counts[:, None]] = values
    return rows


def sum_over_band(waves: Waves, frequencies: Float) -> Tensor:
    """Sum over the paths [S, A, F]: the power series of :func:`channelfm.channels.synthesis.synthesize`, in torch."""
    if len(frequencies) == 1:
        return waves.at(float(frequencies[0])).sum(dim=1)[..., None]
    shape = (waves.gain.shape[0], waves.gain.shape[2] * waves.gain.shape[3], len(frequencies))
    response = torch.empty(shape, dtype=torch.complex64, device=waves.gain.device)
    longest = 2.0 * np.pi * float(waves.excess_s.abs().max())
    for block in frequency_blocks(frequencies, LARGEST_ANGLE / longest if longest else np.inf):
        middle = float(frequencies[block].min() + frequencies[block].max()) / 2.0
        distance = torch.from_numpy(frequencies[block] - middle).to(response.device)
        reach = float(distance.abs().max())
        if len(distance) == 1:
            response[..., block] = waves.at(middle).sum(dim=1)[..., None]
            continue
        angle = (2.0 * np.pi * reach * waves.excess_s).repeat(1, 1, waves.gain.shape[2])
        over_antennas = [waves.at(middle)]
        over_frequencies = [_unit_phasor(_fraction(-distance * waves.delay_s[..., None]))]
        for power in range(1, series_terms(longest * reach)):
            over_antennas.append(over_antennas[-1] * (angle / power))
            over_frequencies.append(over_frequencies[-1] * (-1j * distance / reach).to(torch.complex64))
        left, right = torch.cat(over_antennas, dim=1), torch.cat(over_frequencies, dim=1)
        response[..., block] = left.transpose(1, 2) @ right
    return response


def _fraction(cycles: Tensor) -> Tensor:
    """float32 of float64 cycles without the whole ones: f tau reaches 10^4 of them."""
    return (cycles - cycles.round()).to(torch.float32)


def _unit_phasor(cycles: Tensor) -> Tensor:
    """exp(+j 2 pi cycles), complex64, of float32 cycles."""
    angle = (cycles - cycles.round()) * (2.0 * np.pi)
    return torch.complex(angle.cos(), angle.sin())
