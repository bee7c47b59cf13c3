"""Where training channels come from: arrays in memory, or paths from which channels are synthesised on the fly.

A source answers for links (one polarisation of one snapshot that has a path) seen by a :class:`View`: an array of some
size at some place, roll and frequency. From paths any view within the traced aperture costs the same, so augmentation
is free; from arrays only sub-arrays can be cut out.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channelfm.arrays import UPA
from channelfm.channels.compact import CompactPaths, expand
from channelfm.datasets.blocks import spread
from channelfm.errors import InputError
from channelfm.learned.recipe import ClusterModel, MixtureModel, PriorModel, SequenceModel
from channelfm.observation import fold_frequency, usable_snapshots
from channelfm.pretraining.recipe import PretrainRecipe, SourceRecipe

_ROUNDING = 1e-9  # in element spacings

Integers = NDArray[np.int64]
Float = NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """An array that links are seen by: ``size`` (rows, columns); ``place`` in [0, 1)^2, its share of the way from the
    first to the last row and column at which it fits; ``roll_rad``; ``detune_hz``, the frequency less the carrier."""

    size: tuple[int, int]
    place: tuple[float, float] = (0.0, 0.0)
    roll_rad: float = 0.0
    detune_hz: float = 0.0

    def corner(self, rows: int, cols: int) -> tuple[int, int]:
        """Row and column of the stored array at which the view begins."""
        free = rows - self.size[0] + 1, cols - self.size[1] + 1
        return int(self.place[0] * free[0]), int(self.place[1] * free[1])


class ArraySource:
    """Channels complex64 [S, rows, cols, F] in memory; every frequency of a snapshot with a path is a link.

    Raises InputError when none has any, or on NaN and infinity.
    """

    def __init__(self, grid: NDArray[np.complex64]) -> None:
        self.grid = fold_frequency(usable_snapshots(grid))
        self.grid = self.grid[self.grid.any(axis=(1, 2))]
        if not len(self.grid):
            raise InputError("no training channel has any path: generate a data set with links that do")

    def __len__(self) -> int:
        return len(self.grid)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the largest array that fits into all links' apertures."""
        return self.grid.shape[1], self.grid.shape[2]

    def fingerprint(self) -> str:
        """SHA-256 over all that examples depend on."""
        return _sha256([self.grid])

    def check(self, recipe: PretrainRecipe) -> None:
        """InputError if the source cannot give what the recipe asks for."""
        check_sizes(self, recipe.source)
        for name in ("roll_deg", "bandwidth_hz", "latest_s"):
            if getattr(recipe.source, name) > 0:
                raise InputError(
                    f"source.{name} = {getattr(recipe.source, name)}: needs paths, and this data set holds channels; "
                    "set it to 0 or generate the data with -s channel.storage=paths"
                )

    def channels(self, links: Integers, view: View, offset_s: Float, device: torch.device) -> Tensor:
        """Channels complex64 [N, rows, cols] on ``device`` of ``links`` [N], ``offset_s`` [N] after their snapshots.

        All-zero where the view's antennas see nothing of a link. Of arrays, a view only cuts.
        """
        row, col = view.corner(*self.size)
        cut = self.grid[links, row : row + view.size[0], col : col + view.size[1]]
        return torch.from_numpy(cut).to(device)


class PathSource:
    """Compact paths, as ``Dataset.paths`` gives them, of one or several data sets and any number of arrays.

    Raises InputError when no link has any path.
    """

    def __init__(self, paths: Sequence[tuple[UPA, CompactPaths]]) -> None:
        alike: dict[tuple[UPA, int], list[CompactPaths]] = {}
        for array, compact in paths:
            if compact.has_path.any():
                # Where an array stands and looks does not matter to channels relative to it.
                local = dataclasses.replace(array, position=(0.0, 0.0, 0.0), orientation_rad=(0.0, 0.0, 0.0))
                seen = dataclasses.replace(compact.select(compact.has_path), array=local)
                alike.setdefault((local, compact.polarizations), []).append(seen)
        if not alike:
            raise InputError("no training channel has any path: generate a data set with links that do")
        self.records = [CompactPaths.concatenate(parts) for parts in alike.values()]
        links = [len(record) * record.array.num_polarizations for record in self.records]
        self._ends = np.cumsum(links)

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def size(self) -> tuple[int, int]:
        """See :class:`ArraySource`."""
        arrays = [record.array for record in self.records]
        return min(array.rows for array in arrays), min(array.cols for array in arrays)

    def fingerprint(self) -> str:
        """See :class:`ArraySource`."""
        values: list[Any] = []
        for record in self.records:
            values += [getattr(record, item.name) for item in dataclasses.fields(record)]
        return _sha256(values)

    def check(self, recipe: PretrainRecipe) -> None:
        """See :class:`ArraySource`."""
        check_sizes(self, recipe.source)
        spacing_wavelengths = spacing_of(recipe)
        for record in self.records:
            if record.array.spacing_wavelengths != spacing_wavelengths:
                raise InputError(
                    f"predictor.frame.spacing_wavelengths = {spacing_wavelengths}, but the data set's array has "
                    f"{record.array.spacing_wavelengths}: set it to that"
                )

    def channels(self, links: Integers, view: View, offset_s: Float, device: torch.device) -> Tensor:
        """See :class:`ArraySource`."""
        response = torch.empty((len(links), *view.size), dtype=torch.complex64, device=device)
        owner = np.searchsorted(self._ends, links, side="right")
        for number in np.unique(owner):
            record, mine = self.records[number], owner == number
            within = links[mine] - (self._ends[number - 1] if number else 0)
            snapshot, polarization = np.divmod(within, record.array.num_polarizations)
            found = expand(
                record,
                _placed(record.array, view),
                record.array.carrier_hz + view.detune_hz,
                snapshot,
                offset_s[mine],
                str(device),
            )
            split = found.reshape(len(snapshot), -1, *view.size)
            chosen = torch.from_numpy(polarization).to(device)
            response[torch.from_numpy(mine).to(device)] = split[torch.arange(len(snapshot), device=device), chosen]
        return response


