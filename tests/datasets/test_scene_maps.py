"""Data sets of maps that are found by name: which map it was stays known, and no other takes its place."""

import dataclasses
import hashlib
import json

import pytest

from channelfm.config import load_recipe, shipped_recipes
from channelfm.datasets import generate as stage
from channelfm.datasets.card import CARD
from channelfm.datasets.dataset import open_dataset
from channelfm.datasets.generate import Workforce, generate, generate_part, identity
from channelfm.datasets.manifest import Manifest
from channelfm.datasets.recipe import DatasetRecipe
from channelfm.errors import InputError
from channelfm.maps.presets import map_box
from channelfm.maps.source import cache_folder

BY_NAME = "scenes.0.source=map:berlin"


@pytest.fixture
def maps(tmp_path, monkeypatch, street_map):
    """A folder of the user's with a map of "berlin", and an empty cache."""
    monkeypatch.setenv("CHANNELFM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CHANNELFM_MAPS", str(tmp_path / "maps"))
    (tmp_path / "maps").mkdir()
    text = street_map.read_text().replace("><node", "><meta osm_base='2026-01-02T03:04:05Z'/><node", 1)
    (tmp_path / "maps" / "berlin_somewhere.osm").write_text(text)
    return tmp_path / "maps"


@pytest.fixture
def make(recipe, tmp_path):
    def made_with(*changes, name="set", by=generate, **settings):
        changes = (BY_NAME, "flights.0.num_uavs=2", *changes)
        return by(
            recipe, tmp_path / name, overrides=changes, progress=False, workforce=Workforce(processes=1), **settings
        )

    return made_with


@pytest.fixture
def interrupted(maps, make):
    """A data set of which one of two parts is done."""
    make(name="set", by=generate_part, part=1, parts=2)


def test_manifest_and_card_name_the_map(maps, make):
    dataset = make()
    (entry,) = dataset.manifest.scenes
    file = maps / "berlin_somewhere.osm"
    assert entry.map.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert entry.map.date == "2026-01-02T03:04:05Z"
    assert Manifest.load(dataset.folder) == dataset.manifest
    card = (dataset.folder / CARD).read_text(encoding="utf-8")
    assert f"data of 2026-01-02T03:04:05Z, SHA-256 {entry.map.sha256}" in card
    assert "OpenStreetMap contributors" in card
    assert dataset.scene().name == "berlin"


def test_a_map_that_is_missing_is_named_with_the_command_that_fetches_it(maps, make):
    (maps / "berlin_somewhere.osm").unlink()
    with pytest.raises(InputError, match="run: channelfm maps fetch berlin, or give a folder with --maps"):
        make()
    assert not (maps.parent / "set").exists()


@pytest.mark.slow
def test_the_same_map_elsewhere_under_another_name_gives_the_same_bytes(maps, make, contents):
    first = make()
    cache_folder().mkdir(parents=True)
    (maps / "berlin_somewhere.osm").rename(cache_folder() / "berlin.osm")
    assert contents(make(name="other").folder) == contents(first.folder)


def test_a_path_and_a_name_of_the_same_map_are_the_same_data(maps, recipe):
    by_name = recipe.model_copy(update={"scenes": (recipe.scenes[0].model_copy(update={"source": "map:berlin"}),)})
    source = f"osm:{maps / 'berlin_somewhere.osm'}"
    by_path = recipe.model_copy(update={"scenes": (recipe.scenes[0].model_copy(update={"source": source}),)})
    assert identity(by_name) == identity(by_path)


@pytest.mark.usefixtures("interrupted")
def test_a_resumed_run_refuses_another_map(maps, make, write_map):
    write_map(maps / "berlin_somewhere.osm", buildings=((0, 0, 20, 15), (60, 10, 30, 26), (20, 70, 25, 40)))
    for settings in ({}, {"by": generate_part, "part": 2, "parts": 2}):
        with pytest.raises(InputError, match=r"scene 'corner' was begun with another map \(SHA-256 .*--maps") as caught:
            make(**settings)
        assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("interrupted")
def test_a_resumed_run_needs_its_map(maps, make):
    (maps / "berlin_somewhere.osm").unlink()
    with pytest.raises(InputError, match="channelfm maps fetch berlin"):
        make()


def test_a_finished_data_set_needs_its_maps_no_more_but_takes_no_others(maps, make, write_map):
    finished = make()
    content = (maps / "berlin_somewhere.osm").read_bytes()
    (maps / "berlin_somewhere.osm").unlink()
    assert make().manifest == finished.manifest
    with pytest.raises(InputError, match="no map of nanjing"):
        make("scenes.0.source=map:nanjing")
    with pytest.raises(InputError, match="holds the data set of another recipe"):
        make("scenes.0.source=procedural:1")
    write_map(maps / "berlin.osm", buildings=((0, 0, 20, 16),))
    with pytest.raises(InputError, match="was begun with another map"):
        make()
    (maps / "berlin.osm").write_bytes(content)
    assert make().manifest == finished.manifest


@pytest.mark.slow
def test_a_crop_of_a_city_is_downloaded_once_for_all_data_sets(maps, make, overpass):
    first = make("scenes.0.source=city:nanjing", "scenes.0.bbox=[-0.001, -0.001, 0.002, 0.002]")
    (file,) = cache_folder().glob("*.osm.gz")
    assert file.name == "nanjing-600m-0.osm.gz"
    assert first.manifest.scenes[0].map.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    make("scenes.0.source=city:nanjing", "scenes.0.bbox=[-0.001, -0.001, 0.002, 0.002]", name="other")
    assert len(overpass.queries) == 1


def test_scenes_of_a_claim_that_gave_way_are_built_anew(maps, make, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stage, "do_units", stop)
        with pytest.raises(KeyboardInterrupt):
            make()
    assert (maps.parent / "set" / "scenes" / "corner.json").is_file()
    dataset = make("array.rows=5", "scenes.0.source=procedural:2")
    assert dataset.array().rows == 5
    assert dataset.scene().name == "procedural-2"


def test_manifests_of_before_are_read(made):
    plain = json.loads((made / "manifest.json").read_text())
    without = {key: value for key, value in plain["scenes"][0].items() if key != "map"}
    manifest = open_dataset(made).manifest
    unknown = dataclasses.replace(manifest.scenes[0], map=None)
    assert unknown.plain() == without | {"arrays": unknown.plain()["arrays"]}


@pytest.mark.parametrize("name", shipped_recipes())
def test_recipes_name_no_file_that_users_have_not(name):
    from channelfm.config import find_recipe

    assert "osm:" not in find_recipe(name).read_text(encoding="utf-8")


def test_maps_of_the_shipped_recipes_can_be_fetched():
    named = {
        scene.where
        for name in ("laetwin-dev", "laetwin-hard", "dynamic-cities", "dynamic-quick", "generalise-128")
        for scene in load_recipe(DatasetRecipe, name).scenes
        if scene.kind == "map"
    }
    assert len(named) == 14
    for name in named:
        assert map_box(name)
