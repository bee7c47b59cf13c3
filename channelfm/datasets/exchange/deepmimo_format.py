"""Facts of DeepMIMO's version-4 files, learnt from files that its package 4.0.5 writes and reads.

A scenario is a folder. ``params.json`` has ``version``, ``rt_params``, ``txrx_sets``, ``materials`` and ``scene``. For
a transmitter set, a transmitter in it and a receiver set there is one file for each quantity, ``power_t000_tx000_r001``
with suffix ``.npz`` (or ``.mat``, ``.npy``), which holds one array under the quantity's name:

==================================  ==================  ============================================================
``power``, ``phase``, ``delay``     [user, path]        dB of the field's squared amplitude, degrees, seconds
``aod_az``, ``aod_el``              [user, path]        degrees: azimuth from +x, *zenith* from +z, of the direction
                                                        in which a path leaves the transmitter
``aoa_az``, ``aoa_el``              [user, path]        the same of the direction from which it reaches the user
``inter``                           [user, path]        decimal digits: interactions from the transmitter on; 0 is LoS
``inter_pos``                       [user, path, n, 3]  interaction points from the transmitter on, metres
``rx_pos``, ``tx_pos``              [user, 3], [1, 3]   metres
==================================  ==================  ============================================================

Unused path slots are NaN. The transmitter is the base station (downlink). The package computes
h_m = sum_l 10^(power/20) exp(j phase) exp(+j 2 pi u_l . (e_m - e_0) / lambda) exp(-j 2 pi tau_l k B / N) / sqrt(N): its
array has the first element e_0, not its centre, at ``tx_pos``, and its phase must hold the carrier's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from channelfm.config import brief
from channelfm.datasets.exchange.files import SUFFIXES, UNNAMED, read_arrays
from channelfm.errors import InputError
from channelfm.plain import from_json

PhaseConvention = Literal["carrier-included", "carrier-excluded"]
CONVENTIONS: tuple[str, ...] = get_args(PhaseConvention)
Link = tuple[int, int, int]  # transmitter set, transmitter in it, receiver set

VERSION = "4.0.5"
MAX_PATHS = 25  # the package reads no more
MAX_INTERACTIONS = 10
PARAMS, TRAJECTORY = "params.json", "trajectory.npz"
STATED = "channelfm"  # our entry in params.json, which the package ignores

PER_PATH = ("power", "phase", "delay", "aod_az", "aod_el", "aoa_az", "aoa_el", "inter")
QUANTITIES = (*PER_PATH, "inter_pos", "rx_pos", "tx_pos")

# interaction digits by Sionna's codes, which Paths uses, and back
DIGITS = {1: 1, 2: 3, 4: 4, 8: 2}  # specular, diffuse, refraction, diffraction
CODES = {digit: code for code, digit in DIGITS.items()}


def file_stem(quantity: str, link: Link) -> str:
    """Name of a quantity's file, without its suffix."""
    return f"{quantity}_t{link[0]:03}_tx{link[1]:03}_r{link[2]:03}"


def read_params(folder: Path) -> dict[str, Any]:
    """The scenario's ``params.json``, also from the folder above (time steps of a dynamic scenario share one).

    Raises InputError if there is none of version 4.
    """
    for place in (folder / PARAMS, folder.parent / PARAMS):
        if place.is_file():
            break
    else:
        raise InputError(f"{folder}: no {PARAMS}; give the folder of a DeepMIMO scenario of version 4")
    try:
        params = from_json(place.read_text(encoding="utf-8"))
        version, frequency = str(params["version"]), float(params["rt_params"]["frequency"])
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        told = brief(repr(error), 160)
        raise InputError(f"{place}: not the parameters of a DeepMIMO scenario of version 4 ({told})") from error
    if not version.startswith("4.") or not 0 < frequency < np.inf:
        raise InputError(
            f"{place}: version {brief(version)} at {frequency:g} Hz; convert it to version 4 with DeepMIMO first"
        )
    return dict(params)


