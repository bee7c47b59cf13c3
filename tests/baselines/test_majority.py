import numpy as np
import pytest

from channelfm.baselines import Majority
from channelfm.errors import InputError
from channelfm.estimator import Examples, Learns


def examples(target):
    channels = Examples.of_channels(np.ones((len(target), 2, 2, 1), np.complex64))
    return Examples(channels.observation, np.asarray(target), channels.blocks)


def test_it_answers_the_shares_of_the_classes():
    row = Majority()
    assert isinstance(row, Learns)
    with pytest.raises(InputError, match="first call learn"):
        row.estimate(examples([0]).observation)
    row.learn(examples([0, 1, 1, 2]))
    np.testing.assert_allclose(row.estimate(examples([1, 1]).observation), [[0.25, 0.5, 0.25]] * 2)
    row.learn(examples([0, 0]))
    np.testing.assert_allclose(row.estimate(examples([1]).observation), [[1, 0]])
    for target in ([0.5, 1.0], [-1, 0]):
        with pytest.raises(InputError, match="whole numbers from 0"):
            row.learn(examples(target))
