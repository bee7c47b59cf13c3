"""What holds for each classical predictor alike."""

import dataclasses

import numpy as np
import pytest

from channelfm.arrays import spherical_wave
from channelfm.baselines import BASELINES, ZeroFilling, classical
from channelfm.errors import InputError
from channelfm.estimator import CLASSES, POSITION, Estimator, Examples, Learns, antennas_seen
from channelfm.metrics import nmse
from channelfm.tokens.masks import random_mask

RNG = np.random.default_rng
ANTENNAS = antennas_seen(np.ones((1, 2, 2, 1), np.complex64), np.ones((1, 2, 2, 1), bool), 0.5)
NAMES = classical(ANTENNAS)  # those that complete arrays
OVER_FREQUENCY = ("off-grid-delay",)  # those of them that take all subcarriers of a link together


def waves(count, rows, cols, seed=0):
    """Channels complex64 [count, rows, cols, 1] of three waves each."""
    generator = RNG(seed)
    places = generator.uniform((50, -300, -200), (900, 300, 200), (3, count, 3))
    gains = np.array([1.0, 0.4, 0.2])[:, None] * np.exp(2j * np.pi * generator.random((3, count)))
    parts = [spherical_wave(rows, cols, places[k]) * gains[k, :, None, None] for k in range(3)]
    return sum(parts).astype(np.complex64)[..., None]


def ready(name, rows, cols):
    """A predictor that has learned what it needs for arrays of this size."""
    predictor = BASELINES[name](spacing_wavelengths=0.5)
    if isinstance(predictor, Learns):
        predictor.learn(Examples.of_channels(waves(12, rows, cols, seed=1)))
    return predictor


def test_the_list_goes_from_trivial_to_strong_and_names_its_rows():
    assert NAMES[0] == "zero-filling"
    assert NAMES[-1] == "off-grid-gp"
    for name in NAMES:
        predictor = BASELINES[name](spacing_wavelengths=0.5)
        assert isinstance(predictor, Estimator)
        assert predictor.name == name
    assert [name for name in NAMES if isinstance(BASELINES[name](), Learns)] == ["lmmse", "lmmse-canonical"]
    assert len(set(NAMES)) == len(NAMES)


def test_every_row_is_made_without_an_argument_and_can_tell_whether_it_answers():
    for name, make in BASELINES.items():
        row = make()
        assert isinstance(row, Estimator)
        assert row.name == name
        if name in {*classical(ANTENNAS, CLASSES), *classical(ANTENNAS, POSITION)}:
            row.check(ANTENNAS)
        else:
            with pytest.raises(InputError, match=r"RF chains|predicts frames"):
                row.check(ANTENNAS)
    assert classical(ANTENNAS, CLASSES) == ["majority", "range-rule", *NAMES]
    with pytest.raises(InputError, match="NaN"):
        classical(dataclasses.replace(ANTENNAS, values=ANTENNAS.values * np.nan))


@pytest.mark.parametrize("name", NAMES)
def test_phase_scale_order_and_hidden_values_do_not_matter(name):
    predictor = ready(name, 16, 16)
    truth, mask = waves(2, 16, 16, seed=2), random_mask(RNG(3), 2, 16, 16, 0.6)
    plain = predictor.predict(truth * mask, mask)
    factor = np.complex64(2e-6 * np.exp(0.7j))
    assert np.allclose(predictor.predict(factor * truth * mask, mask), factor * plain, atol=2e-3 * abs(factor))
    assert np.allclose(predictor.predict(truth[::-1] * mask[::-1], mask[::-1])[::-1], plain, atol=2e-3)
    assert np.allclose(predictor.predict(truth, mask), plain, atol=2e-3)
    assert plain.dtype == np.complex64


@pytest.mark.parametrize("name", NAMES)
def test_odd_inputs_give_finite_answers_of_the_right_shape(name):
    predictor = ready(name, 6, 10)
    generator = RNG(7)
    noise = (generator.normal(size=(3, 6, 10, 2)) + 1j * generator.normal(size=(3, 6, 10, 2))).astype(np.complex64)
    one = np.zeros((3, 6, 10, 1), dtype=bool)
    one[:, 2, 3] = True
    uneven = generator.random((3, 6, 10, 2)) < np.array([0.2, 0.6, 1.0])[:, None, None, None]
    uneven[:, 0, 0] = True
    hidden_frequency = np.broadcast_to(one, noise.shape).copy()
    hidden_frequency[..., 1] = False
    masks = [one, uneven, np.ones((1, 1, 1, 1), dtype=bool)]
    if name in OVER_FREQUENCY:
        with pytest.raises(InputError, match="same antennas on the same subcarriers"):
            predictor.predict(noise, uneven)
        masks[1] = uneven = np.broadcast_to(uneven[..., :1], noise.shape)
    else:
        assert not predictor.predict(noise, hidden_frequency)[..., 1].any()
    for mask in masks:
        for observed in (noise, np.zeros_like(noise)):
            estimate = predictor.predict(observed, mask)
            assert estimate.shape == noise.shape
            assert np.isfinite(estimate).all()
    assert not predictor.predict(np.zeros_like(noise), uneven).any()
    assert predictor.predict(noise[:0], uneven[:0]).shape == (0, 6, 10, 2)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (2, 2), (1, 17), (13, 1)])
def test_any_array_and_any_mask(name, rows, cols):
    predictor = ready(name, rows, cols)
    one, row, col, few = (np.zeros((rows, cols), dtype=bool) for _ in range(4))
    one[-1, 0] = row[0] = col[:, -1] = True
    np.fill_diagonal(few, True)
    mask = np.stack([one, row, col, few, np.ones((rows, cols), dtype=bool)])[..., None]
    channel = waves(5, rows, cols, seed=4)
    for observed in (channel, channel + waves(5, rows, cols, seed=5)):
        estimate = predictor.predict(observed, mask)
        assert estimate.shape == observed.shape
        assert np.isfinite(estimate).all()
        assert np.abs(estimate).max() < 20 * np.abs(observed[mask]).max()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("observed", "mask", "words"),
    [
        (np.ones((2, 4, 4), dtype=np.complex64), np.ones((1, 1, 1), dtype=bool), "complex"),
        (np.ones((2, 4, 4, 1)), np.ones((1, 1, 1, 1), dtype=bool), "complex"),
        (np.ones((2, 4, 4, 1), dtype=np.complex64), np.ones((3, 4, 4, 1), dtype=bool), "broadcast"),
        (np.full((2, 4, 4, 1), np.nan, dtype=np.complex64), np.ones((1, 1, 1, 1), dtype=bool), "NaN"),
        (np.ones((2, 4, 4, 1), dtype=np.complex64), np.zeros((1, 1, 1, 1), dtype=bool), "hides every"),
    ],
)
def test_bad_input_is_refused(name, observed, mask, words):
    with pytest.raises(InputError, match=words):
        BASELINES[name](spacing_wavelengths=0.5).predict(observed, mask)


def test_zero_filling_keeps_what_was_observed():
    generator = RNG(4)
    truth = np.exp(2j * np.pi * generator.random((3, 8, 8, 2))).astype(np.complex64)
    mask = random_mask(generator, 3, 8, 8, 0.75)
    filled = ZeroFilling().predict(truth * mask, mask)
    assert np.array_equal(filled, truth * mask)
    assert nmse(filled, truth) == pytest.approx([0.75] * 3)
