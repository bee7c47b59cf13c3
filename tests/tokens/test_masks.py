import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from channelfm.errors import InputError
from channelfm.tokens.masks import MASKS, block_mask, column_mask, comb_mask, random_mask, row_mask

SIDES = st.integers(1, 12)
RATIOS = st.floats(0, 1)
SEEDS = st.integers(0, 99)


def runs(line):
    """Number of connected stretches of True."""
    return int(line[0]) + int((np.diff(line.astype(int)) == 1).sum())


@given(rows=SIDES, cols=SIDES, ratio=RATIOS, seed=SEEDS)
def test_hides_the_exact_number(rows, cols, ratio, seed):
    mask = random_mask(np.random.default_rng(seed), 3, rows, cols, ratio)
    hidden = min(round(ratio * rows * cols), rows * cols - 1)
    assert ((~mask).sum(axis=(1, 2, 3)) == hidden).all()


@pytest.mark.parametrize("kind", MASKS)
@given(rows=SIDES, cols=SIDES, ratio=RATIOS, seed=SEEDS)
def test_every_kind_observes_something(kind, rows, cols, ratio, seed):
    mask = MASKS[kind](np.random.default_rng(seed), 3, rows, cols, ratio)
    assert mask.shape == (3, rows, cols, 1)
    assert mask.dtype == np.bool_
    assert mask.any(axis=(1, 2, 3)).all()
    assert np.array_equal(mask, MASKS[kind](np.random.default_rng(seed), 3, rows, cols, ratio))


@given(rows=SIDES, cols=SIDES, ratio=RATIOS, seed=SEEDS)
def test_whole_rows_and_columns(rows, cols, ratio, seed):
    mask = row_mask(np.random.default_rng(seed), 2, rows, cols, ratio)[..., 0]
    assert np.array_equal(mask, np.repeat(mask[:, :, :1], cols, axis=2))
    assert (mask[:, :, 0].sum(axis=1) == max(rows - round(ratio * rows), 1)).all()
    turned = column_mask(np.random.default_rng(seed), 2, cols, rows, ratio)[..., 0]
    assert np.array_equal(turned, mask.transpose(0, 2, 1))


@given(rows=SIDES, cols=SIDES, ratio=RATIOS, seed=SEEDS)
def test_a_block_is_one_rectangle_of_the_wanted_size(rows, cols, ratio, seed):
    for mask in block_mask(np.random.default_rng(seed), 3, rows, cols, ratio)[..., 0]:
        in_rows, in_cols = mask.any(axis=1), mask.any(axis=0)
        assert np.array_equal(mask, np.outer(in_rows, in_cols))
        assert runs(in_rows) == runs(in_cols) == 1
        wanted = max((1 - ratio) * rows * cols, in_rows.sum())
        assert abs(mask.sum() - wanted) <= in_rows.sum() / 2 + 1e-9


def test_a_block_has_the_arrays_aspect_and_goes_everywhere():
    mask = block_mask(np.random.default_rng(0), 400, 16, 32, 0.75)[..., 0]
    assert (mask.any(axis=2).sum(axis=1) == 8).all()
    assert (mask.any(axis=1).sum(axis=1) == 16).all()
    assert mask[:, 0, 0].any()
    assert mask[:, -1, -1].any()


@pytest.mark.parametrize(("ratio", "steps"), [(0.0, (1, 1)), (0.5, (1, 2)), (0.75, (2, 2)), (0.9, (3, 3))])
def test_a_comb_has_even_steps(ratio, steps):
    for mask in comb_mask(np.random.default_rng(1), 20, 12, 12, ratio)[..., 0]:
        in_rows, in_cols = mask.any(axis=1), mask.any(axis=0)
        assert np.array_equal(mask, np.outer(in_rows, in_cols))
        for line, step in zip((in_rows, in_cols), steps, strict=True):
            assert (np.diff(np.flatnonzero(line)) == step).all()
        assert mask.mean() == pytest.approx(1 / np.prod(steps))


def test_a_comb_of_a_linear_array_steps_along_it():
    mask = comb_mask(np.random.default_rng(2), 5, 1, 40, 0.9)[:, 0, :, 0]
    assert (mask.sum(axis=1) == 4).all()
    starts = comb_mask(np.random.default_rng(3), 200, 1, 40, 0.9)[:, 0, :, 0].argmax(axis=1)
    assert set(starts.tolist()) == set(range(10))


@pytest.mark.parametrize("kind", MASKS)
def test_one_ratio_per_sample(kind):
    mask = MASKS[kind](np.random.default_rng(7), 3, 8, 8, np.array([0.0, 0.75, 1.0]))
    assert mask.sum(axis=(1, 2, 3)).tolist() == [64, 16, {"rows": 8, "columns": 8}.get(kind, 1)]


def test_every_antenna_is_hidden_equally_often():
    share = random_mask(np.random.default_rng(0), 4000, 4, 4, 0.75).mean(axis=0)
    assert np.abs(share - 0.25).max() < 0.03


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan")])
def test_ratio_out_of_range(kind, ratio):
    with pytest.raises(InputError, match="between 0 and 1"):
        MASKS[kind](np.random.default_rng(0), 1, 4, 4, ratio)
