"""Classical estimators of what a hybrid array's RF chains measure."""

from dataclasses import replace

import numpy as np
import pytest

from channelfm.arrays import UPA, spherical_wave
from channelfm.baselines import BASELINES, LMMSE, LeastSquares, OffGrid, PolarOMP, classical
from channelfm.baselines.gaussian_process import mean_of_sums
from channelfm.errors import InputError
from channelfm.estimator import Examples
from channelfm.metrics import nmse
from channelfm.observation import Combined, Entries, Grid, RandomlyCombined, observe
from channelfm.waves.bounds import SphericalWaves, field_bound

RNG = np.random.default_rng
SIDE = 16


def grid_of(side=SIDE, times=1, frequencies=1):
    return Grid(UPA(side, side, 7e9), np.arange(float(times)), np.full(frequencies, 7e9))


def links(count, waves, seed, side=SIDE):
    """Channels complex64 [count, 1, side, side, 1] of spherical waves, and the waves."""
    generator = RNG(seed)
    places = generator.uniform((30, -60, -40), (200, 60, 40), (count, waves, 3))
    gains = 0.7 ** np.arange(waves) * np.exp(2j * np.pi * generator.random((count, waves)))
    field = (spherical_wave(side, side, places) * gains[..., None, None]).sum(axis=1)
    distance = np.linalg.norm(places, axis=2, keepdims=True)
    sources = np.concatenate([places[..., 1:] / distance, 1 / distance], axis=2)
    return field.astype(np.complex64)[:, None, :, :, None], SphericalWaves(sources, gains)


def received(channel, measurements, snr_db, seed=0):
    operator = RandomlyCombined(seed, np.arange(len(channel)), measurements, *channel.shape[2:4])
    return observe(channel, operator, grid_of(channel.shape[2]), snr_db, RNG(seed))


def decibel(linear):
    return 10 * np.log10(linear)


@pytest.mark.parametrize(("waves", "measurements"), [(1, 64), (2, 96), (3, 128)])
def test_off_grid_finds_the_waves(waves, measurements):
    channel, _ = links(12, waves, seed=waves)
    assert decibel(nmse(OffGrid().estimate(received(channel, measurements, None)), channel)).max() < -60


def test_off_grid_behaves_as_the_cramer_rao_bound():
    channel, waves = links(60, 1, seed=3)
    observation = received(channel, 96, 10.0)
    measured = decibel(nmse(OffGrid().estimate(observation), channel).mean())
    bound = decibel(field_bound(waves, observation).mean())
    assert abs(measured - bound) < 1


def test_the_codebook_is_far_better_than_least_squares_which_leaves_what_it_cannot_see():
    channel, _ = links(12, 2, seed=4)
    observation = received(channel, 96, 10.0)
    polar, least = (decibel(nmse(row().estimate(observation), channel).mean()) for row in (PolarOMP, LeastSquares))
    assert polar < least - 6
    clean = replace(observation, values=observation.operator.forward(channel))
    left = nmse(LeastSquares().estimate(clean), channel).mean()
    assert left == pytest.approx(1 - 96 / SIDE**2, abs=0.05)  # the share of the space that W does not span


def test_least_squares_is_exact_with_enough_measurements_and_takes_repeated_ones():
    channel, _ = links(2, 3, seed=5, side=4)
    weights = (RNG(6).normal(size=(1, 30, 4, 4, 2)) @ [1, 1j]).astype(np.complex64)
    for repeated in (weights, np.concatenate([weights, weights], axis=1)):
        observation = observe(channel, Combined(repeated), grid_of(4), None, RNG(0))
        assert decibel(nmse(LeastSquares().estimate(observation), channel)).max() < -100
    few = Combined(np.concatenate([weights[:, :3], weights[:, :3]], axis=1))
    observation = observe(channel, few, grid_of(4), None, RNG(0))
    estimate = LeastSquares().estimate(observation)
    np.testing.assert_allclose(few.forward(estimate), observation.values, atol=1e-4)
    with pytest.raises(InputError, match="zero-filling"):
        LeastSquares().predict(channel[:, 0], np.ones((1, 1, 1, 1), bool), 0.5)


def test_lmmse_through_single_antennas_is_lmmse_of_all_antennas():
    """Of what the learned channels span; observed antennas keep their values in one and are filtered in the other."""
    side, generator = 6, RNG(7)
    basis = (generator.normal(size=(4, side, side, 2)) @ [1, 1j]).astype(np.complex64)
    mixed = np.einsum("nk,krc->nrc", generator.normal(size=(40, 4)), basis)[..., None].astype(np.complex64)
    estimator = LMMSE(loadings=(1e-3,))
    estimator.learn(Examples.of_channels(mixed[:30]))
    channel, grid = mixed[30:, None], grid_of(side)
    noisy = channel + 0.1 * (generator.normal(size=(*channel.shape, 2)) @ [1, 1j]).astype(np.complex64)
    antennas = np.eye(side**2, dtype=np.complex64).reshape(1, -1, side, side)
    through = estimator.estimate(observe(noisy, Combined(antennas), grid, None, RNG(0)))
    estimator.keeps_observed = False
    seen = estimator.estimate(observe(noisy, Entries(np.ones((1, 1, 1, 1, 1), bool)), grid, None, RNG(0)))
    np.testing.assert_allclose(through, seen, atol=1e-4)
    assert decibel(nmse(through, channel)).mean() < decibel(nmse(noisy, channel)).mean() - 6


