"""Gaussian-process regression, against dense formulas and its own draws."""

import numpy as np
import pytest
import torch

from channelfm.arrays import spherical_wave
from channelfm.baselines import GaussianProcess, OffGrid, OffGridProcess, WaveFrame, WaveFrameProcess
from channelfm.baselines.gaussian_process import LENGTHS, NOISES, Hyperparameters, most_likely, posterior_mean
from channelfm.metrics import nmse
from channelfm.tokens.masks import random_mask


def matern(distance, length):
    scaled = np.sqrt(5) * np.abs(distance) / length
    return (1 + scaled + scaled**2 / 3) * np.exp(-scaled)


def dense_correlation(first, second, along_rows, along_cols):
    row, col = (first[:, None, axis] - second[None, :, axis] for axis in (0, 1))
    return matern(row, along_rows) * matern(col, along_cols)


def dense_fit(field, mask, along_rows, along_cols, noise):
    """Posterior mean everywhere, negative log restricted likelihood, variance: textbook formulas, dense matrices."""
    seen, every = np.argwhere(mask), np.argwhere(np.ones_like(mask))
    covariance = dense_correlation(seen, seen, along_rows, along_cols) + noise * np.eye(len(seen))
    one, values = np.ones(len(seen)), field[mask]
    inverse = np.linalg.inv(covariance)
    constant = (one @ inverse @ values) / (one @ inverse @ one)
    rest = inverse @ (values - constant)
    variance = ((values - constant).conj() @ rest).real / (len(seen) - 1)
    score = np.linalg.slogdet(covariance)[1] + np.log(one @ inverse @ one) + (len(seen) - 1) * np.log(variance)
    mean = constant + dense_correlation(every, seen, along_rows, along_cols) @ rest
    return mean.reshape(mask.shape), score, variance


def draws(count, rows, cols, along_rows, along_cols, noise, seed=0):
    """Processes of variance 1 about a constant of 1, and their noise apart: complex128 [count, rows, cols] each."""
    generator = np.random.default_rng(seed)
    every = np.argwhere(np.ones((rows, cols)))
    factor = np.linalg.cholesky(dense_correlation(every, every, along_rows, along_cols) + 1e-10 * np.eye(len(every)))
    white = generator.normal(size=(2, count, rows * cols, 2)) @ np.array([1, 1j]) / np.sqrt(2)
    return 1 + (white[0] @ factor.T).reshape(count, rows, cols), np.sqrt(noise) * white[1].reshape(count, rows, cols)


def chosen(field, mask):
    return most_likely(torch.from_numpy(np.where(mask, field, 0)), torch.from_numpy(mask))


@pytest.mark.parametrize(("rows", "cols"), [(6, 7), (1, 16), (11, 1)])
def test_posterior_mean_is_the_dense_one(rows, cols):
    process, noise = draws(3, rows, cols, 3.0, 6.0, 0.01)
    mask = random_mask(np.random.default_rng(1), 3, rows, cols, np.array([0.3, 0.5, 0.7]))[..., 0]
    lengths = torch.tensor([3.0, 6.0, 1.5]).double(), torch.tensor([6.0, 24.0, 3.0]).double()
    noises = torch.tensor([1e-2, 1e-4, 1.0]).double()
    fixed = Hyperparameters(*lengths, noises, torch.ones(3))
    field = np.where(mask, process + noise, 0)
    answer = posterior_mean(torch.from_numpy(field), torch.from_numpy(mask), fixed)
    for k in range(3):
        expected, _, _ = dense_fit(field[k], mask[k], float(lengths[0][k]), float(lengths[1][k]), float(noises[k]))
        np.testing.assert_allclose(answer[k].numpy(), expected, atol=1e-8)


