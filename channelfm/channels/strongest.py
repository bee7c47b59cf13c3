"""How strong paths are, and which of them a link has: all but the weakest, which no receiver would find."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.records import Paths

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

WEAKEST_DB = -70.0  # what the paths that are not counted have together, of their snapshot's power


def energies(values: NDArray[Any]) -> Float:
    """Sum of |values|^2 over all axes but the first; in double precision, for a gain of 1e-30 has no single one."""
    flat = values.reshape(len(values), math.prod(values.shape[1:]))
    parts = (np.einsum("ra,ra->r", part, part, dtype=np.float64) for part in (flat.real, flat.imag))
    return np.asarray(sum(parts))


def path_energy(paths: Paths) -> Float:
    """Sum of the squared gains of each path over the antennas, float64 [S, P]."""
    return np.stack([energies(gain) for gain in paths.gain]) if len(paths) else np.zeros(paths.gain.shape[:2])


def all_but_weakest(power: Float, share: float) -> Bool:
    """Which paths [S, P] to keep: all but the weakest, as many as together have no more than a share of the power."""
    weakest = np.argsort(power, axis=1, kind="stable")
    together = np.cumsum(np.take_along_axis(power, weakest, axis=1), axis=1)
    kept = np.zeros(power.shape, np.bool_)
    np.put_along_axis(kept, weakest, together > share * power.sum(axis=1, keepdims=True), axis=1)
    return kept


def count_paths(paths: Paths) -> NDArray[np.int32]:
    """Paths of each snapshot, int32 [S], without the weakest, which together stay below WEAKEST_DB of its power: as
    many as their compact form has."""
    kept = all_but_weakest(path_energy(paths), 10.0 ** (WEAKEST_DB / 10.0))
    return np.asarray(kept.sum(axis=1), dtype=np.int32)
