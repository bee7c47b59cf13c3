"""Estimators with a covariance over antennas and subcarriers: one of training channels, one of clusters about waves."""

import dataclasses

import numpy as np
import pytest

from channelfm.arrays import UPA
from channelfm.baselines import OffGridDelay, SampleLMMSE, TwoStep
from channelfm.baselines.sample_lmmse import covariance_factor
from channelfm.channels.near_field import NEAR_FIELD_MODELS, draw_near_field
from channelfm.datasets.blocks import unlabelled
from channelfm.errors import InputError
from channelfm.estimator import Examples
from channelfm.metrics import nmse
from channelfm.observation import Combined, Entries, Grid, RandomlyCombined, observe
from channelfm.waves.oracles import genie_lmmse

RNG = np.random.default_rng
NEAR = {name: dataclasses.replace(m, range_m=(1.5, 15.0), squint=False) for name, m in NEAR_FIELD_MODELS.items()}


def grid_of(rows=1, cols=64, frequencies=16, times=1, apart_hz=6e6):
    tones = 28e9 + (np.arange(frequencies) - (frequencies - 1) / 2) * apart_hz
    return Grid(UPA(rows, cols, 28e9), np.arange(float(times)), tones)


def examples(channel, grid, measurements=48, snr_db=10.0, seed=0):
    operator = RandomlyCombined(seed, np.arange(len(channel)) // 4, measurements, *grid.shape[1:3])
    return Examples(observe(channel, operator, grid, snr_db, RNG(seed)), channel, unlabelled(channel, grid))


def drawn(name, count, grid, seed=0):
    draw = draw_near_field(NEAR[name], grid.array, grid.frequencies_hz, count, seed)
    return draw.response.reshape(count, *grid.shape), draw.clusters


def decibel(values):
    return 10 * np.log10(np.maximum(values, 1e-15))


def gaussian(count, grid, seed):
    """Channels of a covariance that is a product, [count, *grid.shape], and its factors."""
    generator = RNG(seed)
    sizes = ((grid.shape[2], 3), (grid.shape[3], 2))
    roots = [generator.normal(size=(*size, 2)) @ [1, 1j] for size in sizes]
    gains = generator.normal(size=(count, 3, 2, 2)) @ [1, 1j] / np.sqrt(2)
    return np.einsum("ai,nij,fj->naf", roots[0], gains, roots[1])[:, None, None].astype(np.complex64)


def test_it_is_lmmse_with_the_covariance_of_the_channels():
    """What is missing to the textbook's answer with the true covariance are samples, and that the noise is told."""
    grid = grid_of(cols=8, frequencies=4)
    channel = gaussian(3000, grid, seed=1)
    row = SampleLMMSE()
    row.learn(examples(channel[:2900], grid, 5))
    part = examples(channel[2900:], grid, 5, 15.0)
    flat = channel[:2900].reshape(2900, -1).astype(np.complex128)
    flat /= np.sqrt(np.mean(np.abs(flat) ** 2, axis=1, keepdims=True))
    covariance = flat.T @ flat.conj() / len(flat)
    wanted = []
    for link, values in enumerate(part.observation.values):
        weights = part.observation.operator.weights_of(link).reshape(5, -1).conj()
        seen = np.einsum("qa,afr->qfr", weights, covariance.reshape(8, 4, 32)).reshape(20, 32)
        both = np.einsum("qa,paf->pqf", weights, seen.reshape(20, 8, 4).conj()).reshape(20, 20).conj()
        power = np.mean(np.abs(channel[2900 + link]) ** 2)
        loaded = both.T * power + part.observation.noise[link] * np.eye(20)
        wanted.append(power * seen.conj().T @ np.linalg.solve(loaded, values.reshape(-1)))
    best = nmse(np.array(wanted).reshape(part.target.shape).astype(np.complex64), part.target)
    found = nmse(row.estimate(part.observation), part.target)
    assert decibel(found.mean()) < decibel(best.mean()) + 1.0


def test_the_factor_is_that_of_the_covariance_and_leaves_out_what_is_negligible():
    samples = (RNG(0).normal(size=(40, 6, 2)) @ [1, 1j]) * [1, 1, 1, 1, 1e-6, 1e-6]
    for rows in (samples, samples[:5]):
        factor = covariance_factor(rows).numpy()
        assert factor.shape == (6, 4)
        np.testing.assert_allclose(factor @ factor.conj().T, rows.T @ rows.conj() / len(rows), atol=1e-5)


def test_statistics_help_where_paths_are_clusters_and_a_cluster_about_each_wave_helps_more():
    grid = grid_of(cols=96)
    channel, clusters = drawn("clusters", 4, grid, seed=5)
    learned = SampleLMMSE()
    learned.learn(examples(drawn("clusters", 60, grid, seed=6)[0], grid))
    observation = examples(channel, grid, 64).observation
    rows = (OffGridDelay(max_waves=6), learned, TwoStep())
    errors = [decibel(np.median(nmse(row.estimate(observation), channel))) for row in rows]
    genie = decibel(np.median(nmse(genie_lmmse(clusters, observation), channel)))
    assert errors[0] - 2 > errors[2] > genie
    assert errors[1] - 2 > errors[2]
    assert errors[2] < genie + 5


def test_single_paths_stay_single():
    grid = grid_of(cols=128, frequencies=32, apart_hz=3e6)
    channel, _ = drawn("paths", 8, grid, seed=7)
    observation = examples(channel, grid, 64, 20.0).observation
    one, two = (decibel(np.median(nmse(row.estimate(observation), channel))) for row in (OffGridDelay(), TwoStep()))
    assert two < one + 1 < -35


@pytest.mark.parametrize("row", [SampleLMMSE, TwoStep])
@pytest.mark.parametrize(("rows", "cols", "measurements"), [(1, 1, 1), (1, 17, 6), (13, 1, 20), (6, 5, 2)])
def test_any_array_and_any_number_of_measurements(row, rows, cols, measurements):
    generator, grid = RNG(11), grid_of(rows, cols, 3, times=2)
    channel = (generator.normal(size=(3, *grid.shape, 2)) @ [1, 1j]).astype(np.complex64)
    weights = (generator.normal(size=(3, measurements, rows, cols, 2)) @ [1, 1j]).astype(np.complex64)
    weights[2] = 0
    estimator = row()
    if row is SampleLMMSE:
        estimator.learn(examples(channel, grid))
    answer = estimator.estimate(observe(channel, Combined(weights), grid, 10.0, generator))
    assert answer.shape == channel.shape
    assert np.isfinite(answer).all()


def test_bad_input_is_refused():
    grid = grid_of()
    channel, _ = drawn("paths", 4, grid)
    part = examples(channel, grid)
    with pytest.raises(InputError, match="first call learn"):
        SampleLMMSE().estimate(part.observation)
    row = SampleLMMSE()
    row.learn(part)
    for other in (grid_of(cols=32), grid_of(frequencies=8), grid_of(apart_hz=3e6)):
        with pytest.raises(InputError, match=r"learned 1 x 64 antennas and 16 subcarriers over 90 MHz"):
            row.estimate(examples(np.ones((1, *other.shape), np.complex64), other).observation)
    with pytest.raises(InputError, match="none of the training channels"):
        row.learn(examples(0 * channel, grid, snr_db=None))
    twice = dataclasses.replace(grid, frequencies_hz=np.tile(grid.frequencies_hz[:8], 2))
    with pytest.raises(InputError, match="one polarisation"):
        TwoStep().check(dataclasses.replace(part.observation, grid=twice))
    for estimator in (row, TwoStep()):
        with pytest.raises(InputError, match="RF chains"):
            estimator.check(observe(channel, Entries(np.ones((1,) * 5, bool)), grid, None, RNG(0)))
