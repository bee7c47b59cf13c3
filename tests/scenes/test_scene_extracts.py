"""Real street maps, where the folder of extracts is there."""

import pytest

from channelfm import scenes
from channelfm.errors import InputError
from channelfm.scenes.inspection import coincident_faces

MAPS = [
    "baltimore_1km.osm.pbf",
    "beijing_tsinghua_1km.osm.pbf",
    "berlin_kreuzberg_lehider.osm.gz",
    "heidelberg_altstadt_1km.osm.pbf",
    "helsinki_centre_800m.osm.pbf",
    "kolkata_saltlake_600m.osm.pbf",
    "london_farringdon_1km.osm.pbf",
    "monaco_montecarlo_1km.osm.pbf",
    "nanjing_xinjiekou_1km.osm.pbf",
    "nyc_midtown_empire_state_1km.osm.pbf",
    "paris_9e_missmwendwa.osm.gz",
    "singapore_onenorth.osm.gz",
    "sydney_cbd_500m.osm.pbf",
    "tokyo_shibuya_ebisu.osm.gz",
]
NASTY = [
    ("antimeridian_w42394837.osm", "no building"),
    ("empty_7bytes.osm", "broken or truncated"),
    ("incomplete_rel_missing_way.osm", "no building"),
    ("missing_node.osm", "no building"),
    ("mp_broken.osm", "no building"),
    ("mp_two_holes.osm", "no building"),
    ("negative_ids_gh.osm", "no building"),
    ("xml_105_incomplete_file.osm", "broken or truncated"),
]


@pytest.mark.parametrize("name", MAPS)
def test_every_building_of_a_real_map_is_a_watertight_solid(extract, name):
    scene = scenes.from_osm(extract(name))
    assert len(scene.buildings) >= 60
    assert scene.roads
    assert {item.height_source for item in scene.buildings} <= {"height", "levels", "default"}
    for item in scene.buildings:
        area = item.footprint_area_m2 - item.hole_area_m2
        assert item.watertight
        box = area * (item.height_m - item.min_height_m)
        if item.roof_shape == "flat":
            assert item.volume_m3 == pytest.approx(box, rel=1e-6)
        else:
            assert 0.3 * box < item.volume_m3 < box
    assert len(coincident_faces(scene)) == 0


@pytest.mark.parametrize(("name", "message"), NASTY)
def test_nasty_files_end_in_one_clear_line(extract, name, message):
    with pytest.raises(InputError, match=message) as caught:
        scenes.from_osm(extract(f"nasty/{name}"))
    assert "\n" not in str(caught.value)


def test_overpass_json_is_read_whatever_its_name(extract):
    scene = scenes.from_osm(extract("nasty/overpass_json_named_osm_granada.osm"))
    assert len(scene.buildings) > 50
    assert all(item.watertight for item in scene.buildings)


def test_a_self_crossing_building_is_kept_as_its_parts(extract):
    (building,) = scenes.from_osm(extract("nasty/self_intersection.osm")).buildings
    assert building.watertight
    assert building.volume_m3 > 0
