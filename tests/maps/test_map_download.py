"""Downloads from a real HTTP server on this machine that plays Overpass and Nominatim."""

import gzip
import sys

import pytest

import channelfm
from channelfm.errors import DependencyError, InputError
from channelfm.maps import download, download_map, preset_box, read_map

BOX = (10.998, 47.999, 11.002, 48.001)
NOTE = "The data included in this document is from www.openstreetmap.org. The data is made available under ODbL."
PLACE = {
    "lat": "48.0",
    "lon": "11.0",
    "display_name": "Square, Town",
    "importance": 0.5,
    "boundingbox": ["47.999", "48.001", "10.998", "11.002"],
    "geojson": {
        "type": "Polygon",
        "coordinates": [[[10.998, 47.999], [11.002, 47.999], [11.002, 48.001], [10.998, 48.001], [10.998, 47.999]]],
    },
}


@pytest.fixture
def answer(city, ring):
    city.way(1, ring(0, 0, 20), building="yes", height="12")
    city.way(2, ring(40, 0, 40), building="yes", height="9")
    city.way(3, ring(50, 10, 10))
    city.relation(4, [(2, "outer"), (3, "inner")])
    city.way(5, [(-500, 30), (500, 30)], highway="residential")
    notes = f'<note>{NOTE}</note>\n<meta osm_base="2026-01-01T00:00:00Z"/>'
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<osm version="0.6" generator="Overpass API">\n'
    return (head + notes + city.text().removeprefix('<osm version="0.6">')).encode()


@pytest.fixture
def server(overpass, answer):
    overpass.answer = answer
    return overpass


@pytest.fixture
def nominatim(server, monkeypatch):
    osmnx = pytest.importorskip("osmnx", reason="needs OSMnx (extra maps)")
    monkeypatch.setattr(osmnx.settings, "nominatim_url", server.url)
    server.places = [PLACE]
    return server


def test_a_box_is_downloaded_and_read(server, tmp_path):
    path = download_map(BOX, tmp_path / "new" / "town.osm")
    data = read_map(path)
    assert {item.osm_id: round(item.area.area, -1) for item in data.footprints} == {"way/1": 400.0, "way/2": 1500.0}
    assert (data.origin.latitude_deg, data.origin.longitude_deg) == (48.0, 11.0)  # the box is the region
    assert len(data.roads) == 1
    assert "OpenStreetMap" in data.attribution
    assert NOTE in path.read_text()
    assert server.agents == [f"channelfm/{channelfm.__version__}"]
    assert [item.name for item in path.parent.iterdir()] == ["town.osm"]


def test_the_query_asks_for_buildings_parts_roads_and_their_multipolygons(server, tmp_path):
    download_map(BOX, tmp_path / "town.osm", time_limit_s=25)
    (query,) = server.queries
    area = "(47.9990000,10.9980000,48.0010000,11.0020000)"
    for part in (
        f'way["building"]{area};',
        f'way["building:part"]{area};',
        f'way["highway"]{area};',
        f'rel["type"="multipolygon"]["building"]{area};',
        "rel(bw.buildings)",
        "[out:xml][timeout:25]",
    ):
        assert part in query
    assert query.count("(") == query.count(")")


def test_across_the_antimeridian_two_boxes_are_asked_for(server, tmp_path):
    path = download_map((179.99, 51.99, -179.99, 52.01), tmp_path / "town.osm")
    assert "(51.9900000,179.9900000,52.0100000,180.0000000)" in server.queries[0]
    assert "(51.9900000,-180.0000000,52.0100000,-179.9900000)" in server.queries[0]
    assert 'minlon="179.9900000" maxlat="52.0100000" maxlon="-179.9900000"' in path.read_text()


def test_a_named_place(server, nominatim, tmp_path):
    import osmnx

    path = download_map("Square, Town", tmp_path / "town.osm.gz")
    assert server.queries[0] == "Square, Town"
    assert "(47.9990000,10.9980000,48.0010000,11.0020000)" in server.queries[1]
    assert gzip.decompress(path.read_bytes()).startswith(b"<?xml")
    assert len(read_map(path).footprints) == 2
    assert not (tmp_path / "cache").exists()
    assert osmnx.settings.use_cache is True


