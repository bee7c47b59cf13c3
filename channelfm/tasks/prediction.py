"""Channel prediction: the next frames from past ones that are noisy or sparse (seed 004, section V)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from channelfm.checks import as_numbers, as_whole
from channelfm.errors import InputError
from channelfm.tasks.extrapolation import check_draw
from channelfm.tasks.predictor import broadcast_mask, check_amplitudes, check_answer
from channelfm.units import db_to_power
from channelfm.waves.scale import scale_exponents, times_power_of_two

Complex = NDArray[np.complex64]
Bool = NDArray[np.bool_]


@runtime_checkable
class SequencePredictor(Protocol):
    """Predicts the frames that follow a sequence of frames; ``name`` is the row name in every table."""

    name: str

    def predict(self, past: Complex, mask: Bool, horizon: int) -> Complex:
        """The next ``horizon`` frames.

        Parameters
        ----------
        past : complex64 [N, T, row, col, frequency], evenly spaced in time; entries not observed hold 0.
        mask : bool, broadcastable to ``past``; True = observed.
        horizon : frames to predict, at least 1.

        Returns complex64 [N, horizon, row, col, frequency], finite everywhere. The answer to c x is c times the answer
        to x, bit for bit where c is a power of two. Raises InputError on a wrong shape, NaN or infinity, amplitudes as
        a Predictor does, a horizon that is no whole number from 1 on, and a sequence of which nothing is observed.
        """
        ...


@runtime_checkable
class LearningSequencePredictor(SequencePredictor, Protocol):
    """A SequencePredictor that needs statistics of channels first; a benchmark gives it the training split."""

    def learn(self, sequences: Complex) -> None:
        """Take the statistics of clean sequences complex64 [N, T, row, col, frequency]; again starts afresh."""
        ...


class ScaledSequencePredictor(ABC):
    """A SequencePredictor whose :meth:`future` meets valid sequences at unit scale; subclasses give it and ``name``."""

    name: str

    def predict(self, past: Complex, mask: Bool, horizon: int) -> Complex:
        """See :class:`SequencePredictor`; InputError, too, where a network's weights give no finite answer."""
        past, mask = check_past(past, mask, horizon)
        if not len(past):
            return np.zeros((0, horizon, *past.shape[2:]), np.complex64)
        frames = torch.from_numpy(past)
        exponents = scale_exponents(frames)
        future = self.future(times_power_of_two(frames, -exponents).numpy(), mask, horizon)
        check_answer(future, self.name)
        return times_power_of_two(torch.from_numpy(future), exponents).numpy()

    @abstractmethod
    def future(self, past: Complex, mask: Bool, horizon: int) -> Complex:
        """The next frames complex64 of at least one sequence whose largest component lies in [1/2, 1), 0 where hidden,
        and a full-size mask."""


@dataclass(frozen=True)
class PredictionExamples:
    """``past`` complex64 [N, T, row, col, F], 0 where hidden; ``mask`` bool [1, 1, 1, 1, F], True = observed;
    ``future`` complex64 [N, horizon, row, col, F], clean."""

    past: Complex
    mask: Bool
    future: Complex


def prediction_examples(
    sequences: Complex,
    context: int = 10,
    horizon: int = 8,
    comb: int = 1,
    snr_db: float | None = None,
    seed: int = 0,
) -> PredictionExamples:
    """Frames 0 .. ``context`` - 1 of sequences as the past, and the ``horizon`` frames after them.

    Of the past, subcarriers 0, ``comb``, 2 ``comb``, ... are observed in every frame, as comb pilots are. ``snr_db``
    adds white complex Gaussian noise at that ratio of the mean power of each sequence's past; None leaves it clean.
    The noise depends on seed and shape alone, scaled, so that every predictor meets the same.

    Raises InputError for sequences of another shape, shorter than context + horizon, not finite or zero everywhere in
    the past, and for a comb that observes fewer than two subcarriers.
    """
    sequences = _checked_sequences(sequences, "sequences")
    for name, count in (("context", context), ("horizon", horizon), ("comb", comb)):
        as_whole(count, name)
    check_draw(seed, snr_db)
    frames, frequencies = sequences.shape[1], sequences.shape[4]
    if frames < context + horizon:
        raise InputError(
            f"sequences of {frames} frames are shorter than context {context} + horizon {horizon}: "
            "give longer ones, or less of either"
        )
    if comb > 1 and -(-frequencies // comb) < 2:
        raise InputError(f"comb {comb} leaves fewer than two of {frequencies} subcarriers: give a smaller one")
    past = sequences[:, :context]
    if not np.any(past != 0, axis=(1, 2, 3, 4)).all():
        raise InputError("a sequence is zero in all of its past (no path): leave it out")
    if snr_db is not None:
        generator = np.random.default_rng((seed, *b"sequence noise"))
        parts = generator.standard_normal((*past.shape, 2), dtype=np.float32) / np.float32(np.sqrt(2.0))
        power = np.mean(np.abs(past).astype(np.float64) ** 2, axis=(1, 2, 3, 4), keepdims=True)
        past = past + np.sqrt(power / db_to_power(snr_db)).astype(np.float32) * (parts[..., 0] + 1j * parts[..., 1])
    mask = (np.arange(frequencies) % comb == 0).reshape(1, 1, 1, 1, -1)
    future = sequences[:, context : context + horizon]
    return PredictionExamples(np.where(mask, past, 0).astype(np.complex64), mask, future)


def check_past(past: Complex, mask: Bool, horizon: int) -> tuple[Complex, Bool]:
    """Validate what a SequencePredictor is given; returns ``past``, zero where hidden, and the full-size mask."""
    past = as_numbers(past, "past frames")
    full_mask = broadcast_mask(mask, past, "[sequence, frame, row, column, frequency]")
    past = _checked_sequences(np.where(full_mask, past, np.zeros((), past.dtype)), "past frames")
    as_whole(horizon, "horizon")
    if not full_mask.any(axis=(1, 2, 3, 4)).all():
        raise InputError("the mask hides all frames of some sequence: at least one entry must be observed")
    return past, full_mask


def _checked_sequences(frames: Complex, name: str) -> Complex:
    """Sequences as complex64; InputError where they are none."""
    frames = as_numbers(frames, name)
    if frames.ndim != 5 or not np.iscomplexobj(frames) or 0 in frames.shape[1:]:
        raise InputError(
            f"{name} of shape {frames.shape} and type {frames.dtype}: give complex "
            "[sequence, frame, row, column, frequency], none of them empty"
        )
    check_amplitudes(frames, name)
    return frames.astype(np.complex64, copy=False)
