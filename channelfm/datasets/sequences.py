"""Sequences of channels: the snapshots of each track in order, aligned in delay as a receiver aligns them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from channelfm.datasets.blocks import Blocks, scene_names, snapshot_grid, storage_labels
from channelfm.datasets.dataset import Dataset
from channelfm.errors import InputError
from channelfm.records import Channels

Complex = NDArray[np.complex64]
Float = NDArray[np.float64]

# Where the first arrival is put on the delay axis, as a share of it: what leaks before it stays before it.
FIRST_ARRIVAL = 1 / 32
_FIRST_ARRIVAL_DB = -20.0  # below the strongest delay
_FINER = 4  # delays looked at for each tap
_EVEN = 1e-3  # by how much of itself an interval may differ from the others


@dataclass(frozen=True)
class Sequences:
    """Channels of moving users at even times.

    ``response`` complex64 [N, T, row, col, F]; ``speed_mps`` float64 [N] at the first frame; ``scene`` [N]: names;
    ``interval_s`` between frames; ``frequencies_hz`` float64 [F]. ``left_out``: sequences with a frame that no path
    reaches, which are not among the N.
    """

    response: Complex
    speed_mps: Float
    scene: NDArray[np.str_]
    interval_s: float
    frequencies_hz: Float
    left_out: int

    def __len__(self) -> int:
        return len(self.response)

    def select(self, index: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Sequences:
        """The sequences that a NumPy index picks."""
        return Sequences(
            self.response[index],
            self.speed_mps[index],
            self.scene[index],
            self.interval_s,
            self.frequencies_hz,
            self.left_out,
        )


def load_sequences(dataset: Dataset, split: str, frames: int, scene: str | None = None) -> Sequences:
    """The tracks of a split (of one scene, if named), each cut into sequences of ``frames`` frames that do not overlap.

    Every sequence is aligned in delay (:func:`aligned`). Raises InputError for tracks that are shorter than ``frames``,
    times that do not grow or are uneven, and where no sequence is left.
    """
    shards = [shard for shard in dataset.manifest.shards if shard.split == split and scene in (None, shard.scene)]
    channels = dataset.load(split, scene)
    scenes = np.repeat([shard.scene for shard in shards], [shard.snapshots for shard in shards])
    starts = _starts(channels, frames, f"{dataset.folder}, split '{split}'")
    rows = starts[:, None] + np.arange(frames)
    complete = channels.has_path[rows].all(axis=1)
    if not complete.any():
        raise InputError(f"{dataset.folder}: every sequence of split '{split}' has a frame without any path")
    starts, rows = starts[complete], rows[complete]
    grid = channels.grid
    return Sequences(
        response=aligned(grid[rows], channels.frequencies_hz),
        speed_mps=np.linalg.norm(channels.velocities_mps[starts], axis=1),
        scene=scenes[starts],
        interval_s=float(channels.times_s[rows[0, 1]] - channels.times_s[rows[0, 0]]) if frames > 1 else 0.0,
        frequencies_hz=channels.frequencies_hz,
        left_out=int((~complete).sum()),
    )


def sequence_blocks(dataset: Dataset, split: str, frames: int, scene: str | None = None) -> tuple[Blocks, int]:
    """The sequences of :func:`load_sequences`, not aligned in delay, with the labels of their first frames, and the
    number of sequences that are left out. Times start at 0. Raises what that does."""
    channels = dataset.load(split, scene)
    names, (counts, errors) = scene_names(dataset, split), storage_labels(dataset, split)
    numbers = np.flatnonzero(names == scene) if scene else np.arange(len(names))
    starts = _starts(channels, frames, f"{dataset.folder}, split '{split}'")
    rows = starts[:, None] + np.arange(frames)
    complete = channels.has_path[rows].all(axis=1)
    if not complete.any():
        raise InputError(f"{dataset.folder}: every sequence of split '{split}' has a frame without any path")
    starts, rows = starts[complete], rows[complete]
    grid = snapshot_grid(channels, dataset.array(str(names[numbers[starts[0]]])))
    blocks = Blocks(
        channels.grid[rows],
        dataclasses.replace(channels, response=channels.response[:, :0]).select(starts),
        dataclasses.replace(grid, times_s=channels.times_s[rows[0]] - channels.times_s[starts[0]]),
        names[numbers[starts]],
        None if counts is None else counts[numbers[starts]],
        None if errors is None else errors[numbers[starts]],
    )
    return blocks, int((~complete).sum())


def join_sequences(parts: list[Sequences]) -> Sequences:
    """Several sets of sequences of one array and one interval as one, in order; InputError if they do not fit."""
    shapes = {(part.response.shape[1:], round(part.interval_s, 9)) for part in parts}
    if len(shapes) != 1:
        raise InputError(f"sequences of different shapes or intervals do not join: {sorted(map(str, shapes))}")
    return Sequences(
        np.concatenate([part.response for part in parts]),
        np.concatenate([part.speed_mps for part in parts]),
        np.concatenate([part.scene for part in parts]),
        parts[0].interval_s,
        parts[0].frequencies_hz,
        sum(part.left_out for part in parts),
    )


def aligned(response: Complex, frequencies_hz: Float) -> Complex:
    """Sequences [N, T, row, col, F], each turned in delay so that its first frame's first arrival lies at 1/32 of the
    delay axis, as a timing advance would have it; one delay for all frames, so that drifts stay.

    The first arrival is where the delay profile (Hann window, mean over antennas, 4 delays for each tap) rises to
    within 20 dB of its greatest value after its longest quiet stretch: the axis is a circle. One frequency has none.
    """
    everything = np.ones((1, 1, 1, 1, 1), np.bool_)
    return advanced(response, delay_advance_s(response, everything, frequencies_hz), frequencies_hz)


def delay_advance_s(values: Complex, mask: NDArray[np.bool_], frequencies_hz: Float) -> Float:
    """By how much each of the sequences arrives too late [s], float64 [N]."""
    count = len(frequencies_hz)
    if count < 2:
        return np.zeros(len(values))
    axis = _FINER * count
    profile = np.fft.ifft(values[:, 0] * np.hanning(count + 2)[1:-1], axis, axis=-1)
    power = np.mean(np.abs(profile) ** 2, axis=(1, 2))
    quiet = power < 10 ** (_FIRST_ARRIVAL_DB / 10) * power.max(axis=1, keepdims=True)
    arrival = np.array([_end_of_longest_run(row) for row in quiet])
    spacing_hz = float(frequencies_hz[1] - frequencies_hz[0])
    return np.asarray((arrival / axis - FIRST_ARRIVAL) / spacing_hz)


def advanced(response: Complex, advance_s: Float, frequencies_hz: Float) -> Complex:
    """Sequences [N, T, row, col, F], each ``advance_s`` [N] earlier."""
    turn = np.exp(2j * np.pi * advance_s[:, None] * (frequencies_hz - frequencies_hz.mean()))
    return np.asarray(response * turn[:, None, None, None, :], dtype=np.complex64)


def _end_of_longest_run(quiet: NDArray[np.bool_]) -> int:
    """Index after the longest run of True on a circle; 0 where all or none is."""
    if quiet.all() or not quiet.any():
        return 0
    loud = np.flatnonzero(~quiet)
    gaps = np.diff(loud, prepend=loud[-1] - len(quiet))
    return int(loud[np.argmax(gaps)])


def _starts(channels: Channels, frames: int, where: str) -> NDArray[np.int64]:
    """Snapshots at which sequences start: tracks cut from their beginnings."""
    if frames < 1:
        raise InputError(f"sequences of {frames} frames: give at least 1")
    borders = [0, *(np.flatnonzero(np.diff(channels.track)) + 1), len(channels)]
    lengths = np.diff(borders)
    if lengths.max(initial=0) < frames:
        raise InputError(
            f"{where}: tracks have {lengths.max(initial=0)} snapshots at most, sequences need {frames}: generate "
            "longer ones (num_steps), or ask for less context or a nearer horizon"
        )
    starts: list[int] = []
    intervals: list[Float] = []
    for first, length in zip(borders[:-1], lengths, strict=True):
        steps = np.diff(channels.times_s[first : first + length])
        if not (steps > 0).all():
            bad = int(np.argmin(steps > 0))
            raise InputError(
                f"{where}: the times of track {channels.track[first]} do not grow at snapshot {bad + 1} "
                f"({channels.times_s[first + bad]} s, then {channels.times_s[first + bad + 1]} s): sort it by time"
            )
        intervals.append(steps)
        starts += range(first, first + length - frames + 1, frames)
    every = np.concatenate(intervals) if frames > 1 else np.ones(1)
    if np.ptp(every) > _EVEN * every.mean():
        raise InputError(f"{where}: intervals from {every.min():g} to {every.max():g} s: sequences need even ones")
    return np.array(starts, dtype=np.int64)
