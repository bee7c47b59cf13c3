"""LMMSE over sampled rays against the textbook's formula, and what oracles make of measurements."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from channelfm.arrays import UPA
from channelfm.channels.near_field import (
    NEAR_FIELD_MODELS,
    NearFieldModel,
    SphericalRays,
    draw_near_field,
    ray_response,
)
from channelfm.metrics import nmse
from channelfm.observation import Combined, Grid, RandomlyCombined, observe
from channelfm.waves.cluster_lmmse import cluster_prior, expected_channel, likeliest_noise, mode_system
from channelfm.waves.oracles import genie_lmmse, oracle_least_squares
from channelfm.waves.received import brought_to_unit_norm, received_by_cell

RNG = np.random.default_rng
ROWS, COLS, TONES, SAMPLES = 2, 4, 3, 5


def grid_of(rows=ROWS, cols=COLS, frequencies=TONES, apart_hz=2e8):
    tones = 28e9 + (np.arange(frequencies) - (frequencies - 1) / 2) * apart_hz
    return Grid(UPA(rows, cols, 28e9), np.zeros(1), tones)


def small(measurements=5, seed=0):
    """Two links of a cell, sampled rays of two clusters each, and these as columns of all pairs of place and delay."""
    generator, grid = RNG(seed), grid_of()
    sources = np.concatenate(
        [generator.uniform(-0.6, 0.6, (2, 2, SAMPLES, 2)), generator.uniform(0, 0.2, (2, 2, SAMPLES, 1))], axis=3
    )
    delays, powers = generator.uniform(0, 5e-9, (2, 2, SAMPLES)), generator.uniform(0.2, 2, (2, 2))
    weights = (generator.normal(size=(1, measurements, ROWS, COLS, 2)) @ [1, 1j]).astype(np.complex64)
    channel = (generator.normal(size=(2, *grid.shape, 2)) @ [1, 1j]).astype(np.complex64)
    observation = observe(channel, Combined(weights), grid, 10.0, generator)
    return observation, sources, delays, powers


def columns(sources, delays, powers, grid, squint):
    """Channels [antenna, F, C S S] of every pair of a place and a delay of a cluster, with its share of power."""
    parts = []
    for cluster, power in enumerate(powers):
        place, delay = (np.arange(SAMPLES).repeat(SAMPLES), np.tile(np.arange(SAMPLES), SAMPLES))
        rays = SphericalRays(
            sources[cluster][place][:, None],
            delays[cluster][delay][:, None],
            np.full((SAMPLES**2, 1), np.sqrt(power) / SAMPLES + 0j),
        )
        parts.append(ray_response(rays, grid.array, grid.frequencies_hz, squint))
    return np.moveaxis(np.concatenate(parts), 0, 2)


@pytest.mark.parametrize("squint", [False, True])
@pytest.mark.parametrize("measurements", [5, 30])
def test_it_is_the_textbook_formula(squint, measurements):
    observation, sources, delays, powers = small(measurements)
    ((links, received, noise),) = received_by_cell(observation)
    assert np.array_equal(links, [0, 1])
    prior = cluster_prior(received, *map(torch.from_numpy, (sources, delays, powers)), squint, 1000)
    found = expected_channel(received, prior, mode_system(received, prior), noise).numpy()
    weights = observation.operator.weights_of(0).reshape(measurements, -1).astype(np.complex128)
    for link in range(2):
        whole = columns(sources[link], delays[link], powers[link], observation.grid, squint)
        seen = np.einsum("qa,afr->qfr", weights.conj(), whole).reshape(-1, whole.shape[2])
        flat = whole.reshape(-1, whole.shape[2])
        covariance = seen @ seen.conj().T + observation.noise[link] * np.eye(len(seen))
        wanted = flat @ seen.conj().T @ np.linalg.solve(covariance, observation.values[link].reshape(-1))
        np.testing.assert_allclose(found[link].reshape(-1), wanted, rtol=1e-5, atol=1e-6)


def test_the_likelihood_is_that_of_the_dense_covariance():
    observation, sources, delays, powers = small()
    ((_, received, _),) = received_by_cell(observation)
    prior = cluster_prior(received, *map(torch.from_numpy, (sources, delays, powers)), False, 1000)
    system = mode_system(received, prior)
    values, weights = received.values.numpy(), received.weights.numpy()
    scores = {}
    for share in (0.01, 0.1, 1.0):
        noise, scores[share] = likeliest_noise(system, torch.tensor([share]))
        np.testing.assert_allclose(noise, share * np.mean(np.abs(values) ** 2, axis=(1, 2)))
        for link in range(2):
            whole = columns(sources[link], delays[link], powers[link], observation.grid, False)
            seen = np.einsum("qa,afr->qfr", weights, whole).reshape(-1, whole.shape[2])
            covariance = seen @ seen.conj().T + float(noise[link]) * np.eye(len(seen))
            y = values[link].reshape(-1)
            told = len(y) * np.log((y.conj() @ np.linalg.solve(covariance, y)).real)
            wanted = told + np.linalg.slogdet(covariance)[1]
            assert float(scores[share][link]) == pytest.approx(wanted, rel=1e-9)
    _, best = likeliest_noise(system, torch.tensor([0.01, 0.1, 1.0]))
    assert torch.equal(best, torch.stack(list(scores.values())).amin(0))


def test_of_more_measurements_than_antennas_only_what_antennas_cause_is_kept():
    weights = (RNG(2).normal(size=(20, 6, 2)) @ [1, 1j]).astype(np.complex64)
    unit, brought = brought_to_unit_norm(weights)
    assert unit.shape == (6, 6)
    np.testing.assert_allclose(
        (brought @ torch.from_numpy(weights.conj()).to(brought.dtype)).numpy(), unit.numpy(), atol=1e-6
    )
    noise = (brought @ brought.mH).numpy()
    np.testing.assert_allclose(noise, noise[0, 0] * np.eye(6), atol=1e-9)


def drawn(model, count=6, cols=128):
    grid = grid_of(1, cols, 32, 3e6)
    draw = draw_near_field(model, grid.array, grid.frequencies_hz, count, 3)
    channel = draw.response.reshape(count, *grid.shape)
    operator = RandomlyCombined(1, np.arange(count) // 3, 64, 1, cols)
    return draw, channel, observe(channel, operator, grid, 10.0, RNG(0))


@pytest.mark.parametrize("squint", [False, True])
def test_the_oracle_pays_for_a_free_gain_on_every_subcarrier(squint):
    draw, channel, observation = drawn(NearFieldModel(range_m=(1.5, 15.0), squint=squint))
    error = nmse(oracle_least_squares(draw.rays, squint, observation), channel).mean()
    assert error == pytest.approx(3 * 0.1 / 64, rel=0.15)
    clean = replace(observation, values=observation.operator.forward(channel))
    assert nmse(oracle_least_squares(draw.rays, squint, clean), channel).max() < 1e-9


def test_the_genie_is_far_better_than_least_squares_on_its_clusters():
    model = replace(NEAR_FIELD_MODELS["clusters"], range_m=(1.5, 15.0), squint=False)
    draw, channel, observation = drawn(model)
    genie = nmse(genie_lmmse(draw.clusters, observation), channel).mean()
    other = nmse(genie_lmmse(draw.clusters.select([1, 2, 3, 4, 5, 0]), observation), channel).mean()
    assert genie < 0.02 < 0.5 < other  # of other links' clusters it knows nothing
