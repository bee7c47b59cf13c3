import dataclasses

import numpy as np
import pytest

from channelfm.arrays import UPA, spherical_wave
from channelfm.datasets.blocks import unlabelled
from channelfm.observation import Grid


@pytest.fixture
def blocks():
    """Blocks of random channels [count, 1, 4, 6, 2]."""

    def make(count=5, scale=1.0, seed=0):
        values = np.random.default_rng(seed).standard_normal((2, count, 1, 4, 6, 2))
        channel = (scale * (values[0] + 1j * values[1])).astype(np.complex64)
        return unlabelled(channel, Grid(UPA(4, 6, 7e9), np.zeros(1), np.array([7e9, 7.01e9])))

    return make


@pytest.fixture
def sequence_blocks(wave_sequences):
    """Blocks of sequences of waves, a frame a millisecond."""

    def make(*arguments, **settings):
        channel = wave_sequences(*arguments, **settings)
        _, frames, rows, cols, frequencies = channel.shape
        times, tones = np.arange(frames) * 1e-3, 3.5e9 + np.arange(frequencies) * 1e5
        return unlabelled(channel, Grid(UPA(rows, cols, 3.5e9), times, tones))

    return make


@pytest.fixture
def sight_blocks():
    """Links of one spherical wave (line of sight), and of five alike (none), by turns."""

    def make(count=12, rows=16, cols=16, seed=0):
        generator = np.random.default_rng(seed)
        sources = generator.uniform((60, -80, -80), (200, 80, 80), (5, count, 3))
        waves = np.stack([spherical_wave(rows, cols, places) for places in sources])
        gains = np.exp(2j * np.pi * generator.random((5, count)))
        direct = np.arange(count) % 2 == 0
        gains[1:, direct] *= 0.05
        channel = np.einsum("kn,knrc->nrc", gains, waves)[:, None, :, :, None].astype(np.complex64)
        found = unlabelled(channel, Grid(UPA(rows, cols, 7e9), np.zeros(1), np.array([7e9])))
        counts = np.where(direct, 3, 9).astype(np.int32)
        places = sources[0] * found.grid.array.wavelength_m
        views = found.grid.array.view_angles(places).T
        where = dict(zip(("distance_m", "azimuth_rad", "elevation_rad"), views, strict=True), positions_m=places)
        kinds = {"line_of_sight": direct, "near_field": ~direct, "path_count": counts}
        labels = dataclasses.replace(found.labels, **kinds, **where)
        return dataclasses.replace(found, labels=labels)

    return make
