import numpy as np
import pytest

from channelfm.errors import InputError
from channelfm.tasks import LineOfSight

TASK = LineOfSight()


def test_one_wave_is_a_direct_path_and_five_alike_are_none(sight_blocks):
    examples = TASK.examples(sight_blocks(), TASK.cases()[0], 0)
    answer = TASK.from_channel(examples.channel, examples.observation)
    assert answer.sum(axis=1) == pytest.approx(1)
    assert np.array_equal(answer.argmax(axis=1), examples.target)


def test_balanced_accuracy_of_saying_the_same_is_a_half(sight_blocks):
    examples = TASK.examples(sight_blocks(13), TASK.cases()[0], 0)
    answer = np.tile([0.3, 0.7], (13, 1))
    found = TASK.score(answer, examples)
    assert found["balanced"].mean() == pytest.approx(0.5)
    assert found["accuracy"].mean() == pytest.approx(examples.target.mean())
    assert found["log_loss"][examples.target == 0] == pytest.approx(-np.log(0.3))


def test_one_class_asks_for_nothing_and_two_numbers_are_answered(sight_blocks):
    blocks = sight_blocks()
    with pytest.raises(InputError, match="one class"):
        TASK.examples(blocks.select(blocks.labels.line_of_sight), TASK.cases()[0], 0)
    examples = TASK.examples(blocks, TASK.cases()[0], 0)
    with pytest.raises(InputError, match="two probabilities"):
        TASK.score(np.zeros((12, 3)), examples)
