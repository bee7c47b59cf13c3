"""Equation 7's neighbourhood, counted and listed."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm.errors import InputError
from channelfm.ops.neighbourhood import Neighbourhood, Routing, attention_mask, count_neighbours, list_neighbours

neighbourhoods = st.builds(
    Neighbourhood,
    radii=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    offsets=st.lists(st.integers(1, 3), unique=True, max_size=3).map(tuple),
    drift=st.tuples(st.floats(0, 2), st.floats(0, 2)),
    causal=st.booleans(),
)
grids = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5))


def test_the_papers_neighbourhood_has_337_tokens_inside_and_254_on_average() -> None:
    neighbourhood, grid = Neighbourhood(), (20, 32, 32)
    counts = count_neighbours(neighbourhood.boxes, grid)
    assert sum((2 * down + 1) * (2 * across + 1) for _, down, across in neighbourhood.boxes) == 337
    assert counts.reshape(grid)[10, 16, 16] == counts.max() == 337
    assert counts.double().mean() == pytest.approx(254, abs=1)


@settings(deadline=None, max_examples=40)
@given(neighbourhoods, grids)
def test_the_mask_is_equation_7_and_the_lists_and_counts_agree_with_it(neighbourhood, grid) -> None:
    mask = attention_mask(neighbourhood, grid)
    place = torch.cartesian_prod(*(torch.arange(size) for size in grid)).reshape(-1, 3)
    step = place[None] - place[:, None]
    apart = step[..., 0].abs()
    own = (step[..., 0] == 0) & (step[..., 1:].abs() <= torch.tensor(neighbourhood.radii)).all(-1)
    later = step[..., 0] > 0
    offset = torch.isin(apart, torch.tensor(neighbourhood.offsets, dtype=torch.int64))
    bound = torch.tensor(neighbourhood.drift, dtype=torch.float64) * apart[..., None]
    corridor = offset & (step[..., 1:].abs() <= bound).all(-1) & ~(later & neighbourhood.causal)
    assert torch.equal(mask, own | corridor)
    assert torch.equal(mask.sum(1).int(), count_neighbours(neighbourhood.boxes, grid))
    number, inside = list_neighbours(neighbourhood.boxes, grid, torch.arange(math.prod(grid)))
    assert torch.equal(inside.sum(1), mask.sum(1))
    assert number.max() < math.prod(grid)


def test_a_causal_neighbourhood_never_looks_ahead_and_is_the_past_half_of_the_other() -> None:
    grid, frame = (5, 3, 4), torch.arange(5).repeat_interleave(12)
    both, causal = (attention_mask(Neighbourhood(causal=flag), grid) for flag in (False, True))
    ahead = frame[None] > frame[:, None]
    assert both[ahead].any()
    assert torch.equal(causal, both & ~ahead)


def test_cls_attends_to_all_and_is_seen_by_all_unless_that_would_tell_the_future() -> None:
    grid = (3, 2, 2)
    mask = attention_mask(Neighbourhood(), grid, cls=True)
    assert mask[0].all()
    assert mask[:, 0].all()
    assert torch.equal(mask[1:, 1:], attention_mask(Neighbourhood(), grid))
    causal = attention_mask(Neighbourhood(causal=True), grid, cls=True)
    assert causal[0].all()
    assert not causal[1:, 0].any()


def test_routing_keeps_a_share_within_its_bounds_and_never_more_than_there_are() -> None:
    counts = torch.tensor([3, 9, 50, 337], dtype=torch.int32)
    assert Routing(0.2, 8, 64).kept(counts).tolist() == [3, 8, 10, 64]
    assert Routing(1.0, 1, 1000).kept(counts).tolist() == counts.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"radii": (-1, 1)}, "radii"),
        ({"radii": (1.5, 1)}, "radii"),
        ({"offsets": (0, 1)}, "at least 1"),
        ({"offsets": (-1,)}, "causal"),
        ({"offsets": (2, 2)}, "once"),
        ({"drift": (-1.0, 1.0)}, "drift"),
        ({"drift": (math.inf, 1.0)}, "finite"),
    ],
)
def test_neighbourhoods_that_mean_nothing_are_refused(arguments, message) -> None:
    with pytest.raises(InputError, match=message):
        Neighbourhood(**arguments)


@pytest.mark.parametrize("bounds", [(0.0, 8, 64), (1.5, 8, 64), (0.2, 0, 64), (0.2, 9, 8)])
def test_routing_that_means_nothing_is_refused(bounds) -> None:
    with pytest.raises(InputError, match="routing"):
        Routing(*bounds)
