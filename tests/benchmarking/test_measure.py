import time

import numpy as np
import pytest

from channelfm.arrays import UPA
from channelfm.baselines import ZeroFilling
from channelfm.benchmarking.measure import BATCH, Answering, Cell, measure, mixed_examples
from channelfm.benchmarking.memory import PeakMemory, resident_bytes
from channelfm.datasets.blocks import unlabelled
from channelfm.errors import InputError
from channelfm.observation import Grid
from channelfm.tasks import Extrapolation, HybridEstimation, LineOfSight

TASK = Extrapolation(masks=[{"ratios": [0.5, 0.75]}], snr_db=(None, 10.0))


def blocks_of(count, seed=0):
    values = np.random.default_rng(seed).standard_normal((2, count, 1, 8, 6, 1))
    grid = Grid(UPA(8, 6, 7e9), np.zeros(1), np.array([7e9]))
    return unlabelled((values[0] + 1j * values[1]).astype(np.complex64), grid)


class Oracle:
    """Answers with a known multiple of the truth, link by link, after a while."""

    name, gives = "oracle", "channel"

    def __init__(self, truth, factors, seconds=0.0):
        self.truth, self.factors, self.seconds, self.calls = truth, np.asarray(factors), seconds, []

    def estimate(self, observation):
        self.calls.append(len(observation))
        time.sleep(self.seconds * len(observation))
        links = [
            np.flatnonzero((self.truth[:, 0, ..., 0] == values).sum(axis=(1, 2)) > 9)[0]
            for values in observation.values[:, 0, ..., 0]
        ]
        return (self.truth[links] * self.factors[links, None, None, None, None]).astype(np.complex64)


def measured(factors, seeds=(0, 1), seconds=0.0, **settings):
    blocks = blocks_of(len(factors))
    oracle = Oracle(blocks.channel, factors, seconds)
    drawn = [TASK.examples(blocks, TASK.cases()[0], seed) for seed in seeds]
    return oracle, measure(Answering(oracle, TASK), drawn, **settings)


def test_values_are_kept_unit_by_unit_and_draw_by_draw(tmp_path):
    steps = []
    oracle, cell = measured([0.9] * 40, shown=3, advance=steps.append)
    values = cell.by_name()
    assert values["nmse"].shape == values["ssim"].shape == (2, 40)
    assert values["nmse"] == pytest.approx(np.full((2, 40), 0.01), rel=1e-4)
    assert np.allclose(cell.shown, 0.9 * oracle.truth[3, 0, ..., 0])
    assert sum(steps) == 80
    assert oracle.calls == [2, BATCH, 8, BATCH, 8]  # a small one to warm up
    assert cell.latency_ms > 0
    cell.save(tmp_path / "cell")
    again = Cell.load(tmp_path / "cell")
    assert np.array_equal(again.values, cell.values)
    assert (again.names, again.latency_ms, again.peak_mb) == (cell.names, cell.latency_ms, cell.peak_mb)


def test_a_budget_pays_for_the_first_units_with_all_seeds():
    whole = measured(np.linspace(0.1, 0.9, 40))[1]
    cell = measured(np.linspace(0.1, 0.9, 40), seconds=0.01, budget_s=0.2)[1]
    assert 5 <= cell.units <= 11
    assert np.array_equal(cell.values, whole.values[:, :, : cell.units])
    assert measured([0.9] * 3, seconds=0.01, budget_s=1e-6)[1].units == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [(lambda values: values[..., 0], "'broken' answered with shape"), (lambda values: values * np.nan, "not finite")],
)
def test_an_answer_that_is_none_is_refused(answer, words):
    class Broken(ZeroFilling):
        name = "broken"

        def estimate(self, observation):
            return answer(observation.values)

    drawn = [TASK.examples(blocks_of(3), TASK.cases()[0], 0)]
    with pytest.raises(InputError, match=words):
        measure(Answering(Broken(), TASK), drawn)


def test_channels_answer_other_tasks_by_the_task_s_rule_and_not_the_other_way_round():
    task = LineOfSight()
    observation = Extrapolation().examples(blocks_of(3), Extrapolation().cases()[0], 0).observation
    probabilities = Answering(ZeroFilling(), task).answer(observation)
    assert probabilities.shape == (3, 2)
    assert probabilities.sum(axis=1) == pytest.approx(1)

    class Classifier(ZeroFilling):
        gives = "classes"

    with pytest.raises(InputError, match="it gives classes, and extrapolation asks for channel"):
        Answering(Classifier(), TASK)


def test_learners_are_taught_with_equal_shares_of_all_cases():
    blocks = blocks_of(10)
    lesson = mixed_examples(TASK, blocks, 0)
    shares = 1 - lesson.observation.mask.mean(axis=(1, 2, 3, 4))
    assert sorted(np.round(shares, 2)) == [0.5] * 5 + [0.75] * 5
    assert (lesson.observation.noise > 0).sum() == 4
    lesson.observation.check()
    assert sorted(lesson.channel[:, 0, 0, 0, 0].real) == sorted(blocks.channel[:, 0, 0, 0, 0].real)
    assert np.array_equal(lesson.target, lesson.channel)
    few = mixed_examples(TASK, blocks_of(2), 0)
    assert len(few) == 2
    pilots = mixed_examples(HybridEstimation(slots=(2, 4), snr_db=(0.0, 10.0)), blocks, 0)
    pilots.observation.check()
    assert len(pilots) == 10  # of 2 slots alone, at both signal-to-noise ratios
    assert pilots.observation.values.shape[2] == 8


@pytest.mark.skipif(resident_bytes() == 0, reason="no /proc")
def test_peak_memory_sees_what_is_held_for_a_moment():
    with PeakMemory() as peak:
        block = np.ones(64 * 2**20 // 8)
        block += 1.0
        del block
    assert 55 < peak.mb < 90
    with PeakMemory() as nothing:
        pass
    assert nothing.mb < 5
