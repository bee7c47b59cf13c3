"""The one contract: whatever answers an observation, classical or learned, and the examples that it may learn from."""

from __future__ import annotations

import math
import numbers
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from channelfm.arrays import UPA
from channelfm.checks import all_finite, as_numbers, as_whole
from channelfm.datasets.blocks import Blocks, unlabelled
from channelfm.errors import InputError
from channelfm.observation import (
    Bool,
    Complex,
    Entries,
    Grid,
    Observation,
    broadcast_mask,
    check_amplitudes,
    usable_snapshots,
)
from channelfm.records import Channels
from channelfm.tokens.canonical import WIDEST_SPACING
from channelfm.units import SPEED_OF_LIGHT
from channelfm.waves.scale import scale_exponents, times_power_of_two

CHANNEL = "channel"  # what most estimators give: channels on the grid of the observation
CLASSES = "classes"  # probabilities float64 [N, C] of the classes that a task asks for
POSITION = "position"  # places float64 [N, 3] in metres, in the array's own frame (boresight +x, see Grid)
HALF_A_WAVELENGTH = 0.5
# Without a wave to divide out, channels are the same to statistics and networks when the spacing differs by less than
# over the width of a usual band.
SPACING_TOLERANCE = 1e-2
# Of arrays of which only the spacing in wavelengths is told: the wavelength is then the unit of length.
NOMINAL_HZ = SPEED_OF_LIGHT


class AssumedSpacing(UserWarning):
    """Nobody said how far apart the antennas are, so that a spacing was assumed."""


@runtime_checkable
class Estimator(Protocol):
    """Answers observations. ``name`` is the row name in every table; ``gives`` says what :meth:`estimate` answers."""

    name: str
    gives: str

    def estimate(self, observation: Observation) -> NDArray[Any]:
        """The answer to each of N links, finite everywhere.

        Where ``gives`` is "channel": complex64 [N, T, row, col, F] on the observation's grid; else a quantity that a
        task names (:attr:`channelfm.tasks.base.Task.gives`). The channel of c times an observation is c times that of
        the observation, bit for bit where c is a power of two. Raises InputError for an operator or a grid that the
        estimator cannot work with, and for values that are not finite, of another shape, or of which nothing was seen.
        """
        ...


@dataclass(frozen=True)
class Examples:
    """N observations and U targets: U = N, or one for every ``unit`` observations in turn (the users of one cell share
    a score). ``blocks``: the channels behind the observations and their labels."""

    observation: Observation
    target: NDArray[Any]
    blocks: Blocks
    unit: int = 1

    def __len__(self) -> int:
        return len(self.target)

    @classmethod
    def of_channels(cls, channels: Complex, spacing_wavelengths: float = HALF_A_WAVELENGTH) -> Self:
        """Channels complex64 [N, row, col, F] observed in full without noise, and asked for: for estimators that learn
        statistics of channels. Those that are all zero are left out; InputError where none is left."""
        known = usable_snapshots(channels)
        if not len(known):
            raise InputError("none of the training channels has a path: give the channels of another split")
        observation = antennas_seen(known, np.ones(known.shape, np.bool_), spacing_wavelengths)
        return cls(observation, observation.values, unlabelled(observation.values, observation.grid))

    @property
    def channel(self) -> Complex:
        """The clean channels complex64 [N, T, row, col, F]."""
        return self.blocks.channel

    @property
    def labels(self) -> Channels:
        """Labels of the first frames."""
        return self.blocks.labels

    def only(self, units: slice) -> Examples:
        """Some units and their observations."""
        begin, end, _ = units.indices(len(self))
        rows = slice(begin * self.unit, end * self.unit)
        return replace(
            self,
            observation=self.observation.select(rows),
            target=self.target[begin:end],
            blocks=self.blocks.select(rows),
        )


@runtime_checkable
class Learns(Estimator, Protocol):
    """An Estimator that needs examples first: covariances, a head, an adapted network are all the same to a suite."""

    def learn(self, examples: Examples) -> None:
        """Take what there is to learn; learning again starts afresh. InputError where nothing can be learned."""
        ...


