"""The likelihood of samples known up to a step, and the bounds that follow from it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm, truncnorm

from channelfm.arrays import UPA
from channelfm.errors import InputError
from channelfm.hardware import Hardware, Quantisation
from channelfm.observation import Combined, Entries, Grid, Observation, RandomlyCombined
from channelfm.waves.bounds import SphericalWaves, best_order_bound
from channelfm.waves.quantised import expected_error, information_share
from channelfm.waves.quantised_bounds import quantised_bound

RNG = np.random.default_rng


def numbers(*values):
    return [torch.tensor(value, dtype=torch.float64) for value in values]


@pytest.mark.parametrize(
    ("expected", "deviation", "lower", "upper"),
    [
        (0.3, 0.5, 0, np.inf),
        (-3, 0.5, 0, np.inf),
        (-30, 0.5, 0, np.inf),
        (0.3, 0.5, -1, -0.5),
        (10, 0.5, -1, -0.5),
        (-10, 0.5, -1, -0.5),
        (0.3, 0.5, -np.inf, -0.5),
        (0.0, 1.0, -0.5, 0.5),
    ],
)
def test_the_mean_of_the_noise_within_a_step(expected, deviation, lower, upper):
    found = expected_error(*numbers(expected, deviation, lower, upper))
    limits = (lower - expected) / deviation, (upper - expected) / deviation
    assert float(found) == pytest.approx(truncnorm.mean(*limits, scale=deviation), rel=1e-5, abs=1e-9)


def test_information_of_one_bit_in_closed_form():
    expected = np.linspace(-5, 5, 21)
    found = information_share(*numbers(expected, np.ones(21), np.ones(21)), 1).numpy()
    np.testing.assert_allclose(found, norm.pdf(expected) ** 2 / (norm.cdf(expected) * norm.cdf(-expected)), rtol=1e-6)
    assert found[10] == pytest.approx(2 / np.pi)  # the loss of one bit at low SNR


@pytest.mark.parametrize("bits", [2, 3, 5])
def test_information_is_the_variance_of_the_score(bits):
    expected, deviation, step = 0.7, 0.4, 0.5
    share = float(information_share(*numbers(expected, deviation, step), bits))
    half = 2 ** (bits - 1)
    number = np.clip(np.floor((expected + deviation * RNG(0).standard_normal(200_000)) / step), -half, half - 1)
    lower, upper = (
        np.where(number == -half, -np.inf, number * step),
        np.where(number == half - 1, np.inf, (number + 1) * step),
    )
    ones = np.ones_like(number)
    score = expected_error(*numbers(expected * ones, deviation * ones, lower, upper)).numpy() / deviation**2
    assert abs(score.mean()) < 0.02
    assert np.var(score) * deviation**2 == pytest.approx(share, rel=0.02)
    assert share < 1


def test_fine_steps_lose_nothing_and_far_steps_are_finite():
    fine = information_share(*numbers(np.linspace(-3, 3, 7), np.ones(7), np.full(7, 0.05)), 8).numpy()
    np.testing.assert_allclose(fine, 1, rtol=2e-3)
    far = information_share(*numbers(np.array([0.0, 40.0, -4000.0]), np.ones(3), np.full(3, 0.5)), 3).numpy()
    assert np.isfinite(far).all()
    assert far[1:] == pytest.approx(0, abs=1e-12)


def observation(noise, bits, links=3):
    """Two waves over a linear array, through four chains."""
    generator, grid = RNG(0), Grid(UPA(1, 32, 28e9), np.zeros(1), 28e9 + 5e6 * (np.arange(16) - 7.5))
    sines = np.stack([[-0.2, 0.3], [0.1, 0.5], [-0.4, 0.0]])[:links]
    sources = np.stack([sines, 0 * sines, 0.002 + 0 * sines], -1)
    gains = np.exp(2j * np.pi * generator.random((links, 2))) * [1, 0.5]
    waves = SphericalWaves(sources, gains, np.tile([1e-8, 4e-8], (links, 1)), False)
    operator = RandomlyCombined(0, np.arange(links), 4 * 24, 1, 32)
    hardware = Hardware((Quantisation(bits=bits),), 4)
    values = np.zeros((links, 1, 96, 16), np.complex64)
    return waves, Observation(values, operator, grid, np.full(links, noise), hardware)


def test_one_bit_costs_two_decibels_in_noise_and_more_without():
    waves, noisy = observation(0.03, 1)
    few, ideal = _weak(waves, noisy)
    np.testing.assert_allclose(few / ideal, np.pi / 2, rtol=0.03)
    _, clean = observation(0.01, 1)
    assert (quantised_bound(waves, clean) > 4 * best_order_bound(waves, clean)).all()


def _weak(waves, seen):
    """Bounds at low SNR, with so many more measurements that waves are still worth estimating."""
    operator = replace(seen.operator, measurements=4 * 3000)
    values = np.zeros((len(seen), 1, 12000, 16), np.complex64)
    many = replace(seen, operator=operator, values=values, noise=np.full(len(seen), 30.0))
    return quantised_bound(waves, many), best_order_bound(waves, many)


def test_more_bits_are_worth_more_and_many_lose_nothing():
    bounds = [quantised_bound(*observation(0.05, bits)) for bits in (1, 2, 3, 5, 8)]
    assert (np.diff(bounds, axis=0) < 0).all()
    waves, seen = observation(0.05, 8)
    np.testing.assert_allclose(bounds[-1], best_order_bound(waves, seen), rtol=0.02)


def test_what_has_no_bound():
    waves, seen = observation(0.1, 2)
    with pytest.raises(InputError, match="no converters"):
        quantised_bound(waves, replace(seen, hardware=None))
    with pytest.raises(InputError, match="noise"):
        quantised_bound(waves, replace(seen, noise=None))
    assert not quantised_bound(waves, replace(seen, noise=np.zeros(3))).any()


def test_the_bound_knows_no_steps_of_antennas_that_are_not_measured():
    """A mask is the same as chains that are each joined to one of the antennas that are measured."""
    waves, seen = observation(0.05, 2)
    mask = np.zeros((1, 1, 1, 32, 1), bool)
    mask[..., 12:20, :] = True
    switches = np.eye(32, dtype=np.complex64)[12:20].reshape(1, 8, 1, 32)
    hardware, entries = Hardware((Quantisation(bits=2),)), np.zeros((3, 1, 1, 32, 16), np.complex64)
    masked = replace(seen, operator=Entries(mask), values=entries, hardware=hardware)
    joined = replace(seen, operator=Combined(switches), values=entries[:, 0, :, 12:20], hardware=hardware)
    np.testing.assert_allclose(quantised_bound(waves, masked), quantised_bound(waves, joined), rtol=1e-6)
