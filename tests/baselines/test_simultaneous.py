"""Estimators of all subcarriers at once from what RF chains measured."""

import dataclasses

import numpy as np
import pytest
import torch

from channelfm.arrays import UPA
from channelfm.baselines import BASELINES
from channelfm.baselines.polar_sigw import PolarSIGW
from channelfm.baselines.simultaneous_pursuit import HybridFieldOMP, PolarSOMP, SimultaneousWeightedOMP
from channelfm.channels.near_field import NearFieldModel, SphericalRays, draw_near_field, ray_response
from channelfm.errors import InputError
from channelfm.metrics import nmse
from channelfm.observation import Combined, Entries, Grid, RandomlyCombined, observe
from channelfm.waves.codebook import angular_codebook, polar_codebook

RNG = np.random.default_rng
NAMES = ["sw-omp", "hybrid-field-omp", "polar-somp", "polar-sigw"]
PATHS = NearFieldModel(squint=False)


def grid_of(rows=1, cols=128, frequencies=8, times=1):
    tones = 28e9 + (np.arange(frequencies) - (frequencies - 1) / 2) * 1e6
    return Grid(UPA(rows, cols, 28e9), np.arange(float(times)), tones)


def paths(count, grid, seed=0, **settings):
    """Channels [count, *grid.shape] of the model."""
    model = dataclasses.replace(PATHS, range_m=(1.5, 15.0), **settings)
    return draw_near_field(model, grid.array, grid.frequencies_hz, count, seed).response.reshape(count, *grid.shape)


def received(channel, grid, measurements, snr_db, users=4, seed=0):
    operator = RandomlyCombined(seed, np.arange(len(channel)) // users, measurements, *grid.shape[1:3])
    return observe(channel, operator, grid, snr_db, RNG(seed))


def of_sources(sources, grid, seed=0):
    """Channels of one wave each, with a free gain on every subcarrier."""
    rays = SphericalRays(sources[:, None], np.zeros((len(sources), 1)), np.ones((len(sources), 1), complex))
    field = ray_response(rays, grid.array, grid.frequencies_hz, squint=False)
    gains = RNG(seed).normal(size=(len(sources), 1, field.shape[2], 2)) @ [1, 1j]
    return (field * gains).reshape(len(sources), *grid.shape).astype(np.complex64)


def decibel(values):
    return 10 * np.log10(np.maximum(values, 1e-15))


def test_the_codebooks_are_those_of_the_literature():
    """SPEC 8: 7888 atoms at N = 256, within a ring of rounding here and there."""
    polar, plane = polar_codebook(1, 256, 0.5), angular_codebook(1, 256, 0.5)
    assert len(plane) == 512
    assert len(polar) == pytest.approx(7888, rel=2e-3)
    assert 1 / polar[:, 2].max() >= 255  # two apertures of 255 half wavelengths
    rings = polar[polar[:, 0] == plane[300, 0], 2].numpy()
    assert rings[0] == 0
    np.testing.assert_allclose(np.diff(rings), 2 * 1.2**2 / 128**2 / (1 - float(plane[300, 0]) ** 2))
    square = polar_codebook(12, 10, 0.5)
    assert (square[:, :2].norm(dim=1) < 1).all()
    assert torch.equal(polar_codebook(1, 1, 0.5), torch.zeros(1, 3, dtype=torch.float64))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("rows", "cols"), [(1, 128), (12, 12)])
def test_a_path_on_the_grid_is_recovered(name, rows, cols):
    grid = grid_of(rows, cols)
    codebook = angular_codebook if name == "sw-omp" else polar_codebook
    sources = codebook(rows, cols, 0.5).numpy()
    if name == "hybrid-field-omp":  # its plane waves come first
        sources = sources[sources[:, 2] == 0]
    channel = of_sources(sources[RNG(1).choice(len(sources), 3, replace=False)], grid)
    answer = BASELINES[name]().estimate(received(channel, grid, 32, None))
    assert decibel(nmse(answer, channel)).max() < -60


def test_gridless_waves_meet_what_their_free_gains_cost():
    """In noise of power s, three waves with F free gains each cost 3 s / M, and a little for their sources."""
    grid = grid_of(frequencies=32)
    channel = paths(12, grid)
    error = decibel(nmse(PolarSIGW().estimate(received(channel, grid, 96, 10.0)), channel).mean())
    cost = decibel(3 * 0.1 / 96)
    assert cost - 0.5 < error < cost + 1.5


