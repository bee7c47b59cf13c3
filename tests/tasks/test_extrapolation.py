import numpy as np
import pytest

from channelfm.errors import InputError
from channelfm.tasks.extrapolation import examples, usable_snapshots


def channels(count=5):
    values = np.random.default_rng(0).standard_normal((2, count, 4, 6, 2))
    return (values[0] + 1j * values[1]).astype(np.complex64)


def test_observed_is_the_target_behind_the_mask():
    grid = channels()
    task = examples(grid, 0.75, seed=3)
    assert task.mask.shape == (5, 4, 6, 1)
    assert (task.mask.sum(axis=(1, 2, 3)) == 6).all()
    assert np.array_equal(task.observed, grid * task.mask)
    assert np.array_equal(task.target, grid)


def test_masks_depend_on_seed_and_ratio_alone():
    first, again, other = (examples(channels(), 0.5, seed=seed).mask for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_snapshots_without_a_path_are_left_out():
    grid = channels()
    grid[2] = 0
    assert len(examples(grid, 0.5).target) == 4


def test_bad_channels():
    with pytest.raises(InputError, match="snapshot, row"):
        examples(np.zeros((3, 4), dtype=np.complex64), 0.5)
    broken = channels()
    broken[1, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        usable_snapshots(broken)
