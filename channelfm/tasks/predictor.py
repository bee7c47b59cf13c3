"""What a benchmark sees: anything that turns a partial observation into a full channel.

A network and a classical estimator are the same thing here, so that one table can hold both.
"""

from __future__ import annotations

from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from channelfm.errors import InputError

Scalar = TypeVar("Scalar", bound=np.generic)


@runtime_checkable
class Predictor(Protocol):
    """Reconstructs channels of a planar array from the antennas that were observed.

    ``name`` is the row name in every table.
    """

    name: str

    def predict(self, observed: NDArray[np.complex64], mask: NDArray[np.bool_]) -> NDArray[np.complex64]:
        """Full channels from partial ones.

        Parameters
        ----------
        observed : complex64 [snapshot, row, column, frequency]; entries that are not observed hold 0.
        mask : bool, broadcastable to ``observed``; True = observed.

        Returns complex64 of the shape of ``observed``, finite everywhere. Raises InputError on a wrong shape,
        NaN or infinity, or a snapshot of which nothing is observed.
        """
        ...


@runtime_checkable
class LearningPredictor(Predictor, Protocol):
    """A Predictor that needs statistics of channels before it can answer; a benchmark gives it the training split."""

    def learn(self, channels: NDArray[np.complex64]) -> None:
        """Take the statistics of channels complex64 [N, rows, cols, F]; all-zero ones (no path) are left out.

        Learning again starts afresh. Raises InputError on a wrong shape, NaN or infinity, or no channel with a path.
        """
        ...


def check_observation(
    observed: NDArray[np.complex64], mask: NDArray[np.bool_]
) -> tuple[NDArray[np.complex64], NDArray[np.bool_]]:
    """Validate what a Predictor is given; returns ``observed`` with hidden entries zeroed and the full-size mask."""
    observed = np.asarray(observed)
    if observed.ndim != 4 or not np.iscomplexobj(observed):
        raise InputError(
            f"observed has shape {observed.shape} and type {observed.dtype}: give complex "
            "[snapshot, row, column, frequency], e.g. bs.to_grid(h)"
        )
    full_mask = broadcast_mask(mask, observed, "[snapshot, row, column, frequency]")
    observed = np.where(full_mask, observed, 0).astype(np.complex64)
    if not np.isfinite(observed).all():
        raise InputError("observed holds NaN or infinity at observed antennas: remove those snapshots")
    if len(observed) and not full_mask.any(axis=(1, 2, 3)).all():
        raise InputError("the mask hides every antenna of some snapshot: at least one must be observed")
    return observed, full_mask


def broadcast_mask(mask: NDArray[np.bool_], observed: NDArray[np.complex64], axes: str) -> NDArray[np.bool_]:
    """The mask at the size of what was observed; InputError, naming the ``axes``, where it does not broadcast to it."""
    try:
        return np.broadcast_to(np.asarray(mask, dtype=bool), observed.shape)
    except ValueError as error:
        raise InputError(
            f"mask of shape {np.shape(mask)} does not broadcast to observed {observed.shape}: give bool {axes}"
        ) from error


def fold_frequency(grid: NDArray[Scalar]) -> NDArray[Scalar]:
    """[snapshot, row, column, frequency] -> [snapshot * frequency, row, column], a copy."""
    return np.array(np.moveaxis(grid, 3, 1), order="C").reshape(-1, *grid.shape[1:3])


def unfold_frequency(folded: NDArray[np.complex64], frequencies: int) -> NDArray[np.complex64]:
    """Inverse of :func:`fold_frequency`."""
    return np.moveaxis(folded.reshape(-1, frequencies, *folded.shape[1:]), 1, 3)
