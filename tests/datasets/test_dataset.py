import dataclasses
import json

import numpy as np
import pytest

from channelfm.arrays import UPA
from channelfm.datasets.dataset import concatenate, open_dataset
from channelfm.datasets.manifest import Manifest, SceneEntry
from channelfm.datasets.recipe import DatasetRecipe, FlightRecipe, SceneRecipe
from channelfm.datasets.shards import store_record, write_shard
from channelfm.errors import InputError, IntegrityError


@pytest.fixture
def folder(tmp_path, make_channels, tiny_scene):
    """A data set of two scenes, three units, written by hand."""
    recipe = DatasetRecipe(
        name="hand-made",
        scenes=(SceneRecipe(name="a", source="procedural:1"), SceneRecipe(name="b", source="procedural:2")),
        flights=(FlightRecipe(name="f", split="train"), FlightRecipe(name="t", split="test", scenes=("b",))),
    )
    scenes = []
    for name in ("a", "b"):
        stored = store_record(tmp_path, f"scenes/{name}.safetensors", dataclasses.replace(tiny_scene, name=name))
        scenes.append(SceneEntry(name, stored, {"bs": UPA(2, 3, 7e9, position=(0.0, 1.0, 60.0))}, "© someone"))
    shards = []
    for number, (split, scene, flight) in enumerate([("train", "a", "f"), ("train", "b", "f"), ("test", "b", "t")]):
        channels = make_channels(snapshots=number + 2, seed=number)
        channels = dataclasses.replace(channels, track=np.full(number + 2, number, np.int32))
        unit = f"{scene}--{flight}--0000"
        shards.append(write_shard(tmp_path, channels, unit=unit, split=split, scene=scene, flight=flight, method="t"))
    Manifest(recipe, "identity", {"channelfm": "0"}, tuple(scenes), tuple(shards)).save(tmp_path)
    return tmp_path


def test_reading_splits_scenes_and_arrays(folder, make_channels, tiny_scene):
    dataset = open_dataset(folder, verify=True)
    assert len(dataset) == 2 + 3 + 4
    assert dataset.splits == ("train", "test")
    assert dataset.scenes == ("a", "b")
    train = dataset.load("train")
    expected = np.concatenate([make_channels(2, seed=0).response, make_channels(3, seed=1).response])
    np.testing.assert_array_equal(train.response, expected)
    np.testing.assert_array_equal(train.track, [0, 0, 1, 1, 1])
    assert len(dataset.load("train", scene="b")) == 3
    np.testing.assert_array_equal(dataset.scene("b").vertices, tiny_scene.vertices)
    assert dataset.scene().name == "a"
    assert dataset.array("b") == UPA(2, 3, 7e9, position=(0.0, 1.0, 60.0))


def test_trajectories_come_from_the_labels(folder):
    dataset = open_dataset(folder)
    flight, channels = dataset.trajectory("test"), dataset.load("test")
    np.testing.assert_array_equal(flight.positions_m, channels.positions_m)
    np.testing.assert_array_equal(flight.velocities_mps, channels.velocities_mps)


def test_single_samples_are_those_of_the_split(folder):
    dataset = open_dataset(folder)
    samples, train = dataset.samples("train"), dataset.load("train")
    assert len(samples) == len(train) == 5
    for number in (4, 0, 2, 1, 3):
        np.testing.assert_array_equal(samples[number], train.response[number])
    np.testing.assert_array_equal(samples[-1], train.response[-1])
    for outside in (5, -6):
        with pytest.raises(IndexError):
            samples[outside]


def test_counts_per_split_and_scene(folder):
    counts = open_dataset(folder).manifest.counts()
    assert {split: {scene: row["snapshots"] for scene, row in rows.items()} for split, rows in counts.items()} == {
        "train": {"a": 2, "b": 3},
        "test": {"b": 4},
    }


def test_a_manifest_comes_back_as_it_was(folder, tmp_path):
    manifest = Manifest.load(folder)
    before = (folder / "manifest.json").read_bytes()
    manifest.save(folder)
    assert (folder / "manifest.json").read_bytes() == before
    assert Manifest.load(folder) == manifest
    assert Manifest.load(folder).content_hash() == manifest.content_hash()


@pytest.mark.parametrize(
    "unknown", [{"split": "val"}, {"split": "test", "scene": "a"}, {"split": "train", "scene": "x"}]
)
def test_asking_for_what_is_not_there(folder, unknown):
    with pytest.raises(InputError):
        open_dataset(folder).load(**unknown)


def test_no_data_set_here(tmp_path):
    with pytest.raises(InputError, match="no data set there"):
        open_dataset(tmp_path / "nothing")
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(InputError, match="unfinished"):
        open_dataset(tmp_path)


def test_a_changed_shard_is_named(folder):
    shard = folder / "shards/b--f--0000.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    dataset = open_dataset(folder)  # sizes are right
    for read in (dataset.verify, lambda: dataset.load("train"), lambda: dataset.samples("train").batch([2])):
        with pytest.raises(IntegrityError, match=r"b--f--0000.*SHA-256"):
            read()
    shard.write_bytes(content[:-1])
    with pytest.raises(IntegrityError, match="b--f--0000"):
        open_dataset(folder)
    shard.unlink()
    with pytest.raises(IntegrityError, match=r"b--f--0000.*missing"):
        open_dataset(folder)


@pytest.mark.parametrize("damage", ["cut", "count", "empty", "list", "binary"])
def test_a_changed_manifest_is_refused(folder, damage):
    path = folder / "manifest.json"
    text = path.read_text()
    if damage == "binary":
        path.write_bytes(b"\xff\xfe")
    elif damage == "count":
        plain = json.loads(text)
        plain["shards"][0]["snapshots"] = 99
        path.write_text(json.dumps(plain))
    else:
        path.write_text({"cut": text[:-30], "empty": "", "list": "[]"}[damage])
    with pytest.raises(IntegrityError, match=r"manifest\.json.*generate"):
        open_dataset(folder)


def test_the_number_of_paths_is_known_where_it_is_of_all(make_channels):
    unknown = make_channels(2)
    known = dataclasses.replace(unknown, path_count=np.array([3, 4], np.int32))
    assert concatenate([known, known]).path_count.tolist() == [3, 4, 3, 4]
    assert concatenate([known, unknown]).path_count is None
    assert concatenate([unknown, known]).path_count is None


def test_channels_of_different_arrays_do_not_mix(make_channels):
    with pytest.raises(InputError, match="different arrays"):
        concatenate([make_channels(rows=2), make_channels(rows=3)])
    with pytest.raises(InputError, match="at least one"):
        concatenate([])