def test_the_process_follows_a_slow_field_in_front_of_its_wave():
    """As good as its posterior variance, when the field is drawn from the process."""
    side, length = 8, 6.0
    distance = np.sqrt(5) * np.abs(np.arange(side)[:, None] - np.arange(side)) / length
    axis = (1 + distance + distance**2 / 3) * np.exp(-distance)
    root = np.linalg.cholesky(np.kron(axis, axis) + 1e-9 * np.eye(side**2))
    generator = RNG(8)
    weights = generator.normal(size=(side**2, 40, 2)) @ [1, 1j] / np.sqrt(2 * side**2)
    errors = []
    for _ in range(20):
        field = root @ (generator.normal(size=(side**2, 2)) @ [1, 1j] / np.sqrt(2)) + 1
        estimate = mean_of_sums(*(np_to_torch(part) for part in (field @ weights, weights)), side, side).numpy()
        errors.append(np.mean(np.abs(estimate - field) ** 2))
    observed = weights.T @ root
    posterior = root @ (np.eye(side**2) - np.linalg.pinv(observed) @ observed)
    assert np.mean(errors) < 2 * np.mean(np.sum(np.abs(posterior) ** 2, axis=1)) + 1e-4


def np_to_torch(values):
    import torch

    return torch.from_numpy(np.asarray(values, np.complex128))


def test_gaussian_process_of_one_wave_is_that_wave():
    channel, _ = links(6, 1, seed=9)
    row = BASELINES["gaussian-process"]()
    assert decibel(nmse(row.estimate(received(channel, 64, None)), channel)).max() < -60
    with pytest.raises(InputError, match="1024 measurements"):
        row.check(received(channel[:1], 1025, None))


@pytest.mark.parametrize("name", ["lmmse", "gaussian-process", "angular-omp", "polar-omp", "off-grid", "off-grid-gp"])
def test_every_frame_and_frequency_is_a_channel_of_its_own(name):
    parts = [links(2, 1, seed)[0] for seed in range(6)]
    channel = np.concatenate([np.concatenate(parts[k : k + 2], axis=4) for k in (0, 2, 4)], axis=1)
    channel[1, 1, :, :, 0] = 0
    operator = RandomlyCombined(1, np.arange(2), 64, SIDE, SIDE)
    observation = observe(channel, operator, grid_of(times=3, frequencies=2), None, RNG(0))
    estimator = BASELINES[name]()
    if name == "lmmse":
        estimator.learn(Examples.of_channels(links(40, 1, seed=9)[0][:, 0]))
    together = estimator.estimate(observation)
    assert together.shape == channel.shape
    assert not together[1, 1, :, :, 0].any()
    alone = observe(channel[1:, 2:, ..., 1:], operator.select([1]), grid_of(), None, RNG(0))
    difference = nmse(estimator.estimate(alone), together[1:, 2:, ..., 1:])
    assert decibel(difference.max()) < -60
    assert estimator.estimate(observation.select(slice(0, 0))).shape == (0, 3, SIDE, SIDE, 2)


@pytest.mark.parametrize("name", ["lmmse", "gaussian-process", "angular-omp", "polar-omp", "off-grid", "off-grid-gp"])
@pytest.mark.parametrize(("rows", "cols", "measurements"), [(1, 1, 1), (2, 2, 1), (1, 17, 6), (13, 1, 20), (6, 5, 2)])
def test_any_array_and_any_number_of_measurements(name, rows, cols, measurements):
    generator, grid = RNG(11), Grid(UPA(rows, cols, 7e9), np.zeros(1), np.full(1, 7e9))
    channel = (generator.normal(size=(3, 1, rows, cols, 1, 2)) @ [1, 1j]).astype(np.complex64)
    weights = (generator.normal(size=(3, measurements, rows, cols, 2)) @ [1, 1j]).astype(np.complex64)
    weights[2] = 0
    observation = observe(channel, Combined(weights), grid, 10.0, generator)
    estimator = BASELINES[name]()
    if name == "lmmse":
        estimator.learn(Examples.of_channels(channel[:, 0]))
    estimate = estimator.estimate(observation)
    assert estimate.shape == channel.shape
    assert np.isfinite(estimate).all()


def test_rows_say_in_one_line_that_they_take_no_sums():
    channel, _ = links(1, 1, seed=10)
    observation = received(channel, 64, 10.0)
    of_fields = ["least-squares", "lmmse", "gaussian-process", "angular-omp", "polar-omp", "off-grid", "off-grid-gp"]
    simultaneous = ["sw-omp", "hybrid-field-omp", "polar-somp", "polar-sigw", "off-grid-delay"]
    able = classical(observation)
    assert {*of_fields, *simultaneous} <= set(able)
    for name in set(BASELINES) - {*able, "majority"}:
        with pytest.raises(InputError, match=r"single entries of the channel|tells of none") as told:
            BASELINES[name]().check(observation)
        assert "\n" not in str(told.value)
