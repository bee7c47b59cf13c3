import dataclasses

import numpy as np
import pytest

from channelfm.arrays import UPA, spherical_wave
from channelfm.observation import Entries, Grid, Observation
from channelfm.tasks import NearField


@pytest.mark.parametrize(("distances", "near"), [((0.1, 0.3, 0.6), 1), ((2.0, 5.0, 100.0), 0)])
def test_the_curvature_of_one_wave_tells_its_range(distances, near):
    array = UPA(32, 32, 7e9)
    rayleigh = array.rayleigh_distance_m / array.wavelength_m
    sources = np.array([[0.8, 0.5, -0.33]]) * np.array(distances)[:, None] * rayleigh
    channel = spherical_wave(32, 32, sources)[:, None, :, :, None].astype(np.complex64)
    grid = Grid(array, np.zeros(1), np.array([7e9]))
    observation = Observation(channel, Entries(np.ones((1,) * 5, bool)), grid)
    answer = NearField().from_channel(channel, observation)
    assert (answer.argmax(axis=1) == near).all()
    assert np.all(np.diff(answer[:, 1]) < 0)


def test_power_tells_nothing_and_the_border_is_where_it_is_hard(sight_blocks):
    blocks, task = sight_blocks(), NearField()
    case = task.cases()[0]
    rayleigh = blocks.grid.array.rayleigh_distance_m
    distance = rayleigh * np.array([0.2, 0.92, 1.08, 5.0, 0.8, 1.2, 0.5, 0.99, 1.01, 2.0, 0.72, 1.4])
    blocks = dataclasses.replace(blocks, labels=dataclasses.replace(blocks.labels, distance_m=distance))
    examples = task.examples(blocks, case, 0)
    factor_db = 20 * np.log10(
        np.linalg.norm(examples.channel, axis=(2, 3)) / np.linalg.norm(blocks.channel, axis=(2, 3))
    )
    assert np.all(np.abs(factor_db) <= 30.01)
    assert np.std(factor_db) > 5
    known = NearField(power_spread_db=0).examples(blocks, case, 0)
    np.testing.assert_array_equal(known.channel, blocks.channel)
    groups = task.groups(examples)
    assert np.flatnonzero(groups["within-10%"]).tolist() == [1, 2, 7, 8]
    assert np.flatnonzero(groups["10-to-30%"]).tolist() == [4, 5]
    assert np.flatnonzero(groups["beyond-30%"]).tolist() == [0, 3, 6, 9, 10, 11]
    assert (groups["los"] == blocks.labels.line_of_sight).all()