def test_each_codebook_is_better_than_the_one_before_on_near_paths():
    grid = grid_of(frequencies=32)
    channel = paths(16, grid, seed=3)
    observation = received(channel, grid, 64, 10.0)
    rows = (SimultaneousWeightedOMP, HybridFieldOMP, PolarSOMP, PolarSIGW)
    errors = [decibel(nmse(row(atoms=6).estimate(observation), channel).mean()) for row in rows]
    assert all(np.diff(errors) < -1), errors


@pytest.mark.parametrize("name", NAMES)
def test_users_of_a_cell_are_answered_as_each_alone_and_frames_as_links(name):
    grid = grid_of(cols=64, frequencies=4, times=2)
    channel = np.concatenate([paths(5, grid_of(cols=64, frequencies=4), seed) for seed in (4, 5)], axis=1)
    channel[2, 1] = 0
    observation = received(channel, grid, 24, None, users=2)
    together = BASELINES[name]().estimate(observation)
    assert together.shape == channel.shape
    assert not together[2, 1].any()
    alone = dataclasses.replace(
        observation.select([3]), values=observation.values[3:4, 1:], grid=grid_of(cols=64, frequencies=4)
    )
    assert decibel(nmse(BASELINES[name]().estimate(alone), together[3:4, 1:])).max() < -60
    assert BASELINES[name]().estimate(observation.select(slice(0, 0))).shape == (0, *grid.shape)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("rows", "cols", "measurements"), [(1, 1, 1), (2, 2, 1), (1, 17, 6), (13, 1, 20), (6, 5, 2)])
def test_any_array_and_any_number_of_measurements(name, rows, cols, measurements):
    generator, grid = RNG(11), grid_of(rows, cols, 3)
    channel = (generator.normal(size=(3, *grid.shape, 2)) @ [1, 1j]).astype(np.complex64)
    weights = (generator.normal(size=(3, measurements, rows, cols, 2)) @ [1, 1j]).astype(np.complex64)
    weights[2] = 0
    answer = BASELINES[name]().estimate(observe(channel, Combined(weights), grid, 10.0, generator))
    assert answer.shape == channel.shape
    assert np.isfinite(answer).all()


def test_a_number_of_atoms_is_taken_as_told():
    grid = grid_of()
    channel = paths(3, grid)
    for row in (PolarSOMP, PolarSIGW):
        estimates = row(atoms=5).estimate(received(channel, grid, 48, 20.0)).reshape(3, 128, 8)
        assert (np.linalg.matrix_rank(estimates, tol=1e-4) == 5).all()


def test_numbers_of_atoms_that_are_none_are_refused():
    for wrong in ({"atoms": 0}, {"atoms": 2.5}, {"max_atoms": 0}):
        with pytest.raises(InputError, match="give a whole number of at least 1"):
            PolarSIGW(**wrong)


def test_noise_alone_is_nearly_all_left_out():
    grid = grid_of(frequencies=16)
    observation = received(paths(8, grid), grid, 64, 0.0)
    noise = (RNG(5).normal(size=(*observation.values.shape, 2)) @ [1, 1j]).astype(np.complex64)
    for name in NAMES:
        answer = BASELINES[name]().estimate(dataclasses.replace(observation, values=noise))
        assert np.linalg.matrix_rank(answer.reshape(8, 128, 16), tol=1e-4).max() <= 2


@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_refused(name):
    row, grid = BASELINES[name](), grid_of()
    channel = paths(2, grid)
    observation = received(channel, grid, 16, 10.0)
    with pytest.raises(InputError, match="for RF chains, not for single entries"):
        row.check(observe(channel, Entries(np.ones((1,) * 5, bool)), grid, None, RNG(0)))
    for wrong, words in (
        ({"values": observation.values * np.nan}, "NaN"),
        ({"values": observation.values[:, :, :5]}, "shape"),
        ({"noise": np.full(2, np.nan)}, "noise"),
        ({"grid": grid_of(cols=64)}, "do not fit"),
    ):
        with pytest.raises(InputError, match=words):
            row.estimate(dataclasses.replace(observation, **wrong))


def test_dictionaries_that_do_not_fit_are_refused():
    grid = grid_of(128, 128, 1)
    operator = RandomlyCombined(0, np.arange(1), 1024, 128, 128)
    observation = observe(np.ones((1, *grid.shape), np.complex64), operator, grid, None, RNG(0))
    with pytest.raises(InputError, match="1 GiB"):
        PolarSOMP().check(observation)
