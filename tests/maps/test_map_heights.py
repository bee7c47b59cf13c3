import pytest
from hypothesis import given
from hypothesis import strategies as st

from channelfm.maps.heights import LEVEL_M, default_height, parse_length, parse_levels, vertical_extent


@pytest.mark.parametrize(
    ("text", "metres"),
    [
        ("12", 12.0),
        ("12 m", 12.0),
        ("12m", 12.0),
        ("12.13 m", 12.13),
        ("12,5", 12.5),
        ("40'", 40 * 0.3048),
        ("40 ft", 40 * 0.3048),
        ("40 feet", 40 * 0.3048),
        ("40'6\"", 40.5 * 0.3048),
        ("12;15", 15.0),
        ("12.5 metres", 12.5),
        ("0", 0.0),
        ("-3", None),
        ("tall", None),
        ("", None),
        ("12;tall", None),
        ("5000", None),
        ("nan", None),
    ],
)
def test_lengths(text, metres):
    assert parse_length(text) == (None if metres is None else pytest.approx(metres))


@given(st.decimals(min_value="0.01", max_value="999.99", places=2), st.sampled_from(["", " m", "m", " metres"]))
def test_every_positive_metre_value_is_read_back(value, unit):
    assert parse_length(f"{value}{unit}") == pytest.approx(float(value))
    assert parse_length(f"{value}{unit}".replace(".", ",")) == pytest.approx(float(value))


@given(st.integers(1, 3000), st.integers(0, 11))
def test_feet_and_inches(feet, inches):
    assert parse_length(f"{feet}'{inches}\"") == pytest.approx((feet + inches / 12) * 0.3048)


@given(st.text(max_size=20))
def test_any_text_gives_a_sane_height_or_none(text):
    for parsed in (parse_length(text), parse_levels(text)):
        assert parsed is None or 0.0 <= parsed <= 1000.0


def test_levels():
    assert parse_levels("3;4") == 4.0
    assert parse_levels("2,5") == 2.5
    assert parse_levels("-1") is None
    assert parse_levels("many") is None


def test_the_height_tag_wins_over_levels_and_levels_over_the_default():
    extent, _ = vertical_extent({"building": "yes", "height": "20", "building:levels": "3"}, "way/1", 0)
    assert (extent.height_m, extent.source) == (20.0, "height")
    extent, _ = vertical_extent({"building": "yes", "building:levels": "3", "roof:levels": "1"}, "way/1", 0)
    assert (extent.height_m, extent.source) == (4 * LEVEL_M, "levels")
    extent, _ = vertical_extent({"building": "house"}, "way/1", 0)
    assert 5.0 <= extent.height_m <= 9.0
    assert extent.source == "default"


@pytest.mark.parametrize(
    ("tags", "metres"),
    [
        ({"building:levels": "3;4"}, 12.0),
        ({"building:levels": "3", "roof:levels": "2"}, 15.0),
        ({"building:levels": "3", "roof:height": "4,5"}, 13.5),
        ({"building:levels": "3", "roof:height": "4 m", "roof:levels": "1"}, 13.0),
        ({"building:levels": "3", "roof:levels": "attic"}, 9.0),
        ({"height": "20", "building:levels": "3", "roof:height": "4"}, 20.0),  # height includes the roof
        ({"height": "0", "building:levels": "2"}, 6.0),
    ],
)
def test_the_roof_stands_on_the_levels_and_within_the_height(tags, metres):
    assert vertical_extent({"building": "yes"} | tags, "way/1", 0)[0].height_m == metres


def test_an_unreadable_height_is_reported_and_the_next_source_taken():
    extent, unread = vertical_extent({"building": "yes", "height": "tall", "building:levels": "2"}, "way/1", 0)
    assert unread == ["height"]
    assert (extent.height_m, extent.source) == (2 * LEVEL_M, "levels")


def test_undersides():
    tags = {"building": "yes", "height": "20"}
    assert vertical_extent(tags | {"min_height": "5"}, "way/1", 0)[0].min_height_m == 5.0
    assert vertical_extent(tags | {"building:min_level": "2"}, "way/1", 0)[0].min_height_m == 2 * LEVEL_M
    assert vertical_extent(tags, "way/1", 0)[0].min_height_m == 0.0
    assert vertical_extent(tags | {"min_height": "0", "building:min_level": "2"}, "way/1", 0)[0].min_height_m == 0.0
    canopy, _ = vertical_extent({"building": "roof", "height": "5"}, "way/1", 0)
    assert canopy.min_height_m == 4.5
    raised, _ = vertical_extent({"building": "yes", "min_height": "60"}, "way/1", 0)
    assert raised.height_m > raised.min_height_m


@given(st.integers(0, 1000), st.integers(-(10**9), 10**9))
def test_default_heights_depend_on_seed_and_id_only(seed, number):
    height = default_height(f"way/{number}", "yes", seed)
    assert height == default_height(f"way/{number}", "yes", seed)
    assert 7.0 <= height <= 18.0


def test_default_heights_vary():
    heights = {default_height(f"way/{number}", "yes", 0) for number in range(50)}
    assert len(heights) > 40
    assert default_height("way/1", "yes", 0) != default_height("way/1", "yes", 1)
