"""Maps by name: a folder of the user's, the cache, what is missing or named twice."""

import gzip
import hashlib
import json

import pytest

from channelfm.errors import InputError
from channelfm.maps import read_map
from channelfm.maps.presets import MAPS, crop_name
from channelfm.maps.source import cache_folder, fetch_map, find_map, find_maps, kept_maps, located

BOX = (-0.001, -0.001, 0.002, 0.002)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The user's folder of maps, beside an empty cache."""
    monkeypatch.setenv("CHANNELFM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CHANNELFM_MAPS", str(tmp_path / "mine"))
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("berlin.osm", "berlin"),
        ("berlin.osm.gz", "berlin"),
        ("Berlin_kreuzberg_lehider.osm.pbf", "berlin"),
        ("nyc_midtown_empire_state_1km.osm.pbf", "new-york"),
        ("new-york_2024.05.osm.bz2", "new-york"),
        ("sydney-suburban.osm.gz", "sydney-suburban"),
        (f"{crop_name('nanjing', 3, 612.5)}.osm.gz", "nanjing-612.5m-3"),
    ],
)
def test_a_file_is_a_map_of_the_name_that_it_begins_with(folder, file, name):
    (folder / file).touch()
    assert find_map(name) == folder / file
    if name == "new-york":
        assert find_map("nyc") == folder / file


@pytest.mark.parametrize("file", ["berlin.json", ".berlin.osm.gz.x7", "berlin.osm.part", "east-berlin.osm", "berlin"])
def test_other_files_are_not(folder, file):
    (folder / file).touch()
    with pytest.raises(InputError, match="no map of berlin"):
        find_map("berlin")


def test_two_files_of_one_name_are_an_error_that_names_both(folder):
    for file in ("berlin.osm", "berlin_mitte.osm.pbf"):
        (folder / file).touch()
    with pytest.raises(InputError, match=r"berlin\.osm and berlin_mitte\.osm\.pbf are both maps of 'berlin'"):
        find_map("berlin")


def test_the_folder_comes_before_the_cache(folder):
    cache_folder().mkdir(parents=True)
    for name in ("berlin", "nanjing"):
        (cache_folder() / f"{name}.osm.gz").touch()
    (folder / "berlin.osm.pbf").touch()
    assert find_maps(["nanjing", "berlin"]) == {
        "nanjing": cache_folder() / "nanjing.osm.gz",
        "berlin": folder / "berlin.osm.pbf",
    }


def test_what_is_missing_is_named_with_the_command_that_fetches_it(folder, monkeypatch):
    with pytest.raises(
        InputError, match=r"no map of berlin, nanjing.*run: channelfm maps fetch berlin nanjing, or"
    ) as one:
        find_maps(["berlin", "nanjing"])
    assert "\n" not in str(one.value)
    with pytest.raises(InputError, match=r"channelfm maps fetch W,S,E,N --name my-town"):
        find_map("my-town")
    monkeypatch.setenv("CHANNELFM_MAPS", str(folder / "nowhere"))
    with pytest.raises(InputError, match=r"nowhere: no such folder of maps; correct --maps or CHANNELFM_MAPS"):
        find_map("berlin")


def test_a_fetched_map_is_kept_with_its_hash_date_and_licence(folder, overpass):
    kept = fetch_map("my-town", BOX)
    assert kept.path == find_map("my-town") == cache_folder() / "my-town.osm.gz"
    assert kept.sha256 == hashlib.sha256(kept.path.read_bytes()).hexdigest()
    assert len(read_map(kept.path).footprints) == 3
    assert b"under ODbL" in gzip.decompress(kept.path.read_bytes())
    note = json.loads((cache_folder() / "my-town.json").read_text())
    assert note["sha256"] == kept.sha256
    assert (note["date"], note["box"], note["server"]) == ("2026-01-02T03:04:05Z", list(BOX), overpass.url)
    assert "OpenStreetMap contributors" in note["attribution"]
    assert "ODbL-1.0" in note["licence"]
    assert note["fetched"] > note["date"]
    assert fetch_map("my-town", BOX) == kept
    assert len(overpass.queries) == 1
    assert kept_maps() == [kept]


def test_nothing_is_kept_of_a_download_that_fails(folder, overpass):
    overpass.answer = overpass.answer[:-20]
    with pytest.raises(Exception, match="not a whole OSM file"):
        fetch_map("my-town", BOX)
    assert not cache_folder().exists() or not list(cache_folder().iterdir())
    with pytest.raises(InputError, match="lower-case letters"):
        fetch_map("../my town", BOX)


def test_a_map_may_be_given_as_a_file_or_by_its_name(folder):
    (folder / "my-town.osm").touch()
    assert located(folder / "my-town.osm") == folder / "my-town.osm"
    assert located("my-town") == folder / "my-town.osm"
    assert str(located("elsewhere/city.osm")) == "elsewhere/city.osm"  # read_map says what is wrong with it
    assert str(located("nothing")) == "nothing"
    with pytest.raises(InputError, match="channelfm maps fetch berlin"):
        located("berlin")


def test_the_presets_are_the_regions_of_the_extracts_that_recipes_were_made_with(extract, monkeypatch):
    monkeypatch.setenv("CHANNELFM_MAPS", str(extract()))
    for name, path in find_maps(MAPS).items():
        data = read_map(path)
        width, height = data.bounds[2] - data.bounds[0], data.bounds[3] - data.bounds[1]
        again = read_map(path, bbox=MAPS[name])
        assert (again.bounds[2] - again.bounds[0], again.bounds[3] - again.bounds[1]) == pytest.approx(
            (width, height), abs=2.0
        )
        assert again.origin.latitude_deg == pytest.approx(data.origin.latitude_deg, abs=1e-5)
        assert again.origin.longitude_deg == pytest.approx(data.origin.longitude_deg, abs=1e-5)
