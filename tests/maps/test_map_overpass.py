import bz2
import gzip
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channelfm.errors import InputError
from channelfm.maps import files, read_map
from channelfm.maps.elements import RawMap
from channelfm.maps.files import map_date
from channelfm.maps.overpass import parse_overpass

NASTY = (
    "antimeridian_w42394837",
    "empty_7bytes",
    "incomplete_rel_missing_way",
    "missing_node",
    "mp_broken",
    "mp_two_holes",
    "negative_ids_gh",
    "self_intersection",
    "xml_105_incomplete_file",
)
NODES, SKELETON, GEOMETRY, MEMBERS = "nodes", "skeleton", "geometry", "members only"


def overpass_json(text: str, form: str) -> dict:
    """OSM XML as the answer of Overpass in one of its forms (written against its documentation, not our reader)."""
    root = ElementTree.fromstring(text)
    places = {
        node.get("id"): {"lat": round(float(node.get("lat")), 7), "lon": round(float(node.get("lon")), 7)}
        for node in root.iter("node")
    }
    nodes = [{"type": "node", "id": int(number), **place} for number, place in places.items()]
    ways, relations, lines = [], [], {}
    for way in root.iter("way"):
        refs = [nd.get("ref") for nd in way.iter("nd")]
        lines[way.get("id")] = [places.get(ref) for ref in refs]
        item = {"type": "way", "id": int(way.get("id")), "nodes": [int(ref) for ref in refs]}
        if form in (GEOMETRY, MEMBERS):
            item["geometry"] = lines[way.get("id")]
        tags = {tag.get("k"): tag.get("v") for tag in way.iter("tag")}
        ways.append(item | ({"tags": tags} if tags else {}))
    for relation in root.iter("relation"):
        members = [
            {"type": member.get("type"), "ref": int(member.get("ref")), "role": member.get("role")}
            for member in relation.iter("member")
        ]
        if form in (GEOMETRY, MEMBERS):
            for member in members:
                if str(member["ref"]) in lines:
                    member["geometry"] = lines[str(member["ref"])]
        tags = {tag.get("k"): tag.get("v") for tag in relation.iter("tag")}
        relations.append({"type": "relation", "id": int(relation.get("id")), "members": members, "tags": tags})
    elements = nodes + ways + relations
    if form == SKELETON:  # out body of what was asked for, then out skel of all that it refers to
        elements = relations + ways + [{key: way[key] for key in ("type", "id", "nodes")} for way in ways] + nodes
    elif form == GEOMETRY:
        elements = ways + relations
    elif form == MEMBERS:  # ways without tags come within their relations only, others without their node ids
        elements = [{key: way[key] for key in way if key != "nodes"} for way in ways if "tags" in way] + relations
    return {"version": 0.6, "generator": "test", "osm3s": {"copyright": "ODbL"}, "elements": elements}


def overpass_xml(text: str, form: str) -> str:
    """The same as XML of the form ``out geom``."""
    root = ElementTree.Element("osm", version="0.6", generator="Overpass API 0.7.62.1")
    ElementTree.SubElement(root, "meta", osm_base="2026-02-03T04:05:06Z")
    for item in overpass_json(text, form)["elements"]:
        element = ElementTree.SubElement(root, item["type"], id=str(item["id"]))
        ElementTree.SubElement(element, "bounds", minlat="48", minlon="11", maxlat="48", maxlon="11")
        if item["type"] == "way":
            _points(element, item.get("nodes"), item.get("geometry"))
        for member in item.get("members", ()):
            plain = {key: str(member[key]) for key in ("type", "ref", "role")}
            _points(ElementTree.SubElement(element, "member", plain), None, member.get("geometry"))
        for key, value in item.get("tags", {}).items():
            ElementTree.SubElement(element, "tag", k=key, v=value)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True)


def _points(element, nodes, geometry):
    for index in range(len(nodes or geometry or ())):
        ref = {} if nodes is None else {"ref": str(nodes[index])}
        place = (geometry[index] if geometry else None) or {}
        ElementTree.SubElement(element, "nd", ref | {key: str(value) for key, value in place.items()})


