import dataclasses

import numpy as np
import pytest

from channelfm.errors import InputError
from channelfm.tasks import Prediction
from channelfm.tasks.prediction import Past

TASK = Prediction(context=6, horizons=(2,), alignment="clean")


def test_the_future_is_hidden_and_asked_for(sequence_blocks):
    examples = TASK.examples(sequence_blocks(3, frames=9), Past(), 0)
    assert examples.observation.mask[:, :6].all()
    assert not examples.observation.mask[:, 6:].any()
    assert examples.target.shape[1] == examples.observation.grid.shape[0] == 8
    assert np.array_equal(examples.observation.values[:, :6], examples.target[:, :6])
    assert not examples.observation.values[:, 6:].any()


def test_a_comb_shows_every_so_many_subcarriers_of_every_frame(sequence_blocks):
    observation = TASK.examples(sequence_blocks(2), Past(comb=3), 0).observation
    seen = observation.mask[0, 0, 0, 0]
    assert np.flatnonzero(seen).tolist() == [0, 3, 6]
    assert not observation.values[..., ~seen].any()
    assert observation.values[:, :6, ..., ::3].all()


def test_noise_is_relative_to_the_past_and_the_same_but_for_its_scale(sequence_blocks):
    blocks = sequence_blocks(4, rows=4, cols=8, frequencies=16)
    clean = TASK.examples(blocks, Past(), 0).observation.values
    loud, quiet = (TASK.examples(blocks, Past(ratio), 0).observation for ratio in (0.0, 20.0))
    power = np.mean(np.abs(clean[:, :6]) ** 2, axis=(1, 2, 3, 4))
    assert loud.noise == pytest.approx(power)
    assert np.mean(np.abs(loud.values - clean)[:, :6] ** 2, axis=(1, 2, 3, 4)) == pytest.approx(power, rel=0.1)
    assert quiet.values - clean == pytest.approx((loud.values - clean) / 10, abs=1e-5)


def test_alignment_turns_observation_and_target_alike(sequence_blocks):
    blocks = sequence_blocks(3, frames=8, frequencies=16)
    observed = TASK.model_copy(update={"alignment": "observed"}).examples(blocks, Past(), 0)
    clean = TASK.examples(blocks, Past(), 0)
    assert np.allclose(observed.observation.values[:, :6], observed.target[:, :6], atol=1e-6)
    assert np.allclose(np.abs(observed.target), np.abs(clean.target), atol=1e-5)


def test_measures_are_those_of_the_horizon(sequence_blocks):
    task = Prediction(context=6, horizons=(1, 2), alignment="clean")
    examples = task.examples(sequence_blocks(3, frames=9), Past(), 0)
    answer = examples.target.copy()
    answer[:, 7] = 0
    found = task.score(answer, examples)
    assert found["nmse@1"] == pytest.approx(0, abs=1e-9)
    assert found["nmse@2"] == pytest.approx(1)
    assert found["rate_share@1"] == pytest.approx(1)


def test_sequences_are_grouped_by_speed(sequence_blocks):
    blocks = sequence_blocks(3)
    velocities = np.array([[3.0, 4, 0], [0, 15, 0], [0, 0, 16.0]])
    moving = dataclasses.replace(blocks, labels=dataclasses.replace(blocks.labels, velocities_mps=velocities))
    groups = TASK.groups(TASK.examples(moving, Past(), 0))
    assert groups["0 to 10 m/s"].tolist() == [True, False, False]
    assert groups["10 to 20 m/s"].tolist() == [False, True, True]
    assert "20 to 30 m/s" not in groups


@pytest.mark.parametrize(
    ("settings", "case", "message"),
    [
        ({"context": 8}, Past(), "shorter than context 8"),
        ({}, Past(comb=8), "fewer than two"),
        ({}, Past(1e4), "up to 200"),
    ],
)
def test_impossible_examples_are_refused(sequence_blocks, settings, case, message):
    with pytest.raises(InputError, match=message):
        TASK.model_copy(update=settings).examples(sequence_blocks(2), case, 0)


def test_sequences_without_a_path_are_refused(sequence_blocks):
    blocks = sequence_blocks(2)
    blocks.channel[1, :6] = 0
    with pytest.raises(InputError, match="zero in all of its past"):
        TASK.examples(blocks, Past(), 0)
