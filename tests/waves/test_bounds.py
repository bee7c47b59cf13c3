"""The Cramer-Rao bound of sums of spherical waves, against closed forms and maximum likelihood."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from channelfm.arrays import UPA
from channelfm.baselines.bounds import spherical_wave_bound
from channelfm.baselines.off_grid import fitted_waves
from channelfm.errors import InputError
from channelfm.observation import Combined, Entries, Grid, Observation, RandomlyCombined, observe
from channelfm.waves.bounds import SphericalWaves, best_order_bound, field_bound
from channelfm.waves.fit import GainBasis, Waves, refine
from channelfm.waves.gathered import Gathered
from channelfm.waves.geometry import coordinates, path_and_slope, waves_at

RNG = np.random.default_rng
EVERYTHING = Entries(np.ones((1, 1, 1, 1, 1), bool))
NOISE = 0.01


def waves_of(*waves):
    """One link of waves (u_y, u_z, q, gain)."""
    table = np.array(waves)
    return SphericalWaves(table[None, :, :3].real, table[None, :, 3].astype(complex))


def field_of(waves, rows, cols, spacing=0.5):
    """Fields complex128 [N, rows, cols]."""
    y, z = coordinates(rows, cols, spacing)
    each = waves_at(torch.from_numpy(waves.sources), y, z).numpy()
    return np.einsum("nl,nlm->nm", waves.gains, each).reshape(-1, rows, cols)


def seen(operator, rows, cols, count=1, noise=NOISE):
    """An observation, of which a bound asks operator and noise only."""
    grid = Grid(UPA(rows, cols, 7e9), np.zeros(1), np.full(1, 7e9))
    return Observation(np.zeros((count, *operator.shape(grid)), np.complex64), operator, grid, np.full(count, noise))


def textbook(waves, projection, rows, cols):
    """trace(G F^-1 G^H) / energy, written out for all parameters, in double precision."""
    y, z = coordinates(rows, cols, 0.5)
    path, slope = path_and_slope(torch.from_numpy(waves.sources), y, z)
    each, slope = np.exp(-2j * np.pi * path[0].numpy()), slope[0].numpy()
    columns = []
    for wave, gain, slopes in zip(each, waves.gains[0], slope, strict=True):
        columns += [wave, 1j * wave, *(-2j * np.pi * gain * part * wave for part in slopes)]
    derivative = np.stack(columns, axis=1)
    measured = projection.conj() @ derivative
    fisher = 2 / NOISE * (measured.conj().T @ measured).real
    scale = np.diag(1 / np.sqrt(np.diag(fisher)))
    covariance = scale @ np.linalg.inv(scale @ fisher @ scale) @ scale
    error = np.trace(derivative @ covariance @ derivative.conj().T).real
    return error / np.sum(np.abs(waves.gains[0] @ each) ** 2)


@pytest.mark.parametrize("kind", ["entries", "combined"])
def test_it_is_the_textbook_formula(kind):
    waves = waves_of((0.3, -0.1, 0.02, 1), (-0.2, 0.4, 0.005, 0.5j), (0.28, 0.1, 0.01, -0.3))
    generator = RNG(1)
    if kind == "entries":
        mask = generator.random((12, 10)) < 0.5
        operator, projection = Entries(mask[None, None, :, :, None]), np.eye(120)[mask.reshape(-1)]
    else:
        weights = (generator.normal(size=(1, 60, 12, 10, 2)) @ [1, 1j] / np.sqrt(240)).astype(np.complex64)
        operator, projection = Combined(weights), weights.reshape(60, -1)
    bound = field_bound(waves, seen(operator, 12, 10))[0]
    assert bound == pytest.approx(textbook(waves, projection, 12, 10), rel=1e-3)


def test_one_wave_has_the_bound_of_one_wave():
    source = np.array([40.0, 12.0, -9.0])
    distance = np.linalg.norm(source)
    mask = RNG(2).random((16, 16)) < 0.3
    waves = waves_of((source[1] / distance, source[2] / distance, 1 / distance, 3 - 4j))
    bound = field_bound(waves, seen(Entries(mask[None, None, :, :, None]), 16, 16, noise=25 / 10**0.7))[0]
    assert bound == pytest.approx(spherical_wave_bound(source, mask, 7.0), rel=1e-5)


def test_parameters_count_where_all_is_seen():
    """k real parameters cost k / 2 of the noise at one antenna, however many waves there are."""
    far = waves_of((0.6, 0.0, 0.01, 1), (-0.6, 0.1, 0.02, 0.7j))
    energy = np.sum(np.abs(field_of(far, 16, 16)) ** 2)
    assert field_bound(far, seen(EVERYTHING, 16, 16))[0] == pytest.approx(10 / 2 * NOISE / energy, rel=1e-3)
    line = waves_of((0.2, 0.0, 0.001, 1))
    assert field_bound(line, seen(EVERYTHING, 1, 64))[0] == pytest.approx(4 / 2 * NOISE / 64, rel=1e-3)


def test_single_antennas_as_weights_are_entries():
    waves, mask = waves_of((0.3, -0.1, 0.02, 1), (-0.2, 0.4, 0.005, 0.5j)), RNG(3).random((8, 8)) < 0.7
    antennas = np.eye(64, dtype=np.complex64)[mask.reshape(-1)].reshape(1, -1, 8, 8)
    bounds = [
        field_bound(waves, seen(kind, 8, 8)) for kind in (Combined(antennas), Entries(mask[None, None, ..., None]))
    ]
    np.testing.assert_allclose(*bounds, rtol=1e-4)


def test_more_measurements_and_less_noise_lower_it():
    waves = waves_of((0.3, -0.1, 0.02, 1), (-0.2, 0.4, 0.005, 0.5j))
    weights = RandomlyCombined(4, np.arange(1), 200, 16, 16).weights_of(0)[None]
    bounds = [field_bound(waves, seen(Combined(weights[:, :count]), 16, 16))[0] for count in (30, 60, 120, 200)]
    assert sorted(bounds, reverse=True) == bounds
    quiet = field_bound(waves, seen(Combined(weights), 16, 16, noise=NOISE / 10))[0]
    assert quiet == pytest.approx(bounds[-1] / 10)
    assert field_bound(waves, seen(Combined(weights), 16, 16, noise=0.0))[0] == 0


def test_maximum_likelihood_reaches_it():
    waves, count = waves_of((0.3, -0.1, 0.02, 1), (-0.3, 0.4, 0.005, 0.6j)), 200
    truth = field_of(waves, 16, 16)
    channel = np.repeat(truth, count, axis=0).astype(np.complex64)[:, None, :, :, None]
    weights = RandomlyCombined(5, np.arange(1), 80, 16, 16).weights_of(0)[None]
    grid = Grid(UPA(16, 16, 7e9), np.zeros(1), np.full(1, 7e9))
    observation = observe(channel, Combined(weights), grid, 20.0, RNG(6))
    values = torch.from_numpy(observation.values[:, 0, :, 0])
    gathered = Gathered.combined(values, torch.from_numpy(weights).expand(count, -1, -1, -1), 0.5)
    start = Waves.none(count)
    for wave in range(2):
        start = start.joined(torch.from_numpy(waves.sources[:, wave]).expand(count, -1))
    basis = replace(GainBasis.of_array(16, 16, 0.5), exponents=((0, 0),))
    estimate = refine(gathered, start, basis, 10).evaluate(*coordinates(16, 16, 0.5), basis).numpy()
    error = np.mean(np.abs(estimate - truth.reshape(1, -1)) ** 2) / np.mean(np.abs(truth) ** 2)
    repeated = SphericalWaves(np.repeat(waves.sources, count, axis=0), np.repeat(waves.gains, count, axis=0))
    assert error == pytest.approx(field_bound(repeated, observation).mean(), rel=0.12)


def test_waves_that_nothing_tells_apart_count_once_and_what_is_not_seen_is_infinite():
    single, double = waves_of((0.3, 0.1, 0.01, 1)), waves_of((0.3, 0.1, 0.01, 0.5), (0.3, 0.1, 0.01, 0.5))
    bounds = [field_bound(waves, seen(EVERYTHING, 12, 12))[0] for waves in (single, double)]
    assert bounds[1] == pytest.approx(bounds[0], rel=1e-3)
    few = np.zeros((1, 1, 12, 12, 1), bool)
    few[0, 0, :2, 0] = True
    assert field_bound(single, seen(Entries(few), 12, 12))[0] == np.inf


def test_waves_below_the_noise_are_left_out_and_cost_their_energy():
    strong, weak = (0.3, 0.1, 0.002, 1.0), (-0.5, -0.4, 0.001, 1e-4)
    both, alone = waves_of(weak, strong), waves_of(strong)
    observation = seen(EVERYTHING, 8, 8)
    energy = np.sum(np.abs(field_of(both, 8, 8)) ** 2)
    left = np.sum(np.abs(field_of(waves_of(weak), 8, 8)) ** 2) / energy
    alike = np.sum(np.abs(field_of(alone, 8, 8)) ** 2) / energy
    found = best_order_bound(both, observation)
    assert found == pytest.approx(field_bound(alone, observation) * alike + left, rel=1e-6)
    assert found < 0.6 * field_bound(both, observation)


def test_waves_above_the_noise_all_count():
    waves = waves_of((0.3, 0.1, 0.002, 1.0), (-0.5, -0.4, 0.001, 0.7))
    observation = seen(EVERYTHING, 8, 8, noise=1e-4)
    assert best_order_bound(waves, observation) == pytest.approx(field_bound(waves, observation))


def test_what_has_no_bound_is_refused():
    waves, good = waves_of((0.3, 0.1, 0.01, 1)), seen(EVERYTHING, 4, 4)
    several = Grid(UPA(4, 4, 7e9), np.zeros(1), np.full(2, 7e9))
    for wrong, words in (
        (replace(good, noise=None), "does not tell it"),
        (replace(good, grid=several), "1 frames and 2 frequencies"),
        (seen(EVERYTHING, 4, 4, count=2), "waves of 1 links"),
    ):
        with pytest.raises(InputError, match=words):
            field_bound(waves, wrong)


def test_waves_of_channels_are_found_with_what_they_leave_out():
    generator = RNG(7)
    sources = np.concatenate([generator.uniform(-0.7, 0.7, (4, 3, 2)), generator.uniform(0, 0.02, (4, 3, 1))], axis=2)
    truth = SphericalWaves(sources, 1e-6 * 0.6 ** np.arange(3) * np.exp(2j * np.pi * generator.random((4, 3))))
    channel = field_of(truth, 16, 16).astype(np.complex64)
    channel[3] = 0
    found, left = fitted_waves(channel, 0.5, most=5)
    assert found.sources.shape == (4, 5, 3)
    assert left[:3].max() < 1e-7
    assert left[3] == 0
    assert not found.gains[3].any()
    np.testing.assert_allclose(field_of(found, 16, 16), channel, atol=1e-9)
    observation = seen(EVERYTHING, 16, 16, count=3, noise=1e-14)
    exact = field_bound(truth.select(slice(3)), observation)
    np.testing.assert_allclose(field_bound(found.select(slice(3)), observation), exact, rtol=0.05)
    rough = channel + 1e-7 * (generator.normal(size=(*channel.shape, 2)) @ [1, 1j]).astype(np.complex64)
    power = np.mean(np.abs(channel[:3]) ** 2, axis=(1, 2))
    np.testing.assert_allclose(fitted_waves(rough[:3], 0.5)[1], 2e-14 / power, rtol=0.3)
