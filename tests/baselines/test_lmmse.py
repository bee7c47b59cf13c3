"""LMMSE with sample covariance, against its textbook formula."""

import numpy as np
import pytest
import torch

from channelfm.arrays import spherical_wave
from channelfm.baselines import LMMSE, CanonicalLMMSE
from channelfm.baselines.lmmse import LOADINGS, component_weights, principal_factor
from channelfm.errors import InputError
from channelfm.estimator import Examples, Learns
from channelfm.metrics import nmse
from channelfm.tokens.canonical import find_frame
from channelfm.tokens.masks import random_mask


def complex_normal(seed, *shape):
    generator = np.random.default_rng(seed)
    return (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(np.complex64)


def wave_channels(count, rows, cols, seed):
    """A strong and a weak wave from random places, of random phases."""
    generator = np.random.default_rng(seed)
    places = generator.uniform((200, -300, -200), (900, 300, 200), (2, count, 3))
    gains = np.exp(2j * np.pi * generator.random((2, count))) * np.array([[1.0], [0.2]])
    fields = [spherical_wave(rows, cols, places[k]) * gains[k, :, None, None] for k in (0, 1)]
    return (fields[0] + fields[1]).astype(np.complex64)[..., None]


@pytest.mark.parametrize("method", [LMMSE, CanonicalLMMSE])
@pytest.mark.parametrize("count", [3, 40])  # fewer, and more components than observed antennas
def test_equals_the_textbook_formula(method, count):
    rows, cols, loading = 3, 4, 0.05
    training, channel = complex_normal(0, count, rows, cols, 1), complex_normal(1, 1, rows, cols, 1)
    mask = random_mask(np.random.default_rng(2), 1, rows, cols, 0.5)
    estimator = method(loadings=(loading,))
    estimator.learn(Examples.of_channels(training))

    def in_frame(values, seen):
        frame = find_frame(torch.from_numpy(values[..., 0]), torch.from_numpy(seen), estimator.frame)
        scaled = frame.wave * frame.scale[:, None, None]
        return values[..., 0] / scaled.numpy(), scaled.expand(len(values), rows, cols).numpy()[..., None]

    flat, _ = in_frame(training, np.ones((count, rows, cols), dtype=bool))
    flat = flat.reshape(count, -1).astype(np.complex128)
    covariance = flat.T @ flat.conj() / count
    seen = mask.reshape(-1)
    rest, back = in_frame(channel * mask, mask[..., 0])
    loaded = covariance[np.ix_(seen, seen)] + loading * np.eye(seen.sum())
    expected = covariance[:, seen] @ np.linalg.solve(loaded, rest.reshape(-1)[seen])
    expected = np.where(mask, channel, expected.reshape(1, rows, cols, 1) * back)
    np.testing.assert_allclose(estimator.predict(channel * mask, mask), expected, atol=2e-4)


@pytest.mark.parametrize("antennas", [6, 20])  # fewer, and more than the 10 components
def test_the_loading_is_the_most_likely_one(antennas):
    factor = torch.from_numpy(complex_normal(3, antennas, 10))
    exact = factor.numpy().astype(np.complex128)  # in single precision, loadings are lost beside its rounding
    for noise in (1e-2, 1.0):
        observed = exact @ complex_normal(4, 10) + np.sqrt(noise) * complex_normal(5, antennas)
        scores, answers = [], []
        for loading in LOADINGS:
            covariance = exact @ exact.conj().T + loading * np.eye(antennas)
            whitened = np.linalg.solve(covariance, observed)
            scores.append(np.linalg.slogdet(covariance)[1] + antennas * np.log((observed.conj() @ whitened).real))
            answers.append(exact @ (exact.conj().T @ whitened))
        weights = component_weights(factor, torch.from_numpy(observed), LOADINGS)
        best = answers[int(np.argmin(scores))]
        np.testing.assert_allclose((factor.to(weights.dtype) @ weights).numpy(), best, atol=2e-3 * np.abs(best).max())


def test_the_factor_is_a_square_root_of_the_covariance():
    channels = torch.from_numpy(complex_normal(6, 7, 20))
    factor = principal_factor(channels)
    covariance = channels.mT @ channels.conj() / 7
    assert factor.shape == (20, 7)
    torch.testing.assert_close(factor @ factor.mH, covariance, atol=1e-4, rtol=1e-4)
    products = (factor.mH @ factor).abs()
    torch.testing.assert_close(products, products.diagonal().diag(), atol=1e-4, rtol=1e-4)
    assert (products.diagonal().diff() <= 0).all()
    assert principal_factor(channels[:1].expand(5, 20)).shape == (20, 1)  # what adds nothing is left out


def test_channels_of_the_learned_kind_are_recovered():
    basis = complex_normal(7, 5, 16 * 12)
    training = (complex_normal(8, 200, 5) @ basis).reshape(200, 16, 12, 1)
    channel = (complex_normal(9, 4, 5) @ basis).reshape(4, 16, 12, 1)
    mask = random_mask(np.random.default_rng(10), 4, 16, 12, 0.9)
    estimator = LMMSE()
    estimator.learn(Examples.of_channels(training))
    assert 10 * np.log10(nmse(estimator.predict(channel * mask, mask), channel).max()) < -40


def test_the_canonical_frame_makes_directions_alike():
    channel = wave_channels(6, 16, 16, seed=11)
    mask = random_mask(np.random.default_rng(12), 6, 16, 16, 0.8)
    error = {}
    for method in (LMMSE, CanonicalLMMSE):
        estimator = method()
        estimator.learn(Examples.of_channels(wave_channels(60, 16, 16, seed=13)))
        error[method] = 10 * np.log10(nmse(estimator.predict(channel * mask, mask), channel).mean())
    assert error[CanonicalLMMSE] < -13 < -3 < error[LMMSE]


def test_learning_leaves_channels_without_a_path_out_and_starts_afresh():
    training = complex_normal(14, 6, 4, 4, 2)
    with_gaps = np.concatenate([training, np.zeros_like(training)])
    channel, mask = complex_normal(15, 2, 4, 4, 2), random_mask(np.random.default_rng(16), 2, 4, 4, 0.5)
    estimator, other = LMMSE(), LMMSE()
    assert isinstance(estimator, Learns)
    estimator.learn(Examples.of_channels(training))
    other.learn(Examples.of_channels(complex_normal(17, 3, 5, 5, 1)))
    other.learn(Examples.of_channels(with_gaps))
    np.testing.assert_allclose(other.predict(channel, mask), estimator.predict(channel, mask), atol=1e-4)


def test_bad_use_is_refused():
    estimator, mask = LMMSE(), np.ones((1, 1, 1, 1), dtype=bool)
    with pytest.raises(InputError, match="first call learn"):
        estimator.predict(np.zeros((0, 4, 4, 1), dtype=np.complex64), mask)
    for channels, words in (
        (np.ones((2, 4, 4), dtype=np.complex64), "row, column"),
        (np.ones((2, 4, 4, 1)), "complex"),
        (np.zeros((2, 4, 4, 1), dtype=np.complex64), "none of the training channels"),
        (np.full((2, 4, 4, 1), np.nan, dtype=np.complex64), "NaN"),
    ):
        with pytest.raises(InputError, match=words):
            estimator.learn(Examples.of_channels(channels))
    estimator.learn(Examples.of_channels(complex_normal(18, 3, 4, 4, 1)))
    with pytest.raises(InputError, match=r"learned arrays of 4 x 4 antennas.*4 x 5"):
        estimator.predict(complex_normal(19, 1, 4, 5, 1), mask)