def test_no_single_parameter_could_be_more_likely():
    process, noise = draws(3, 7, 8, 3.0, 12.0, 0.01, seed=2)
    mask = random_mask(np.random.default_rng(3), 3, 7, 8, np.array([0.0, 0.3, 0.6]))[..., 0]
    found = chosen(process + noise, mask)
    for k in range(3):
        best = [float(found.along_rows[k]), float(found.along_cols[k]), float(found.noise[k])]
        _, least, variance = dense_fit((process + noise)[k], mask[k], *best)
        assert float(found.variance[k]) == pytest.approx(variance, rel=1e-6)
        for parameter, values in enumerate((LENGTHS, LENGTHS, NOISES)):
            for value in values:
                other = [value if parameter == place else old for place, old in enumerate(best)]
                assert dense_fit((process + noise)[k], mask[k], *other)[1] > least - 1e-6


@pytest.mark.parametrize("noise", [1e-3, 1e-1])
def test_lengths_and_noise_of_draws_are_recovered(noise):
    process, added = draws(6, 20, 20, 3.0, 12.0, noise, seed=4)
    found = chosen(process + added, random_mask(np.random.default_rng(5), 6, 20, 20, 0.3)[..., 0])
    assert float((found.noise * found.variance).median()) == pytest.approx(noise, rel=0.8)
    assert 1.5 <= float(found.along_rows.median()) <= 6
    assert 6 <= float(found.along_cols.median()) <= 24


def test_parts_of_a_large_array_agree_with_the_whole():
    """With more observed antennas than a neighbourhood holds, those far away hardly count."""
    process, noise = draws(2, 24, 25, 3.0, 6.0, 1e-4, seed=6)
    mask = random_mask(np.random.default_rng(7), 2, 24, 25, np.array([0.4, 0.2]))[..., 0]
    three, six = torch.full((2,), 3.0).double(), torch.full((2,), 6.0).double()
    fixed = Hyperparameters(three, six, torch.full((2,), 1e-4).double(), torch.ones(2))
    field = np.where(mask, process + noise, 0)
    answer = posterior_mean(torch.from_numpy(field), torch.from_numpy(mask), fixed).numpy()
    for k in range(2):
        expected, _, _ = dense_fit(field[k], mask[k], 3.0, 6.0, 1e-4)
        far = np.linalg.norm(answer[k] - expected)
        assert 0 < far < 0.03 * np.linalg.norm(expected - process[k])


def channel_with_rest(seed):
    """Four far waves, and a weak smooth process that no wave explains: complex64 [1, 24, 24, 1]."""
    generator = np.random.default_rng(seed)
    places = generator.uniform((200, -300, -200), (900, 300, 200), (4, 3))
    waves = spherical_wave(24, 24, places) * np.array([1, 0.5j, -0.3, 0.2])[:, None, None]
    process, _ = draws(1, 24, 24, 6.0, 6.0, 0.0, seed)
    return (waves.sum(0) + 0.05 * waves[0] * (process[0] - 1)).astype(np.complex64)[None, ..., None]


def test_the_process_explains_what_waves_leave():
    truth = np.concatenate([channel_with_rest(seed) for seed in range(4)])
    mask = random_mask(np.random.default_rng(8), 4, 24, 24, 0.5)
    error = {
        method: 10 * np.log10(nmse(method().predict(truth * mask, mask), truth).mean())
        for method in (WaveFrame, OffGrid, GaussianProcess, WaveFrameProcess, OffGridProcess)
    }
    assert error[WaveFrameProcess] < error[WaveFrame] - 3
    assert error[WaveFrameProcess] < error[GaussianProcess] - 3
    assert error[OffGridProcess] < error[OffGrid] - 3


def test_noise_of_observed_antennas_is_filtered():
    truth = spherical_wave(20, 20, np.array([400.0, 90.0, -60.0])).astype(np.complex64)[None, ..., None]
    noise = np.random.default_rng(9).normal(size=(*truth.shape, 2)) @ np.array([1, 1j]) * 0.1 / np.sqrt(2)  # 20 dB
    mask = random_mask(np.random.default_rng(10), 1, 20, 20, 0.3)
    answer = GaussianProcess().predict(((truth + noise) * mask).astype(np.complex64), mask)
    assert 10 * np.log10(nmse(answer, truth)[0]) < -30
