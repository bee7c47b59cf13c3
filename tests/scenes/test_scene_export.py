import json
from xml.etree import ElementTree

import numpy as np
import pytest
import trimesh

from channelfm import scenes
from channelfm.errors import InputError
from channelfm.records import Scene
from channelfm.scenes.export import write_scene, write_sionna_scene
from channelfm.scenes.packaged import parse_xml
from channelfm.scenes.ply import read_ply, to_ply

MAP = """<osm version="0.6">
<node id="1" version="1" lat="48.0000" lon="11.0000"/><node id="2" version="1" lat="48.0000" lon="11.0003"/>
<node id="3" version="1" lat="48.0002" lon="11.0003"/><node id="4" version="1" lat="48.0002" lon="11.0000"/>
<node id="5" version="1" lat="48.0001" lon="10.9999"/><node id="6" version="1" lat="48.0001" lon="11.0002"/>
<way id="7" version="1"><nd ref="1"/><nd ref="2"/><nd ref="3"/><nd ref="4"/><nd ref="1"/>
<tag k="building" v="yes"/><tag k="height" v="10"/></way>
<way id="8" version="1"><nd ref="5"/><nd ref="6"/><tag k="highway" v="service"/></way></osm>"""


@pytest.fixture
def mapped(tmp_path):
    (tmp_path / "one.osm").write_text(MAP)
    return scenes.from_osm(tmp_path / "one.osm")


def test_scene_json_holds_what_it_promises(mapped, tmp_path):
    path = write_scene(mapped, tmp_path / "out")
    assert path == tmp_path / "out" / "scene.json"
    content = json.loads(path.read_text())
    assert set(content) == {
        "origin_lat",
        "origin_lon",
        "crs",
        "terrain",
        "height_sources",
        "buildings",
        "roads",
        "skipped",
    }
    assert content["terrain"] is None
    assert content["height_sources"] == {"height": 1}
    assert content["origin_lat"] == pytest.approx(48.0001)
    assert "+proj=tmerc" in content["crs"]
    (building,) = content["buildings"]
    assert building["osm_id"] == "way/7"
    assert building["volume_m3"] == pytest.approx(building["footprint_area_m2"] * 10.0)
    assert set(building) == {
        "osm_id",
        "height_m",
        "min_height_m",
        "height_source",
        "footprint_area_m2",
        "hole_area_m2",
        "volume_m3",
        "material",
        "watertight",
        "roof_shape",
        "mesh",
    }
    assert (building["roof_shape"], building["mesh"]) == ("flat", "way_7")
    assert [road["kind"] for road in content["roads"]] == ["service"]
    assert set(content["roads"][0]) == {"kind", "points", "oneway"}


def test_the_record_on_disk_is_the_scene(mapped, tmp_path):
    write_scene(mapped, tmp_path / "out")
    back = Scene.load(tmp_path / "out" / "scene.safetensors")
    assert np.array_equal(back.vertices, mapped.vertices)
    assert (back.buildings, back.roads, back.origin) == (mapped.buildings, mapped.roads, mapped.origin)


def test_meshes_on_disk_are_watertight_and_named_in_the_scene_file(tmp_path):
    city = scenes.procedural(0)
    path = write_sionna_scene(city, tmp_path)
    root = ElementTree.fromstring(path.read_text())
    shapes = {shape.get("id"): shape for shape in root.findall("shape")}
    assert list(shapes) == [item.name for item in city.objects]
    materials = {bsdf.get("id") for bsdf in root.findall("bsdf")}
    for item in city.objects[:-1]:
        assert shapes[item.name].find("ref").get("id") == f"mat-itu_{item.material}" in materials
        mesh = trimesh.load(tmp_path / "meshes" / f"{item.name}.ply")
        assert mesh.is_watertight
        volume = sum(building.volume_m3 for building in city.buildings if building.mesh == item.name)
        assert mesh.volume == pytest.approx(volume, rel=1e-5)  # single precision


def test_writing_again_leaves_nothing_of_the_former_scene(tmp_path):
    write_sionna_scene(scenes.procedural(0), tmp_path)
    other = scenes.procedural(1)
    write_sionna_scene(other, tmp_path)
    assert {path.stem for path in (tmp_path / "meshes").iterdir()} == {item.name for item in other.objects}
    assert {path.name for path in tmp_path.iterdir()} == {"scene.xml", "meshes"}


def test_a_folder_that_cannot_be_written(mapped, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another folder"):
        write_sionna_scene(mapped, tmp_path / "file" / "below")


def test_ply_round_trip_and_broken_files(tmp_path):
    vertices, faces = np.array([[0, 0, 0], [1, 0, 0.5], [0, 2, 0.25]], float), np.array([[0, 1, 2]], np.int32)
    content = to_ply(vertices, faces)
    path = tmp_path / "mesh.ply"
    path.write_bytes(content)
    back = read_ply(path)
    assert np.array_equal(back[0], vertices)
    assert np.array_equal(back[1], faces)
    for broken, message in [
        (content[:-4], "truncated"),
        (b"ply\nformat ascii 1.0\nend_header\n", "little-endian"),
        (content.replace(b"\x03\x00\x00\x00\x00\x01", b"\x04\x00\x00\x00\x00\x01"), "triangle"),
    ]:
        path.write_bytes(broken)
        with pytest.raises(InputError, match=message):
            read_ply(path)


@pytest.mark.parametrize(
    "content",
    [
        '<!DOCTYPE scene [<!ENTITY secret SYSTEM "file:///etc/hostname">]><scene>&secret;</scene>',
        '<!doctype scene SYSTEM "http://example.org/scene.dtd"><scene/>',
        "<scene><shape>",
    ],
)
def test_scene_files_with_entities_or_broken_xml_are_refused(tmp_path, content):
    path = tmp_path / "scene.xml"
    path.write_text(content)
    with pytest.raises(InputError):
        parse_xml(path)


@pytest.mark.rt
def test_sionna_loads_what_is_written(tmp_path, sionna_rt):
    city = scenes.procedural(2)
    loaded = sionna_rt.load_scene(str(write_sionna_scene(city, tmp_path)), merge_shapes=False)
    assert set(loaded.objects) == {item.name for item in city.objects}
    for number, item in enumerate(city.objects):
        theirs = loaded.objects[item.name]
        assert theirs.radio_material.name == f"itu_{item.material}"
        assert theirs.mi_mesh.face_count() == len(city.object_mesh(number)[1])
