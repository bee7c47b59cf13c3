from collections import Counter

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from channelfm.maps import Footprint, Roof
from channelfm.maps.overlaps import cut_overlaps


def prism(name, box, bottom, top, source="height", roof=None):
    return Footprint(name, shapely.box(*box), float(top), float(bottom), source, "concrete", roof=roof)


def common_volume(a, b):
    height = min(a.height_m, b.height_m) - max(a.min_height_m, b.min_height_m)
    return max(height, 0.0) * shapely.intersection(a.area, b.area).area


def test_a_tower_that_reaches_into_its_podium_is_put_on_top():
    tower, podium = prism("tower", (5, 5, 15, 15), 10, 60), prism("podium", (0, 0, 30, 30), 0, 20)
    by_id = {item.osm_id: item for item in cut_overlaps([tower, podium], Counter())}
    assert by_id["podium"].area.area == pytest.approx(900.0)
    assert by_id["tower"].min_height_m == 20.0


def test_a_bridge_over_a_house_stays():
    items = [prism("bridge", (0, 0, 30, 5), 12, 15), prism("house", (10, 0, 20, 20), 0, 10)]
    assert sorted(cut_overlaps(items, Counter()), key=lambda item: item.osm_id) == items


def test_a_known_height_wins_over_a_guess():
    guess, known = prism("guess", (0, 0, 20, 20), 0, 30, "default"), prism("known", (10, 0, 30, 20), 0, 9, "levels")
    by_id = {item.osm_id: item for item in cut_overlaps([guess, known], Counter())}
    assert by_id["known"].area.area == pytest.approx(400.0)
    assert by_id["guess"].area.area == pytest.approx(200.0)
    floating = prism("floating", (0, 0, 30, 5), 6, 9, "levels")  # must not dig through to the ground
    by_id = {item.osm_id: item for item in cut_overlaps([guess, floating], Counter())}
    assert by_id["guess"].area.area == pytest.approx(400.0)
    assert by_id["floating"].area.area == pytest.approx(50.0)


def test_a_roof_is_no_higher_than_what_is_left_of_its_building():
    podium = prism("podium", (0, 0, 30, 30), 0, 20)
    hut = prism("hut", (5, 5, 15, 15), 10, 22, roof=Roof("gabled", 8.0))
    by_id = {item.osm_id: item for item in cut_overlaps([podium, hut], Counter())}
    assert (by_id["hut"].min_height_m, by_id["hut"].roof) == (20.0, Roof("gabled", 2.0))


def test_touching_walls_stay():
    items = [prism("a", (0, 0, 10, 10), 0, 10), prism("b", (10, 0, 20, 10), 0, 12)]
    assert {item.area.area for item in cut_overlaps(items, Counter())} == {100.0}


sources = st.sampled_from(["height", "default"])
boxes = st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(3, 12)] * 2, st.integers(0, 6), st.integers(1, 20), sources)


@given(st.lists(boxes, min_size=2, max_size=6))
def test_no_volume_is_left_twice_whatever_the_order(values):
    items = [
        prism(f"way/{k}", (x, y, x + dx, y + dy), low, low + height, source)
        for k, (x, y, dx, dy, low, height, source) in enumerate(values)
    ]
    cut = cut_overlaps(items, Counter())
    for number, a in enumerate(cut):
        assert all(common_volume(a, b) < 0.1 for b in cut[number + 1 :])
    other = cut_overlaps(items[::-1], Counter())
    assert [item.osm_id for item in other] == [item.osm_id for item in cut]
    assert [item.area.area for item in other] == pytest.approx([item.area.area for item in cut])
