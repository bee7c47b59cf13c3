import bz2
import gzip
import re
from pathlib import Path

import pytest

from channelfm.errors import InputError
from channelfm.maps import Roof, height_sources, read_map
from channelfm.maps.files import map_date


def by_id(data):
    return {item.osm_id: item for item in data.footprints}


def test_a_small_city(city, ring):
    city.way(1, ring(0, 0, 20), building="yes", height="12 m", building__material="brick")
    city.way(2, ring(50, 0, 10), building="house")
    city.way(3, [(0, -10), (80, -10)], highway="residential", oneway="yes")
    data = read_map(city.write())
    first = by_id(data)["way/1"]
    assert (first.height_m, first.height_source, first.material) == (12.0, "height", "brick")
    assert first.area.area == pytest.approx(400.0, rel=2e-3)
    assert by_id(data)["way/2"].height_source == "default"
    assert [(road.kind, road.oneway) for road in data.roads] == []  # the road lies beyond the buildings' extent
    assert data.skipped == {}
    assert "OpenStreetMap" in data.attribution


def test_roads_are_cut_at_the_region(city, ring):
    city.way(1, ring(0, 0, 20), building="yes")
    city.way(2, ring(60, 40, 20), building="yes")
    city.way(3, [(-100, 30), (200, 30)], highway="residential", oneway="-1")
    city.way(4, [(10, 10), (10, 50)], highway="service", tunnel="yes")
    data = read_map(city.write())
    (road,) = data.roads
    (x0, _), (x1, _) = road.points
    assert x0 > x1  # oneway=-1 runs against the points
    assert abs(x0 - x1) == pytest.approx(data.bounds[2] - data.bounds[0], abs=0.1)
    assert road.oneway
    assert data.skipped == {"underground": 1}


def test_order_and_compression_do_not_matter(city, ring, tmp_path):
    city.way(1, ring(0, 0, 20), building="yes")
    city.way(2, ring(5, 5, 5))
    city.way(3, ring(30, 0, 20))
    city.relation(9, [(3, "outer")], building="yes")
    plain = read_map(city.write())
    others = [city.write("reverse.osm", ways_first=True)]
    for name, opener in (("packed.osm.gz", gzip.open), ("packed.osm.bz2", bz2.open), ("misnamed.osm", gzip.open)):
        others.append(tmp_path / name)
        with opener(others[-1], "wt") as file:
            file.write(city.text())
    for path in others:
        assert by_id(read_map(path)) == by_id(plain)


def test_what_overpass_repeats_without_its_tags_keeps_them(city, ring):
    city.way(1, ring(0, 0, 20), building="yes", height="12")
    city.relation(5, [(1, "outer")], building="yes", height="12")
    expected = read_map(city.write()).footprints
    city.way(1, ring(0, 0, 20))
    city.relation(5, [(1, "outer")], building="yes", height="12")
    assert read_map(city.write()).footprints == expected


def test_a_multipolygon_with_split_rings_and_a_hole(city, ring):
    outer, inner = ring(0, 0, 40), ring(10, 10, 10)
    city.way(1, outer[:3])
    city.way(2, outer[2:][::-1])
    city.way(3, inner[:3])
    city.way(4, inner[2:])
    members = [(4, "inner"), (1, "outer"), (3, "inner"), (2, "outer")]
    city.relation(5, members, building="yes", building__levels="4")
    (item,) = read_map(city.write()).footprints
    assert item.osm_id == "relation/5"
    assert item.area.area == pytest.approx(1500.0, rel=2e-3)
    assert (item.height_m, item.height_source) == (12.0, "levels")


def test_an_outer_way_that_repeats_the_tags_of_its_relation_counts_once(city, ring):
    city.way(1, ring(0, 0, 40), building="yes", height="10")
    city.way(2, ring(10, 10, 10))
    city.relation(5, [(1, "outer"), (2, "inner")], building="yes", height="10")
    (item,) = read_map(city.write()).footprints
    assert item.area.area == pytest.approx(1500.0, rel=2e-3)