class SequenceSource:
    """Sequences complex64 [N, T, row, col, F] to train on."""

    def __init__(self, response: NDArray[np.complex64]) -> None:
        self.response = response

    def __len__(self) -> int:
        return len(self.response)

    def fingerprint(self) -> str:
        """See :class:`ArraySource`."""
        return _sha256([self.response])

    def check(self, recipe: PretrainRecipe) -> None:
        """See :class:`ArraySource`."""
        needed, frames = getattr(recipe.objective, "frames", 0), self.response.shape[1]
        if frames < needed:
            raise InputError(f"objective.frames = {needed}, but sequences have {frames} frames")


class WholeSource:
    """Channels complex64 [N, row, col, F] over all their subcarriers, ``detuned_hz`` [F] from the carrier, of elements
    ``spacing_wavelengths`` apart; each is brought to a power of one per entry.

    Raises InputError when none has any path.
    """

    def __init__(self, channels: NDArray[np.complex64], detuned_hz: Float, spacing_wavelengths: float) -> None:
        usable = usable_snapshots(channels)
        if not len(usable):
            raise InputError("no training channel has any path: generate a data set with links that do")
        power = np.mean(np.abs(usable) ** 2, axis=(1, 2, 3), keepdims=True)
        self.channels = np.asarray(usable / np.sqrt(power), np.complex64)
        self.detuned_hz, self.spacing_wavelengths = detuned_hz, spacing_wavelengths

    def __len__(self) -> int:
        return len(self.channels)

    def fingerprint(self) -> str:
        """See :class:`ArraySource`."""
        return _sha256([self.channels, self.detuned_hz, self.spacing_wavelengths])

    def check(self, recipe: PretrainRecipe) -> None:
        """See :class:`ArraySource`: any recipe of whole channels can be trained."""


# What an objective draws its examples from; ``len`` is their number. They travel to other processes by pickle.
Source = ArraySource | PathSource
TrainingSource = Source | SequenceSource | WholeSource


def spacing_of(recipe: PretrainRecipe) -> float:
    """Spacing of the array's elements that a recipe of links trains for."""
    assert not isinstance(recipe.predictor, SequenceModel | MixtureModel | ClusterModel | PriorModel)
    return recipe.predictor.frame.spacing_wavelengths


def spread_evenly(channels: NDArray[np.complex64], most: int) -> NDArray[np.complex64]:
    """At most so many of some channels [N, ...], evenly spaced."""
    return np.asarray(channels[spread(np.arange(len(channels)), most)])


def check_sizes(source: Source, recipe: SourceRecipe) -> None:
    """InputError for an array of the recipe that does not fit into the source's."""
    for rows, cols in recipe.arrays:
        if rows > source.size[0] or cols > source.size[1]:
            raise InputError(
                f"source.arrays: {rows} x {cols} does not fit into the data set's array of "
                f"{source.size[0]} x {source.size[1]}; give smaller ones"
            )


def _placed(traced: UPA, view: View) -> UPA:
    """The view's array in the plane of the traced one, whose centre is the origin.

    A rolled one keeps its centre where its elements stay within the traced aperture, and is moved in where not; where
    it does not fit at all it is not rolled.
    """
    rows, cols = view.size
    row, col = view.corner(traced.rows, traced.cols)
    up = row + (rows - 1) / 2 - (traced.rows - 1) / 2
    across = col + (cols - 1) / 2 - (traced.cols - 1) / 2
    roll, cosine, sine = view.roll_rad, abs(np.cos(view.roll_rad)), abs(np.sin(view.roll_rad))
    height = ((rows - 1) * cosine + (cols - 1) * sine) / 2
    width = ((cols - 1) * cosine + (rows - 1) * sine) / 2
    room_up, room_across = (traced.rows - 1) / 2 - height, (traced.cols - 1) / 2 - width
    if min(room_up, room_across) < -_ROUNDING:
        roll = 0.0
    elif roll:
        up, across = (
            np.clip(at, -max(room, 0.0), max(room, 0.0)) for at, room in ((up, room_up), (across, room_across))
        )
    position = (0.0, float(across) * traced.spacing_m, float(up) * traced.spacing_m)
    return dataclasses.replace(traced, rows=rows, cols=cols, position=position, orientation_rad=(0.0, 0.0, roll))


def _sha256(values: Sequence[Any]) -> str:
    digest = hashlib.sha256()
    for value in values:
        if isinstance(value, np.ndarray):
            digest.update(f"{value.shape} {value.dtype}".encode())
            digest.update(np.ascontiguousarray(value).data)
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()
