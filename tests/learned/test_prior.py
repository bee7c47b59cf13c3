"""Learned priors as estimators: any operator, scales, seeds, what is refused, and the clusters' known answers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from channelfm.arrays import UPA
from channelfm.channels.near_field import NEAR_FIELD_MODELS, draw_near_field
from channelfm.errors import InputError
from channelfm.learned.estimator import estimator_of
from channelfm.learned.prior import in_angle_and_delay, out_of_angle_and_delay
from channelfm.learned.recipe import ClusterModel, Guided, Langevin, MeanFlow, PriorModel, Projected, Truncated
from channelfm.metrics import nmse
from channelfm.observation import Combined, Entries, Grid, Observation, RandomlyCombined, observe

ARRAY = UPA(rows=1, cols=32, carrier_hz=28e9)
FREQUENCIES = 28e9 + (np.arange(16) - 7.5) * 6.25e6
GRID = Grid(ARRAY, np.zeros(1), FREQUENCIES)
MODEL = replace(NEAR_FIELD_MODELS["clusters"], squint=False, azimuth_deg=60.0)
LINKS = 4
SAMPLERS = (
    Truncated(),
    Truncated(steps=3),
    MeanFlow(),
    Langevin(levels=3, steps=2),
    Guided(steps=1, solves=2),
    Projected(steps=2, solves=2),
)
FROM_PARTS = SAMPLERS[3:]


@pytest.fixture(scope="module")
def channels():
    return draw_near_field(MODEL, ARRAY, FREQUENCIES, LINKS, 0).response.reshape(LINKS, 1, 1, 32, 16)


def cluster_prior():
    recipe = ClusterModel(model_options={"clusters": 3, "rays": 24, "steps": 2, "width": 8})
    torch.manual_seed(0)
    return estimator_of(recipe.network(), recipe)


def prior(sampler):
    recipe = PriorModel(model_options={"width": 4, "depth": 1}, sampler=sampler)
    torch.manual_seed(0)
    return estimator_of(recipe.network(), recipe)


def pilots(channels, snr_db=10.0, measurements=24):
    operator = RandomlyCombined(1, np.arange(len(channels)), measurements, 1, 32)
    return observe(channels, operator, GRID, snr_db, np.random.default_rng(2))


def entries(channels, mask=True, snr_db=10.0):
    whole = np.broadcast_to(mask, (1, *GRID.shape)).copy()
    return observe(channels, Entries(whole), GRID, snr_db, np.random.default_rng(2))


def some_antennas():
    return (np.random.default_rng(5).random(32) < 0.6)[:, None]


def everyone():
    return [cluster_prior(), *map(prior, SAMPLERS)]


def observations(estimator, channels):
    if isinstance(getattr(estimator.recipe, "sampler", None), Truncated | MeanFlow):
        return [entries(channels)]
    return [pilots(channels), entries(channels, some_antennas()), entries(channels)]


@pytest.mark.parametrize("estimator", everyone(), ids=lambda e: str(getattr(e.recipe, "sampler", e.name)))
def test_answers_are_finite_deterministic_and_follow_the_scale(estimator, channels):
    for observation in observations(estimator, channels):
        answer = estimator.estimate(observation)
        assert answer.shape == channels.shape
        assert answer.dtype == np.complex64
        assert np.isfinite(answer).all()
        for factor in (2.0**-30, 2.0**13):
            scaled = replace(
                observation, values=observation.values * np.float32(factor), noise=observation.noise * factor**2
            )
            np.testing.assert_array_equal(estimator.estimate(scaled), answer * np.float32(factor))


@pytest.mark.parametrize("estimator", everyone(), ids=lambda e: str(getattr(e.recipe, "sampler", e.name)))
def test_zeros_without_noise_and_noise_alone_have_answers(estimator, channels):
    seen = entries(channels)
    silent = replace(seen, values=np.zeros_like(seen.values))
    assert not estimator.estimate(silent).any()
    for noise in (0.0, 1e3):
        assert np.isfinite(estimator.estimate(replace(seen, noise=np.full(LINKS, noise)))).all()


def test_cluster_prior_recovers_channels_from_fewer_pilots_than_antennas(channels):
    estimator = cluster_prior()
    assert nmse(estimator.estimate(pilots(channels, 20.0)), channels).mean() < 0.1
    assert nmse(estimator.estimate(entries(channels, some_antennas(), 20.0)), channels).mean() < 0.1


def test_weights_of_any_norm_and_polarisations_change_nothing(channels):
    estimator, seen = cluster_prior(), pilots(channels)
    dense = np.stack([seen.operator.weights_of(link) for link in range(LINKS)])
    louder = Observation(seen.values * np.float32(4), Combined(dense * np.float32(4)), GRID, seen.noise * 16)
    answer = estimator.estimate(seen)
    np.testing.assert_allclose(estimator.estimate(louder), answer, atol=1e-4)
    twice = Grid(ARRAY, np.zeros(1), np.tile(FREQUENCIES, 2))
    both = Observation(np.concatenate([seen.values] * 2, -1), seen.operator, twice, seen.noise)
    np.testing.assert_allclose(estimator.estimate(both), np.concatenate([answer] * 2, -1), atol=1e-5)


def test_noise_that_is_not_told_is_30_db_below(channels):
    seen = pilots(channels, 30.0)
    told = replace(seen, noise=1e-3 * np.mean(np.abs(seen.values) ** 2, axis=(1, 2, 3)))
    estimator = cluster_prior()
    np.testing.assert_allclose(
        estimator.estimate(replace(seen, noise=None)), estimator.estimate(told), rtol=1e-3, atol=1e-3
    )


def test_there_are_no_features(channels):
    with pytest.raises(InputError, match="no tokens"):
        cluster_prior().embed(channels[:, 0])


def test_hidden_subcarriers_are_answered_from_the_others(channels):
    tones = np.arange(16) < 12
    answer = cluster_prior().estimate(entries(channels, tones, 20.0))
    assert nmse(answer, channels).mean() < 0.5


@pytest.mark.parametrize("sampler", FROM_PARTS, ids=lambda s: s.kind)
def test_samplers_from_noise_are_fixed_by_their_seed(sampler, channels):
    seen = pilots(channels)
    answers = [prior(sampler).estimate(seen) for _ in range(2)]
    np.testing.assert_array_equal(*answers)


@pytest.mark.parametrize("estimator", everyone(), ids=lambda e: str(getattr(e.recipe, "sampler", e.name)))
def test_no_answer_depends_on_other_links(estimator, channels):
    seen = entries(channels)
    answer, alone = estimator.estimate(seen), estimator.estimate(seen.select(np.array([2])))
    np.testing.assert_allclose(alone[0], answer[2], atol=1e-4 * np.abs(answer[2]).max())


def test_what_cannot_be_answered_is_refused(channels):
    seen = pilots(channels)
    for estimator in (cluster_prior(), prior(Langevin())):
        uneven = np.random.default_rng(0).random((1, *GRID.shape)) < 0.5
        with pytest.raises(InputError, match="same antennas"):
            estimator.estimate(entries(channels, uneven))
    with pytest.raises(InputError, match="whole channel"):
        prior(Truncated()).estimate(seen)
    with pytest.raises(InputError, match="all subcarriers"):
        prior(Langevin()).estimate(entries(channels, np.arange(16) < 12))


@pytest.mark.parametrize("shape", [(3, 4, 5, 1), (3, 1, 8, 6), (2, 4, 4, 3)])
def test_angle_and_delay_are_unitary_and_invert(shape):
    channels = torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    there = in_angle_and_delay(channels)
    torch.testing.assert_close(there.abs().square().sum(), channels.abs().square().sum())
    torch.testing.assert_close(out_of_angle_and_delay(there, shape[1:]), channels)