@pytest.mark.parametrize("silent", [{}, {"source": "survey", "name": "Palace"}])
def test_an_old_style_multipolygon_takes_the_tags_of_its_outer_way(city, ring, silent):
    city.way(1, ring(0, 0, 40), building="yes", height="10")
    city.way(2, ring(10, 10, 10))
    city.relation(5, [(1, "outer"), (2, "inner")], **silent)
    (item,) = read_map(city.write()).footprints
    assert (item.osm_id, item.height_m) == ("way/1", 10.0)
    assert item.area.area == pytest.approx(1500.0, rel=2e-3)


def test_an_old_style_multipolygon_with_several_and_split_outer_ways(city, ring):
    third = ring(100, 0, 30)
    city.way(1, ring(0, 0, 40), building="yes", height="10")
    city.way(2, ring(50, 0, 40), building="yes", height="20")
    city.way(3, third[:3])
    city.way(4, third[2:], building="yes", height="30")
    for number, x in ((6, 10), (7, 60), (8, 110)):
        city.way(number, ring(x, 10, 10))
    city.relation(5, [(1, ""), (2, "outer"), (3, "outer"), (4, "outer"), *((k, "inner") for k in (6, 7, 8))])
    found = by_id(read_map(city.write()))
    assert {name: item.height_m for name, item in found.items()} == {"way/1": 10.0, "way/2": 20.0, "way/4": 30.0}
    assert [found[f"way/{k}"].area.area for k in (1, 2, 4)] == pytest.approx([1500.0, 1500.0, 800.0], rel=2e-3)


def test_a_multipolygon_of_something_else_cuts_nothing_out_of_a_building(city, ring):
    city.way(1, ring(0, 0, 40), building="yes")
    city.way(2, ring(10, 10, 10))
    city.relation(5, [(1, "outer"), (2, "inner")], landuse="grass")
    city.way(3, ring(60, 0, 10))
    city.relation(6, [(3, "outer")])  # nothing says that this is a building
    (item,) = read_map(city.write()).footprints
    assert item.area.area == pytest.approx(1600.0, rel=2e-3)


def test_missing_members_and_nodes_are_tolerated_and_counted(city, ring):
    city.way(1, ring(0, 0, 20), building="yes")
    city.way(2, ring(40, 0, 20))
    city.relation(5, [(2, "outer"), (77, "inner")], building="yes")
    city.relation(6, [(78, "outer")], building="yes")
    city.way(3, ring(80, 0, 20)[:4], missing=9999, building="yes")
    city.way(4, ring(80, 0, 20)[:4], building="yes")
    city.way(5, [], building="yes")
    data = read_map(city.write())
    assert set(by_id(data)) == {"way/1", "relation/5"}
    assert data.skipped == {
        "building line that is not closed": 1,
        "building with missing nodes": 2,
        "missing member of a multipolygon": 2,
        "multipolygon without a closed outer ring": 1,
    }


def test_what_is_below_ground_or_not_built_is_left_out(city, ring):
    city.way(1, ring(0, 0, 20), building="yes")
    city.way(2, ring(40, 0, 20), building="yes", layer="-1")
    city.way(3, ring(80, 0, 20), building="yes", location="underground")
    city.way(4, ring(0, 40, 20), building="no")
    data = read_map(city.write())
    assert set(by_id(data)) == {"way/1"}
    assert data.skipped == {"not built or demolished": 1, "underground": 2}


def test_parts_replace_the_outline_that_they_cover(city):
    outline = [(0, 0), (40, 0), (40, 20), (0, 20), (0, 0)]
    city.way(1, outline, building="yes", height="30", building__material="glass")
    city.way(2, [(0, 0), (20, 0), (20, 20), (0, 20), (0, 0)], building__part="yes", height="30")
    city.way(3, [(20, 0), (40, 0), (40, 20), (20, 20), (20, 0)], building__part="yes")
    city.way(4, [(5, 5), (10, 5), (10, 10), (5, 10), (5, 5)], building__part="yes", min_height="30", height="45")
    data = read_map(city.write())
    found = by_id(data)
    assert set(found) == {"way/2", "way/3", "way/4"}
    assert found["way/3"].height_m == 30.0  # inherited, as is the material
    assert {item.material for item in found.values()} == {"glass"}
    assert (found["way/4"].min_height_m, found["way/4"].height_m) == (30.0, 45.0)
    assert data.skipped == {"outline replaced by its building parts": 1}


