import numpy as np
import pytest

from channelfm.benchmarking.rows import (
    BOUND,
    CLASSICAL,
    TRIVIAL,
    Comparison,
    Scored,
    Units,
    cluster_counts,
    columns,
    reduced,
)
from channelfm.metrics import bootstrap_interval
from channelfm.tasks import TASKS, Measure
from channelfm.tasks.base import decibels, decile_decibels, mean, median, median_decibels

MEDIAN = Measure("nmse_median_db", "median", "nmse", median_decibels, "dB")
MEAN = Measure("nmse_db", "mean", "nmse", decibels, "dB")
ACCURACY = Measure("accuracy", "accuracy", "right", mean, more=True)


def units(count, scene=None, track=None, stored=None):
    track = np.arange(count) if track is None else np.asarray(track)
    return Units(np.zeros(count, int) if scene is None else np.asarray(scene), track, stored)


def scored(name, values, params=0, of="nmse"):
    return Scored(name, params, {of: np.atleast_2d(np.asarray(values, float))})


@pytest.mark.parametrize("reduce", [decibels, mean, median_decibels, median, decile_decibels, np.max])
def test_numbers_of_resamples_are_those_of_the_repeated_units(reduce):
    values = np.random.default_rng(0).random((3, 20))
    counts = cluster_counts(np.repeat([0, 1], 10), np.repeat(np.arange(5), 4), seed=1, resamples=30)
    measure = Measure("key", "title", "of", reduce)
    wanted = [reduce(np.repeat(values, row, axis=1).ravel()) for row in counts]
    assert reduced(measure, values, counts) == pytest.approx(wanted)


def test_tracks_stay_whole_and_scenes_are_drawn_before_them():
    scene, track = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 2, 2, 3])
    counts = cluster_counts(scene, track, resamples=4000)
    assert np.array_equal(counts[:, 0], counts[:, 1])
    assert np.array_equal(counts[:, 3], counts[:, 4])
    tracks = counts[:, [0, 2, 3, 5]]
    assert (tracks.sum(axis=1) == 4).all()  # as many as there are: two scenes of two tracks
    assert tracks.mean(axis=0) == pytest.approx(np.ones(4), abs=0.05)
    assert np.mean(tracks[:, :2].sum(axis=1) == 0) == pytest.approx(1 / 4, abs=0.03)  # the first scene is not drawn
    again = cluster_counts(scene, track, resamples=4000)
    assert np.array_equal(counts, again)


def test_units_that_are_tracks_of_one_scene_have_the_plain_interval():
    values = np.random.default_rng(0).random(200)
    value, low, high = Comparison(units(200)).number(ACCURACY, scored("a", values, of="right"), np.arange(200))
    assert value == pytest.approx(values.mean())
    assert (low, high) == pytest.approx(bootstrap_interval(values), abs=0.005)


def test_links_of_one_user_add_no_confidence():
    each = np.random.default_rng(0).random(20)
    alone = Comparison(units(20)).number(ACCURACY, scored("a", each, of="right"), np.arange(20))
    many = Comparison(units(100, track=np.repeat(np.arange(20), 5)))
    repeated = many.number(ACCURACY, scored("a", np.repeat(each, 5), of="right"), np.arange(100))
    assert repeated == pytest.approx(alone)
    seeds = Comparison(units(20)).number(ACCURACY, scored("a", np.tile(each, (3, 1)), of="right"), np.arange(20))
    assert seeds == pytest.approx(alone)


def test_a_single_track_has_no_interval():
    told = Comparison(units(5, track=np.zeros(5, int))).number(MEAN, scored("a", np.full(5, 0.1)), np.arange(5))
    assert told == [pytest.approx(-10), None, None]


def test_differences_are_paired():
    values = 10 ** np.random.default_rng(0).uniform(-6, 0, 60)  # links differ by far more than the rows do
    comparison = Comparison(units(60))
    one, two = scored("one", values), scored("two", 2 * values)
    difference, low, high, wins = comparison.difference(MEAN, one, two, np.arange(60))
    assert (difference, low, high) == pytest.approx((-10 * np.log10(2),) * 3)
    assert wins == 1
    _, alone_low, alone_high = comparison.number(MEAN, one, np.arange(60))
    assert alone_high - alone_low > 1
    better = scored("right", [[1, 1, 0, 0]], of="right")
    other = scored("other", [[0, 1, 1, 0]], of="right")
    assert Comparison(units(4)).difference(ACCURACY, better, other, np.arange(4))[::3] == [0, 0.25]


def test_rows_are_told_against_the_trivial_the_best_classical_one_and_the_bound():
    rows = [scored("zero", [1.0] * 4), scored("good", [0.01] * 3), scored("net", [[0.1, 0.1, 0.001, 0.1]], params=5)]
    comparison, members = Comparison(units(4)), np.arange(4)
    best = rows[1]
    bound = scored(BOUND, [0.001, np.nan, 0.001, 0.001])
    rivals = {TRIVIAL: rows[0], CLASSICAL: best, BOUND: bound}
    told = columns(comparison, (MEDIAN, MEAN), rows[2], rivals, members)
    assert told["nmse_median_db"] == pytest.approx(-10)
    against = told["against"]
    assert (against[TRIVIAL]["estimator"], against[TRIVIAL]["samples"]) == ("zero", 4)
    assert against[TRIVIAL]["nmse_median_db"][0] == pytest.approx(-10)
    assert comparison.best(MEDIAN, rows[:2], np.arange(3)) is rows[1]
    assert comparison.best(MEDIAN, rows[:2], members) is rows[0]  # the other has not met the last unit
    assert against[CLASSICAL]["samples"] == 3  # as far as its time budget went
    assert against[CLASSICAL]["nmse_median_db"][0] == pytest.approx(10)
    assert against[CLASSICAL]["nmse_median_db"][3] == pytest.approx(1 / 3)
    assert against[BOUND]["samples"] == 3  # where it is known
    assert against[BOUND]["nmse_median_db"][0] == pytest.approx(20)
    assert set(against[BOUND]) == {"estimator", "samples", "nmse_median_db"}
    assert TRIVIAL not in columns(comparison, (MEDIAN,), rows[0], rivals, members)["against"]


def test_no_median_is_below_the_error_of_the_stored_channels():
    stored = np.array([-50.0, -60.0, -40.0, np.nan])
    comparison = Comparison(units(4, stored=stored))
    exact, poor = scored("exact", [1e-9] * 4), scored("poor", [1e-2] * 4)
    assert comparison.number(MEDIAN, exact, np.arange(4)) == [-50, -50, -50]
    assert comparison.number(MEDIAN, exact, np.array([0, 1]))[0] == -55
    assert comparison.number(MEAN, exact, np.arange(4))[0] == pytest.approx(-90)
    assert comparison.difference(MEDIAN, exact, poor, np.arange(4))[0] == pytest.approx(-30)
    assert comparison.number(MEDIAN, poor, np.arange(4))[0] == pytest.approx(-20)


@pytest.mark.parametrize("kind", TASKS.values(), ids=TASKS)
def test_every_measure_of_every_task_is_reduced_without_a_loop(kind):
    from channelfm.benchmarking.rows import _KINDS

    assert {measure.reduce for measure in kind().measures} <= set(_KINDS)
