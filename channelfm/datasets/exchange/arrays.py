"""Plain channel arrays in ``.npz``, ``.npy`` and ``.mat`` files, with axes that the caller or the file declares.

Axes are declared slowest first, as in ``"snapshot,antenna,frequency"``. Their names are

- ``snapshot``, ``frequency``, and ``antenna`` or its parts ``polarization``, ``row``, ``col`` (row 0 is the lowest,
  see :class:`channelfm.arrays.UPA`); names that are missing have length 1;
- ``part``: real and imaginary part, of an array that is not complex;
- products of these, slow * fast, for axes that hold several: ``col*row`` is an antenna axis that runs over the rows
  of a column first, as MATLAB's ``H(:)`` does. ``antenna`` itself is ``polarization*row*col``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channelfm.arrays import UPA
from channelfm.checks import as_numbers
from channelfm.config import brief
from channelfm.datasets.exchange.files import UNNAMED, read_arrays, write_mat, write_npz
from channelfm.errors import InputError
from channelfm.records import Channels

ORDER = ("snapshot", "polarization", "row", "col", "frequency", "part")
VECTORS, NUMBERS = ("positions_m", "velocities_mps"), ("times_s", "distance_m", "azimuth_rad", "elevation_rad")
FLAGS = ("line_of_sight", "near_field")
COUNTS = ("track", "path_count")
LABELS = (*VECTORS, *NUMBERS, *FLAGS, *COUNTS)
GEOMETRY = ("rows", "cols", "carrier_hz", "spacing_wavelengths")
RESPONSE, AXES, FREQUENCIES = "response", "axes", "frequencies_hz"
_NOT_CHANNELS = {*LABELS, *GEOMETRY, "polarizations", AXES, FREQUENCIES, "has_path"}

Arrays = dict[str, NDArray[Any]]


def import_arrays(
    path: str | Path,
    array: UPA | None = None,
    axes: str | None = None,
    *,
    key: str | tuple[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    frequencies_hz: ArrayLike | None = None,
) -> Channels:
    """Channels from a plain array.

    Parameters
    ----------
    path : an ``.npz``, ``.npy`` or ``.mat`` file; nothing is unpickled.
    array : the array that the channels belong to; None: a :class:`UPA` at the origin of the file's ``rows``, ``cols``,
        ``carrier_hz``, ``spacing_wavelengths`` and ``polarizations`` (1 or 2), as :func:`export_arrays` writes them.
    axes : the array's axes, slowest first (see this module); None: the file's entry ``axes``.
    key : name of the channel array, or names of its real and of its imaginary part; None: the only candidate.
    labels : names of the labels in the file, by our names, where they differ: ``{"positions_m": "ue_loc"}``.
        Labels are ``positions_m``, ``velocities_mps`` [S, 3]; ``times_s``, ``track``, ``line_of_sight``,
        ``near_field``, ``distance_m``, ``azimuth_rad``, ``elevation_rad``, ``path_count`` [S].
    frequencies_hz : absolute frequencies [F]; None: the file's entry, or the carrier if F = 1.

    Numbers that neither the file nor (for distance and angles) positions and ``array`` tell are NaN; flags False, but
    ``near_field`` follows from a known distance; tracks 0; ``path_count`` None. ``has_path`` is False where a response
    is all zeros.

    Raises
    ------
    InputError : names file, key and axis or label: not found, not of the right shape, or with NaN or infinite values.
    """
    file = Path(path)
    stored = read_arrays(file)
    given = array
    array = array or _stored_array(file, stored)
    axes = axes if axes is not None else _text(file, stored, AXES)
    name, values = _channel_array(file, stored, key)
    response = _arranged(f"{file}: '{name}'", values, Axes.parse(axes), array, matlab=file.suffix == ".mat")
    if not np.isfinite(response).all():
        where = np.argwhere(~np.isfinite(response))[0].tolist()
        raise InputError(
            f"{file}: '{name}' has a NaN or infinite value at snapshot, antenna, frequency {where}; mend it"
        )
    known = _labels(file, stored, dict(labels or {}), len(response))
    if given is not None and "positions_m" in known:
        views = given.view_angles(known["positions_m"])
        seen = dict(zip(("distance_m", "azimuth_rad", "elevation_rad"), views.T, strict=True))
        known = seen | known
    if "distance_m" in known:
        known.setdefault("near_field", known["distance_m"] < array.rayleigh_distance_m)
    return Channels(
        response=response,
        frequencies_hz=_frequencies(file, stored, frequencies_hz, array, response.shape[2]),
        has_path=np.asarray(response.any(axis=(1, 2))),
        **_all_labels(known, len(response)),
        rows=array.rows,
        cols=array.cols,
        carrier_hz=array.carrier_hz,
        spacing_wavelengths=array.spacing_wavelengths,
    )


def export_arrays(channels: Channels, path: str | Path, axes: str = "snapshot,antenna,frequency") -> None:
    """Write channels to ``.npz`` or ``.mat``: ``response`` with its ``axes`` beside it, and all known labels by name.

    ``axes`` may be any order and product of axes (see this module); all of them must be there.
    :func:`import_arrays` gives the same record back. Raises InputError for another suffix or unusable axes.
    """
    file = Path(path)
    writers = {".npz": write_npz, ".mat": write_mat}
    if file.suffix not in writers:
        raise InputError(f"{file}: unknown kind of file '{file.suffix}'; give one of: {', '.join(writers)}")
    arrays: Arrays = {RESPONSE: _laid_out(channels, Axes.parse(axes)), AXES: np.array(axes)}
    for name in (*LABELS, *GEOMETRY, FREQUENCIES, "has_path"):
        if getattr(channels, name) is not None:
            arrays[name] = np.asarray(getattr(channels, name))
    arrays["polarizations"] = np.asarray(channels.response.shape[1] // (channels.rows * channels.cols))
    writers[file.suffix](file, arrays)


@dataclass(frozen=True)
class Axes:
    """Declared axes: for every axis of an array the names that it holds, slow to fast."""

    names: tuple[tuple[str, ...], ...]

    @classmethod
    def parse(cls, text: str) -> Axes:
        """Axes from their declaration; InputError names the one that is unknown or repeated."""
        names = []
        for axis in text.split(","):
            parts = [part.strip() for part in axis.split("*")]
            expanded = [part for name in parts for part in (ORDER[1:4] if name == "antenna" else (name,))]
            names.append(tuple(expanded))
        flat = [name for axis in names for name in axis]
        for name in flat:
            if name not in ORDER:
                raise InputError(f"axes '{text}': unknown axis '{name}'; use antenna or {', '.join(ORDER)}")
            if flat.count(name) > 1:
                raise InputError(f"axes '{text}': axis '{name}' appears twice; name each once")
        return cls(tuple(names))

    @property
    def flat(self) -> tuple[str, ...]:
        """All names, slow to fast."""
        return tuple(name for axis in self.names for name in axis)

    def __str__(self) -> str:
        return ",".join("*".join(axis) for axis in self.names)


def _arranged(what: str, values: NDArray[Any], axes: Axes, array: UPA, matlab: bool) -> NDArray[np.complex64]:
    """A declared array as [snapshot, antenna, frequency]."""
    if matlab and values.ndim < len(axes.names):  # MATLAB drops trailing axes of length 1
        values = values.reshape(values.shape + (1,) * (len(axes.names) - values.ndim))
    if values.ndim != len(axes.names):
        raise InputError(f"{what} has {values.ndim} axes of lengths {values.shape}, but axes '{axes}' are declared")
    if ("part" in axes.flat) == np.iscomplexobj(values):
        remedy = "remove the axis 'part'" if np.iscomplexobj(values) else "declare an axis 'part', or give two keys"
        raise InputError(f"{what} is {values.dtype}, which does not fit axes '{axes}': {remedy}")
    sizes = _sizes(what, values.shape, axes, array)
    split = values.reshape([sizes[name] for name in axes.flat])
    full = split.transpose([axes.flat.index(name) for name in ORDER if name in axes.flat])
    full = full.reshape([sizes.get(name, 1) if name in axes.flat else 1 for name in ORDER])
    with np.errstate(over="ignore"):  # the caller looks for infinite values
        joined = full[..., 0] + (1j * full[..., 1] if "part" in axes.flat else 0)
        response = joined.reshape(joined.shape[0], array.num_antennas, joined.shape[4]).astype(np.complex64)
    return np.ascontiguousarray(response)


def _sizes(what: str, shape: tuple[int, ...], axes: Axes, array: UPA) -> dict[str, int]:
    """Length of every named axis: the array's, and those of snapshot and frequency from the shape."""
    sizes = {"polarization": array.num_polarizations, "row": array.rows, "col": array.cols, "part": 2}
    for name in ("polarization", "row", "col"):
        if name not in axes.flat and sizes[name] != 1:
            raise InputError(f"{what}: axes '{axes}' have no '{name}', of which the array has {sizes[name]}; add it")
    for axis, length in zip(axes.names, shape, strict=True):
        known = math.prod(sizes.get(name, 1) for name in axis)
        free = [name for name in axis if name not in sizes]
        if len(free) > 1:
            raise InputError(f"axes '{axes}': '{'*'.join(axis)}' holds two axes of unknown length; keep them apart")
        if length % known or (not free and length != known):
            raise InputError(f"{what} has length {length} along axis '{'*'.join(axis)}', which does not fit {known}")
        sizes.update(dict.fromkeys(free, length // known))
    return sizes


def _laid_out(channels: Channels, axes: Axes) -> NDArray[Any]:
    """The response with the declared axes; undoes ``_arranged``."""
    snapshots, antennas, frequencies = channels.response.shape
    polarizations = antennas // (channels.rows * channels.cols)
    full = channels.response.reshape(snapshots, polarizations, channels.rows, channels.cols, frequencies, 1)
    if "part" in axes.flat:
        full = np.concatenate([full.real, full.imag], axis=-1)
    sizes = dict(zip(ORDER, full.shape, strict=True))
    for name in ORDER:
        if name not in axes.flat and sizes[name] != 1:
            raise InputError(f"axes '{axes}' have no '{name}', of which the channels have {sizes[name]}; add it")
    used = [name for name in ORDER if name in axes.flat]
    squeezed = full.reshape([sizes[name] for name in used])
    ordered = squeezed.transpose([used.index(name) for name in axes.flat])
    return np.ascontiguousarray(ordered.reshape([math.prod(sizes[name] for name in axis) for axis in axes.names]))


def _channel_array(file: Path, stored: Arrays, key: str | tuple[str, str] | None) -> tuple[str, NDArray[Any]]:
    """Name and values of the array that holds the channels."""
    if isinstance(key, tuple):
        real, imaginary = (_entry(file, stored, name) for name in key)
        if real.shape != imaginary.shape or np.iscomplexobj(real) or np.iscomplexobj(imaginary):
            raise InputError(f"{file}: '{key[0]}' {real.shape} and '{key[1]}' {imaginary.shape} are not two real parts")
        return " + j ".join(key), real + 1j * imaginary
    if key is None:
        candidates = [
            name for name, values in stored.items() if name not in _NOT_CHANNELS and values.dtype.kind in "fc"
        ]
        complex_ones = [name for name in candidates if np.iscomplexobj(stored[name])]
        choice = complex_ones if len(candidates) > 1 else candidates
        if len(choice) != 1:
            raise InputError(
                f"{file}: say with key which array holds the channels; it has: {', '.join(stored) or 'none'}"
            )
        key = choice[0]
    return key, _entry(file, stored, key)


def _entry(file: Path, stored: Arrays, name: str) -> NDArray[Any]:
    if name not in stored:
        raise InputError(f"{file}: no array '{name}'; it has: {', '.join(stored) or 'none'}")
    if stored[name].dtype.kind not in "biufc":
        raise InputError(f"{file}: '{name}' holds {stored[name].dtype}, not numbers")
    return stored[name]


def _text(file: Path, stored: Arrays, name: str) -> str:
    if name not in stored or stored[name].dtype.kind not in "US" or not stored[name].size:
        raise InputError(f"{file}: does not declare its axes; give axes, e.g. 'snapshot,antenna,frequency'")
    return str(stored[name].ravel()[0])


def _stored_array(file: Path, stored: Arrays) -> UPA:
    """The array that a file of ours declares."""
    if UNNAMED in stored or any(name not in stored for name in GEOMETRY):
        raise InputError(f"{file}: does not tell {', '.join(GEOMETRY)}; give the array that the channels belong to")
    rows, cols, carrier, spacing = (_number(file, stored, name) for name in GEOMETRY)
    both = "polarizations" in stored and _number(file, stored, "polarizations") == 2
    return UPA(int(rows), int(cols), carrier, spacing_wavelengths=spacing, polarization="VH" if both else "V")


def _number(file: Path, stored: Arrays, name: str) -> float:
    """A single finite number of a file."""
    values = _entry(file, stored, name).ravel()
    if len(values) != 1 or values.dtype.kind == "c" or not np.isfinite(values[0]):
        raise InputError(f"{file}: '{name}' holds {brief(values.tolist())}: one finite number is wanted")
    return float(values[0])


def _labels(file: Path, stored: Arrays, names: dict[str, str], snapshots: int) -> Arrays:
    """The labels that the file has, checked and typed."""
    for ours in names:
        if ours not in LABELS:
            raise InputError(f"unknown label '{ours}'; use one of: {', '.join(LABELS)}")
    known: Arrays = {}
    for name in LABELS:
        source = names.get(name, name)
        if source not in stored and name not in names:
            continue
        shape = (snapshots, 3) if name in VECTORS else (snapshots,)
        values = _entry(file, stored, source)
        if values.size != math.prod(shape) or (name in VECTORS and values.shape != shape):
            raise InputError(f"{file}: label '{source}' has shape {values.shape} instead of {shape}")
        if values.dtype.kind == "c" or (name in COUNTS and (np.abs(values) > 2**31 - 1).any()):
            raise InputError(f"{file}: label '{source}' holds {values.dtype} that it cannot have")
        if name in COUNTS and not np.array_equal(values, np.round(values)):
            raise InputError(f"{file}: label '{source}' holds numbers that are not whole")
        kind = dict.fromkeys(COUNTS, np.int32) | dict.fromkeys(FLAGS, np.bool_)
        known[name] = values.reshape(shape).astype(kind.get(name, np.float64))
    return known


def _all_labels(known: Arrays, snapshots: int) -> Arrays:
    """Every label of Channels: the known ones, and NaN, False or 0 for the others; no ``path_count`` if unknown."""
    unknown: Arrays = {name: np.full((snapshots, 3), np.nan) for name in VECTORS}
    unknown |= {name: np.full(snapshots, np.nan) for name in NUMBERS}
    unknown |= {name: np.zeros(snapshots, dtype=np.bool_) for name in FLAGS}
    return unknown | {"track": np.zeros(snapshots, dtype=np.int32)} | known


def _frequencies(file: Path, stored: Arrays, given: ArrayLike | None, array: UPA, count: int) -> NDArray[np.float64]:
    if given is None and FREQUENCIES in stored:
        given = _entry(file, stored, FREQUENCIES)
    if given is None and count == 1:
        given = array.carrier_hz
    if given is None:
        raise InputError(f"{file}: {count} frequencies, but not which: give frequencies_hz, absolute, in Hz")
    frequencies = as_numbers(given, f"{file}: frequencies_hz").ravel()
    real = frequencies.dtype.kind != "c"
    if not real or len(frequencies) != count or not (np.isfinite(frequencies) & (frequencies > 0)).all():
        raise InputError(f"{file}: frequencies_hz must be {count} positive absolute frequencies in Hz")
    return frequencies.astype(np.float64)