def test_an_outline_that_parts_cover_in_part_keeps_the_rest(city, ring):
    city.way(1, ring(0, 0, 40), building="yes", height="30")
    city.way(2, ring(0, 0, 20), building__part="yes", height="10")
    found = by_id(read_map(city.write()))
    assert found["way/1"].area.area == pytest.approx(1200.0, rel=2e-3)
    assert found["way/2"].height_m == 10.0


def test_a_part_that_floats_replaces_its_outline_as_others_do(city, ring):
    city.way(1, ring(0, 0, 40), building="yes", height="30")
    city.way(2, ring(0, 0, 40), building__part="yes", min_height="6", height="30")  # a house on stilts
    city.way(3, ring(100, 0, 40), building="yes", height="20")
    city.way(4, ring(100, 0, 20), building__part="yes", building__min_level="2", height="20")  # a passage in a corner
    city.way(5, ring(200, 0, 40), building="yes")  # how high it is, nobody knows
    city.way(6, ring(200, 0, 40), building__part="yes", min_height="40", height="50")
    found = by_id(read_map(city.write()))
    assert set(found) == {"way/2", "way/3", "way/4", "way/6"}
    assert (found["way/2"].min_height_m, found["way/2"].height_m) == (6.0, 30.0)
    assert found["way/3"].area.area == pytest.approx(1200.0, rel=2e-3)
    assert (found["way/4"].min_height_m, found["way/4"].area.area) == (6.0, pytest.approx(400.0, rel=2e-3))


def test_a_part_on_the_roof_does_not_replace_what_is_below_it(city, ring):
    city.way(1, ring(0, 0, 40), building="yes", height="20")
    city.way(2, ring(0, 0, 40), building__part="roof", min_height="20", height="25")
    assert set(by_id(read_map(city.write()))) == {"way/1", "way/2"}


def test_parts_without_an_outline_stand_on_their_own(city, ring):
    city.way(1, ring(0, 0, 20), building__part="yes", height="9")
    (item,) = read_map(city.write()).footprints
    assert (item.height_m, item.is_part) == (9.0, True)


def test_the_antimeridian(map_writer, tmp_path, ring):
    city = map_writer(tmp_path, centre=(180.0, 52.0))
    city.way(1, ring(-30, 0, 20), building="yes", height="10")
    city.way(2, ring(-10, 30, 20), building="yes", height="10")  # crosses it
    path = city.write()
    for bbox in (None, (179.99, 51.99, -179.99, 52.01)):
        data = read_map(path, bbox)
        assert [item.area.area for item in data.footprints] == pytest.approx([400.0, 400.0], rel=3e-3)


def test_a_header_box_across_the_antimeridian(map_writer, tmp_path, ring):
    city = map_writer(tmp_path, centre=(180.0, 52.0))
    city.bounds = '<bounds minlat="51.99" minlon="179.99" maxlat="52.01" maxlon="-179.99"/>'
    city.way(1, ring(-10, 30, 20), building="yes", height="10")
    data = read_map(city.write())
    assert data.footprints[0].area.area == pytest.approx(400.0, rel=3e-3)
    assert data.bounds[2] - data.bounds[0] == pytest.approx(0.02 * 111_320 * 0.6157, rel=0.01)


