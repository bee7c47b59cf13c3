"""Stored links as blocks [link, time, row, column, frequency] with their labels: what training and tasks start from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.arrays import UPA
from channelfm.channels.compact import expand
from channelfm.channels.near_field import Clusters, SphericalRays
from channelfm.datasets.dataset import Dataset, concatenate
from channelfm.datasets.storage import PathChannels
from channelfm.datasets.truth import near_field_truth
from channelfm.errors import InputError
from channelfm.observation import Complex, Grid
from channelfm.records import Channels

Float = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Blocks:
    """Channels of N links and what is known of them.

    ``channel`` complex64 [N, T, row, col, F] (T = 1: snapshots) on ``grid``, whose array stands at the place of the
    first link's scene; ``labels`` of the first frames, without responses; ``scene`` [N] names. ``stored_error_db``
    float64 [N], what storing paths has cost over the stored array (NaN where that is not known), is None where the data
    set does not tell. ``clusters`` and ``rays``: of channels drawn from a near-field model, else None.
    """

    channel: Complex
    labels: Channels
    grid: Grid
    scene: NDArray[np.str_]
    stored_error_db: Float | None = None
    clusters: Clusters | None = None
    rays: SphericalRays | None = None

    def __len__(self) -> int:
        return len(self.channel)

    def select(self, index: Any) -> Blocks:
        """The links that a NumPy index picks."""
        return Blocks(
            self.channel[index],
            self.labels.select(index),
            self.grid,
            self.scene[index],
            None if self.stored_error_db is None else self.stored_error_db[index],
            None if self.clusters is None else self.clusters.select(index),
            None if self.rays is None else self.rays.select(index),
        )

    @property
    def tracks(self) -> Integers:
        """Numbers int64 [N] that tell users apart: links of one user on its way are no independent samples."""
        pairs = [f"{scene}/{track}" for scene, track in zip(self.scene, self.labels.track, strict=True)]
        return np.unique(pairs, return_inverse=True)[1].reshape(-1).astype(np.int64)

    @property
    def scenes(self) -> Integers:
        """Numbers int64 [N] of the scenes."""
        return np.unique(self.scene, return_inverse=True)[1].reshape(-1).astype(np.int64)


def unlabelled(channel: Complex, grid: Grid) -> Blocks:
    """Blocks of channels [N, *grid.shape] of which nothing else is known: places are NaN, every link is a track."""
    count, array = len(channel), grid.array
    nowhere, never = np.full((count, 3), np.nan), np.zeros(count, np.bool_)
    labels = Channels(
        response=np.zeros((count, 0, len(grid.frequencies_hz)), np.complex64),
        frequencies_hz=grid.frequencies_hz,
        positions_m=nowhere,
        velocities_mps=nowhere,
        times_s=np.zeros(count),
        track=np.arange(count, dtype=np.int32),
        line_of_sight=never,
        near_field=never,
        has_path=np.any(channel != 0, axis=(1, 2, 3, 4)),
        distance_m=nowhere[:, 0],
        azimuth_rad=nowhere[:, 0],
        elevation_rad=nowhere[:, 0],
        rows=array.rows,
        cols=array.cols,
        carrier_hz=array.carrier_hz,
        spacing_wavelengths=array.spacing_wavelengths,
    )
    return Blocks(channel, labels, grid, np.full(count, "unknown"))


def snapshot_grid(channels: Channels, array: UPA) -> Grid:
    """The grid of single snapshots of some channels: frequencies are there once for each polarisation."""
    frequencies = np.tile(channels.frequencies_hz, array.num_polarizations)
    size = dataclasses.replace(array, rows=channels.rows, cols=channels.cols)
    return Grid(size, np.zeros(1), frequencies)


def link_blocks(
    dataset: Dataset, split: str, numbers: Integers | None = None, array: tuple[int, int] | None = None
) -> Blocks:
    """Snapshots of a split (all, or those ``numbers``), of the stored array or of a sub-array about its centre.

    Nothing but them is read. Raises InputError where a sub-array is asked of a data set that does not store paths.
    """
    labels, scenes = dataset.labels(split), scene_names(dataset, split)
    numbers = np.arange(len(labels)) if numbers is None else np.asarray(numbers, dtype=np.int64)
    channels = read_channels(dataset, split, numbers, labels.select(numbers), array)
    stored = dataset.array(str(scenes[numbers[0]]) if len(numbers) else None)
    errors = storage_errors(dataset, split)
    clusters, rays = near_field_truth(dataset, split, numbers) or (None, None)
    return Blocks(
        channels.grid[:, None],
        dataclasses.replace(channels, response=channels.response[:, :0]),
        snapshot_grid(channels, stored),
        scenes[numbers],
        None if errors is None else errors[numbers],
        clusters,
        rays,
    )


def read_channels(
    dataset: Dataset, split: str, numbers: Integers, labels: Channels, array: tuple[int, int] | None
) -> Channels:
    """Channels of the snapshots ``numbers`` of a split with their ``labels``, of the stored array or of a sub-array."""
    if array is None:
        return dataclasses.replace(labels, response=dataset.samples(split).batch(numbers))
    parts = dataset.paths(split)
    first = np.concatenate([[0], np.cumsum([len(paths) for _, paths in parts])])
    shards = np.searchsorted(first, numbers, side="right") - 1
    smaller = [dataclasses.replace(traced, rows=array[0], cols=array[1]) for traced, _ in parts]
    response = np.zeros((len(numbers), smaller[0].num_antennas, len(labels.frequencies_hz)), np.complex64)
    for shard in np.unique(shards):
        places = np.flatnonzero(shards == shard)
        wanted = numbers[places] - first[shard]
        response[places] = expand(parts[shard][1], smaller[shard], labels.frequencies_hz, wanted).numpy()
    # One Rayleigh distance holds for all: arrays of a data set differ in place and orientation alone.
    near = labels.distance_m < smaller[0].rayleigh_distance_m
    return dataclasses.replace(labels, response=response, rows=array[0], cols=array[1], near_field=near)


def scene_names(dataset: Dataset, split: str) -> NDArray[np.str_]:
    """Name of each snapshot's scene."""
    shards = [shard for shard in dataset.manifest.shards if shard.split == split]
    return np.repeat([shard.scene for shard in shards], [shard.snapshots for shard in shards])