class ChannelEstimator(ABC):
    """An Estimator of channels; subclasses give ``name`` and :meth:`estimate`.

    ``spacing_wavelengths`` of the elements holds where :meth:`predict` is not told any.
    """

    name: str
    gives = CHANNEL
    spacing_wavelengths: float | None = None

    def check(self, observation: Observation) -> None:
        """InputError, in one line, for an observation that this estimator cannot answer whatever it learns: cheap, so
        that suites can ask before they give it a row."""
        observation.check()

    @abstractmethod
    def estimate(self, observation: Observation) -> Complex:
        """See :class:`Estimator`."""

    def predict(self, observed: Complex, mask: Bool, spacing_wavelengths: float | None = None) -> Complex:
        """Channels of a whole array from some antennas: :meth:`estimate` without the trouble of an Observation.

        Parameters
        ----------
        observed : complex64 [snapshot, row, column, frequency]; entries that are not observed hold 0.
        mask : bool, broadcastable to ``observed``; True = observed.
        spacing_wavelengths : of the array's elements, which the data know (``array.spacing_wavelengths``). None: as the
            estimator was told when it was made or, with a warning (:class:`AssumedSpacing`), half a wavelength.

        Returns complex64 of the shape of ``observed``. Raises InputError on a wrong shape, NaN or infinity, amplitudes
        beyond ``WEAKEST`` to ``STRONGEST``, a spacing that is not positive, or a snapshot of which nothing is observed.
        """
        observed, mask = check_observation(observed, mask)
        return self.estimate(antennas_seen(observed, mask, self.known_spacing(spacing_wavelengths)))[:, 0]

    def known_spacing(self, told: float | None) -> float:
        """The element spacing in wavelengths that a caller told, or else this estimator's own, or a guess."""
        return known_spacing(self.name, told, self.spacing_wavelengths)


class SequenceEstimator(ABC):
    """An Estimator of the frames to come, which are those hidden at the end of the observation; it meets valid
    sequences at unit scale. Subclasses give ``name`` and :meth:`future`."""

    name: str
    gives = CHANNEL

    def check(self, observation: Observation) -> None:
        """See :meth:`ChannelEstimator.check`: frames are wanted that are hidden for all sequences."""
        observation.check()
        if _past(observation) == observation.grid.shape[0]:
            raise InputError(f"'{self.name}' predicts frames, and the observation hides none at its end")
        if not observation.mask.any(axis=(1, 2, 3, 4)).all():
            raise InputError("the mask hides all frames of some sequence: at least one entry must be observed")

    def estimate(self, observation: Observation) -> Complex:
        """See :class:`Estimator`: frames of the past hold what was observed of them.

        Raises InputError, too, where no frame is left to predict, and where a network's weights give no finite answer.
        """
        self.check(observation)
        mask, past = observation.mask, _past(observation)
        horizon = observation.grid.shape[0] - past
        answer = np.zeros(observation.values.shape, np.complex64)
        answer[:, :past] = observation.values[:, :past]
        if len(observation):
            frames = torch.from_numpy(answer[:, :past])
            exponents = scale_exponents(frames)
            future = self.future(times_power_of_two(frames, -exponents).numpy(), mask[:, :past], horizon)
            check_answer(future, self.name)
            answer[:, past:] = times_power_of_two(torch.from_numpy(future), exponents).numpy()
        return answer

    def predict(self, past: Complex, mask: Bool, horizon: int) -> Complex:
        """The next ``horizon`` frames: :meth:`estimate` without the trouble of an Observation.

        Parameters
        ----------
        past : complex64 [N, T, row, col, frequency], evenly spaced in time; entries not observed hold 0.
        mask : bool, broadcastable to ``past``; True = observed.
        horizon : frames to predict, at least 1.

        Returns complex64 [N, horizon, row, col, frequency]. Raises InputError as :meth:`estimate` does.
        """
        past, mask = check_past(past, mask, horizon)
        steps, (_, _, rows, cols, frequencies) = past.shape[1], past.shape
        grid = Grid(UPA(rows, cols, NOMINAL_HZ), np.arange(float(steps + horizon)), np.full(frequencies, NOMINAL_HZ))
        ahead = ((0, 0), (0, horizon), (0, 0), (0, 0), (0, 0))
        return self.estimate(Observation(np.pad(past, ahead), Entries(np.pad(mask, ahead)), grid))[:, steps:]

    @abstractmethod
    def future(self, past: Complex, mask: Bool, horizon: int) -> Complex:
        """The next frames complex64 of at least one sequence whose largest component lies in [1/2, 1), 0 where hidden,
        and a full-size mask."""