def test_nodes_far_outside_the_box_are_ignored(city, ring):
    city.bounds = '<bounds minlat="47.999" minlon="10.998" maxlat="48.001" maxlon="11.002"/>'
    city.way(1, ring(0, 0, 20), building="yes", height="10")
    for number, (lat, lon) in enumerate([(0.0, 0.0), (-48.0, -169.0), (48.0, 101.0), (90.0, 0.0)], start=900):
        city.nodes.append(f'<node id="{number}" version="1" lat="{lat}" lon="{lon}"/>')
        city.way(number, ring(40, 40, 10)[:3], missing=number, building="yes")
        city.way(number + 50, [(-50, 30), (50, 30)], missing=number, highway="residential")
    data = read_map(city.write())
    assert set(by_id(data)) == {"way/1"}
    assert len(data.roads) == 4
    assert max(abs(value) for road in data.roads for point in road.points for value in point) < 200.0
    assert data.skipped["node far outside the region"] == 4
    assert data.skipped["building with missing nodes"] == 4


def test_a_given_box_leaves_out_what_lies_beyond(city, ring):
    city.way(1, ring(0, 0, 20), building="yes")
    city.way(2, ring(500, 0, 20), building="yes")
    data = read_map(city.write(), (10.999, 47.999, 11.002, 48.001))
    assert set(by_id(data)) == {"way/1"}
    assert data.skipped == {"building outside the region": 1}


def test_the_header_box_is_the_region_when_none_is_given(city, ring):
    city.bounds = '<bounds minlat="47.999" minlon="10.998" maxlat="48.001" maxlon="11.002"/>'
    city.way(1, ring(0, 0, 20), building="yes")
    city.way(2, ring(5000, 0, 20), building="yes")
    data = read_map(city.write())
    assert set(by_id(data)) == {"way/1"}
    assert (data.origin.latitude_deg, data.origin.longitude_deg) == (48.0, 11.0)


def test_heights_follow_the_seed(city, ring):
    for number in range(8):
        city.way(number + 1, ring(30 * number, 0, 20), building="yes")
    path = city.write()
    heights = [[item.height_m for item in read_map(path, seed=seed).footprints] for seed in (0, 0, 1)]
    assert heights[0] == heights[1] != heights[2]


def test_roofs_are_read_and_parts_have_their_own(city, ring):
    city.way(1, ring(0, 0, 20), building="house", height="10", roof__shape="gabled", roof__height="3")
    city.way(2, ring(50, 0, 20), building="yes", roof__shape="hipped", building__levels="2")
    city.way(3, ring(50, 0, 20), building__part="yes")
    city.way(4, ring(100, 0, 20), building="yes", roof__shape="onion")
    data = read_map(city.write())
    found = by_id(data)
    assert found["way/1"].roof == Roof("gabled", 3.0, None)
    assert (found["way/1"].height_m, found["way/1"].material) == (10.0, "brick")
    assert found["way/3"].roof is None  # the outline's roof is that of the whole, not of each part
    assert found["way/4"].roof is None
    assert data.skipped == {"outline replaced by its building parts": 1, "roof shape not modelled": 1}


def test_shares_of_height_sources(city, ring):
    for number, tags in enumerate([{"height": "9"}, {"building__levels": "2"}, {"height": "7"}, {}], start=1):
        city.way(number, ring(30 * number, 0, 20), building="yes", **tags)
    shares = height_sources(read_map(city.write()).footprints)
    assert shares == {"height": 0.5, "levels": 0.25, "default": 0.25}
    assert next(iter(shares)) == "height"
    assert height_sources([]) == {}