@pytest.fixture
def block(city, ring):
    """A city with a plain building, a split multipolygon with a hole, an old-style one, a part, a gap and a road."""
    outer = ring(40, 0, 40)
    city.way(1, ring(0, 0, 20), building="yes", height="12 m")
    city.way(2, outer[:3])
    city.way(3, outer[2:])
    city.way(4, ring(50, 10, 10))
    city.relation(5, [(2, "outer"), (3, "outer"), (4, "inner"), (77, "inner")], building="yes")
    city.way(6, ring(100, 0, 40), building="yes", building__levels="3")
    city.way(7, ring(110, 10, 10))
    city.relation(8, [(6, "outer"), (7, "inner")])
    city.way(9, ring(0, 50, 20)[:4], missing=9999, building="yes")
    city.way(10, [(-10, 30), (200, 30)], highway="residential")
    city.way(11, ring(0, 80, 20), building="yes", layer="-1")
    return city


@pytest.mark.parametrize("form", [NODES, SKELETON, GEOMETRY, MEMBERS])
def test_every_form_of_an_overpass_answer_is_the_same_map_as_its_xml(block, tmp_path, form):
    expected = read_map(block.write())
    path = tmp_path / "small.osm"
    path.write_text(json.dumps(overpass_json(block.text(), form), indent=1))
    found = read_map(path)
    assert sorted(found.footprints, key=lambda item: item.osm_id) == sorted(
        expected.footprints, key=lambda item: item.osm_id
    )
    assert {item.osm_id for item in found.footprints} == {"way/1", "relation/5", "way/6"}
    assert found.roads == expected.roads
    assert found.skipped == expected.skipped
    assert (found.name, found.origin, found.bounds) == (expected.name, expected.origin, expected.bounds)


@pytest.mark.parametrize("form", [GEOMETRY, MEMBERS])
@pytest.mark.parametrize("opener", [open, gzip.open])
def test_xml_with_coordinates_in_its_elements_is_the_same_map(block, tmp_path, form, opener):
    expected = read_map(block.write())
    path = tmp_path / "small.osm"
    with opener(path, "wt") as file:
        file.write(overpass_xml(block.text(), form))
    found = read_map(path)
    assert sorted(found.footprints, key=lambda item: item.osm_id) == sorted(
        expected.footprints, key=lambda item: item.osm_id
    )
    assert (found.roads, found.skipped, found.bounds) == (expected.roads, expected.skipped, expected.bounds)
    assert map_date(path) == "2026-02-03T04:05:06Z"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (r'\blat="[^"]*"', 'lat="NaN"', "the map holds no building"),
        (r'\blat="[^"]*"', 'lat="north"', "element 1 is no Overpass element"),
        (r'\bid="[^"]*"', 'id="one"', "element 1 is no Overpass element"),
        ("<osm", "<!DOCTYPE a [<!ENTITY b 'c'>]><osm", "declares a document type"),
        ("</osm>", "", "broken or truncated XML"),
        (
            "</osm>",
            "<remark> runtime error: Query timed out </remark></osm>",
            r"broke off \(runtime error.*smaller box",
        ),
    ],
)
def test_broken_xml_with_coordinates(block, tmp_path, old, new, message):
    path = tmp_path / "small.osm"
    path.write_text(re.sub(old, new, overpass_xml(block.text(), GEOMETRY)))
    with pytest.raises(InputError, match=message) as caught:
        read_map(path)
    assert "\n" not in str(caught.value)


def test_plain_xml_that_the_server_broke_off(block, tmp_path):
    path = tmp_path / "small.osm"
    path.write_text(block.text().replace("</osm>", "<remark> runtime error: Query timed out </remark></osm>"))
    with pytest.raises(InputError, match=r"broke off \(runtime error: Query timed out\)"):
        read_map(path)


def test_a_bomb_of_an_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST_ANSWER_BYTES", 10_000_000)
    path = tmp_path / "answer.json"
    path.write_bytes(gzip.compress(b'{"elements": [' + b" " * 50_000_000))
    with pytest.raises(InputError, match="holds more than 10000000 bytes"):
        read_map(path)


@pytest.mark.parametrize("opener", [gzip.open, bz2.open])
def test_packed_answers(block, tmp_path, opener):
    path = tmp_path / "answer.json"
    with opener(path, "wt") as file:
        json.dump(overpass_json(block.text(), NODES), file)
    assert len(read_map(path).footprints) == 3
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"answer\.json: truncated or broken archive"):
        read_map(path)


def test_an_answer_with_a_byte_order_mark(block, tmp_path):
    path = tmp_path / "answer.json"
    path.write_text(json.dumps(overpass_json(block.text(), NODES)), encoding="utf-8-sig")
    assert len(read_map(path).footprints) == 3


