"""What was received of a channel, and where it is asked for: the noun between data, estimators and tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from channelfm.arrays import UPA
from channelfm.checks import all_finite, as_numbers, as_whole
from channelfm.errors import InputError
from channelfm.hardware import Hardware
from channelfm.records import HIGHEST_HZ, Record
from channelfm.units import db_to_power

Complex = NDArray[np.complex64]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)

WEAKEST, STRONGEST = 1e-24, 1e24  # largest amplitude of a channel: 120 dB beyond any link's, to either side
LARGEST_SNR_DB = 200.0  # beyond what single precision tells
LARGEST_SIDE = 2**20  # of arrays and measurements that a file may name: what is drawn takes memory
_PHASES = np.array([1, 1j, -1, -1j], np.complex64)  # of a two-bit phase shifter


@dataclass(frozen=True)
class Grid(Record):
    """Where a channel is asked for: ``times_s`` float64 [T], evenly spaced; the rows and columns of ``array``;
    ``frequencies_hz`` float64 [F], each once for every polarisation. Where several links share a grid, places are told
    in the array's own frame."""

    array: UPA
    times_s: Float
    frequencies_hz: Float

    axes: ClassVar[dict[str, str]] = {"times_s": "float T", "frequencies_hz": "float F"}

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(T, rows, columns, F)."""
        return len(self.times_s), self.array.rows, self.array.cols, len(self.frequencies_hz)

    @property
    def polarizations(self) -> int:
        """How often it has each frequency."""
        return int(np.sum(self.frequencies_hz == self.frequencies_hz[0]))

    @property
    def tones_hz(self) -> Float:
        """The frequencies, each once."""
        return self.frequencies_hz[: len(self.frequencies_hz) // self.polarizations]

    def check(self) -> None:
        """See :meth:`Record.check`."""
        super().check()
        if not (all_finite(self.times_s) and ((self.frequencies_hz > 0) & (self.frequencies_hz <= HIGHEST_HZ)).all()):
            raise ValueError("times are not finite, or frequencies are no frequencies")

    @classmethod
    def _decode(cls, plain: dict[str, Any]) -> dict[str, Any]:
        return plain | {"array": UPA.of_plain(plain["array"])}


class Operator(Record, ABC):
    """How measurements follow from channels: linear, so that its two directions are all that a solver needs."""

    @abstractmethod
    def forward(self, channel: Complex) -> Complex:
        """Measurements of channels complex64 [N, T, row, col, F]."""

    @abstractmethod
    def adjoint(self, values: Complex) -> Complex:
        """Channels of measurements, such that <forward(h), y> = <h, adjoint(y)> for all h and y."""

    @abstractmethod
    def select(self, index: Any) -> Self:
        """That of the links which a NumPy index picks."""

    @abstractmethod
    def shape(self, grid: Grid) -> tuple[int, ...]:
        """Shape of one link's measurements; InputError where the operator does not fit the grid."""

    @property
    @abstractmethod
    def count(self) -> int | None:
        """Of how many links it is; None where all links are measured alike."""

    def _parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        arrays, plain = super()._parts()
        return arrays, plain | {"operator": type(self).__name__}

    @classmethod
    def _of_parts(cls, arrays: dict[str, NDArray[Any]], plain: dict[str, Any]) -> Any:
        if cls is not Operator:
            return super()._of_parts(arrays, {name: value for name, value in plain.items() if name != "operator"})
        return OPERATORS[plain["operator"]]._of_parts(arrays, plain)


@dataclass(frozen=True)
class Entries(Operator):
    """Single entries of the channel: ``mask`` bool [N or 1, T, row, col, F], or 1 along any axis; True = measured.

    Measurements keep the grid's shape, with 0 where nothing was measured.
    """

    mask: Bool

    axes: ClassVar[dict[str, str]] = {"mask": "bool N T R K F"}

    def forward(self, channel: Complex) -> Complex:
        """See :class:`Operator`."""
        return np.where(self.mask, channel, np.complex64(0)).astype(np.complex64, copy=False)

    def adjoint(self, values: Complex) -> Complex:
        """See :class:`Operator`: entries are their own adjoint."""
        return self.forward(values)

    def select(self, index: Any) -> Entries:
        """See :class:`Operator`."""
        return self if len(self.mask) == 1 else Entries(self.mask[index])

    def shape(self, grid: Grid) -> tuple[int, ...]:
        """See :class:`Operator`."""
        if any(found not in (1, whole) for found, whole in zip(self.mask.shape[1:], grid.shape, strict=True)):
            raise InputError(f"mask of {self.mask.shape[1:]} for one link does not fit the grid of {grid.shape}")
        return grid.shape

    @property
    def count(self) -> int | None:
        """See :class:`Operator`."""
        return None if len(self.mask) == 1 else len(self.mask)


