import dataclasses

import numpy as np
import pytest

from channelfm.errors import InputError
from channelfm.tasks import Localisation
from channelfm.tasks.observing import Partial
from channelfm.waves.bounds import SphericalWaves
from channelfm.waves.places import places_seen, sources_of, views_of

CASE = Partial("random", 0.5, 20.0)


def test_users_are_where_the_labels_say(sight_blocks):
    blocks = sight_blocks()
    examples = Localisation().examples(blocks, CASE, 0)
    assert examples.target == pytest.approx(blocks.labels.positions_m)  # of an array that is not turned, at the origin


def test_the_channel_of_a_user_in_sight_tells_the_place(sight_blocks):
    blocks = sight_blocks()
    direct = blocks.select(blocks.labels.line_of_sight)
    task = Localisation()
    examples = task.examples(direct, CASE, 0)
    found = task.score(task.from_channel(examples.channel, examples.observation), examples)
    assert np.median(found["distance"]) < 0.05
    assert found["azimuth"].max() < 0.1
    assert found["elevation"].max() < 0.1


def test_a_channel_that_is_not_there_is_infinitely_far_away(sight_blocks):
    blocks, task = sight_blocks(), Localisation()
    examples = task.examples(blocks, CASE, 0)
    found = task.from_channel(np.zeros_like(examples.channel), examples.observation)
    assert np.linalg.norm(found, axis=1) == pytest.approx(100 * blocks.grid.array.rayleigh_distance_m)
    assert task.from_channel(examples.channel[:0], examples.observation.select(slice(0, 0))).shape == (0, 3)


def test_errors_are_told_in_metres_and_degrees(sight_blocks):
    task = Localisation()
    examples = task.examples(sight_blocks(), CASE, 0)
    views = views_of(examples.target)
    found = task.score(places_seen(views + np.array([0.5, np.radians(2.0), np.radians(-1.0)])), examples)
    assert found["distance"] == pytest.approx(np.full(12, 0.5))
    assert found["azimuth"] == pytest.approx(np.full(12, 2.0))
    assert found["elevation"] == pytest.approx(np.full(12, 1.0))
    assert not found["within"].any() or found["position"].min() <= 1
    turned = views.copy()
    turned[:, 1] += 2 * np.pi
    assert task.score(places_seen(turned), examples)["azimuth"] == pytest.approx(np.zeros(12), abs=1e-6)
    with pytest.raises(InputError, match="give a place"):
        task.score(examples.target[:, :2], examples)


def test_nobody_knows_the_power(sight_blocks):
    blocks = sight_blocks()
    plain = Localisation(power_spread_db=0).examples(blocks, CASE, 0)
    hidden = Localisation().examples(blocks, CASE, 0)
    assert np.array_equal(plain.channel, blocks.channel)
    decibels = 20 * np.log10(np.abs(hidden.channel[:, 0, 0, 0, 0]) / np.abs(blocks.channel[:, 0, 0, 0, 0]))
    assert np.ptp(decibels) > 20
    assert np.abs(decibels).max() <= 30
    assert hidden.observation.noise == pytest.approx(plain.observation.noise * 10 ** (decibels / 10), rel=1e-3)


def test_the_bound_is_that_of_the_user_s_own_wave(sight_blocks):
    blocks, task = sight_blocks(), Localisation()
    examples = task.examples(blocks, CASE, 0)
    waves = SphericalWaves(sources_of(examples.target, blocks.grid.array)[:, None], np.ones((12, 1), np.complex128))
    told = task.bound(examples, waves)
    seen = blocks.labels.line_of_sight
    assert np.array_equal(np.isfinite(told), seen)
    louder = task.bound(examples, waves._replace(gains=3 * waves.gains))
    assert louder[seen] == pytest.approx(told[seen])  # the channel says how strong it is
    less = task.bound(task.examples(blocks, CASE._replace(snr_db=0.0), 0), waves)
    assert less[seen] == pytest.approx(10 * told[seen], rel=1e-3)
    elsewhere = waves.sources.copy()
    elsewhere[4, 0, 0] += 0.5
    found = task.bound(examples, waves._replace(sources=elsewhere))
    assert np.array_equal(np.isfinite(found), seen & (np.arange(12) != 4))
    assert task.bound(task.examples(blocks, CASE._replace(snr_db=None), 0), waves) is None


def test_near_users_in_sight_are_a_group(sight_blocks):
    blocks, task = sight_blocks(), Localisation()
    groups = task.groups(task.examples(blocks, CASE, 0))
    assert "near-los" not in groups  # users in sight are called far, and the others near
    assert np.array_equal(groups["far-los"], blocks.labels.line_of_sight)


def test_places_that_nobody_knows_are_refused(sight_blocks):
    blocks = sight_blocks()
    for wrong in (np.nan, 0.0):
        distance = blocks.labels.distance_m.copy()
        distance[2] = wrong
        labels = dataclasses.replace(blocks.labels, distance_m=distance)
        with pytest.raises(InputError, match="link 2 is not known"):
            Localisation().examples(dataclasses.replace(blocks, labels=labels), CASE, 0)
