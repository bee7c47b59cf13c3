import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from channelfm.errors import InputError
from channelfm.tokens.patches import patch_counts, patchify, unpatchify


@given(
    count=st.integers(0, 3),
    rows=st.integers(1, 13),
    cols=st.integers(1, 13),
    channels=st.integers(1, 3),
    patch=st.integers(1, 5),
)
def test_unpatchify_inverts_patchify(count, rows, cols, channels, patch):
    grid = torch.randn(count, rows, cols, channels)
    tokens = patchify(grid, patch)
    down, across = patch_counts(rows, cols, patch)
    assert tokens.shape == (count, down * across, patch * patch * channels)
    assert torch.equal(unpatchify(tokens, rows, cols, patch), grid)


def test_order_and_padding_of_patches():
    grid = torch.arange(6.0).reshape(1, 2, 3, 1)  # [[0, 1, 2], [3, 4, 5]]
    assert patchify(grid, 2).tolist() == [[[0, 1, 3, 4], [2, 0, 5, 0]]]


def test_tokens_of_another_grid_are_refused():
    with pytest.raises(InputError, match="8 x 8"):
        unpatchify(torch.zeros(1, 3, 32), 8, 8, 4)
    with pytest.raises(InputError, match="channel"):
        patchify(torch.zeros(8, 8, 2), 4)
