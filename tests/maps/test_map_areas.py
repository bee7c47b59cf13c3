import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from channelfm.maps.areas import area_from_members, area_from_ring, clean_area


def ring(x, y, side):
    return np.array([(x, y), (x + side, y), (x + side, y + side), (x, y + side), (x, y)], dtype=float)


def test_a_bow_tie_becomes_its_two_halves():
    area = area_from_ring(np.array([(0, 0), (10, 10), (10, 0), (0, 10), (0, 0)], dtype=float))
    assert area.area == pytest.approx(50.0, rel=5e-3)
    assert len(shapely.get_parts(area)) == 2
    assert shapely.boundary(area).is_simple


def test_a_ring_without_area_gives_none():
    assert area_from_ring(np.array([(0, 0), (5, 0), (0, 0), (5, 0)], dtype=float)) is None
    assert area_from_ring(np.zeros((2, 2))) is None


def test_holes_and_several_outer_rings():
    area = area_from_members([ring(0, 0, 10), ring(20, 0, 10)], [ring(2, 2, 3)])
    assert area.area == pytest.approx(191.0)


@given(st.integers(1, 3), st.permutations([0, 1, 2]), st.lists(st.booleans(), min_size=3, max_size=3))
def test_a_split_ring_in_any_order_and_direction_is_the_same_area(cut, order, reverse):
    whole = np.array([(0, 0), (10, 0), (12, 6), (5, 11), (-2, 6), (0, 0)], dtype=float)
    pieces = [whole[: cut + 1], whole[cut : cut + 2], whole[cut + 1 :]]
    lines = [pieces[k][::-1] if reverse[k] else pieces[k] for k in order]
    assert area_from_members(lines, []).area == pytest.approx(shapely.Polygon(whole).area)


def test_lines_that_close_no_ring_are_ignored():
    assert area_from_members([ring(0, 0, 10)[:3]], []) is None
    assert area_from_members([ring(0, 0, 10), np.array([(50.0, 50.0), (60.0, 60.0)])], []).area == pytest.approx(100)


@pytest.mark.parametrize(
    "hole",
    [
        [(0, 5), (5, 3), (5, 7)],  # touches the shell within an edge
        [(0, 0), (5, 3), (3, 5)],  # touches it in a corner
    ],
)
def test_a_hole_that_touches_the_shell_is_parted_from_it(hole):
    area = clean_area(shapely.Polygon([(0, 0), (10, 0), (10, 10), (0, 10)], [hole]))
    assert shapely.boundary(area).is_simple
    assert area.area == pytest.approx(100 - shapely.Polygon(hole).area, rel=5e-3)
