import numpy as np
import pytest

from channelfm.tasks import HybridEstimation
from channelfm.tasks.observing import Pilots

TASK = HybridEstimation()


def test_pilots_are_few_measurements_of_all_antennas(sight_blocks):
    blocks = sight_blocks(3)
    observation = TASK.examples(blocks, Pilots(4, 16, None), 0).observation
    assert observation.values.shape == (3, 1, 64, 1)
    weights = observation.operator.weights_of(1).reshape(64, -1)
    assert np.abs(weights) ** 2 == pytest.approx(1 / 256)
    assert observation.values[1, 0, :, 0] == pytest.approx(weights.conj() @ blocks.channel[1].reshape(-1), abs=1e-5)


def test_measurements_carry_the_power_of_an_antenna(sight_blocks):
    """With random phases, so that the SNR means the same as on single antennas."""
    blocks = sight_blocks(40)
    observation = TASK.examples(blocks, Pilots(4, 64, 10.0), 0).observation
    clean = observation.operator.forward(blocks.channel)
    assert np.mean(np.abs(clean) ** 2) == pytest.approx(np.mean(np.abs(blocks.channel) ** 2), rel=0.1)
    assert np.mean(np.abs(observation.values - clean) ** 2) == pytest.approx(observation.noise.mean(), rel=0.05)


def test_pilots_of_a_link_do_not_depend_on_the_others(sight_blocks):
    blocks = sight_blocks(4)
    whole = TASK.examples(blocks, Pilots(2, 8, None), 5).observation
    part = whole.select(slice(2, 3))
    assert np.array_equal(part.operator.forward(blocks.channel[2:3]), whole.values[2:3])
