"""Autoregression, matrix pencil and Kalman filter: the coefficients, poles and states that are known."""

import numpy as np
import pytest

from channelfm.baselines.time.autoregression import (
    characteristic_roots,
    clamped,
    companion,
    lag_products,
    roll_out,
    solve_prediction,
    wiener_gains,
)
from channelfm.baselines.time.kalman import Process, filtered, fit_process
from channelfm.baselines.time.prony import pencil_poles

POLES = np.exp(2j * np.pi * np.array([0.21, -0.08, 0.03]))


def exponentials(poles, steps=12, bins=5, seed=0):
    """Bins [1, T, 1, bins, 1] of sums of powers of poles with random amplitudes."""
    rng = np.random.default_rng(seed)
    amplitudes = rng.standard_normal((bins, len(poles))) + 1j * rng.standard_normal((bins, len(poles)))
    return (poles ** np.arange(steps)[:, None] @ amplitudes.T)[None, :, None, :, None]


def sorted_phases(values):
    return np.sort(np.angle(values))


def test_the_characteristic_roots_are_the_exponentials():
    products = lag_products(exponentials(POLES), 3).sum(axis=(1, 2, 3))
    coefficients = solve_prediction(products, np.zeros(1))
    assert sorted_phases(characteristic_roots(coefficients)[0]) == pytest.approx(sorted_phases(POLES), abs=1e-4)
    assert np.abs(np.linalg.eigvals(companion(coefficients)[0])) == pytest.approx(np.ones(3), abs=1e-4)


def test_the_closed_form_of_two_roots():
    coefficients = np.array([[0.3 + 0.4j, -0.2j], [2.0, -1.0]])
    expected = np.linalg.eigvals(companion(coefficients))
    assert np.sort_complex(characteristic_roots(coefficients)) == pytest.approx(np.sort_complex(expected), abs=1e-6)


def test_roots_outside_go_to_the_circle_and_others_stay():
    inside, outside = 0.5j, 1.7 * np.exp(0.3j)
    polynomial = np.poly([inside, outside])
    turned = clamped(-polynomial[None, 1:])
    expected = -np.poly([inside, outside / 1.7])[1:]
    assert turned[0] == pytest.approx(expected)


def test_rolling_out_continues():
    bins = exponentials(POLES, 20)
    products = lag_products(bins[:, :12], 3).sum(axis=(1, 2, 3), keepdims=True)
    predicted = roll_out(bins[:, :12], solve_prediction(products, np.zeros((1, 1, 1, 1))), 8)
    assert predicted == pytest.approx(bins[:, 12:], abs=1e-3)


def test_wiener_gains_are_none_without_noise_and_zero_below_it():
    bins = np.ones((1, 4, 1, 2, 1)) * np.array([1.0, 0.1]).reshape(1, 1, 1, 2, 1)
    assert wiener_gains(bins, np.zeros(1)).ravel() == pytest.approx([1, 1])
    assert wiener_gains(bins, np.array([0.5])).ravel() == pytest.approx([0.5, 0])


def test_the_pencil_finds_the_poles_and_their_number():
    products = lag_products(exponentials(POLES), 6).sum(axis=(1, 2, 3), keepdims=True)
    poles, found = pencil_poles(products, np.zeros((1, 1, 1, 1)), 5)
    assert found.sum() == 3
    assert sorted_phases(poles[found]) == pytest.approx(sorted_phases(POLES), abs=1e-5)


def test_growing_poles_are_put_on_the_circle():
    products = lag_products(exponentials(np.array([1.3j])), 4).sum(axis=(1, 2, 3), keepdims=True)
    poles, found = pencil_poles(products, np.zeros((1, 1, 1, 1)), 2)
    assert np.abs(poles[found]).max() <= 1 + 1e-12


def test_noise_alone_has_no_poles():
    rng = np.random.default_rng(1)
    bins = rng.standard_normal((1, 12, 1, 400, 1)) + 1j * rng.standard_normal((1, 12, 1, 400, 1))
    products = lag_products(bins, 5).sum(axis=(1, 2, 3), keepdims=True)
    _, found = pencil_poles(products, np.full((1, 1, 1, 1), 2.0 * 14 * 400), 3)
    assert not found.any()


def test_the_kalman_filter_averages_a_constant():
    """With a known constant state, it is the mean of the measurements, shrunk by noise over prior power."""
    rng = np.random.default_rng(2)
    bins = 3 + 0.5 * rng.standard_normal((1, 10, 1, 6, 1)) + 0j
    ones = np.ones((1, 1, 6, 1))
    process = Process(np.ones((1, 1, 6, 1, 1)) + 0j, 0 * ones, 0.25 * ones, 9 * ones)
    expected = bins.sum(axis=1) / (10 + 0.25 / 9)
    assert filtered(bins, process)[:, 0] == pytest.approx(expected)


def test_without_noise_the_kalman_filter_trusts_the_last_frames():
    bins = exponentials(POLES[:2], bins=9)
    process = fit_process(bins, np.zeros(1), 2)
    assert filtered(bins, process) == pytest.approx(bins[:, -2:], abs=1e-4)
    assert np.max(process.innovation) < 1e-4


def test_noise_is_taken_out_of_the_dynamics():
    """Noise draws the roots of plain least squares into the circle; without its share they are near it."""
    rng = np.random.default_rng(3)
    bins = 10 * POLES[0] ** np.arange(10).reshape(1, -1, 1, 1, 1) * np.ones((1, 1, 1, 30, 30))
    bins = bins + np.sqrt(5) * (rng.standard_normal(bins.shape) + 1j * rng.standard_normal(bins.shape))
    coefficients = fit_process(bins, np.array([10.0]), 1).coefficients
    plain = solve_prediction(lag_products(bins, 1), np.zeros((1, 1, 1, 1)))
    assert np.abs(plain).mean() < 0.94 < 0.96 < np.abs(coefficients).mean() <= 1
    assert np.angle(coefficients / POLES[0]) == pytest.approx(np.zeros(coefficients.shape), abs=0.2)