class Combining(Operator):
    """RF chains of a hybrid array: each measurement is a weighted sum over all antennas, y = W^H h, alike at all times
    and frequencies. Measurements are [N, T, Q, F]; noise that enters at the antennas stays white only where the columns
    of W are orthonormal, so noise is told per measurement."""

    @abstractmethod
    def weights_of(self, link: int) -> Complex:
        """The weights complex64 [Q, row, col] of a link."""

    @property
    @abstractmethod
    def size(self) -> tuple[int, int, int]:
        """(Q, rows, columns)."""

    def forward(self, channel: Complex) -> Complex:
        """See :class:`Operator`."""
        flat = channel.reshape(*channel.shape[:2], -1, channel.shape[-1])
        measured = np.empty((*channel.shape[:2], self.size[0], channel.shape[-1]), np.complex64)
        for link, part in enumerate(flat):
            measured[link] = (self._rows(link) @ part.conj()).conj()  # the weights are the larger of the two
        return measured

    def adjoint(self, values: Complex) -> Complex:
        """See :class:`Operator`."""
        _, rows, cols = self.size
        channel = np.empty((*values.shape[:2], rows * cols, values.shape[-1]), np.complex64)
        for link, part in enumerate(values):
            channel[link] = self._rows(link).T @ part
        return channel.reshape(*values.shape[:2], rows, cols, values.shape[-1])

    def shape(self, grid: Grid) -> tuple[int, ...]:
        """See :class:`Operator`."""
        measurements, rows, cols = self.size
        if (rows, cols) != grid.shape[1:3]:
            raise InputError(
                f"weights of {rows} x {cols} antennas do not fit an array of {grid.shape[1]} x {grid.shape[2]}"
            )
        return grid.shape[0], measurements, grid.shape[3]

    def _rows(self, link: int) -> Complex:
        weights = self.weights_of(link)
        return weights.reshape(len(weights), -1)


@dataclass(frozen=True)
class Combined(Combining):
    """RF chains with stored ``weights`` complex64 [N or 1, Q, row, col]."""

    weights: Complex

    axes: ClassVar[dict[str, str]] = {"weights": "complex N Q R K"}

    def check(self) -> None:
        """See :meth:`Record.check`."""
        super().check()
        if not all_finite(self.weights):
            raise ValueError("'weights' holds NaN or infinity")

    def weights_of(self, link: int) -> Complex:
        """See :class:`Combining`."""
        weights: Complex = self.weights[link if len(self.weights) > 1 else 0]
        return weights

    @property
    def size(self) -> tuple[int, int, int]:
        """See :class:`Combining`."""
        return self.weights.shape[1], self.weights.shape[2], self.weights.shape[3]

    @property
    def count(self) -> int | None:
        """See :class:`Operator`."""
        return None if len(self.weights) == 1 else len(self.weights)

    def select(self, index: Any) -> Combined:
        """See :class:`Operator`."""
        return self if len(self.weights) == 1 else Combined(self.weights[index])


@dataclass(frozen=True)
class RandomlyCombined(Combining):
    """RF chains whose phase shifters are drawn anew for every measurement, from a seed: dense weights of a thousand
    links take gigabytes.

    The weights of link ``links[n]`` (int64 [N]) are drawn from (``seed``, links[n]): one of four phases each, over the
    square root of the number of antennas. ``measurements`` Q are chains times pilot slots.
    """

    seed: int
    links: NDArray[np.int64]
    measurements: int
    rows: int
    cols: int

    axes: ClassVar[dict[str, str]] = {"links": "int N"}

    def __post_init__(self) -> None:
        for name in ("measurements", "rows", "cols"):
            as_whole(getattr(self, name), name)
        as_whole(self.seed, "seed", 0)

    def check(self) -> None:
        """See :meth:`Record.check`."""
        super().check()
        if (self.links < 0).any() or max(self.size) > LARGEST_SIDE:
            raise ValueError(f"links have numbers from 0 on, and sides are at most {LARGEST_SIDE}")

    def weights_of(self, link: int) -> Complex:
        """See :class:`Combining`."""
        generator = np.random.default_rng((self.seed, int(self.links[link]), *b"weights"))
        phases = (_PHASES / np.sqrt(self.rows * self.cols)).astype(np.complex64)
        return np.asarray(phases[generator.integers(4, size=self.size, dtype=np.uint8)])

    @property
    def size(self) -> tuple[int, int, int]:
        """See :class:`Combining`."""
        return self.measurements, self.rows, self.cols

    @property
    def count(self) -> int | None:
        """See :class:`Operator`."""
        return len(self.links)

    def select(self, index: Any) -> RandomlyCombined:
        """See :class:`Operator`."""
        return replace(self, links=self.links[index])


# Class name, as files have it -> operator
OPERATORS: dict[str, type[Operator]] = {kind.__name__: kind for kind in (Entries, Combined, RandomlyCombined)}


