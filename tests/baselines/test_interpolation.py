"""Interpolation of what is left when the coarse wave is divided out."""

import numpy as np
import pytest

from channelfm.arrays import spherical_wave
from channelfm.baselines import LinearInterpolation, SplineInterpolation
from channelfm.metrics import nmse
from channelfm.tokens.masks import random_mask

EXACT_PLATE = 1e-9  # a tension so small that the plate only bends


def linear_field(rows, cols):
    row, col = np.mgrid[:rows, :cols]
    return (0.4 - 0.2j) + (0.03 + 0.01j) * row + (0.02j - 0.05) * col


def some_mask(rows, cols, ratio=0.8, seed=0, corners=True):
    mask = random_mask(np.random.default_rng(seed), 1, rows, cols, ratio)[0, ..., 0]
    if corners:  # their hull is the whole array
        mask[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    return mask


@pytest.mark.parametrize("method", [LinearInterpolation, SplineInterpolation])
@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (1, 9), (12, 1), (2, 5), (9, 14)])
@pytest.mark.parametrize("ratio", [0.0, 0.6, 1.0])
def test_constants_are_reproduced_from_any_antennas(method, rows, cols, ratio):
    mask = some_mask(rows, cols, ratio, corners=False)
    field = np.full((rows, cols), 0.7 - 0.3j)
    np.testing.assert_allclose(method().fill(field * mask, mask), field, atol=1e-6)


@pytest.mark.parametrize("interpolation", [LinearInterpolation(), SplineInterpolation(tension=EXACT_PLATE)])
@pytest.mark.parametrize(("rows", "cols"), [(1, 9), (12, 1), (2, 5), (9, 14), (14, 9)])
def test_linear_fields_are_reproduced_within_the_hull(interpolation, rows, cols):
    mask, field = some_mask(rows, cols), linear_field(rows, cols)
    np.testing.assert_allclose(interpolation.fill(field * mask, mask), field, atol=1e-5)


def test_a_plate_goes_on_beyond_the_hull_and_a_triangulation_stops():
    mask, field = np.zeros((9, 9), dtype=bool), linear_field(9, 9)
    mask[2:7:2, 2:7:2] = True
    np.testing.assert_allclose(SplineInterpolation(tension=EXACT_PLATE).fill(field * mask, mask), field, atol=1e-4)
    filled = LinearInterpolation().fill(field * mask, mask)
    np.testing.assert_allclose(filled[2:7, 2:7], field[2:7, 2:7], atol=1e-12)
    assert filled[0, 0] == field[2, 2]
    assert filled[8, 4] == field[6, 4]


@pytest.mark.parametrize("places", [[(3, 1), (3, 5)], [(1, 2), (3, 4), (6, 7)], [(6, 4), (0, 4)], [(2, 2)]])
def test_antennas_on_a_line_are_interpolated_along_it(places):
    mask = np.zeros((8, 9), dtype=bool)
    mask[tuple(np.transpose(places))] = True
    field = linear_field(8, 9)
    filled = LinearInterpolation().fill(field * mask, mask)
    first, last = np.argwhere(mask)[[0, -1]]
    along = last - first
    for place in np.ndindex(8, 9):  # the nearest point of the segment
        share = 0.0 if not along.any() else np.clip((place - first) @ along / (along @ along), 0, 1)
        nearest = first + share * along
        expected = field[0, 0] + nearest[0] * (field[1, 0] - field[0, 0]) + nearest[1] * (field[0, 1] - field[0, 0])
        assert filled[place] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("rows", "cols"), [(1, 8), (6, 7), (7, 6)])
def test_the_spline_solves_its_normal_equations(rows, cols):
    """Against dense matrices, for one of the smoothing weights that cross-validation may choose."""
    generator = np.random.default_rng(1)
    field = generator.normal(size=(rows, cols)) + 1j * generator.normal(size=(rows, cols))
    mask = some_mask(rows, cols, 0.5)

    def difference(elements, order):
        return np.diff(np.eye(elements), n=order, axis=0)

    bending = [np.kron(difference(rows, 2), np.eye(cols)), np.kron(np.eye(rows), difference(cols, 2))]
    twist = np.kron(difference(rows, 1), difference(cols, 1))
    slopes = [np.kron(difference(rows, 1), np.eye(cols)), np.kron(np.eye(rows), difference(cols, 1))]
    energy = 2 * twist.T @ twist + sum(d.T @ d for d in bending) + 0.1 * sum(d.T @ d for d in slopes)
    observed = np.diag(mask.reshape(-1).astype(float))
    answer = SplineInterpolation().fill(field * mask, mask).reshape(-1)
    errors = [
        np.abs(np.linalg.solve(observed + w * energy, (field * mask).reshape(-1)) - answer).max()
        for w in (1e-5, 1e-3, 1e-1, 1e1, 1e3)
    ]
    assert min(errors) < 1e-6


def test_the_spline_smooths_noise_and_not_signal():
    generator = np.random.default_rng(2)
    row, col = np.mgrid[:24, :24]
    smooth = np.exp(2j * np.pi * (row / 40 + col / 60))
    noise = (generator.normal(size=(24, 24)) + 1j * generator.normal(size=(24, 24))) / np.sqrt(2)
    mask = some_mask(24, 24, 0.4)
    clean = SplineInterpolation().fill(smooth * mask, mask)
    assert np.abs(clean - smooth)[~mask].max() < 0.03
    noisy = SplineInterpolation().fill((smooth + 0.3 * noise) * mask, mask)
    assert (np.abs(noisy - smooth)[~mask] ** 2).mean() < 0.2 * 0.3**2


@pytest.mark.parametrize("method", [LinearInterpolation, SplineInterpolation])
def test_a_single_wave_is_a_constant_once_it_is_divided_out(method):
    channel = spherical_wave(24, 16, np.array([60.0, 30.0, -20.0])).astype(np.complex64)[None, :, :, None]
    mask = random_mask(np.random.default_rng(3), 1, 24, 16, 0.9)
    answer = method().predict(channel * mask, mask)
    assert 10 * np.log10(nmse(answer, channel)[0]) < -50
    np.testing.assert_array_equal(answer[mask], channel[mask])  # observed antennas keep their values
