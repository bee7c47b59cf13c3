import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from channelfm.errors import InputError
from channelfm.tokens.masks import random_mask


@given(rows=st.integers(1, 12), cols=st.integers(1, 12), ratio=st.floats(0, 1), seed=st.integers(0, 99))
def test_hides_the_exact_number(rows, cols, ratio, seed):
    mask = random_mask(np.random.default_rng(seed), 3, rows, cols, ratio)
    assert mask.shape == (3, rows, cols, 1)
    hidden = min(round(ratio * rows * cols), rows * cols - 1)
    assert ((~mask).sum(axis=(1, 2, 3)) == hidden).all()


def test_one_ratio_per_sample_and_the_same_masks_for_the_same_seed():
    ratios = np.array([0.0, 0.5, 1.0])
    first, second = (random_mask(np.random.default_rng(7), 3, 4, 4, ratios) for _ in range(2))
    assert first.sum(axis=(1, 2, 3)).tolist() == [16, 8, 1]
    assert np.array_equal(first, second)


def test_every_antenna_is_hidden_equally_often():
    share = random_mask(np.random.default_rng(0), 4000, 4, 4, 0.75).mean(axis=0)
    assert np.abs(share - 0.25).max() < 0.03


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan")])
def test_ratio_out_of_range(ratio):
    with pytest.raises(InputError, match="between 0 and 1"):
        random_mask(np.random.default_rng(0), 1, 4, 4, ratio)