def test_overlapping_buildings_share_no_volume(city, ring):
    city.way(1, ring(0, 0, 20), building="yes", height="30")
    city.way(2, ring(10, 10, 20), building="yes", height="10")
    city.way(3, ring(0, 0, 20), building="yes", height="5")
    data = read_map(city.write())
    found = by_id(data)
    assert set(found) == {"way/1", "way/2"}
    assert found["way/1"].area.intersection(found["way/2"].area).area < 1e-3
    assert found["way/2"].area.area == pytest.approx(300.0, rel=2e-3)
    assert data.skipped == {"covered by another building": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"<osm/>", "broken or truncated"),
        (b'<osm version="0.6"><node id="1" ', "broken or truncated"),
        (b'{"version": 0.6, "elements": []}', "no building"),
        (b'{"version": 0.6, "elements": [', "truncated or broken JSON"),
        (b'{"type": "FeatureCollection", "features": []}', "FeatureCollection.*Overpass"),
        (b"[1, 2]", "foreign JSON"),
        (b"[" * 100_000, "truncated or broken JSON"),
        (b"<html><body>no such page</body></html>", "not an OpenStreetMap file"),
        (b"\x89PNG\r\n\x1a\n", "not an OpenStreetMap file"),
        (b"\x1f\x8b\x08\x00broken", "archive"),
        (b'<osm version="0.6"><node id="1" version="1" lat="1" lon="1"/></osm>', "no building"),
        (b"\x00\x00\x00\x0d\x0a\x09OSMHeader\x18\x99\x01", "broken or truncated"),
    ],
)
def test_unusable_files_end_in_one_clear_line(tmp_path, content, message):
    path = tmp_path / "bad.osm"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_map(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such map file"):
        read_map(tmp_path / "none.osm")


def test_a_truncated_archive(city, ring, tmp_path):
    city.way(1, ring(0, 0, 20), building="yes")
    path: Path = tmp_path / "cut.osm.gz"
    path.write_bytes(gzip.compress(city.text().encode() * 1)[:-40])
    with pytest.raises(InputError):
        read_map(path)


def test_a_box_without_buildings(city, ring):
    city.way(1, ring(0, 0, 20), building="yes")
    with pytest.raises(InputError, match="no usable building"):
        read_map(city.write(), (12.0, 48.0, 12.01, 48.01))


@pytest.mark.parametrize("value", ["NaN", "inf", "-Infinity", "", " ", "north", "9" * 30, "48,0"])
@pytest.mark.parametrize("key", ["lat", "lon", "minlat"])
def test_coordinates_that_are_no_numbers_end_in_one_clear_line(city, ring, tmp_path, key, value):
    city.bounds = '<bounds minlat="47.99" minlon="10.99" maxlat="48.01" maxlon="11.01"/>'
    city.way(1, ring(0, 0, 20), building="yes", height="12")
    path = tmp_path / "hostile.osm"
    path.write_text(re.sub(rf' {key}="[^"]*"', f' {key}="{value}"', city.text(), count=1))
    with pytest.raises(InputError, match=r"hostile\.osm: broken or truncated map file \(.*coordinate") as caught:
        read_map(path)
    assert "\n" not in str(caught.value)


def test_a_place_off_the_globe_counts_as_missing(city, ring):
    city.way(1, ring(0, 0, 20), building="yes", height="12")
    city.way(2, ring(30, 0, 20), building="yes", height="12")
    city.nodes[0] = re.sub(r'lat="[^"]*"', 'lat="91.0"', city.nodes[0])
    data = read_map(city.write())
    assert set(by_id(data)) == {"way/2"}
    assert data.skipped == {"building with missing nodes": 1}


def test_a_header_box_without_extent_says_nothing(city, ring):
    city.bounds = '<bounds minlat="48.0" minlon="11.0" maxlat="48.0" maxlon="11.0"/>'
    city.way(1, ring(0, 0, 20), building="yes", height="12")
    x_min, y_min, x_max, y_max = read_map(city.write()).bounds
    assert (x_max - x_min, y_max - y_min) == pytest.approx((20.0, 20.0), abs=0.1)


def test_the_date_of_a_map_is_stated_or_that_of_its_newest_line(city, ring, tmp_path):
    city.way(1, ring(0, 0, 20), building="yes")
    city.way(2, ring(30, 0, 20), building="yes")
    path = city.write()
    assert map_date(path) is None
    for number, moment in ((0, "2021-07-10T17:30:57Z"), (1, "2019-01-01T00:00:00Z")):
        city.ways[number] = city.ways[number].replace('version="1"', f'version="1" timestamp="{moment}"')
    assert map_date(city.write()) == "2021-07-10T17:30:57Z"
    path.write_text(city.text().replace("<node", '<meta osm_base="2026-01-01T00:00:00Z"/><node', 1))
    assert map_date(path) == "2026-01-01T00:00:00Z"
