"""What all classical sequence predictors have in common."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm.arrays import UPA
from channelfm.baselines import BASELINES, classical
from channelfm.errors import InputError
from channelfm.estimator import Estimator
from channelfm.observation import Entries, Grid, Observation

GRID = Grid(UPA(1, 2, 7e9), np.arange(3.0), np.full(2, 7e9))
PAST = np.arange(3).reshape(1, -1, 1, 1, 1) < 2
NAMES = classical(Observation(np.ones((1, 3, 1, 2, 2), np.complex64) * PAST, Entries(PAST), GRID))
FOLLOWERS = [name for name in NAMES if name not in ("sample-and-hold", "mirrored-past")]  # of any number of waves


def waves(dopplers, size=(18, 1, 16, 16), count=2, seed=0):
    """Sums of one wave of unit power per Doppler shift [cycles per frame], with other places in each sequence."""
    rng = np.random.default_rng(seed)
    frame, row, col, frequency = np.ogrid[tuple(slice(n) for n in size)]
    total = np.zeros((count, *size), complex)
    for sequence in total:
        for doppler in dopplers:
            angle, tilt, delay = rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5), rng.uniform(0, 0.2)
            cycles = doppler * frame + tilt * row + angle * col - delay * frequency
            sequence += np.exp(2j * np.pi * (cycles + rng.uniform()))
    return total.astype(np.complex64)


def noise(rng, *size):
    return ((rng.standard_normal(size) + 1j * rng.standard_normal(size)) / np.sqrt(2)).astype(np.complex64)


def decibel(estimate, truth):
    return 10 * np.log10(np.sum(np.abs(estimate - truth) ** 2) / np.sum(np.abs(truth) ** 2) + 1e-30)


def predict(name, past, horizon=8, mask=True):
    return BASELINES[name]().predict(past, np.full((1, 1, 1, 1, 1), mask), horizon)


@pytest.mark.parametrize("name", NAMES)
def test_the_list_names_them_as_they_do_themselves(name):
    assert len(NAMES) == 9
    predictor = BASELINES[name]()
    assert isinstance(predictor, Estimator)
    assert predictor.name == name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(18, 1, 16, 16), (18, 4, 8, 8), (13, 1, 8, 1), (18, 1, 1, 8), (9, 1, 1, 1)])
def test_a_constant_channel_stays(name, size):
    frames = waves([0.0, 0.0], size)
    assert decibel(predict(name, frames[:, :-8]), frames[:, -8:]) < -60


@pytest.mark.parametrize("name", FOLLOWERS)
@pytest.mark.parametrize("size", [(18, 1, 16, 16), (18, 4, 8, 8), (13, 1, 8, 1)])
def test_one_exponential_is_followed(name, size):
    frames = waves([0.23], size)
    limit = -60 if size[0] == 18 else -55  # of few samples, leakage is taken for a little noise
    assert decibel(predict(name, frames[:, :-8]), frames[:, -8:]) < limit


@pytest.mark.parametrize("name", FOLLOWERS)
def test_every_wave_may_have_a_doppler_shift_of_its_own(name):
    frames = waves([0.31, -0.12])
    assert decibel(predict(name, frames[:, :10]), frames[:, 10:]) < -55


@pytest.mark.parametrize("name", FOLLOWERS)
def test_two_doppler_shifts_from_one_place(name):
    places = waves([0.0])[:, :1]
    frame = np.arange(18).reshape(1, -1, 1, 1, 1)
    beat = np.exp(2j * np.pi * 0.2 * frame) + 0.7 * np.exp(-2j * np.pi * 0.1 * frame)
    frames = (places * beat).astype(np.complex64)
    assert decibel(predict(name, frames[:, :10]), frames[:, 10:]) < -50


@pytest.mark.parametrize("name", FOLLOWERS)
@pytest.mark.parametrize("comb", [1, 2])
def test_they_beat_sample_and_hold_in_noise_and_on_combs(name, comb):
    frames = waves([0.1, -0.05, 0.2], count=4)
    mask = (np.arange(16) % comb == 0).reshape(1, 1, 1, 1, -1)
    past = (frames[:, :10] + 0.2 * noise(np.random.default_rng(1), *frames[:, :10].shape)) * mask
    predicted, held = (BASELINES[n]().predict(past, mask, 4) for n in (name, "sample-and-hold"))
    assert decibel(predicted, frames[:, 10:14]) < -6 < decibel(held, frames[:, 10:14])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(10, 1, 16, 16), (5, 4, 8, 8), (10, 1, 8, 1), (2, 1, 4, 4), (1, 1, 4, 4)])
def test_nothing_explodes_on_noise(name, size):
    past = noise(np.random.default_rng(2), 3, *size)
    predicted = predict(name, past, 30)
    assert predicted.shape == (3, 30, *size[1:])
    assert predicted.dtype == np.complex64
    most = np.sum(np.abs(past) ** 2, axis=(2, 3, 4)).max(axis=1)
    assert (np.sum(np.abs(predicted) ** 2, axis=(2, 3, 4)) <= 2.001 * most[:, None]).all()


@pytest.mark.parametrize("name", NAMES)
def test_growing_channels_do_not_grow_for_ever(name):
    frames = waves([0.1]) * 1.5 ** np.arange(18, dtype=np.float32).reshape(1, -1, 1, 1, 1)
    assert np.abs(predict(name, frames[:, :10], 50)).max() < 3 * np.abs(frames[:, 9]).max()


@pytest.mark.parametrize("name", NAMES)
def test_batches_and_their_order_do_not_matter(name):
    frames = waves([0.1, -0.2], (10, 1, 8, 8), count=3)
    together = predict(name, frames)
    alone = np.concatenate([predict(name, frame[None]) for frame in frames[::-1]])[::-1]
    assert decibel(together, alone) < -60
    assert predict(name, frames[:0]).shape == (0, 8, 1, 8, 8)


@pytest.mark.parametrize("name", NAMES)
def test_irregular_masks_and_silence_stay_finite(name):
    rng = np.random.default_rng(3)
    frames = waves([0.1], (10, 1, 8, 8), count=3)
    frames[1] = 0
    mask = rng.random(frames.shape) < 0.5
    mask[2, 4:] = False
    predicted = BASELINES[name]().predict(frames, mask, 3)
    assert np.isfinite(predicted).all()
    assert not predicted[1].any()


@pytest.mark.parametrize("name", NAMES)
def test_wrong_input_is_refused(name):
    past, predictor = waves([0.1], (5, 1, 4, 4)), BASELINES[name]()
    seen = np.ones((1, 1, 1, 1, 1), bool)
    with pytest.raises(InputError, match="horizon = 0"):
        predictor.predict(past, seen, 0)
    with pytest.raises(InputError, match=r"horizon = 1\.5"):
        predictor.predict(past, seen, 1.5)
    with pytest.raises(InputError, match="broadcast"):
        predictor.predict(past, np.ones((1, 1, 1, 1, 3), bool), 1)
    with pytest.raises(InputError, match="hides all"):
        predictor.predict(past, ~seen, 1)
    with pytest.raises(InputError, match="NaN"):
        predictor.predict(past * np.nan, seen, 1)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None)
@given(scale=st.floats(1e-6, 1e6), turn=st.floats(0, 1), seed=st.integers(0, 3), level=st.sampled_from([0.0, 0.1]))
def test_scale_and_phase_pass_through(name, scale, turn, seed, level):
    frames = waves([0.1, -0.2], (10, 1, 8, 8), count=1, seed=seed)
    past = frames + np.float32(level) * noise(np.random.default_rng(seed), *frames.shape)
    factor = np.complex64(scale * np.exp(2j * np.pi * turn))
    assert decibel(predict(name, factor * past, 4), factor * predict(name, past, 4)) < -45
