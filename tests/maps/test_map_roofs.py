import math
from collections import Counter

import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st

from channelfm.maps import Roof
from channelfm.maps.heights import Extent
from channelfm.maps.roofs import longer_side_bearing, parse_direction, parse_roof_angle, raise_roof

HALL = shapely.box(0, 0, 30, 10)  # longer side along east: its bearing is 90 degrees
HOUSE = Extent(10.0, 0.0, "height")


def roof(tags, area=HALL, extent=HOUSE):
    skipped = Counter()
    extent, found = raise_roof({f"roof:{key}": value for key, value in tags.items()}, area, extent, skipped)
    return found, extent.height_m, {reason: count for reason, count in skipped.items() if count}


def test_shapes():
    for text, shape in (("gabled", "gabled"), ("Hipped ", "hipped"), ("pyramidal", "pyramidal"), ("cone", "pyramidal")):
        assert roof({"shape": text, "height": "3"}) == (Roof(shape, 3.0), 10.0, {})
    for text in ("flat", "no", ""):
        assert roof({"shape": text, "height": "3"}) == (None, 10.0, {})
    for text in ("skillion", "dome", "gabled;hipped"):
        assert roof({"shape": text, "height": "3"}) == (None, 10.0, {"roof shape not modelled": 1})
    assert roof({"height": "3"}) == (None, 10.0, {})


@pytest.mark.parametrize(
    ("tags", "metres"),
    [
        ({"height": "12'"}, 12 * 0.3048),
        ({"height": "2,5 m", "angle": "45"}, 2.5),
        ({"angle": "45"}, 5.0),  # half of the 10 m across the ridge
        ({"angle": "45°", "orientation": "across", "levels": "1"}, 10.0),  # 15 m, clamped to the building
        ({"levels": "2"}, 6.0),
        ({"levels": "0"}, 5.0 * math.tan(math.radians(30))),
        ({}, 5.0 * math.tan(math.radians(30))),
        ({"orientation": "across"}, 5.0),  # 30 degrees over 30 m would be 8.7 m: half of the building at most
    ],
)
def test_heights(tags, metres):
    found, height, _ = roof({"shape": "gabled"} | tags)
    assert found.height_m == pytest.approx(metres, abs=1e-3)
    assert height == 10.0


def test_a_roof_without_height_is_flat_and_one_above_its_building_is_clamped():
    assert roof({"shape": "gabled", "height": "0"}) == (None, 10.0, {})
    found, height, skipped = roof({"shape": "gabled", "height": "12"}, extent=Extent(10.0, 4.0, "height"))
    assert (found.height_m, height, skipped) == (6.0, 10.0, {"roof higher than its building": 1})
    assert roof({"shape": "gabled"}, extent=Extent(3.0, 4.0, "height"))[0] is None  # dropped later


def test_levels_leave_the_roof_out_so_it_comes_on_top():
    storeys = {"building:levels": "2"}
    for tags, metres in (({"height": "2"}, 2.0), ({"levels": "1"}, 3.0), ({"angle": "45"}, 5.0), ({}, 2.887)):
        named = {f"roof:{key}": value for key, value in tags.items()} | storeys | {"roof:shape": "hipped"}
        extent, found = raise_roof(named, HALL, Extent(6.0, 0.0, "levels"), Counter())
        assert extent.height_m == pytest.approx(6.0 + metres)
        assert found.height_m == pytest.approx(metres)


def test_unreadable_tags_are_counted():
    found, _, skipped = roof({"shape": "gabled", "height": "high", "angle": "95", "levels": "x", "direction": "up"})
    assert found.ridge_deg is None
    assert skipped == {"roof tag not understood": 4}


@pytest.mark.parametrize(
    ("tags", "ridge"),
    [
        ({}, None),
        ({"orientation": "along"}, None),
        ({"orientation": "across"}, 0.0),
        ({"direction": "N"}, 90.0),  # faces look north and south: the ridge runs east-west
        ({"direction": "E"}, 0.0),
        ({"direction": "SSW"}, 112.5),
        ({"direction": "350"}, 80.0),
        ({"direction": "90", "orientation": "along"}, 0.0),
    ],
)
def test_ridges(tags, ridge):
    for shape in ("gabled", "hipped"):
        assert roof({"shape": shape} | tags)[0].ridge_deg == ridge
    assert roof({"shape": "pyramidal"} | tags)[0].ridge_deg is None


def test_the_ridge_decides_which_width_an_angle_spans():
    along, across = (roof({"shape": "gabled", "angle": "10", "direction": way})[0].height_m for way in ("N", "E"))
    assert (along, across) == (pytest.approx(5 * math.tan(math.radians(10)), abs=1e-3), pytest.approx(2.645, abs=1e-3))


@given(st.floats(0, 360), st.floats(1.2, 5))
def test_the_longer_side_of_a_turned_rectangle(bearing, ratio):
    upright = shapely.box(-5, -5 * ratio, 5, 5 * ratio)  # longer side along north
    turned = shapely.affinity.rotate(upright, -bearing, origin=(0, 0))  # shapely turns counter-clockwise
    found = longer_side_bearing(turned)
    assert 0.0 <= found < 180.0
    assert (found - bearing + 90.0) % 180.0 == pytest.approx(90.0, abs=0.02)


@given(st.floats(0, 360), st.sampled_from(["", "°", " deg", " degrees"]))
def test_directions_in_degrees(degrees, unit):
    assert parse_direction(f"{degrees:.3f}{unit}") == pytest.approx(round(degrees, 3) % 360.0)
    assert parse_direction(f"{degrees:.3f}{unit}".replace(".", ",")) == parse_direction(f"{degrees:.3f}")


def test_directions_by_name():
    assert parse_direction(" nnw ") == 337.5
    assert [parse_direction(text) for text in ("N", "E", "S", "W", "SE")] == [0.0, 90.0, 180.0, 270.0, 135.0]
    assert [parse_direction(text) for text in ("north-ish", "", "-20", "361", "N;S", "nan")] == [None] * 6


@given(st.floats(0.01, 89.99))
def test_roof_angles(degrees):
    assert parse_roof_angle(f"{degrees:.2f}°") == pytest.approx(degrees, abs=0.006)


@given(st.text(max_size=12))
def test_any_text_gives_a_sane_angle_or_none(text):
    direction, angle = parse_direction(text), parse_roof_angle(text)
    assert direction is None or 0.0 <= direction < 360.0
    assert angle is None or 0.0 < angle < 90.0


values = st.sampled_from(["", "0", "1", "2,5", "7 m", "30", "45°", "NE", "200", "many", "3;4", "40'"])
keys = st.sampled_from([f"roof:{key}" for key in ("height", "angle", "levels", "direction")])


@given(
    st.dictionaries(keys, values),
    st.sampled_from(["gabled", "hipped", "pyramidal"]),
    st.sampled_from(["along", "across"]),
    st.tuples(st.floats(0.5, 100), st.floats(0.5, 100)),
    st.floats(0.1, 300),
    st.floats(0, 300),
    st.sampled_from(["height", "levels", "default"]),
)
def test_every_roof_fits_its_building(tags, shape, orientation, sides, height, underside, source):
    assume(underside < height)
    extent = Extent(height, underside, source)
    named = tags | {"roof:shape": shape, "roof:orientation": orientation, "building:levels": "3"}
    raised, found = raise_roof(named, shapely.box(0, 0, *sides), extent, Counter())
    if source != "levels":
        assert raised == extent
    if found is not None:
        assert 0.0 < found.height_m <= raised.height_m - raised.min_height_m
        assert found.ridge_deg is None or 0.0 <= found.ridge_deg < 180.0
