"""Gridless waves in direction, range and delay: exact answers, the bound, and what cannot be solved."""

import dataclasses

import numpy as np
import pytest

import channelfm as cfm
from channelfm.baselines import OffGridDelay
from channelfm.channels.near_field import NEAR_FIELD_MODELS, draw_near_field
from channelfm.errors import InputError
from channelfm.metrics import nmse
from channelfm.observation import Combined, Entries, Grid, Observation, RandomlyCombined, observe
from channelfm.waves.bounds import SphericalWaves, field_bound, free_gain_bound

CARRIER = 28e9
TONES = CARRIER + (np.arange(32) - 15.5) * 3e6
LINEAR, PLANAR = cfm.UPA(rows=1, cols=64, carrier_hz=CARRIER), cfm.UPA(rows=8, cols=8, carrier_hz=CARRIER)


def drawn(array, users, seed, tones=TONES, **changes):
    """Channels of three paths (or as changed) on a grid, and their rays."""
    model = dataclasses.replace(NEAR_FIELD_MODELS["paths"], **{"squint": False, "range_m": (1.0, 20.0)} | changes)
    draw = draw_near_field(model, array, tones, users, seed)
    grid = Grid(array, np.zeros(1), tones)
    waves = SphericalWaves(draw.rays.sources, draw.rays.gains, draw.rays.delays_s, model.squint)
    return draw.response.reshape(users, *grid.shape), grid, waves


def antennas(grid, count, share, seed):
    """Operator that sees a share of the antennas."""
    mask = np.random.default_rng(seed).random((count, 1, *grid.shape[1:3], 1)) < share
    mask[:, :, 0, 0] = True
    return Entries(mask)


@pytest.mark.parametrize("squint", [False, True])
@pytest.mark.parametrize("array", [LINEAR, PLANAR])
def test_clean_paths_are_found_exactly(array, squint):
    channel, grid, truth = drawn(array, 4, 1, clusters=2, squint=squint)
    for operator in (antennas(grid, 4, 0.5, 2), RandomlyCombined(3, np.zeros(4, np.int64), 32, array.rows, array.cols)):
        observation = observe(channel, operator, grid, None, np.random.default_rng(0))
        estimator = OffGridDelay()
        assert np.median(nmse(estimator.estimate(observation), channel)) < 1e-8
        waves = estimator.estimate_waves(observation)
        strongest = np.abs(truth.gains).argmax(1)
        links = np.arange(4)
        assert np.median(np.abs(waves.delays_s[:, 0] - truth.delays_s[links, strongest])) < 1e-12
        assert np.median(np.abs(waves.sources[:, 0] - truth.sources[links, strongest])) < 1e-6


