"""The range rule on waves whose range is known, and how sure it is of it."""

import dataclasses

import numpy as np
import pytest
import torch

from channelfm.arrays import UPA, spherical_wave
from channelfm.baselines.range_rule import RangeRule
from channelfm.datasets.blocks import unlabelled
from channelfm.errors import InputError
from channelfm.estimator import CLASSES, Examples, Learns
from channelfm.observation import Entries, Grid, observe
from channelfm.tokens.masks import random_mask
from channelfm.waves.ranging import strongest_range

ARRAY = UPA(32, 32, 7e9)
RAYLEIGH = ARRAY.rayleigh_distance_m / ARRAY.wavelength_m
RNG = np.random.default_rng


def waves(shares, seed=0):
    """One wave each, from so many Rayleigh distances, complex64 [N, 1, 32, 32, 1]."""
    direction = RNG(seed).uniform([0.7, -0.4, -0.4], [1, 0.4, 0.4], (len(shares), 3))
    places = direction / np.linalg.norm(direction, axis=1)[:, None] * np.array(shares)[:, None] * RAYLEIGH
    return spherical_wave(32, 32, places)[:, None, :, :, None].astype(np.complex64)


def heard(channel, snr_db=None, hidden=0.5, seed=0):
    grid = Grid(ARRAY, np.zeros(1), np.full(channel.shape[4], 7e9))
    mask = random_mask(RNG(seed), len(channel), 32, 32, hidden)[:, None]
    return observe(channel, Entries(mask), grid, snr_db, RNG(seed + 1))


def test_one_clean_wave_tells_its_range():
    answer = RangeRule().estimate(heard(waves([0.1, 0.5, 0.9, 1.1, 2, 100])))
    assert answer.shape == (6, 2)
    np.testing.assert_allclose(answer.sum(1), 1)
    assert answer.argmax(1).tolist() == [1, 1, 1, 0, 0, 0]
    assert answer.max(1).min() > 0.99


def test_of_two_waves_the_stronger_counts():
    shares = RNG(3).uniform(0.3, 3, 12)
    channel = waves(shares) + 0.5 * waves(np.full(12, 0.4), seed=9)
    assert np.mean(RangeRule().estimate(heard(channel)).argmax(1) == (shares < 1)) == 1


def test_the_deviation_is_that_of_the_errors():
    """In noise errors scatter by the deviation, and the least probability of what is true is about right."""
    channel = waves(np.full(300, 0.8))
    observation = heard(channel, 10.0)
    field, seen = (torch.from_numpy(np.array(part[:, 0, :, :, 0])) for part in (observation.values, observation.mask))
    found = strongest_range(field, seen, 0.5)
    error = (found.source[:, 2] - 1 / (0.8 * RAYLEIGH)) / found.deviation
    assert error.std() == pytest.approx(1, abs=0.12)
    assert error.mean() == pytest.approx(0, abs=0.2)
    near = RangeRule().estimate(observation)[:, 1]
    assert np.mean(near > 0.5) == pytest.approx(near.mean(), abs=0.1)


def test_frequencies_count_together():
    channel = waves(np.full(60, 0.8))
    alone, several = (RangeRule().estimate(heard(np.repeat(channel, n, axis=4), -5.0))[:, 1] for n in (1, 4))
    assert np.mean(several > 0.5) > np.mean(alone > 0.5)


def test_power_does_not_matter_and_silence_tells_nothing():
    observation = heard(waves([0.5, 2.0]), 0.0)
    rule = RangeRule()
    for scale in (2.0**-20, 2.0**30):
        other = dataclasses.replace(observation, values=observation.values * np.float32(scale))
        np.testing.assert_array_equal(rule.estimate(other), rule.estimate(observation))
    silent = dataclasses.replace(observation, values=0 * observation.values)
    assert np.isfinite(rule.estimate(silent)).all()
    assert rule.estimate(observation.select(slice(0, 0))).shape == (0, 2)


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (2, 2), (1, 17), (13, 1)])
def test_any_array(rows, cols):
    grid = Grid(UPA(rows, cols, 7e9), np.zeros(1), np.array([7e9]))
    channel = RNG(0).normal(size=(3, 1, rows, cols, 1)).astype(np.complex64)
    answer = RangeRule().estimate(observe(channel, Entries(np.ones((1, 1, rows, cols, 1), bool)), grid, 3.0, RNG(1)))
    assert np.isfinite(answer).all()
    np.testing.assert_allclose(answer.sum(1), 1)


def test_it_answers_one_question_only():
    rule, channel = RangeRule(), waves([0.5, 2.0])
    assert isinstance(rule, Learns)
    assert rule.gives == CLASSES
    observation = heard(channel)
    blocks = unlabelled(channel, observation.grid)
    blocks = dataclasses.replace(blocks, labels=dataclasses.replace(blocks.labels, near_field=np.array([True, False])))
    rule.learn(Examples(observation, np.array([1, 0]), blocks))
    with pytest.raises(InputError, match="something else"):
        rule.learn(Examples(observation, np.array([0, 1]), blocks))
    hidden = dataclasses.replace(observation, operator=Entries(np.zeros((1, 1, 32, 32, 1), bool)))
    with pytest.raises(InputError, match="hides every antenna"):
        rule.estimate(hidden)