@dataclass(frozen=True)
class Observation(Record):
    """``values`` = operator(channel) + white complex noise of power ``noise`` float64 [N] per value (None: not told; 0:
    clean), of channels on ``grid``. ``hardware``: what is known of imperfect hardware, which has changed the values
    (:mod:`channelfm.impairments`); None: nothing, and whoever does not ask takes values as they are.

    A Record: a file, a request's body and a kept cell hold the same bytes.
    """

    values: Complex
    operator: Operator
    grid: Grid
    noise: Float | None = None
    hardware: Hardware | None = None

    nested: ClassVar[dict[str, type[Record]]] = {"operator": Operator, "grid": Grid, "hardware": Hardware}

    def __len__(self) -> int:
        return len(self.values)

    def select(self, index: Any) -> Observation:
        """The links that a NumPy index picks."""
        noise = None if self.noise is None else self.noise[index]
        return replace(self, values=self.values[index], operator=self.operator.select(index), noise=noise)

    @property
    def mask(self) -> Bool:
        """Which entries were measured, bool [N, *grid.shape]; InputError where measurements are no single entries."""
        if not isinstance(self.operator, Entries):
            raise InputError(f"it takes single entries of the channel, no measurements of kind {self.kind}")
        return np.broadcast_to(self.operator.mask, (len(self), *self.grid.shape))

    @property
    def kind(self) -> str:
        """Class name of the operator."""
        return type(self.operator).__name__

    def check(self) -> None:
        """See :meth:`Record.check`; InputError, too, says why an estimator can do nothing with these measurements."""
        for part in (self.operator, self.grid, self.hardware):
            if part is not None:
                part.check()
        wanted = self.operator.shape(self.grid)
        if self.values.shape[1:] != wanted or not np.iscomplexobj(self.values):
            raise InputError(
                f"values have shape {self.values.shape} and type {self.values.dtype}: give complex of [link, "
                f"{', '.join(map(str, wanted))}]"
            )
        if self.operator.count not in (None, len(self)):
            raise InputError(f"the operator measures {self.operator.count} links, and the values are of {len(self)}")
        told = np.zeros(len(self)) if self.noise is None else self.noise
        if told.shape != (len(self),) or not (told >= 0).all() or not all_finite(told):
            raise InputError("noise: give one power of at least 0 for each link, or None")
        check_amplitudes(self.values, "observed")

    def _parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        arrays, plain = super()._parts()
        if self.hardware is None:  # such observations have the bytes that they had before hardware was told
            del plain["hardware"]
        return arrays, plain


def observe(
    channel: Complex, operator: Operator, grid: Grid, snr_db: float | None, generator: np.random.Generator
) -> Observation:
    """What an operator measures of channels [N, *grid.shape]. The one place where noise is drawn.

    ``snr_db`` is each channel's mean power over that of the noise on each measurement; None leaves them clean.
    """
    values = operator.forward(channel)
    if snr_db is None:
        return Observation(values, operator, grid, np.zeros(len(channel)))
    parts = generator.standard_normal((*values.shape, 2), dtype=np.float32) / np.float32(np.sqrt(2.0))
    power = np.mean(np.abs(channel).astype(np.float64) ** 2, axis=tuple(range(1, channel.ndim)))
    noise = power / db_to_power(snr_db)
    scale = np.sqrt(noise).astype(np.float32).reshape(-1, *[1] * (values.ndim - 1))
    noisy = (values + scale * (parts[..., 0] + 1j * parts[..., 1])).astype(np.complex64)
    return Observation(operator.forward(noisy) if isinstance(operator, Entries) else noisy, operator, grid, noise)


def check_draw(seed: int, snr_db: float | None) -> None:
    """InputError for a seed that draws nothing, and a signal-to-noise ratio beyond what single precision tells."""
    as_whole(seed, "seed", 0)
    if snr_db is not None and not (isinstance(snr_db, float | int | np.number) and abs(snr_db) <= LARGEST_SNR_DB):
        raise InputError(f"snr_db = {str(snr_db)[:40]}: give a number up to {LARGEST_SNR_DB:g} either way, or None")


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


def broadcast_mask(mask: Bool, observed: NDArray[Any], axes: str) -> Bool:
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


def usable_snapshots(grid: Complex) -> Complex:
    """Channels complex64 [N, rows, cols, F] without those that are all zero; InputError on another shape, NaN, infinity
    and amplitudes that no estimator takes."""
    grid = as_numbers(grid, "channels")
    if grid.ndim != 4 or not np.iscomplexobj(grid) or 0 in grid.shape[1:]:
        raise InputError(
            f"channels have shape {grid.shape} and type {grid.dtype}: give complex [snapshot, row, column, frequency], "
            "none of them empty"
        )
    check_amplitudes(grid, "channels")
    return np.asarray(grid[np.any(grid != 0, axis=(1, 2, 3))], dtype=np.complex64)


def fold_frequency(grid: NDArray[Scalar]) -> NDArray[Scalar]:
    """[snapshot, row, column, frequency] -> [snapshot * frequency, row, column], a copy."""
    return np.array(np.moveaxis(grid, 3, 1), order="C").reshape(-1, *grid.shape[1:3])


def unfold_frequency(folded: Complex, frequencies: int) -> Complex:
    """Inverse of :func:`fold_frequency`."""
    return np.moveaxis(folded.reshape(-1, frequencies, *folded.shape[1:]), 1, 3)
