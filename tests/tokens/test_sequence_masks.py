import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm.errors import InputError
from channelfm.tokens.sequence_masks import SEQUENCE_MASKS, hidden_tokens


def mask(kind, grid, ratio, seed=0):
    return SEQUENCE_MASKS[kind](np.random.default_rng(seed), grid, ratio)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(SEQUENCE_MASKS)),
    st.tuples(*[st.integers(1, 9)] * 3),
    st.decimals(0, "0.99", places=2),
    st.integers(0, 99),
)
def test_every_kind_hides_exactly_as_many_tokens_as_is_asked(kind, grid, ratio, seed):
    seen = mask(kind, grid, float(ratio), seed)
    assert seen.shape == grid
    assert (~seen).sum() == math.floor(Fraction(ratio) * math.prod(grid))
    assert (seen == mask(kind, grid, float(ratio), seed)).all()


def test_a_share_is_what_is_written_not_its_binary_neighbour():
    assert hidden_tokens((1, 10, 10), 0.29) == 29


def neighbours_alike(seen, axis):
    """Share of neighbours along an axis that are both hidden, among hidden ones that have a neighbour."""
    hidden = np.moveaxis(~seen, axis, 0)
    first, second = hidden[:-1], hidden[1:]
    return (first & second).sum() / first.sum()


def test_blocks_stick_together_in_their_frame_and_tubes_over_time():
    grid, ratio = (20, 32, 32), 0.2
    drawn = {kind: [mask(kind, grid, ratio, seed) for seed in range(8)] for kind in ("random", "rect", "tube")}
    alike = {
        kind: np.mean([[neighbours_alike(seen, axis) for axis in (0, 1)] for seen in masks], axis=0)
        for kind, masks in drawn.items()
    }
    assert np.allclose(alike["random"], ratio, atol=0.03)
    assert alike["rect"][1] > 0.7
    assert alike["rect"][0] < 0.5
    assert alike["tube"].min() > 0.6


def test_blocks_are_wider_in_angle_than_in_delay():
    seen = [mask("rect", (4, 32, 32), 0.05, seed) for seed in range(30)]
    across = np.mean([neighbours_alike(one, 1) for one in seen])
    assert across > np.mean([neighbours_alike(one, 2) for one in seen])


def test_a_comb_shows_a_lattice_of_time_and_delay_at_all_angles():
    seen = mask("comb", (8, 5, 8), 0.75)  # one in four: the trimming has nothing to do
    assert (seen == seen[:, :1]).all()
    times, delays = np.flatnonzero(seen.any((1, 2))), np.flatnonzero(seen.any((0, 1)))
    assert len(set(np.diff(times))) <= 1
    assert len(set(np.diff(delays))) <= 1
    assert seen.sum() == 8 * 5 * 8 / 4


@pytest.mark.parametrize("kind", sorted(SEQUENCE_MASKS))
@pytest.mark.parametrize(
    ("grid", "ratio", "match"),
    [((2, 2, 2), 1.0, "below 1"), ((2, 2, 2), -0.1, "at least 0"), ((2, 0, 2), 0.5, "at least one frame")],
)
def test_what_cannot_be_masked_is_refused(kind, grid, ratio, match):
    with pytest.raises(InputError, match=match):
        mask(kind, grid, ratio)
