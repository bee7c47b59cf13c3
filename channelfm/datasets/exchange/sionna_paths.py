"""Import of Sionna RT's ``Paths``, alive or as arrays in an ``.npz`` file, without importing Sionna.

Read are the public tensors of sionna-rt (2.x), looked at through NumPy only:

=================================================  ====================================================================
``a`` (real, imaginary)                            [rx, rx antenna, tx, tx antenna, path], without the carrier phase
``tau``, ``theta_t``, ``phi_t``, ``theta_r``,      the same shape, or [rx, tx, path] with a synthetic array; ``tau`` is
``phi_r``, ``doppler``, ``valid``                  -1 where there is no path
``interactions``, ``objects``, ``vertices``        [depth, the same shape]; the last with 3 coordinates behind; from the
                                                   transmitter on
=================================================  ====================================================================

Sionna numbers the antennas of its planar arrays by columns from the top left, all of one polarisation before the next;
here they are brought into the order of :class:`channelfm.arrays.UPA`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channelfm.arrays import UPA
from channelfm.checks import as_numbers
from channelfm.datasets.exchange.files import read_arrays, write_npz
from channelfm.errors import InputError
from channelfm.records import Paths

End = Literal["rx", "tx"]
Arrays = dict[str, NDArray[Any]]

NEEDED = ("a", "tau", "theta_t", "phi_t", "theta_r", "phi_r", "doppler", "valid", "interactions", "vertices", "objects")
POSITIONS = "positions_m"
PER_DEPTH = ("interactions", "objects", "vertices")
KNOWN_CODES = {0, 1, 2, 4, 8}


def save_sionna(paths: object, positions_m: ArrayLike, file: str | Path) -> None:
    """Write the tensors of a Sionna ``Paths`` object, and the users' positions [S, 3], to an ``.npz`` file that
    :func:`from_sionna` reads."""
    write_npz(Path(file), _gathered(paths) | {POSITIONS: np.asarray(positions_m, dtype=np.float64)})


def from_sionna(
    source: object,
    array: UPA,
    positions_m: ArrayLike | None = None,
    *,
    array_end: End,
    station: int = 0,
    times_s: ArrayLike | None = None,
) -> Paths:
    """Paths of one base station to all users of a Sionna scene, one snapshot for each user.

    Parameters
    ----------
    source : a ``sionna.rt.Paths`` object, the path of an ``.npz`` file of its tensors (:func:`save_sionna`), or a
        mapping of them.
    array : the base station's array, placed and oriented as in the scene: same rows, columns and polarisations.
    positions_m : [S, 3] of the users, in the scene's order; None: those in the file.
    array_end : which end carries the array: "rx" where the users transmit (uplink), "tx" where they receive (downlink).
        By reciprocity both give the same channel. A user has one antenna.
    station : which of the devices at the array's end.
    times_s : [S]; None: 0 for all.

    With a synthetic array all antennas share a delay and ``a`` holds their phases, at the carrier. Without, slots that
    Sionna numbers for each antenna by itself are matched by interactions and objects, and among equal ones by the order
    of their delays; interaction points and directions are those of the antenna nearest to the centre.

    Raises
    ------
    InputError : a tensor that is missing or of another shape, users with several antennas, an unknown interaction.
    """
    tensors = _gathered(source)
    stored = tensors.pop(POSITIONS, None)
    if positions_m is None and stored is None:
        raise InputError("Sionna paths do not tell where the users are: give positions_m")
    positions = as_numbers(stored if positions_m is None else positions_m, POSITIONS)
    shape = _checked(tensors, array, positions, array_end, station)
    seen = {name: _oriented(values, name, shape, array, array_end, station) for name, values in tensors.items()}
    valid = seen["valid"].astype(bool) & (seen["tau"] >= 0) & (seen["a"] != 0)
    types = np.where(valid[..., None], seen["interactions"].astype(np.int64), 0)
    unknown = sorted(set(np.unique(types).tolist()) - KNOWN_CODES)
    if unknown:
        raise InputError(f"Sionna paths: interaction codes {unknown} are none of {sorted(KNOWN_CODES)}; leave them out")
    for name, values in seen.items():
        where = valid[..., None] if name in PER_DEPTH else valid
        where = where[..., None] if name == "vertices" else where
        if not np.isfinite(np.where(where, values, 0)).all():
            raise InputError(f"Sionna paths: '{name}' is not finite for valid paths; mend the file")
    slot = _matched(valid, types, seen["objects"].astype(np.int64), seen["tau"])
    return _assembled(seen, valid, types, slot, array, positions, array_end, times_s)


def _gathered(source: object) -> Arrays:
    """The tensors by name, ``a`` complex."""
    if isinstance(source, str | Path):
        found: Mapping[str, Any] = read_arrays(source)
    elif isinstance(source, Mapping):
        found = source
    else:
        found = {name: getattr(source, name) for name in NEEDED if hasattr(source, name)}
    missing = [name for name in NEEDED if name not in found]
    if missing:
        raise InputError(f"Sionna paths without {', '.join(missing)}; give a sionna.rt.Paths or what save_sionna wrote")
    tensors = {name: _numpy(found[name]) for name in (*NEEDED[1:], POSITIONS) if name in found}
    a = found["a"]
    if isinstance(a, tuple | list):
        a = _numpy(a[0]) + 1j * _numpy(a[1])
    with np.errstate(over="ignore"):  # what is infinite then is refused
        return {"a": as_numbers(a, "Sionna paths: 'a'").astype(np.complex64)} | tensors


def _numpy(tensor: Any) -> NDArray[Any]:
    return np.asarray(tensor.numpy() if hasattr(tensor, "numpy") else tensor)


def _checked(tensors: Arrays, array: UPA, positions: NDArray[np.float64], end: End, station: int) -> tuple[int, int]:
    """Number of users and paths; InputError where tensors, array and positions do not fit."""
    a = tensors["a"]
    if end not in ("rx", "tx"):
        raise InputError(f"array_end '{end}': give 'rx' (users transmit) or 'tx' (users receive)")
    if a.ndim != 5:
        raise InputError(f"Sionna paths: 'a' of shape {a.shape}; it has [rx, rx antenna, tx, tx antenna, path]")
    receivers, receiving, transmitters, transmitting, paths = a.shape
    stations, antennas, users, of_user = (
        (receivers, receiving, transmitters, transmitting)
        if end == "rx"
        else (transmitters, transmitting, receivers, receiving)
    )
    if antennas != array.num_antennas:
        raise InputError(
            f"Sionna paths of {antennas} antennas at end {end} do not fit an array of {array.num_antennas}"
        )
    if of_user != 1:
        raise InputError(f"Sionna paths of users with {of_user} antennas: trace users with one antenna")
    if not 0 <= station < stations:
        raise InputError(f"station {station}: there are {stations} devices at end {end}, counted from 0")
    if positions.shape != (users, 3) or positions.dtype.kind == "c" or not np.isfinite(positions).all():
        raise InputError(f"positions_m of shape {positions.shape}: give [{users}, 3] finite user positions in m")
    if not users:
        raise InputError("Sionna paths without a user: trace at least one")
    synthetic = tensors["tau"].ndim == 3
    each = (receivers, transmitters, paths) if synthetic else a.shape
    depth = tensors["interactions"].shape[:1]
    for name in NEEDED[1:]:
        values = tensors[name]
        expected = (*(depth if name in PER_DEPTH else ()), *each, *((3,) if name == "vertices" else ()))
        if values.shape != expected or values.dtype.kind not in "biuf":
            raise InputError(
                f"Sionna paths: '{name}' holds {values.dtype} of shape {values.shape}, not numbers of {expected}"
            )
    return users, paths


def _oriented(
    values: NDArray[Any], name: str, shape: tuple[int, int], array: UPA, end: End, station: int
) -> NDArray[Any]:
    """A tensor as [user, antenna, path, ...], antennas in our order; the depth axis comes behind the path."""
    extra = 1 + (name == "vertices") if name in PER_DEPTH else 0
    if name in PER_DEPTH:
        values = np.moveaxis(values, 0, -1 - (name == "vertices"))
    users, paths = shape
    behind = values.shape[values.ndim - extra :]
    if values.ndim - extra == 3:  # synthetic array: one value for all antennas
        own = values[station] if end == "rx" else values[:, station]
        return np.broadcast_to(own[:, None], (users, array.num_antennas, paths, *behind))
    own = values[station, :, :, 0].swapaxes(0, 1) if end == "rx" else values[:, 0, station]
    column, row_from_top = np.divmod(np.arange(array.num_elements), array.rows)
    ours = (array.rows - 1 - row_from_top) * array.cols + column
    sionnas = np.argsort(ours)  # Sionna's number of our element
    order = np.concatenate([sionnas + number * array.num_elements for number in range(array.num_polarizations)])
    return np.asarray(own[:, order])


def _matched(
    valid: NDArray[np.bool_], types: NDArray[np.int64], objects: NDArray[np.int64], tau: NDArray[Any]
) -> NDArray[np.int64]:
    """Slot [S, A, P] of every path such that one chain has the same slot at all antennas of a user; -1 if invalid."""
    slot = np.full(valid.shape, -1, dtype=np.int64)
    for user in range(len(valid)):
        antenna, place = np.nonzero(valid[user])
        hit = types[user, antenna, place] != 0
        chain_of = np.concatenate(
            [types[user, antenna, place], np.where(hit, objects[user, antenna, place], 0)], axis=1
        )
        chain = np.unique(chain_of, axis=0, return_inverse=True)[1].reshape(-1)
        order = np.lexsort((tau[user, antenna, place], chain, antenna))
        begins = np.ones(len(order), dtype=bool)
        begins[1:] = (np.diff(antenna[order]) != 0) | (np.diff(chain[order]) != 0)
        run = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order)) - run
        pairs = np.stack([chain, rank], axis=1)
        slot[user, antenna, place] = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
    return slot


def _assembled(
    seen: Arrays,
    valid: NDArray[np.bool_],
    types: NDArray[np.int64],
    slot: NDArray[np.int64],
    array: UPA,
    positions: NDArray[np.float64],
    end: End,
    times_s: ArrayLike | None,
) -> Paths:
    """The record: values of every antenna in the matched slots, geometry from the antenna nearest to the centre."""
    users, antennas, _ = valid.shape
    slots, depth = max(int(slot.max(initial=-1)) + 1, 1), types.shape[3]
    user, antenna, place = np.nonzero(valid)
    target = (user, slot[user, antenna, place], antenna)

    def spread(values: NDArray[Any], kind: Any) -> NDArray[Any]:
        filled = np.zeros((users, slots, antennas), dtype=kind)
        filled[target] = values[user, antenna, place]
        return filled

    nearest_last = np.argsort(-np.linalg.norm(array.antenna_offsets, axis=1)[antenna], kind="stable")
    where = tuple(index[nearest_last] for index in target[:2])  # of several antennas, the one written last stays
    source = tuple(index[nearest_last] for index in (user, antenna, place))
    interactions = np.zeros((users, slots, depth), dtype=np.int32)
    points = np.zeros((users, slots, depth, 3))
    departure, arrival = np.zeros((users, slots, 3)), np.zeros((users, slots, 3))
    chain, corners = types[source], np.where((types[source] != 0)[..., None], seen["vertices"][source], 0.0)
    if end == "tx":  # ours run from the user to the array
        corners, chain = _turned_round(corners, chain), _turned_round(chain, chain)
    interactions[where], points[where] = chain, corners
    at_user, at_array = ("t", "r") if end == "rx" else ("r", "t")
    departure[where] = _unit_vectors(seen[f"theta_{at_user}"][source], seen[f"phi_{at_user}"][source])
    arrival[where] = _unit_vectors(seen[f"theta_{at_array}"][source], seen[f"phi_{at_array}"][source])
    times = np.zeros(users) if times_s is None else np.asarray(times_s, dtype=np.float64)
    return Paths(
        gain=spread(seen["a"], np.complex64),
        delay_s=spread(seen["tau"], np.float64),
        valid=spread(valid, np.bool_),
        doppler_hz=spread(seen["doppler"], np.float32),
        interactions=interactions,
        points_m=points,
        departure=departure,
        arrival=arrival,
        times_s=times,
        positions_m=positions.astype(np.float64),
        carrier_hz=array.carrier_hz,
        method="Sionna paths",
        array=array,
    )


def _turned_round(values: NDArray[Any], chain: NDArray[np.int64]) -> NDArray[Any]:
    """Values [n, depth, ...] of chains of interactions [n, depth] in opposite order; 0 behind the last."""
    source = np.count_nonzero(chain, axis=1)[:, None] - 1 - np.arange(chain.shape[1])
    behind = (1,) * (values.ndim - 2)
    turned = np.take_along_axis(values, np.maximum(source, 0).reshape(*source.shape, *behind), axis=1)
    return np.asarray(np.where((source >= 0).reshape(*source.shape, *behind), turned, 0))


def _unit_vectors(zenith: NDArray[Any], azimuth: NDArray[Any]) -> NDArray[np.float64]:
    zenith, azimuth = zenith.astype(np.float64), azimuth.astype(np.float64)
    level = np.sin(zenith)
    return np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.cos(zenith)], axis=-1)
