"""Estimators do not know units: the answer to c x is c times the answer to x, to the bit where c is a power of two."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channelfm.arrays import UPA, spherical_wave
from channelfm.baselines import BASELINES, classical
from channelfm.checkpoints import checkpoint_folder, load_model, packaged_models, read_config
from channelfm.estimator import Examples, Learns
from channelfm.observation import (
    STRONGEST,
    WEAKEST,
    Entries,
    Grid,
    RandomlyCombined,
    observe,
)
from channelfm.tokens.canonical import FrameRecipe, find_frame, to_canonical
from channelfm.tokens.masks import random_mask

RNG = np.random.default_rng
PATH_LOSS = 1e-5
GRID = Grid(UPA(12, 10, 7e9), np.arange(2.0), np.full(1, 7e9))
FRAMES = np.arange(2).reshape(1, -1, 1, 1, 1) < 1


def observation(operator):
    """Two links of two frames."""
    return observe(np.ones((2, *GRID.shape), np.complex64), operator, GRID, None, RNG(0))


CHAINS = RandomlyCombined(0, np.arange(2), 60, 12, 10)
THROUGH_CHAINS = classical(observation(CHAINS))
CLASSICAL_FIELDS = classical(observation(Entries(np.ones((1,) * 5, bool))))
CLASSICAL_SEQUENCES = classical(observation(Entries(FRAMES)))
OF_SEQUENCES = [name for name in packaged_models() if read_config(checkpoint_folder(name)).predictor.of_sequences]
FIELDS = [*CLASSICAL_FIELDS, *(name for name in packaged_models() if name not in OF_SEQUENCES)]
SEQUENCES = [*CLASSICAL_SEQUENCES, *OF_SEQUENCES]
TO_THE_BIT = settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))


def noisy_waves(count, rows, cols, seed):
    """Three spherical waves each of uneven power, complex64 [count, rows, cols, 1], in some noise."""
    generator = RNG(seed)
    places = generator.uniform((50, -300, -200), (900, 300, 200), (3, count, 3))
    gains = PATH_LOSS * np.array([1.0, 0.4, 0.1])[:, None] * np.exp(2j * np.pi * generator.random((3, count)))
    parts = sum(spherical_wave(rows, cols, places[k]) * gains[k, :, None, None] for k in range(3))
    noise = generator.normal(size=(*parts.shape, 2)) @ [1, 1j]
    return (parts + 0.03 * PATH_LOSS * noise).astype(np.complex64)[..., None]


def turning_waves(count, frames, cols, frequencies, seed):
    """Two waves each that turn over time, complex64 [count, frames, 1, cols, frequencies], in some noise."""
    generator = RNG(seed)
    axes = np.ogrid[:frames, :1, :cols, :frequencies]
    slopes = generator.uniform((-0.1, 0, -0.5, -0.2), (0.1, 0, 0.5, 0), (2, count, 4))
    turns = sum(slopes[..., axis, None, None, None, None] * axes[axis] for axis in range(4))
    noise = generator.normal(size=(*turns.shape[1:], 2)) @ [1, 1j]
    gains = np.array([1.0, 0.3]).reshape(2, 1, 1, 1, 1, 1)
    return (PATH_LOSS * ((gains * np.exp(2j * np.pi * turns)).sum(0) + 0.05 * noise)).astype(np.complex64)


@pytest.fixture(scope="module")
def predictors():
    """Every predictor, ready: the classical ones have learned what they need, of 12 x 10 arrays."""
    ready = {}
    for name in {*FIELDS, *THROUGH_CHAINS}:
        ready[name] = BASELINES[name]() if name in BASELINES else load_model(name, spacing_wavelengths=0.5)
        if isinstance(ready[name], Learns):
            ready[name].learn(Examples.of_channels(noisy_waves(12, 12, 10, seed=1)))
    for name in SEQUENCES:
        ready[name] = BASELINES[name]() if name in BASELINES else load_model(name)
    return ready


@pytest.mark.parametrize("name", FIELDS)
@given(exponent=st.integers(-60, 60), seed=st.integers(0, 1000), ratio=st.sampled_from((0.3, 0.8)))
@TO_THE_BIT
def test_a_power_of_two_passes_through_every_estimator_to_the_bit(predictors, name, exponent, seed, ratio):
    observed, mask = noisy_waves(2, 12, 10, seed), random_mask(RNG(seed), 2, 12, 10, ratio)
    factor = np.float32(2.0**exponent)
    answer, scaled = (predictors[name].predict(field, mask, 0.5) for field in (observed, factor * observed))
    np.testing.assert_array_equal(scaled, factor * answer)


@pytest.mark.parametrize("name", SEQUENCES)
@given(exponent=st.integers(-60, 60), seed=st.integers(0, 1000), comb=st.sampled_from((1, 2)))
@TO_THE_BIT
def test_a_power_of_two_passes_through_every_sequence_predictor_to_the_bit(predictors, name, exponent, seed, comb):
    past = turning_waves(2, 8, 4, 8, seed)
    mask = (np.arange(8) % comb == 0).reshape(1, 1, 1, 1, 8)
    factor = np.float32(2.0**exponent)
    answer, scaled = (predictors[name].predict(frames, mask, 3) for frames in (past, factor * past))
    np.testing.assert_array_equal(scaled, factor * answer)


@pytest.mark.parametrize("name", THROUGH_CHAINS)
@given(exponent=st.integers(-60, 60), seed=st.integers(0, 1000))
@TO_THE_BIT
def test_a_power_of_two_passes_through_what_rf_chains_measured_to_the_bit(predictors, name, exponent, seed):
    channel = np.stack([noisy_waves(2, 12, 10, seed + frame) for frame in range(2)], axis=1)
    received = observe(channel, CHAINS, GRID, 10.0, RNG(seed))
    factor = np.float32(2.0**exponent)
    scaled = dataclasses.replace(received, values=factor * received.values)
    answer, other = (predictors[name].estimate(part) for part in (received, scaled))
    assert answer.shape == channel.shape
    np.testing.assert_array_equal(other, factor * answer)


@pytest.mark.parametrize("name", [*FIELDS, *SEQUENCES])
@pytest.mark.parametrize("factor", [1.7 * np.exp(2j), 3e-9 * np.exp(-1j), 1e20j, 1e-20])
def test_any_complex_factor_passes_through(predictors, name, factor):
    if name in SEQUENCES:
        values, question = turning_waves(2, 8, 4, 8, seed=5), (np.ones((1, 1, 1, 1, 1), bool), 3)
    else:
        values, question = noisy_waves(2, 12, 10, seed=5), (random_mask(RNG(5), 2, 12, 10, 0.5), 0.5)
    values = values / np.complex64(PATH_LOSS)
    answer = predictors[name].predict(values, *question)
    scaled = predictors[name].predict((factor * values).astype(np.complex64), *question).astype(np.complex128) / factor
    allowed = 0.05 if name.endswith("-omp") else 1e-5  # of two atoms that are equally good rounding chooses
    assert np.sum(np.abs(scaled - answer) ** 2) <= allowed * np.sum(np.abs(answer) ** 2)


@pytest.mark.parametrize(
    "recipe", [FrameRecipe(kind="raw"), FrameRecipe(), FrameRecipe(waves=16)], ids=lambda r: f"{r.kind}-{r.waves}"
)
@given(exponent=st.integers(-60, 60), seed=st.integers(0, 1000))
@TO_THE_BIT
def test_in_a_frame_all_scales_are_one(recipe, exponent, seed):
    field = torch.from_numpy(noisy_waves(3, 12, 10, seed)[..., 0])
    mask = torch.from_numpy(random_mask(RNG(seed), 3, 12, 10, 0.5)[..., 0])
    plain, scaled = (to_canonical(part, find_frame(part, mask, recipe)) for part in (field, field * 2.0**exponent))
    assert torch.equal(plain, scaled)


@pytest.mark.parametrize("name", [*FIELDS, *SEQUENCES])
@pytest.mark.parametrize("amplitude", [10 * WEAKEST, 0.01 * STRONGEST])
def test_what_is_hardly_weak_or_strong_enough_gets_finite_answers(predictors, name, amplitude):
    if name in SEQUENCES:
        values, question = turning_waves(1, 8, 4, 8, seed=5), (np.ones((1, 1, 1, 1, 1), bool), 3)
    else:
        values, question = noisy_waves(1, 12, 10, seed=5), (random_mask(RNG(5), 1, 12, 10, 0.5), 0.5)
    answer = predictors[name].predict((values * np.complex128(amplitude / PATH_LOSS)).astype(np.complex64), *question)
    assert np.isfinite(answer).all()
    assert np.any(answer != 0)