def _past(observation: Observation) -> int:
    """Frames up to the last of which anything is seen."""
    seen = np.flatnonzero(observation.mask.any(axis=(0, 2, 3, 4)))
    return int(seen[-1]) + 1 if len(seen) else 0


def antennas_seen(observed: Complex, mask: Bool, spacing_wavelengths: float) -> Observation:
    """The Observation of single snapshots [N, row, col, F] by an array of which only the spacing is known."""
    _, rows, cols, frequencies = observed.shape
    array = UPA(rows, cols, NOMINAL_HZ, spacing_wavelengths=spacing_wavelengths)
    grid = Grid(array, np.zeros(1), np.full(frequencies, NOMINAL_HZ))
    return Observation(observed[:, None], Entries(mask[:, None]), grid)


def known_spacing(name: str, *told: float | None, otherwise: float = HALF_A_WAVELENGTH) -> float:
    """The first element spacing in wavelengths that estimator ``name`` was told, or ``otherwise``, with a warning.

    Raises InputError as :func:`checked_spacing` does.
    """
    for spacing in told:
        if spacing is not None:
            return checked_spacing(spacing)
    warnings.warn(
        f"'{name}' is not told how far apart the antennas are and assumes {otherwise:g} wavelengths; "
        "give spacing_wavelengths=array.spacing_wavelengths",
        AssumedSpacing,
        stacklevel=4,
    )
    return otherwise


def checked_spacing(spacing_wavelengths: float) -> float:
    """The spacing; InputError unless it is positive and at most ``WIDEST_SPACING``."""
    if not (isinstance(spacing_wavelengths, numbers.Real) and 0 < spacing_wavelengths <= WIDEST_SPACING):
        told = str(spacing_wavelengths)[:40]
        raise InputError(f"spacing_wavelengths = {told}: give one above 0, up to {WIDEST_SPACING:g}, e.g. 0.5")
    return spacing_wavelengths


def same_spacing(one: float, other: float) -> bool:
    """Whether channels of two spacings are the same to statistics and networks."""
    return math.isclose(one, other, rel_tol=SPACING_TOLERANCE)


def check_observation(observed: Complex, mask: Bool) -> tuple[Complex, Bool]:
    """Validate what :meth:`ChannelEstimator.predict` is given; returns ``observed`` with hidden entries zeroed and the
    full-size mask. PyTorch tensors are taken as well."""
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


def check_past(past: Complex, mask: Bool, horizon: int) -> tuple[Complex, Bool]:
    """Validate what :meth:`SequenceEstimator.predict` is given; returns ``past``, zero where hidden, and the full-size
    mask."""
    past = as_numbers(past, "past frames")
    full_mask = broadcast_mask(mask, past, "[sequence, frame, row, column, frequency]")
    past = checked_sequences(np.where(full_mask, past, np.zeros((), past.dtype)), "past frames")
    as_whole(horizon, "horizon")
    if not full_mask.any(axis=(1, 2, 3, 4)).all():
        raise InputError("the mask hides all frames of some sequence: at least one entry must be observed")
    return past, full_mask


def checked_sequences(frames: Complex, name: str) -> Complex:
    """Sequences as complex64; InputError where they are none."""
    frames = as_numbers(frames, name)
    if frames.ndim != 5 or not np.iscomplexobj(frames) or 0 in frames.shape[1:]:
        raise InputError(
            f"{name} of shape {frames.shape} and type {frames.dtype}: give complex "
            "[sequence, frame, row, column, frequency], none of them empty"
        )
    check_amplitudes(frames, name)
    return frames.astype(np.complex64, copy=False)


def check_answer(answer: NDArray[Any], name: str) -> None:
    """InputError where what a network answers is not finite, as when its weights overflow."""
    if not all_finite(answer):
        raise InputError(
            f"model '{name}' answers with NaN or infinity: its weights or the input are too large for it; train it "
            "again, or take another checkpoint"
        )
