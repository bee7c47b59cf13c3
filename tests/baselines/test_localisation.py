"""Estimators of places: known answers, what holds for all of them, and what each alone knows."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm.arrays import UPA
from channelfm.baselines import BASELINES, classical
from channelfm.baselines.places.ground import mirrored
from channelfm.baselines.places.strongest import distance_density
from channelfm.datasets.blocks import unlabelled
from channelfm.errors import InputError
from channelfm.estimator import POSITION, Estimator, Examples, Learns
from channelfm.observation import Combined, Entries, Grid, Observation, observe
from channelfm.tokens.masks import random_mask
from channelfm.waves.geometry import wave_of
from channelfm.waves.places import places_of, places_seen, sources_of, views_of

RNG = np.random.default_rng
ARRAY = UPA(24, 20, 7e9, position=(0.0, 0.0, 12.0), pattern="isotropic")
GRID = Grid(ARRAY, np.zeros(1), np.array([7e9]))
PLACES = ("mean-position", "fingerprint-knn", "power-ranging", "subarray-music", "polar-codebook-omp")
PLACES += ("single-wave", "joint-waves", "wave-posterior", "ground-bounce")


def users(count, seed=0, nearest=0.1, farthest=0.5):
    """Places [count, 3] in front of the array, between two multiples of the Rayleigh distance away."""
    generator = RNG(seed)
    distance = ARRAY.rayleigh_distance_m * generator.uniform(nearest, farthest, count)
    views = np.stack([distance, generator.uniform(-0.8, 0.8, count), generator.uniform(-0.5, 0.3, count)], axis=1)
    return places_seen(views)


def field_of(places, gains):
    """Waves complex128 [N, rows, cols] from places [N, 3] with gains [N]."""
    waves = wave_of(torch.from_numpy(sources_of(places, ARRAY)), ARRAY.rows, ARRAY.cols, ARRAY.spacing_wavelengths)
    return waves.numpy().astype(np.complex128) * np.reshape(gains, (-1, 1, 1))


def examples(places, channel, snr_db=None, ratio=0.5, seed=0):
    """What is heard of channels [N, rows, cols] of users at places, as examples."""
    channel = channel[:, None, :, :, None].astype(np.complex64)
    mask = random_mask(RNG(seed), len(channel), ARRAY.rows, ARRAY.cols, ratio)
    observation = observe(channel, Entries(mask[:, None]), GRID, snr_db, RNG(seed + 1))
    return Examples(observation, places, unlabelled(channel, GRID))


def direct(count, snr_db=None, seed=0, **where):
    """Users in sight, each with a wave of the free-space amplitude."""
    places = users(count, seed, **where)
    turn = np.exp(2j * np.pi * RNG(seed + 2).random(count))
    return examples(places, field_of(places, turn / np.linalg.norm(places, axis=1)), snr_db, seed=seed)


def ready(name):
    """The row, taught."""
    row = BASELINES[name]()
    if isinstance(row, Learns):
        row.learn(direct(40, snr_db=20.0, seed=9))
    return row


def errors(row, given):
    """Distance [m] from the truth of what a row answers."""
    return np.linalg.norm(row.estimate(given.observation) - given.target, axis=1)


@settings(deadline=None)
@given(
    distance=st.floats(0.1, 1e3),
    azimuth=st.floats(-1.5, 1.5),
    elevation=st.floats(-1.5, 1.5),
)
def test_places_sources_and_views_are_one(distance, azimuth, elevation):
    view = np.array([distance, azimuth, elevation])
    place = places_seen(view)
    assert views_of(place) == pytest.approx(view, abs=1e-6)
    assert places_of(sources_of(place, ARRAY), ARRAY) == pytest.approx(place, rel=1e-6, abs=1e-6 * distance)
    turned = dataclasses.replace(ARRAY, orientation_rad=(0.4, 0.2, -0.1))
    scene = place @ turned.rotation.T + np.asarray(turned.position)
    assert turned.view_angles(scene) == pytest.approx(view, abs=1e-6)


def test_plane_waves_and_waves_from_beyond_the_horizon_have_finite_places():
    found = places_of(np.array([[0.0, 0.0, 0.0], [1.2, 0.9, 1e-3], [0.1, 0.2, -1.0]]), ARRAY)
    assert np.isfinite(found).all()
    assert np.linalg.norm(found[[0, 2]], axis=1) == pytest.approx(100 * ARRAY.rayleigh_distance_m)
    assert found[1, 0] == pytest.approx(0, abs=1e-6)


def test_there_is_a_list_of_them():
    given = direct(1)
    assert classical(given.observation, POSITION)[-len(PLACES) :] == list(PLACES)
    for name in PLACES:
        assert isinstance(BASELINES[name](), Estimator)
        assert BASELINES[name]().gives == POSITION


@pytest.mark.parametrize("name", PLACES)
def test_odd_inputs_give_finite_places(name):
    row, noise = ready(name), RNG(1).normal(size=(4, *GRID.shape, 2)) @ [1, 1j]
    noise = noise.astype(np.complex64)
    one = np.zeros((1, *GRID.shape), bool)
    one[:, :, 3, 4] = True
    for mask in (one, np.ones((1, 1, 1, 1, 1), bool)):
        for values in (noise, np.zeros_like(noise)):
            found = row.estimate(Observation(np.where(mask, values, 0), Entries(mask), GRID))
            assert found.shape == (4, 3)
            assert np.isfinite(found).all()
            assert np.linalg.norm(found, axis=1).max() <= 100 * ARRAY.rayleigh_distance_m * (1 + 1e-9)
    assert row.estimate(Observation(noise[:0], Entries(one), GRID)).shape == (0, 3)


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (2, 2), (1, 17), (13, 1), (5, 3)])
def test_any_array(name, rows, cols):
    array = UPA(rows, cols, 7e9, position=(0.0, 0.0, 10.0))
    grid = Grid(array, np.zeros(2), np.array([7e9, 7.01e9]))
    values = (RNG(2).normal(size=(6, *grid.shape, 2)) @ [1, 1j]).astype(np.complex64)
    observation = Observation(values, Entries(np.ones((1,) * 5, bool)), grid, np.zeros(6))
    row = BASELINES[name]()
    if isinstance(row, Learns):
        row.learn(Examples(observation, users(6), unlabelled(values, grid)))
    assert np.isfinite(row.estimate(observation)).all()


@pytest.mark.parametrize("name", [name for name in PLACES if name != "power-ranging"])
@settings(deadline=None, max_examples=4)
@given(exponent=st.integers(-60, 60))
def test_the_power_of_a_link_says_nothing_to_the_bit(name, exponent):
    row, given = ready(name), direct(3, snr_db=10.0, seed=4)
    stronger = dataclasses.replace(given.observation, values=given.observation.values * np.float32(2.0**exponent))
    np.testing.assert_array_equal(row.estimate(given.observation), row.estimate(stronger))


@pytest.mark.parametrize("name", ["single-wave", "joint-waves", "wave-posterior", "ground-bounce"])
def test_one_clean_wave_is_where_it_comes_from(name):
    assert errors(ready(name), direct(12, seed=3)).max() < 0.02


@pytest.mark.parametrize("name", ["subarray-music", "polar-codebook-omp"])
def test_rivals_are_near_a_clean_wave(name):
    given = direct(12, seed=3)
    assert np.median(errors(ready(name), given) / np.linalg.norm(given.target, axis=1)) < 0.2


def test_a_second_wave_pulls_one_wave_and_not_all_together():
    places, others = users(10, seed=5), users(10, seed=6)
    field = field_of(places, np.ones(10)) + field_of(others, np.full(10, 0.4j))
    given = examples(places, field)
    assert np.median(errors(ready("joint-waves"), given)) < 0.02
    assert np.median(errors(ready("single-wave"), given)) > 5 * np.median(errors(ready("joint-waves"), given))


def test_what_is_usual_helps_where_the_wave_says_little():
    given = direct(60, snr_db=-5.0, seed=8)
    alone, usual = ready("joint-waves"), ready("wave-posterior")
    far = [
        np.abs(np.linalg.norm(row.estimate(given.observation), axis=1) - np.linalg.norm(given.target, axis=1))
        for row in (alone, usual)
    ]
    assert far[1].mean() < 0.7 * far[0].mean()
    grid, likely = distance_density(np.array([50.0, 60.0, 70.0]))
    assert likely.sum() == pytest.approx(1.0)
    assert 45 < grid[likely.argmax()] < 75


def test_power_tells_the_distance_where_all_transmit_alike():
    given = direct(20, snr_db=10.0, seed=10, nearest=0.5, farthest=3.0)
    told = [
        np.linalg.norm(ready(name).estimate(given.observation), axis=1) for name in ("power-ranging", "joint-waves")
    ]
    true = np.linalg.norm(given.target, axis=1)
    assert np.mean(np.abs(told[0] - true)) < 0.3 * np.mean(np.abs(told[1] - true))


def test_a_mirrored_user_is_as_deep_as_high():
    turned = dataclasses.replace(ARRAY, orientation_rad=(0.3, 0.2, 0.1))
    place = places_seen(np.array([[20.0, 0.2, -0.1]]))
    image = places_of(mirrored(sources_of(place, turned), turned), turned)
    above, below = (part @ turned.rotation.T + np.asarray(turned.position) for part in (place, image))
    assert below[0] == pytest.approx(above[0] * [1, 1, -1])


def test_the_ground_tells_the_range():
    places = users(30, seed=11, nearest=0.5, farthest=1.0)
    places = places[places[:, 2] + ARRAY.position[2] > 1.0]
    images = places_of(mirrored(sources_of(places, ARRAY), ARRAY), ARRAY)
    field = field_of(places, np.ones(len(places))) + field_of(images, np.full(len(places), -0.5))
    given = examples(places, field, snr_db=10.0)
    bounced, alone = (errors(ready(name), given) for name in ("ground-bounce", "joint-waves"))
    assert np.median(bounced) < 0.5 * np.median(alone)
    nowhere = dataclasses.replace(GRID, array=dataclasses.replace(ARRAY, position=(0.0, 0.0, 0.0)))
    blind = dataclasses.replace(given.observation, grid=nowhere)
    assert np.array_equal(ready("ground-bounce").estimate(blind), ready("joint-waves").estimate(blind))


def test_fingerprints_know_where_they_have_been():
    known = direct(30, seed=12)
    row = BASELINES["fingerprint-knn"]()
    row.learn(known)
    assert np.median(errors(row, known)) < 0.1
    assert np.median(errors(row, direct(30, seed=13))) > 1.0


def test_the_trivial_answer_is_the_mean_distance_in_the_mean_direction():
    row = BASELINES["mean-position"]()
    given = direct(2)
    row.learn(dataclasses.replace(given, target=np.array([[10.0, 0.0, 0.0], [0.0, 20.0, 0.0]])))
    assert row.estimate(given.observation) == pytest.approx(np.full((2, 3), 15 / np.sqrt(2)) * [1, 1, 0])


@pytest.mark.parametrize("name", [name for name in PLACES if isinstance(BASELINES[name](), Learns)])
def test_who_learns_says_what_is_missing(name):
    given, row = direct(2), BASELINES[name]()
    with pytest.raises(InputError, match="learn"):
        row.estimate(given.observation)
    with pytest.raises(InputError, match="places"):
        row.learn(dataclasses.replace(given, target=np.array([0, 1])))


@pytest.mark.parametrize("name", PLACES)
def test_sums_over_antennas_and_bad_numbers_are_refused(name):
    row, given = ready(name), direct(2)
    weights = np.ones((1, 3, ARRAY.rows, ARRAY.cols), np.complex64)
    chains = Observation(np.ones((2, 1, 3, 1), np.complex64), Combined(weights), GRID)
    with pytest.raises(InputError, match="single entries"):
        row.estimate(chains)
    with pytest.raises(InputError, match="NaN"):
        row.estimate(dataclasses.replace(given.observation, values=given.observation.values * np.nan))
