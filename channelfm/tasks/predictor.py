"""What a benchmark sees: anything that turns a partial observation into a full channel.

A network and a classical estimator are the same thing here, so that one table can hold both.
"""

from __future__ import annotations

import numbers
import warnings
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from channelfm.checks import all_finite, as_numbers
from channelfm.errors import InputError
from channelfm.tokens.canonical import WIDEST_SPACING

Scalar = TypeVar("Scalar", bound=np.generic)

WEAKEST, STRONGEST = 1e-24, 1e24  # largest amplitude of a channel: 120 dB beyond any link's, to either side
HALF_A_WAVELENGTH = 0.5
# Without a wave to divide out, channels are the same to statistics and networks when the spacing differs by less than
# over the width of a usual band.
SPACING_TOLERANCE = 1e-2


class AssumedSpacing(UserWarning):
    """Nobody said how far apart the antennas are, so that a spacing was assumed."""


@runtime_checkable
class Predictor(Protocol):
    """Reconstructs channels of a planar array from the antennas that were observed.

    ``name`` is the row name in every table.
    """

    name: str

    def predict(
        self,
        observed: NDArray[np.complex64],
        mask: NDArray[np.bool_],
        spacing_wavelengths: float | None = None,
    ) -> NDArray[np.complex64]:
        """Full channels from partial ones.

        Parameters
        ----------
        observed : complex64 [snapshot, row, column, frequency]; entries that are not observed hold 0.
        mask : bool, broadcastable to ``observed``; True = observed.
        spacing_wavelengths : of the array's elements, which the data know (``array.spacing_wavelengths``). None: as the
            predictor was told when it was made or, with a warning (:class:`AssumedSpacing`), half a wavelength.

        Returns complex64 of the shape of ``observed``, finite everywhere. The answer to c x is c times the answer to x,
        bit for bit where c is a power of two. Raises InputError on a wrong shape, NaN or infinity, amplitudes beyond
        ``WEAKEST`` to ``STRONGEST``, a spacing that is not positive, or a snapshot of which nothing is observed.
        """
        ...


@runtime_checkable
class LearningPredictor(Predictor, Protocol):
    """A Predictor that needs statistics of channels before it can answer; a benchmark gives it the training split."""

    def learn(self, channels: NDArray[np.complex64], spacing_wavelengths: float | None = None) -> None:
        """Take the statistics of channels complex64 [N, rows, cols, F]; all-zero ones (no path) are left out.

        ``spacing_wavelengths``: as for ``predict``. Learning again starts afresh. Raises InputError on a wrong shape,
        NaN or infinity, or no channel with a path.
        """
        ...


def known_spacing(name: str, *told: float | None, otherwise: float = HALF_A_WAVELENGTH) -> float:
    """The first element spacing in wavelengths that predictor ``name`` was told, or ``otherwise``, with a warning.

    To be called by the method that a user calls. Raises InputError as :func:`checked_spacing` does.
    """
    for spacing in told:
        if spacing is not None:
            return checked_spacing(spacing)
    warnings.warn(
        f"'{name}' is not told how far apart the antennas are and assumes {otherwise:g} wavelengths; "
        "give spacing_wavelengths=array.spacing_wavelengths",
        AssumedSpacing,
        stacklevel=3,
    )
    return otherwise


def checked_spacing(spacing_wavelengths: float) -> float:
    """The spacing; InputError unless it is positive and at most ``WIDEST_SPACING``."""
    if not (isinstance(spacing_wavelengths, numbers.Real) and 0 < spacing_wavelengths <= WIDEST_SPACING):
        told = str(spacing_wavelengths)[:40]
        raise InputError(f"spacing_wavelengths = {told}: give one above 0, up to {WIDEST_SPACING:g}, e.g. 0.5")
    return spacing_wavelengths


def check_observation(
    observed: NDArray[np.complex64], mask: NDArray[np.bool_]
) -> tuple[NDArray[np.complex64], NDArray[np.bool_]]:
    """Validate what a Predictor is given; returns ``observed`` with hidden entries zeroed and the full-size mask.

    PyTorch tensors are taken as well. Raises InputError as :meth:`Predictor.predict` says.
    """
    axes = "[snapshot, row, column, frequency]"
    observed = as_numbers(observed, "observed")
    if observed.ndim != 4 or not np.iscomplexobj(observed) or 0 in observed.shape[1:]:
        raise InputError(
            f"observed has shape {observed.shape} and type {observed.dtype}: give complex {axes}, none of them empty, "
            "e.g. bs.to_grid(h)"
        )
    full_mask = broadcast_mask(mask, observed, axes)
    observed = np.where(full_mask, observed, np.zeros((), observed.dtype))
    check_amplitudes(observed, "observed")
    if not full_mask.any(axis=(1, 2, 3)).all():
        raise InputError("the mask hides every antenna of some snapshot: at least one must be observed")
    return observed.astype(np.complex64), full_mask


def check_amplitudes(channels: NDArray[Any], name: str) -> None:
    """InputError where channels [N, ...] hold NaN or infinity, or are so strong or weak as a whole that their powers
    leave single precision. Those that are zero have no path, and pass."""
    if not all_finite(channels):
        raise InputError(f"{name}: NaN or infinity at observed entries: remove those samples")
    parts = np.maximum(np.abs(channels.real), np.abs(channels.imag))
    largest = parts.max(axis=tuple(range(1, parts.ndim)))
    outside = np.flatnonzero((largest > STRONGEST) | ((largest < WEAKEST) & (largest > 0)))
    if len(outside):
        raise InputError(
            f"{name}: amplitudes up to {largest[outside[0]]:.1e} in sample {outside[0]}: scale it to between "
            f"{WEAKEST:.0e} and {STRONGEST:.0e}"
        )


def check_answer(answer: NDArray[Any], name: str) -> None:
    """InputError where what a network answers is not finite, as when its weights overflow."""
    if not all_finite(answer):
        raise InputError(
            f"model '{name}' answers with NaN or infinity: its weights or the input are too large for it; train it "
            "again, or take another checkpoint"
        )


def broadcast_mask(mask: NDArray[np.bool_], observed: NDArray[np.complex64], axes: str) -> NDArray[np.bool_]:
    """The mask at the size of what was observed; InputError, naming the ``axes``, where it does not broadcast to it,
    or holds anything but true and false (or 1 and 0)."""
    given = as_numbers(mask, "mask")
    if given.dtype != np.bool_ and not np.isin(given, (0, 1)).all():
        raise InputError(f"mask holds {given.dtype} other than 0 and 1: give bool {axes}")
    try:
        return np.broadcast_to(given.astype(bool), observed.shape)
    except ValueError as error:
        raise InputError(
            f"mask of shape {given.shape} does not broadcast to observed {observed.shape}: give bool {axes}"
        ) from error


def fold_frequency(grid: NDArray[Scalar]) -> NDArray[Scalar]:
    """[snapshot, row, column, frequency] -> [snapshot * frequency, row, column], a copy."""
    return np.array(np.moveaxis(grid, 3, 1), order="C").reshape(-1, *grid.shape[1:3])


def unfold_frequency(folded: NDArray[np.complex64], frequencies: int) -> NDArray[np.complex64]:
    """Inverse of :func:`fold_frequency`."""
    return np.moveaxis(folded.reshape(-1, frequencies, *folded.shape[1:]), 1, 3)