def test_a_square_about_a_named_place(server, nominatim, tmp_path):
    download_map("Square, Town", tmp_path / "town.osm", size_m=1000)
    south, west, north, east = (float(value) for value in server.queries[1].split("](")[-1].split(")")[0].split(","))
    assert ((north - south) * 111_200, (east - west) * 74_600) == pytest.approx((1000, 1000), rel=2e-3)


def test_an_unknown_place_and_a_point(server, nominatim, tmp_path):
    server.places = []
    with pytest.raises(InputError, match="no place 'Nowhere' found"):
        download_map("Nowhere", tmp_path / "town.osm")
    server.places = [PLACE | {"geojson": {"type": "Point", "coordinates": [11.0, 48.0]}}]
    with pytest.raises(InputError, match="size_m"):
        download_map("Corner", tmp_path / "town.osm")


@pytest.mark.parametrize("query", [BOX, "Square, Town"])
def test_a_busy_server_is_an_error_at_once(server, nominatim, tmp_path, query):
    server.status = 429
    with pytest.raises(DependencyError, match=r"limits its users \(status 429\)"):
        download_map(query, tmp_path / "town.osm")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("answer_text", "status", "error", "message"),
    [
        ("no", 404, DependencyError, "refused the query"),
        ("<html>please log in</html>", 200, DependencyError, "not a whole OSM file"),
        ("", 200, DependencyError, "not a whole OSM file"),
        ('<osm version="0.6"></osm>', 200, InputError, "no building in this box"),
        ('<osm version="0.6"><node id="1"/><way', 200, DependencyError, "not a whole OSM file"),
        ("<osm><remark> runtime error: Query timed out </remark></osm>", 200, InputError, r"broke off \(runtime error"),
    ],
)
def test_unusable_answers_leave_no_file(server, tmp_path, answer_text, status, error, message):
    server.answer, server.status = answer_text.encode(), status
    with pytest.raises(error, match=message) as caught:
        download_map(BOX, tmp_path / "town.osm")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_limits_of_size_and_time(server, tmp_path, monkeypatch):
    server.slow_s = 0.05
    with pytest.raises(InputError, match=r"in 0\.2 s"):
        download_map(BOX, tmp_path / "town.osm", time_limit_s=0.2)
    server.slow_s = 0.0
    monkeypatch.setattr(download, "LARGEST_ANSWER_BYTES", 500)
    with pytest.raises(InputError, match="smaller box"):
        download_map(BOX, tmp_path / "town.osm")
    assert list(tmp_path.iterdir()) == []


def test_no_connection(server, nominatim, tmp_path):
    server.shutdown()
    server.server_close()
    for query in (preset_box("Berlin"), "Berlin"):
        with pytest.raises(DependencyError, match="no connection to http://127"):
            download_map(query, tmp_path / "town.osm")


def test_another_server_and_bad_boxes(server, tmp_path, monkeypatch):
    monkeypatch.setenv("CHANNELFM_OVERPASS", "http://127.0.0.1:9/nothing")
    download_map(BOX, tmp_path / "town.osm", overpass_url=server.url + "/")
    for box, message in (((0.0, 0.0, 2.0, 2.0), "50 km"), ((0.0, 5.0, 1.0, 1.0), "south < north")):
        with pytest.raises(InputError, match=message):
            download_map(box, tmp_path / "large.osm")


def test_without_osmnx_boxes_are_downloaded_and_names_need_it(server, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "osmnx", None)
    assert len(read_map(download_map(BOX, tmp_path / "town.osm")).footprints) == 2
    with pytest.raises(DependencyError, match=r"pip install 'channelfm\[maps\]', or give a box"):
        download_map("Square, Town", tmp_path / "place.osm")