def test_noisy_pilots_come_near_the_bound_that_free_gains_miss_by_far():
    channel, grid, truth = drawn(LINEAR, 12, 5)
    operator = RandomlyCombined(1, np.arange(12) // 4, 48, 1, 64)
    observation = observe(channel, operator, grid, 15.0, np.random.default_rng(2))
    found = np.mean(nmse(OffGridDelay().estimate(observation), channel))
    bound = np.mean(field_bound(truth, observation))
    assert found < 1.6 * bound
    assert np.mean(free_gain_bound(truth, observation)) > 5 * bound


def test_deviations_are_those_that_repeated_noise_has():
    channel, grid, truth = drawn(LINEAR, 1, 3, clusters=1)
    many = np.repeat(channel, 60, axis=0)
    operator = RandomlyCombined(1, np.zeros(60, np.int64), 48, 1, 64)
    waves = OffGridDelay(max_waves=1).estimate_waves(observe(many, operator, grid, 10.0, np.random.default_rng(4)))
    told = np.sqrt(np.median(waves.covariance[:, 0], axis=0).diagonal())
    columns = np.column_stack([waves.sources[:, 0, 0], waves.sources[:, 0, 2], waves.delays_s[:, 0]])
    error = columns - np.array([truth.sources[0, 0, 0], truth.sources[0, 0, 2], truth.delays_s[0, 0]])
    assert np.allclose(np.sqrt(np.mean(error**2, axis=0)), told[[0, 2, 3]], rtol=0.3)
    assert np.isinf(told[1])  # one row tells no elevation


def test_bound_of_all_antennas_is_half_the_parameters_times_the_noise():
    channel, grid, truth = drawn(PLANAR, 3, 7, clusters=1, squint=True)
    observation = observe(channel, Entries(np.ones((1, 1, 1, 1, 1), np.bool_)), grid, 10.0, np.random.default_rng(0))
    energy = np.sum(np.abs(channel) ** 2, axis=(1, 2, 3, 4))
    assert np.allclose(field_bound(truth, observation), 6 / 2 * observation.noise / energy, rtol=1e-4)


def test_one_subcarrier_has_the_bound_of_narrow_band_waves_free_gains_or_not():
    channel, grid, truth = drawn(PLANAR, 2, 8, tones=np.array([CARRIER]), clusters=2)
    observation = observe(channel, antennas(grid, 2, 0.6, 1), grid, 10.0, np.random.default_rng(0))
    narrow = field_bound(SphericalWaves(truth.sources, truth.gains), observation)
    assert np.allclose(free_gain_bound(truth, observation), narrow, rtol=1e-3)
    assert np.allclose(field_bound(truth, observation), narrow, rtol=1e-3)


def test_links_that_cannot_be_solved_are_flagged_and_finite():
    channel, grid, _ = drawn(LINEAR, 2, 9)
    channel[1] = 0
    operator = RandomlyCombined(1, np.zeros(2, np.int64), 1, 1, 64)  # one measurement of each subcarrier
    observation = Observation(operator.forward(channel), operator, grid, np.full(2, 0.1))
    waves = OffGridDelay().estimate_waves(observation)
    assert not waves.present[1].any()
    assert np.isfinite(OffGridDelay().estimate(observation)).all()


def test_masks_that_differ_among_subcarriers_are_refused():
    channel, grid, _ = drawn(LINEAR, 1, 9)
    mask = np.ones(channel.shape, np.bool_)
    mask[..., 3, 2] = False
    with pytest.raises(InputError, match="same antennas on the same subcarriers"):
        OffGridDelay().estimate(Observation(channel, Entries(mask), grid))


def test_waves_are_saved_and_loaded_without_loss(tmp_path):
    channel, grid, _ = drawn(LINEAR, 2, 9)
    observation = observe(channel, antennas(grid, 2, 0.5, 1), grid, 10.0, np.random.default_rng(0))
    waves = OffGridDelay().estimate_waves(observation)
    waves.save(tmp_path / "waves.safetensors")
    again = type(waves).load(tmp_path / "waves.safetensors")
    assert all(np.array_equal(getattr(waves, name), getattr(again, name)) for name in waves.axes)


def test_chains_that_hear_nothing_are_answered_finitely():
    _channel, grid, _ = drawn(LINEAR, 2, 9)
    operator = Combined(np.zeros((1, 8, 1, 64), np.complex64))
    noise = np.random.default_rng(0).standard_normal((2, 1, 8, 32, 2)) @ np.array([1, 1j])
    observation = Observation(noise.astype(np.complex64), operator, grid, np.full(2, 2.0))
    assert np.isfinite(OffGridDelay().estimate(observation)).all()


def test_weights_of_another_norm_change_gains_alone():
    """Chains that amplify threefold, noise with it: the same places, as well known, and gains of the channel."""
    channel, grid, _truth = drawn(LINEAR, 3, 4, clusters=1)
    weights = RandomlyCombined(1, np.zeros(3, np.int64), 48, 1, 64).weights_of(0)[None]
    plain = observe(channel, Combined(weights), grid, 10.0, np.random.default_rng(4))
    louder = Observation(3 * plain.values, Combined(3 * weights), grid, None)
    told, found = (OffGridDelay(max_waves=1).estimate_waves(seen) for seen in (plain, louder))
    assert np.allclose(found.noise, 9 * plain.noise, rtol=0.1)
    assert np.allclose(found.gains, told.gains, rtol=1e-3)
    known = np.isfinite(told.covariance[:, 0].diagonal(axis1=1, axis2=2))
    deviations = (np.sqrt(waves.covariance[:, 0].diagonal(axis1=1, axis2=2)[known]) for waves in (told, found))
    assert np.allclose(*deviations, rtol=0.1)
