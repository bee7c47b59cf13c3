"""The record of compact paths."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from channelfm.arrays import UPA
from channelfm.channels.compact.smooth import basis_size
from channelfm.errors import InputError
from channelfm.records import HIGHEST_HZ, Record

Float = NDArray[np.float64]
Single = NDArray[np.float32]
Half = NDArray[np.float16]
Byte = NDArray[np.uint8]
Short = NDArray[np.uint16]
Bool = NDArray[np.bool_]

PER_SNAPSHOT = ("path_count", "split_count", "error_db", "times_s", "positions_m")
PER_PIECE = ("gain", "gain_degree", "gain_scale", "edges", "edge_count", "edges_by_column")
LARGEST_ARRAY, WIDEST_M = 1 << 16, 1e5  # elements, which uint16 numbers, and its diagonal
# Beyond what any path has, and within what single precision takes; a component of a unit vector may be rounded.
_LARGEST = {
    "delay_s": 1.0,
    "direction": 1.001,
    "curvature_per_m": 1e6,
    "bend_m": 1e6,
    "doppler_hz": 1e9,
    "doppler_slope_hz": 1e9,
    "gain": 1e6,
    "gain_scale": 1e18,
}


@dataclass(frozen=True)
class CompactPaths(Record):
    """Paths of S snapshots as flat arrays over R paths, in the order of snapshots.

    ``path_count`` uint16 [S]: paths of each snapshot. ``delay_s`` float64 [R]: absolute delay at the array centre (of
    the wavefront, also where the centre does not see it). ``direction`` float32 [R, 2]: components of the unit vector
    to the image source along the array's local y and z; ``curvature_per_m`` float32 [R]: 1 / its distance, 0 for plane
    waves. ``bend_m`` float32: length added to the sphere's, a polynomial of degree ``bend_degree`` uint8 [R] (0: no
    coefficients). ``doppler_hz`` float32 [R] at the centre and ``doppler_slope_hz`` float16 [R, 2], by which it grows
    from the centre to the edge along y and z. ``gain`` float16 [Q, 2]: real and imaginary parts of polynomials of
    degree ``gain_degree`` uint8 [R], of one polarisation after the other, divided by ``gain_scale`` float32 [R].
    ``edges`` uint16 [E]: elements at which visibility changes, ``edge_count`` uint16 [R] for each path, counted row by
    row or, where ``edges_by_column`` bool [R], column by column. ``interactions`` uint8 [R]: the codes of ``Paths``
    that occur in a path, added (0: line of sight). ``times_s`` [S] and ``positions_m`` [S, 3] are the snapshots'.

    A path whose gains step across the aperture has further pieces, ``split_count`` uint16 [S] in each snapshot;
    ``split_path`` uint16 [X] names the path of each by its number within the snapshot. A further piece replaces the
    path's gains where its own edges say, and shares the rest; pieces of a path do not overlap. The fields of gains and
    edges hold, path by path, first the path's own and then those of its further pieces: K = R + X of them, where [R] is
    said above. ``error_db`` float16 [S] is the energy of the channel's error over the traced array at the carrier,
    relative to that of the channel synthesised from the traced paths, as compressing left it; NaN where a snapshot has
    no path, and in files from before it was kept. Such files have no further pieces.

    Polynomials are sums of Legendre products by total degree (:func:`channelfm.channels.compact.smooth.smooth_basis`)
    in coordinates that are +-1 half an element spacing beyond the outermost elements. ``array`` is the traced one.
    """

    path_count: Short
    delay_s: Float
    direction: Single
    curvature_per_m: Single
    bend_m: Single
    bend_degree: Byte
    doppler_hz: Single
    doppler_slope_hz: Half
    gain: Half
    gain_degree: Byte
    gain_scale: Single
    edges: Short
    edge_count: Short
    edges_by_column: Bool
    interactions: Byte
    split_count: Short
    split_path: Short
    error_db: Half
    times_s: Float
    positions_m: Float
    array: UPA

    axes: ClassVar[dict[str, str]] = {
        "path_count": "uint16 S",
        "delay_s": "float64 R",
        "direction": "float32 R 2",
        "curvature_per_m": "float32 R",
        "bend_m": "float32 B",
        "bend_degree": "uint8 R",
        "doppler_hz": "float32 R",
        "doppler_slope_hz": "float16 R 2",
        "gain": "float16 Q 2",
        "gain_degree": "uint8 K",
        "gain_scale": "float32 K",
        "edges": "uint16 E",
        "edge_count": "uint16 K",
        "edges_by_column": "bool K",
        "interactions": "uint8 R",
        "split_count": "uint16 S",
        "split_path": "uint16 X",
        "error_db": "float16 S",
        "times_s": "float S",
        "positions_m": "float S 3",
    }

    def check(self) -> None:
        """See :meth:`channelfm.records.Record.check`: that counts and degrees tell the lengths of what they count."""
        super().check()
        array = self.array
        if array.num_elements > LARGEST_ARRAY or array.carrier_hz > HIGHEST_HZ or array.aperture_m > WIDEST_M:
            raise ValueError(
                f"'array' of {array.num_elements} elements over {array.aperture_m:g} m: none such is traced"
            )
        if self.path_count.sum() != len(self.delay_s):
            raise ValueError(f"'path_count' counts {self.path_count.sum()} paths, there are {len(self.delay_s)}")
        if self.split_count.sum() != len(self.split_path):
            raise ValueError(f"'split_count' counts {self.split_count.sum()} pieces, there are {len(self.split_path)}")
        if np.any(self.split_path >= np.repeat(self.path_count, self.split_count)):
            raise ValueError("'split_path' names a path beyond its snapshot's")
        if len(self.gain_degree) != len(self.delay_s) + len(self.split_path):
            raise ValueError(f"'gain_degree' has {len(self.gain_degree)} entries, one for each piece is counted")
        for name, counts in self.counts().items():
            if counts.sum() != len(getattr(self, name)):
                raise ValueError(f"'{name}' has {len(getattr(self, name))} entries, {counts.sum()} are counted")
        if len(self.gain_degree) and self.polarizations not in (1, self.array.num_polarizations):
            raise ValueError(f"{self.polarizations} polarisations, the array has {self.array.num_polarizations}")
        if self.edges.size and self.edges.max() >= self.array.num_elements:
            raise ValueError(f"'edges' points beyond {self.array.num_elements} elements")
        for name, limit in _LARGEST.items():
            if not float(np.abs(getattr(self, name)).max(initial=0.0)) <= limit:  # nor is NaN
                raise ValueError(f"'{name}' holds values beyond {limit:g}")

    @classmethod
    def _of_parts(cls, arrays: dict[str, NDArray[Any]], plain: dict[str, Any]) -> Self:
        missing: dict[str, NDArray[Any]] = {}
        if "path_count" in arrays:  # files from before there were pieces
            count = len(arrays["path_count"])
            missing = {"split_count": np.zeros(count, np.uint16), "split_path": np.zeros(0, np.uint16)}
            missing["error_db"] = np.full(count, np.nan, np.float16)
        return super()._of_parts(missing | arrays, plain)

    @classmethod
    def _decode(cls, plain: dict[str, Any]) -> dict[str, Any]:
        return {"array": UPA.of_plain(plain["array"])}

    def __len__(self) -> int:
        return len(self.path_count)

    @property
    def num_bytes(self) -> int:
        """Bytes of all arrays."""
        values = (getattr(self, item.name) for item in dataclasses.fields(self))
        return sum(value.nbytes for value in values if isinstance(value, np.ndarray))

    @property
    def has_path(self) -> Bool:
        """bool [S]: whether a snapshot has any path."""
        return np.asarray(self.path_count > 0)

    @property
    def line_of_sight(self) -> Bool:
        """bool [S]: whether any antenna sees the user directly (by a path that was strong enough to be kept)."""
        direct = np.zeros(len(self), np.bool_)
        direct[np.repeat(np.arange(len(self)), self.path_count)[self.interactions == 0]] = True
        return direct

    @property
    def polarizations(self) -> int:
        """Polarisations that have gains of their own: those of the array, or 1 for plane waves of any array."""
        sizes = int(basis_size(self.gain_degree.astype(np.int64)).sum())
        return len(self.gain) // sizes if sizes else self.array.num_polarizations

    @cached_property
    def pieces(self) -> NDArray[np.int64]:
        """int64 [R]: pieces of each path's gains, at least one."""
        first = np.cumsum(self.path_count, dtype=np.int64) - self.path_count
        split = np.repeat(first, self.split_count) + self.split_path
        return 1 + np.bincount(split, minlength=len(self.delay_s)).astype(np.int64)

    def select(self, index: Any) -> CompactPaths:
        """The snapshots that a NumPy index (slice, integers, mask) picks."""
        snapshots = np.arange(len(self))[index].reshape(-1)
        paths = members(self.path_count, snapshots)
        pieces = members(self.pieces, paths) if len(self.split_path) else paths
        counts = self.counts()
        chosen: dict[str, Any] = {"split_path": self.split_path[members(self.split_count, snapshots)]}
        for item in dataclasses.fields(self):
            values = getattr(self, item.name)
            if item.name not in chosen and isinstance(values, np.ndarray):
                rows = snapshots if item.name in PER_SNAPSHOT else pieces if item.name in PER_PIECE else paths
                chosen[item.name] = values[members(counts[item.name], rows) if item.name in counts else rows]
        return dataclasses.replace(self, **chosen)

    @classmethod
    def concatenate(cls, parts: Sequence[CompactPaths]) -> CompactPaths:
        """One record of the snapshots of several; InputError if there are none, or unlike ones."""
        kinds = {(part.array, part.polarizations) for part in parts if part.has_path.any() or part is parts[0]}
        if len(kinds) != 1:
            raise InputError(f"{len(parts)} compact paths to join: give one or more, all of one array and one form")
        names = [item.name for item in dataclasses.fields(cls) if item.name != "array"]
        return cls(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names}, array=parts[0].array)

    def counts(self) -> dict[str, NDArray[np.int64]]:
        """How many entries of the arrays of varying length belong to a path ("bend_m") or a piece ("gain", "edges")."""
        bends = np.where(self.bend_degree > 0, basis_size(self.bend_degree.astype(np.int64)), 0)
        gains = basis_size(self.gain_degree.astype(np.int64)) * self.polarizations
        return {"bend_m": bends, "gain": gains, "edges": self.edge_count.astype(np.int64)}


def members(counts: NDArray[Any], groups: NDArray[np.intp]) -> NDArray[np.intp]:
    """Places of the members of groups, in the groups' order, where group g has counts[g] consecutive members."""
    wide = counts.astype(np.intp)
    first = np.cumsum(wide) - wide
    sizes = wide[groups]
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.asarray(np.repeat(first[groups], sizes) + within)
