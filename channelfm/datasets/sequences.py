"""Sequences of channels: the snapshots of each track in order, aligned in delay as a receiver aligns them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from channelfm.datasets.blocks import Blocks, scene_names, snapshot_grid, storage_errors
from channelfm.datasets.dataset import Dataset
from channelfm.errors import InputError
from channelfm.records import Channels

Complex = NDArray[np.complex64]
Float = NDArray[np.float64]

# Where the first arrival is put on the delay axis, as a share of it: what leaks before it stays before it.
FIRST_ARRIVAL = 1 / 32
_FIRST_ARRIVAL_DB = -20.0  # below the strongest delay
_FINER = 4  # delays looked at for each tap
_QUIETEST = 4  # a floor is looked for in one part in so many of the axis
_FLAT = 1.5  # greatest over mean of the quietest delays: below for noise of 4 and more antennas, above for leakage
_SIGNIFICANT = 5.0  # standard deviations of the noise that are no arrival
_EVEN = 1e-3  # by how much of itself an interval may differ from the others


def sequence_blocks(dataset: Dataset, split: str, frames: int, scene: str | None = None) -> tuple[Blocks, int]:
    """The tracks of a split (of one scene, if named), each cut into sequences of ``frames`` frames that do not overlap,
    with the labels of their first frames, and the number of sequences that are left out, since no path reaches a frame.

    Delays are absolute; times start at 0. Raises InputError for tracks that are shorter than ``frames``, times that do
    not grow or are uneven, and where no sequence is left.
    """
    channels = dataset.load(split, scene)
    names, errors = scene_names(dataset, split), storage_errors(dataset, split)
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
        None if errors is None else errors[numbers[starts]],
    )
    return blocks, int((~complete).sum())


def aligned(response: Complex, frequencies_hz: Float) -> Complex:
    """Sequences [N, T, row, col, F], each turned in delay so that its first frame's first arrival lies at 1/32 of the
    delay axis, as a timing advance would have it; one delay for all frames, so that drifts stay.
    """
    whole = np.ones(1, np.bool_)
    return advanced(response, delay_advance_s(response[:, :1], whole, frequencies_hz), frequencies_hz)


def advanced(response: Complex, advance_s: Float, frequencies_hz: Float) -> Complex:
    """Sequences [N, T, row, col, F], complex64, each earlier by its ``advance_s`` [N] in s; of one frequency, as is."""
    if len(frequencies_hz) < 2:
        return response
    turn = np.exp(2j * np.pi * advance_s[:, None] * (frequencies_hz - frequencies_hz.mean()))
    return np.asarray(response * turn[:, None, None, None, :], dtype=np.complex64)


def delay_advance_s(values: Complex, mask: NDArray[np.bool_], frequencies_hz: Float) -> Float:
    """Advance float64 [N] in s that brings the first arrival of each sequence to 1/32 of the delay axis, from what is
    observed of it: ``values`` [N, T, row, col, F], noisy or not, where ``mask`` (broadcast to them) is True.

    The first arrival is where the delay profile (Hann window, mean over observed frames and antennas, 4 delays for each
    tap) rises to within 20 dB of its greatest value after its longest quiet stretch: the axis is a circle. Noise shows
    as a flat floor over the quietest quarter, which a channel's leakage has not; it is taken off the profile.

    Pilots on every S-th subcarrier have a circle of 1/S of the axis: first arrivals that differ by it look the same,
    and the earliest from 0 on is taken. 0 where no two subcarriers are observed at once: they have no delay.

    Raises InputError for a mask that does not fit, and where nothing is observed of a sequence.
    """
    observed, count = _checked_mask(values, mask), len(frequencies_hz)
    if count < 2:
        return np.zeros(len(values))
    axis, window = _FINER * count, np.hanning(count + 2)[1:-1]
    power = np.zeros((len(values), axis))
    for frame in range(values.shape[1]):  # one at a time: profiles are four times as long, and in double precision
        seen = np.where(observed[:, frame if observed.shape[1] > 1 else 0], values[:, frame], 0)
        power += np.mean(np.abs(np.fft.ifft(seen * window, axis, axis=-1)) ** 2, axis=(1, 2))
    averaged = np.broadcast_to(observed.any(axis=-1), values.shape[:-1]).sum(axis=(1, 2, 3))
    steps = [_comb_step(rows) for rows in observed.reshape(len(observed), -1, count)]
    spacing_hz = float(frequencies_hz[1] - frequencies_hz[0])
    advance_s = np.zeros(len(values))
    for number, step in enumerate(np.broadcast_to(steps, len(values)).tolist()):
        if step:
            circle = power[number, : round(axis / step)]
            arrival = _end_of_longest_run(_is_quiet(circle, int(averaged[number])))
            advance_s[number] = (arrival / axis - FIRST_ARRIVAL) / spacing_hz
    return advance_s


def _checked_mask(values: Complex, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask with five axes, which are those of the values or of length 1, but the last, which is theirs."""
    try:
        np.broadcast_to(mask, values.shape)
    except ValueError as error:
        raise InputError(f"mask of shape {mask.shape} does not fit values of shape {values.shape}") from error
    spread = mask.reshape((1,) * (values.ndim - mask.ndim) + mask.shape)
    spread = np.broadcast_to(spread, (*spread.shape[:-1], values.shape[-1]))
    empty = ~spread.any(axis=(1, 2, 3, 4))
    if empty.any():
        raise InputError(f"mask: nothing is observed of sequence {int(np.argmax(empty))}; leave it out")
    return spread


def _comb_step(rows: NDArray[np.bool_]) -> int:
    """The greatest step of which all distances between subcarriers of the same row [R, F] are multiples; 0: none."""
    between = [np.diff(np.flatnonzero(row)) for row in np.unique(rows, axis=0)]
    return math.gcd(*np.concatenate(between).tolist())


def _is_quiet(power: Float, averaged: int) -> NDArray[np.bool_]:
    """Which delays [D] of a profile, a mean over so many antennas and frames, have no arrival."""
    quietest = np.sort(power)[: max(1, len(power) // _QUIETEST)]
    floor = float(quietest.mean())
    if quietest[-1] > _FLAT * floor:
        floor = 0.0
    above = power - floor
    return np.asarray(above < max(10 ** (_FIRST_ARRIVAL_DB / 10) * above.max(), _SIGNIFICANT * floor / averaged**0.5))


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