def find_link(folder: Path, wanted: Link | None) -> Link:
    """The wanted, or the only, transmitter and receiver set; InputError names the choices."""
    links = []
    for file in sorted(folder.glob("power_t*_tx*_r*")):
        fields = file.stem.split("_")
        numbers = (fields[1][1:], fields[2][2:], fields[3][1:]) if len(fields) == 4 else ()
        if len(numbers) == 3 and all(number.isdecimal() for number in numbers) and file.suffix in SUFFIXES:
            links.append((int(numbers[0]), int(numbers[1]), int(numbers[2])))
    choices = ", ".join(str(link) for link in links)
    if not links:
        steps = sorted(inner.parent.name for inner in folder.glob("*/power_t*_tx*_r*"))
        remedy = f"import one of its time steps: {', '.join(dict.fromkeys(steps))}" if steps else "give a scenario"
        raise InputError(f"{folder}: no power_t###_tx###_r### file; {remedy}")
    if wanted is None and len(links) > 1:
        raise InputError(f"{folder}: several transmitters or receiver sets; give link, one of: {choices}")
    if wanted is not None and tuple(wanted) not in links:
        raise InputError(
            f"{folder}: no link {tuple(wanted)} (transmitter set, transmitter, receiver set); has: {choices}"
        )
    return links[0] if wanted is None else wanted


def read_quantity(folder: Path, quantity: str, link: Link) -> NDArray[np.float64]:
    """One quantity of a link, float64; InputError names the file that is missing or has not the key."""
    stem = file_stem(quantity, link)
    for suffix in SUFFIXES:
        file = folder / f"{stem}{suffix}"
        if file.is_file():
            arrays = read_arrays(file)
            name = UNNAMED if suffix == ".npy" else quantity
            if name not in arrays:
                raise InputError(f"{file}: no array '{quantity}'; it has: {', '.join(arrays) or 'none'}")
            if arrays[name].dtype.kind not in "biuf":
                raise InputError(f"{file}: '{quantity}' holds {arrays[name].dtype}, not real numbers")
            return np.asarray(arrays[name], dtype=np.float64)
    raise InputError(
        f"{folder / stem}.npz: missing; a DeepMIMO scenario has one file for each of {', '.join(QUANTITIES)}"
    )


def encode_interactions(codes: NDArray[np.int32]) -> NDArray[np.float64]:
    """Interaction types [..., D] from the user on (0 none) -> decimal codes [...], first digit at the transmitter.

    The user's first interaction is the last digit. Raises InputError on more than ten, or an unknown code.
    """
    present = codes != 0
    unknown = set(np.unique(codes).tolist()) - {0, *DIGITS}
    if unknown or present.sum(axis=-1).max(initial=0) > MAX_INTERACTIONS:
        raise InputError(
            f"interactions {sorted(unknown) or 'past ten'}: DeepMIMO's codes cannot hold them; leave them out"
        )
    digits = np.zeros(codes.shape)
    for code, digit in DIGITS.items():
        digits[codes == code] = digit
    before = np.cumsum(present, axis=-1) - present
    return np.asarray(np.sum(digits * 10.0**before * present, axis=-1))


def decode_interactions(codes: NDArray[np.float64]) -> NDArray[np.int32]:
    """Decimal codes [...] (NaN: no path) -> interaction types [..., D] from the user on, 0 where none; D >= 1.

    Raises InputError on a digit that is no interaction.
    """
    whole = np.nan_to_num(codes, nan=0.0).astype(np.int64)
    depth = max(len(str(whole.max(initial=0))), 1)
    digits = np.stack([whole // 10**place % 10 for place in range(depth)], axis=-1)
    inner_zero = (digits == 0) & (np.flip(np.maximum.accumulate(np.flip(digits, -1), axis=-1), -1) > 0)
    unknown = set(np.unique(digits).tolist()) - {0, *CODES}
    if unknown or inner_zero.any() or (whole < 0).any():
        raise InputError(f"inter: digits {sorted(unknown) or 'of 0 inside a code'} are no interactions of DeepMIMO's")
    types = np.zeros(digits.shape, dtype=np.int32)
    for digit, code in CODES.items():
        types[digits == digit] = code
    return types


def turned_round(points: NDArray[np.float64], count: NDArray[Any]) -> NDArray[np.float64]:
    """The first ``count`` [S, P] points of every path in opposite order; NaN behind them. points [S, P, D, 3]."""
    place = np.arange(points.shape[2])
    source = count[..., None] - 1 - place
    turned = np.take_along_axis(points, np.maximum(source, 0)[..., None], axis=2)
    return np.asarray(np.where((source >= 0)[..., None], turned, np.nan))
