"""What holds for each task alike."""

import json

import numpy as np
import pytest

from channelfm.config import parse_recipe
from channelfm.errors import InputError
from channelfm.tasks import TASKS


def made(kind, sight_blocks, sequence_blocks):
    """A task and blocks for it."""
    if kind == "prediction":
        return TASKS[kind](context=6, horizons=(1, 2), snr_db=(None, 10.0)), sequence_blocks(3, frames=9)
    return TASKS[kind](), sight_blocks()


@pytest.mark.parametrize("kind", TASKS)
def test_a_task_is_its_recipe(kind, sight_blocks, sequence_blocks):
    task, _ = made(kind, sight_blocks, sequence_blocks)
    assert task.kind == kind
    again = parse_recipe(TASKS[kind], json.loads(task.model_dump_json()), "recipe")
    assert again == task
    assert again.content_hash() == task.content_hash()


@pytest.mark.parametrize("kind", TASKS)
def test_the_truth_scores_best_and_the_same_seed_draws_the_same(kind, sight_blocks, sequence_blocks):
    task, blocks = made(kind, sight_blocks, sequence_blocks)
    for case in task.cases():
        first, again = (task.examples(blocks, case, 3) for _ in range(2))
        assert np.array_equal(first.observation.values, again.observation.values)
        other = task.examples(blocks, case, 4)
        assert task.repeats(case) is not np.array_equal(first.observation.values, other.observation.values)
        first.observation.check()
        truth = first.target if task.gives != "classes" else np.eye(2)[first.target]
        found = task.score(truth, first)
        assert all(len(values) == len(first) for values in found.values())
        measure = task.measures[0]
        assert {item.of for item in task.measures} == set(found)
        best = measure.reduce(found[measure.of])
        assert best == pytest.approx(1.0) if measure.more else best <= (-100 if measure.unit == "dB" else 0)
        assert str(case)
        json.dumps(case._asdict())


@pytest.mark.parametrize("kind", TASKS)
def test_parts_of_examples_are_those_of_their_links(kind, sight_blocks, sequence_blocks):
    task, blocks = made(kind, sight_blocks, sequence_blocks)
    whole = task.examples(blocks, task.cases()[-1], 0)
    part = whole.only(slice(1, 3))
    assert len(part) == 2
    assert np.array_equal(part.observation.values, whole.observation.values[1:3])
    assert np.array_equal(part.target, whole.target[1:3])
    forward = part.observation.operator.forward(part.channel)
    assert np.allclose(forward, whole.observation.operator.forward(whole.channel)[1:3], atol=1e-5)


@pytest.mark.parametrize("kind", TASKS)
def test_groups_cover_the_units(kind, sight_blocks, sequence_blocks):
    task, blocks = made(kind, sight_blocks, sequence_blocks)
    groups = task.groups(task.examples(blocks, task.cases()[0], 0))
    assert groups["all"].all()
    assert all(members.any() and len(members) == len(blocks) for members in groups.values())


@pytest.mark.parametrize("kind", TASKS)
def test_any_estimate_of_the_channel_answers(kind, sight_blocks, sequence_blocks):
    task, blocks = made(kind, sight_blocks, sequence_blocks)
    examples = task.examples(blocks, task.cases()[0], 0)
    answer = task.from_channel(examples.channel, examples.observation)
    assert set(task.score(answer, examples)) == {measure.of for measure in task.measures}


@pytest.mark.parametrize("kind", TASKS)
def test_links_without_a_path_are_refused(kind, sight_blocks, sequence_blocks):
    task, blocks = made(kind, sight_blocks, sequence_blocks)
    blocks.channel[1] = 0
    with pytest.raises(InputError, match="no path"):
        task.examples(blocks, task.cases()[0], 0)