def holds_paths(dataset: Dataset, split: str) -> bool:
    """Whether all of a split is stored as compact paths."""
    return all(shard.form == PathChannels.__name__ for shard in dataset.manifest.shards if shard.split == split)


def storage_errors(dataset: Dataset, split: str) -> Float | None:
    """What storing the paths of each snapshot of a split has cost; None where responses are stored."""
    if not holds_paths(dataset, split):
        return None
    return np.concatenate([paths.error_db for _, paths in dataset.paths(split)]).astype(np.float64)


def join_blocks(parts: Sequence[Blocks]) -> Blocks:
    """Several blocks of one array and one interval as one, in order; InputError if they do not fit."""
    shapes = {(part.channel.shape[1:], tuple(np.round(part.grid.times_s, 9))) for part in parts}
    if len(shapes) != 1:
        raise InputError(f"links of different shapes or times do not join: {sorted(map(str, shapes))}")
    return Blocks(
        np.concatenate([part.channel for part in parts]),
        concatenate([part.labels for part in parts]),
        parts[0].grid,
        np.concatenate([part.scene for part in parts]),
    )


def spread(numbers: Integers, most: int) -> Integers:
    """At most ``most`` of some numbers, evenly spaced."""
    if len(numbers) <= most:
        return numbers
    return np.asarray(numbers[np.linspace(0, len(numbers) - 1, most).round().astype(int)])
