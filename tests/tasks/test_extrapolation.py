import numpy as np
import pytest

from channelfm.errors import InputError
from channelfm.tasks.extrapolation import examples, noise, usable_snapshots
from channelfm.tokens.masks import MASKS


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


@pytest.mark.parametrize("kind", MASKS)
def test_masks_depend_on_seed_and_ratio_alone(kind):
    first, again, other = (examples(channels(), 0.75, seed=seed, kind=kind).mask for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_noise_is_on_the_observed_antennas_alone_and_has_its_power():
    grid = np.repeat(channels(), 400, axis=0) * np.float32(1e-6)
    clean, loud, quiet = (examples(grid, 0.5, seed=1, snr_db=snr) for snr in (None, 0.0, 20.0))
    assert np.array_equal(clean.mask, loud.mask)
    assert np.array_equal(loud.target, grid)
    assert not loud.observed[~np.broadcast_to(loud.mask, grid.shape)].any()
    added = loud.observed - clean.observed
    assert np.mean(np.abs(added) ** 2) == pytest.approx(0.5 * np.mean(np.abs(grid) ** 2), rel=0.02)
    assert np.allclose(quiet.observed - clean.observed, 0.1 * added, atol=1e-9)
    assert not np.array_equal(noise(grid, 0.0, seed=1), noise(grid, 0.0, seed=2))


def test_noise_is_relative_to_each_snapshot():
    grid = np.ones((2, 64, 64, 1), np.complex64) * np.array([1, 100], np.complex64)[:, None, None, None]
    power = np.mean(np.abs(noise(grid, 10.0, seed=0)) ** 2, axis=(1, 2, 3))
    assert power == pytest.approx([0.1, 1000.0], rel=0.1)


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


@pytest.mark.parametrize(
    ("kind", "ratio", "words"),
    [
        ("random", 1.5, "between 0 and 1"),
        ("random", -0.5, "between 0 and 1"),
        ("random", float("nan"), "between 0 and 1"),
        ("random", 0.0, "hides nothing of 4 x 6"),
        ("comb", 0.1, "hides nothing"),
        ("rows", 0.1, "raise the ratio"),
        ("stripes", 0.5, "random, rows"),
    ],
)
def test_masks_that_are_no_task(kind, ratio, words):
    with pytest.raises(InputError, match=words):
        examples(channels(), ratio, kind=kind)
