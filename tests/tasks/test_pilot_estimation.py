"""Estimation from noisy pilots: what is known of least squares, and of what is selected."""

import numpy as np
import pytest
from pydantic import ValidationError

from channelfm.baselines import ZeroFilling
from channelfm.tasks import TASKS, PilotEstimation
from channelfm.tasks.pilot_estimation import Selected


@pytest.mark.parametrize(("selection", "snr_db"), [(1.0, 0.0), (1.0, 20.0), (0.25, 10.0), (0.25, -10.0)])
def test_least_squares_errs_by_the_noise_and_by_what_is_not_selected(sight_blocks, selection, snr_db):
    task, blocks = PilotEstimation(), sight_blocks(count=40)
    examples = task.examples(blocks, Selected(selection, snr_db), 0)
    values = task.score(ZeroFilling().estimate(examples.observation), examples)["nmse"]
    assert values.mean() == pytest.approx(1 - selection + selection * 10 ** (-snr_db / 10), rel=0.05)


def test_noise_is_the_same_whatever_is_selected(sight_blocks):
    task, blocks = PilotEstimation(), sight_blocks()
    whole, part = (task.examples(blocks, Selected(share, 0.0), 3).observation for share in (1.0, 0.5))
    assert whole.mask.all()
    assert part.mask.mean() == pytest.approx(0.5, abs=0.01)
    np.testing.assert_array_equal(part.values, np.where(part.mask, whole.values, 0))
    np.testing.assert_array_equal(part.noise, whole.noise)


def test_cases_are_every_share_at_every_snr():
    task = PilotEstimation(selection=(0.1, 1.0), snr_db=(-10, 20))
    assert [tuple(case) for case in task.cases()] == [(0.1, -10), (1.0, -10), (0.1, 20), (1.0, 20)]
    assert str(task.cases()[0]) == "10 % of the antennas, -10 dB"
    assert TASKS["estimation"] is PilotEstimation
    for wrong in (0.0, 1.01, float("nan")):
        with pytest.raises(ValidationError):
            PilotEstimation(selection=(wrong,))