def test_an_answer_that_the_server_broke_off(block, tmp_path):
    answer = overpass_json(block.text(), NODES) | {"remark": 'runtime error: Query timed out in "query" at line 1'}
    path = tmp_path / "answer.json"
    path.write_text(json.dumps(answer))
    with pytest.raises(InputError, match=r"Query timed out.*smaller box"):
        read_map(path)


@pytest.mark.parametrize(
    "element",
    [
        {},
        5,
        {"type": "node", "id": "x", "lat": 1, "lon": 2},
        {"type": "node", "id": 1, "lat": 1},
        {"type": "way", "id": 1, "nodes": 7},
        {"type": "way", "id": 1, "nodes": [1, 2], "geometry": [{"lat": 1, "lon": 2}]},
        {"type": "relation", "id": 1, "members": [{"type": "way"}]},
        {"type": "way", "id": 1, "nodes": [1], "tags": ["building"]},
    ],
)
def test_elements_that_are_none(element):
    with pytest.raises(InputError, match="element 1 is no Overpass element"):
        parse_overpass(json.dumps({"elements": [{"type": "area", "id": 1}, element]}).encode(), "file")


def test_places_off_the_globe_are_missing_and_tags_only_ways_have_no_nodes():
    elements = [
        {"type": "node", "id": 1, "lat": 91.0, "lon": 0.0},
        {"type": "node", "id": 2, "lat": float("nan"), "lon": 0.0},
        {"type": "node", "id": 3, "lat": 1.0, "lon": 0.0},
        {"type": "way", "id": 1, "nodes": [1, 2, 3], "tags": {"building": "yes"}},
        {"type": "way", "id": 2, "tags": {"building": "yes"}},
        {
            "type": "way",
            "id": 3,
            "geometry": [{"lat": 1, "lon": 2}, None, None, {"lat": 1, "lon": 2}],
            "tags": {"highway": "x"},
        },
    ]
    raw = parse_overpass(json.dumps({"elements": elements}).encode(), "file")
    first, *gaps, last = raw.ways[3].refs
    assert first == last
    assert len(set(gaps)) == 2
    assert raw.locations == {3: (0.0, 1.0), first: (2.0, 1.0)}
    assert raw.ways[2].refs == ()


def is_map_or_error_of_one_line(text):
    try:
        return isinstance(parse_overpass(text, "file"), RawMap)
    except InputError as error:
        return str(error).startswith("file: ") and "\n" not in str(error)


@given(st.binary(max_size=60))
def test_any_bytes_give_a_map_or_a_clear_error(content):
    for text in (content, b'{"elements": [' + content + b"]}"):
        assert is_map_or_error_of_one_line(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["way", "node", "relation", "7"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "id", "lat", "lon", "nodes", "geometry", "members", "ref", "role", "tags"]), inner
        )
    ),
    max_leaves=12,
)


@given(st.lists(json_values, max_size=3))
def test_any_json_gives_a_map_or_a_clear_error(elements):
    assert is_map_or_error_of_one_line(json.dumps({"elements": elements}).encode())


def test_a_real_answer_whatever_its_file_is_called(extract):
    path = extract("nasty/overpass_json_named_osm_granada.osm")
    data = read_map(path)
    elements = json.loads(path.read_text())["elements"]
    nodes = {item["id"] for item in elements if item["type"] == "node"}
    whole = {
        f"way/{item['id']}"
        for item in elements
        if item["type"] == "way" and {"building", "building:part"} & item.get("tags", {}).keys()
        if item["nodes"][0] == item["nodes"][-1] and nodes.issuperset(item["nodes"])
        if not item["tags"].get("layer", "0").startswith("-") and item["tags"].get("location") != "underground"
    }
    assert {item.osm_id for item in data.footprints if item.osm_id.startswith("way/")} == whole
    assert len(data.roads) > 200
    assert (data.origin.latitude_deg, data.origin.longitude_deg) == pytest.approx((37.178, -3.609), abs=0.01)


@pytest.mark.parametrize("name", NASTY)
def test_nasty_files_give_a_map_or_a_clear_error(extract, name):
    path = extract(f"nasty/{name}.osm")
    if name == "self_intersection":
        (item,) = read_map(path).footprints
        assert item.area.is_valid
        return
    with pytest.raises(InputError, match=r"no building|broken or truncated"):
        read_map(path)
