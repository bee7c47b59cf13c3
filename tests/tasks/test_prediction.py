"""The prediction task: what is observed of the past, and what is refused."""

import numpy as np
import pytest

from channelfm.errors import InputError
from channelfm.tasks.prediction import check_past, prediction_examples


def test_past_and_future_follow_each_other(wave_sequences):
    sequences = wave_sequences(3, frames=9)
    case = prediction_examples(sequences, context=6, horizon=3)
    assert np.array_equal(np.concatenate([case.past, case.future], axis=1), sequences)
    assert case.mask.all()


def test_a_comb_shows_every_so_many_subcarriers_of_every_frame(wave_sequences):
    case = prediction_examples(wave_sequences(2), 6, 2, comb=3)
    assert np.flatnonzero(case.mask[0, 0, 0, 0]).tolist() == [0, 3, 6]
    assert not case.past[..., ~case.mask[0, 0, 0, 0]].any()
    assert case.past[..., ::3].all()


def test_noise_has_the_asked_for_power_and_is_the_same_but_for_its_scale(wave_sequences):
    sequences = wave_sequences(4, rows=4, cols=8, frequencies=16)
    clean = prediction_examples(sequences, 6, 2).past
    noise = [prediction_examples(sequences, 6, 2, snr_db=ratio).past - clean for ratio in (0.0, 20.0)]
    power = np.mean(np.abs(clean) ** 2, axis=(1, 2, 3, 4))
    assert np.mean(np.abs(noise[0]) ** 2, axis=(1, 2, 3, 4)) == pytest.approx(power, rel=0.1)
    assert noise[1] == pytest.approx(noise[0] / 10, abs=1e-5)
    assert np.array_equal(prediction_examples(sequences, 6, 2, snr_db=0.0).future, sequences[:, 6:8])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context": 8}, "shorter than context 8"),
        ({"horizon": 0}, "at least 1"),
        ({"comb": 8}, "fewer than two"),
    ],
)
def test_impossible_examples_are_refused(wave_sequences, change, message):
    with pytest.raises(InputError, match=message):
        prediction_examples(wave_sequences(2), **({"context": 6, "horizon": 2} | change))


def test_sequences_that_cannot_be_used_are_refused(wave_sequences):
    sequences = wave_sequences(2)
    for bad, message in ((sequences * np.nan, "NaN"), (sequences[..., 0], "shape"), (sequences[:, :, :, :0], "empty")):
        with pytest.raises(InputError, match=message):
            prediction_examples(bad, 6, 2)
    sequences[1, :6] = 0
    with pytest.raises(InputError, match="zero in all of its past"):
        prediction_examples(sequences, 6, 2)


def test_what_a_predictor_is_given_is_checked(wave_sequences):
    past = wave_sequences(2)
    everything = np.ones((1, 1, 1, 1, 1), np.bool_)
    checked, mask = check_past(past, everything, 1)
    assert mask.shape == past.shape
    assert np.array_equal(checked, past)
    with pytest.raises(InputError, match="hides all"):
        check_past(past, ~everything, 1)
    with pytest.raises(InputError, match="broadcast"):
        check_past(past, np.ones((3, 3), np.bool_), 1)
    with pytest.raises(InputError, match="horizon = 0"):
        check_past(past, everything, 0)
    past[0, 0, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        check_past(past, everything, 1)
