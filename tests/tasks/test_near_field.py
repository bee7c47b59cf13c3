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
