import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from channelfm.datasets.dataset import open_dataset
from channelfm.datasets.generate import generate, units
from channelfm.datasets.generate.sites import place_array
from channelfm.datasets.recipe import ArrayRecipe
from channelfm.errors import InputError, IntegrityError


def test_a_data_set_holds_what_its_recipe_says(made, recipe):
    dataset = open_dataset(made, verify=True)
    assert len(dataset) == 16
    assert dataset.splits == ("train", "test")
    train = dataset.load("train")
    assert train.response.shape == (12, 12, 2)
    np.testing.assert_array_equal(train.track, np.repeat([0, 1, 2], 4))
    np.testing.assert_array_equal(dataset.load("test").track, 3)
    assert np.isfinite(train.response).all()
    np.testing.assert_array_equal(train.response.any(axis=(1, 2)), train.has_path)
    assert dataset.manifest.recipe == recipe
    assert "OpenStreetMap" in dataset.manifest.scenes[0].attribution
    assert len(dataset.scene("corner").buildings) == 3


def test_labels_are_those_of_the_stored_array(made):
    dataset = open_dataset(made)
    train, array = dataset.load("train"), dataset.array()
    distance = np.linalg.norm(train.positions_m - np.array(array.position), axis=1)
    np.testing.assert_allclose(train.distance_m, distance)
    np.testing.assert_array_equal(train.near_field, distance < array.rayleigh_distance_m)


def test_equal_recipes_give_equal_bytes(made, recipe, tmp_path, contents):
    generate(recipe, tmp_path / "again", progress=False)
    assert contents(tmp_path / "again") == contents(made)


def test_flights_differ_between_users_and_splits(made):
    dataset = open_dataset(made)
    starts = np.concatenate([dataset.load(split).positions_m[::4] for split in dataset.splits])
    assert len(np.unique(starts.round(3), axis=0)) == 4


def test_a_finished_data_set_is_reused(made, recipe, monkeypatch):
    monkeypatch.setattr(units, "build_scene", lambda *_: pytest.fail("worked again"))
    said = []
    generate(recipe, made, progress=False, announce=lambda stage, text: said.append(text))
    assert "reused" in said[-1]


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["manifest", "shard", "cut shard", "journal", "scene", "cut manifest"])
def test_what_is_lost_is_made_again_and_the_rest_kept(made, recipe, tmp_path, monkeypatch, loss, contents):
    for name, content in contents(made).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    victim = {
        "manifest": "manifest.json",
        "journal": "shards/corner--f--0001.json",
        "scene": "scenes/corner.safetensors",
    }.get(loss.removeprefix("cut "), "shards/corner--f--0001.safetensors")
    if loss.startswith("cut"):
        (tmp_path / victim).write_bytes(contents(made)[victim][:-40])
    else:
        (tmp_path / victim).unlink()
    if loss == "journal":
        (tmp_path / "manifest.json").unlink()  # a finished data set needs no journal
    traced = []
    monkeypatch.setattr(units, "observe", lambda *a, real=units.observe: traced.append(1) or real(*a))
    generate(recipe, tmp_path, progress=False)
    assert contents(tmp_path) == contents(made)
    assert len(traced) == (1 if victim.startswith("shards") else 0)


def test_an_interrupted_run_resumes(made, recipe, tmp_path, monkeypatch, contents):
    real, calls = units.observe, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(units, "observe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate(recipe, tmp_path, progress=False)
    with pytest.raises(InputError, match="unfinished"):
        open_dataset(tmp_path)
    generate(recipe, tmp_path, progress=False)
    assert contents(tmp_path) == contents(made)
    assert len(calls) == 3 + 2
    assert len(json.loads((tmp_path / "generation.json").read_text())) == 2


def test_a_run_killed_at_any_moment_resumes_to_the_same_bytes(made, recipe, tmp_path, contents):
    code = (
        "import sys, json; from channelfm.datasets.generate import generate;"
        "from channelfm.datasets.recipe import DatasetRecipe;"
        "generate(DatasetRecipe.model_validate_json(sys.argv[1]), sys.argv[2], progress=False)"
    )
    command = [sys.executable, "-c", code, recipe.model_dump_json(), str(tmp_path)]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "shards").glob("*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "manifest.json").exists()
    generate(recipe, tmp_path, progress=False)
    assert contents(tmp_path) == contents(made)


def test_disk_full_leaves_only_whole_shards(made, recipe, tmp_path, monkeypatch, contents):
    real, written = os.fsync, []

    def full(handle):
        written.append(1)
        if len(written) > 5:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr("channelfm.files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        generate(recipe, tmp_path, progress=False)
    monkeypatch.undo()
    assert not [path.name for path in tmp_path.rglob(".*")]
    generate(recipe, tmp_path, progress=False)
    assert contents(tmp_path) == contents(made)


def test_a_folder_keeps_to_its_recipe(made, recipe, tmp_path):
    with pytest.raises(InputError, match=r"another recipe.*'small'"):
        generate(recipe, made, ["flights.0.num_steps=5"], progress=False)
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="no data set"):
        generate(recipe, tmp_path, progress=False)
    with pytest.raises(InputError, match="is a file"):
        generate(recipe, tmp_path / "thesis.txt", progress=False)
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards/a.safetensors").touch()
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(IntegrityError, match=r"recipe\.json"):
        generate(recipe, tmp_path, progress=False)


def test_a_claim_without_any_shard_gives_way(made, recipe, tmp_path, contents):
    with pytest.raises(InputError, match="no room"):
        generate(recipe, tmp_path, ["flights.0.altitude_m=[1.0, 2.0]"], progress=False)
    generate(recipe, tmp_path, progress=False)
    assert contents(tmp_path) == contents(made)


def test_other_versions_do_not_finish_what_these_began(made, recipe, tmp_path, monkeypatch):
    for name in ("recipe.json", "shards/corner--f--0000.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((made / name).read_bytes())
    monkeypatch.setattr("channelfm.datasets.generate.library_versions", lambda: {"numpy": "0.1"})
    with pytest.raises(InputError, match=r"other versions of .*numpy"):
        generate(recipe, tmp_path, progress=False)


def test_a_moved_map_is_the_same_and_an_edited_one_is_not(made, recipe, street_map, write_map, tmp_path, monkeypatch):
    moved = tmp_path / "moved.osm"
    moved.write_bytes(street_map.read_bytes())
    monkeypatch.setattr(units, "build_scene", lambda *_: pytest.fail("worked again"))
    generate(recipe, made, [f"scenes.0.source=osm:{moved}"], progress=False)
    write_map(moved, buildings=((0, 0, 20, 16),))
    with pytest.raises(InputError, match="another recipe"):
        generate(recipe, made, [f"scenes.0.source=osm:{moved}"], progress=False)
    with pytest.raises(InputError, match="no such file"):
        generate(recipe, made, [f"scenes.0.source=osm:{tmp_path / 'none.osm'}"], progress=False)


def test_links_without_any_path_are_kept_and_flagged(made, recipe, tmp_path):
    corners = open_dataset(made).scene().vertices
    tower = corners[corners[:, 2] == 40.0]
    behind = [float(tower[:, 0].min() - 1), float(tower[:, 1].mean()), 1.0]  # on the ground, west of the tower's wall
    changes = [f"array.position={behind}", "tracing.max_depth=0", "flights.0.altitude_m=[46.0, 60.0]"]
    dataset = generate(recipe, tmp_path, changes, progress=False)
    train = dataset.load("train")
    assert len(train) == 12
    assert not train.has_path.all()
    assert dataset.manifest.counts()["train"]["corner"]["without_path"] == (~train.has_path).sum()
    assert np.isfinite(train.response).all()
    assert not train.response[~train.has_path].any()
    assert not train.line_of_sight[~train.has_path].any()


def test_the_array_stands_at_the_edge_above_what_is_near(tiny_scene):
    array = place_array(ArrayRecipe(height_m=30.0), tiny_scene)
    assert array.position == (-20.0, 0.0, 30.0)
    close = ArrayRecipe(height_m=5.0, clearance_m=4.0)
    beside_box = type(tiny_scene)(**{**vars(tiny_scene), "bounds": (30.0, -50.0, 180.0, 50.0)})
    assert place_array(close, beside_box).position == (30.0, 0.0, 19.0)  # the box is 15 m high, 10 m away
    with pytest.raises(InputError, match="inside a building"):
        place_array(ArrayRecipe(position=(50.0, 0.0, 10.0)), tiny_scene)


def test_a_flight_before_the_array_follows_its_heading(recipe, tmp_path):
    changes = [
        "array.position=[0.0, 0.0, 70.0]",
        f"array.orientation_rad=[{np.pi / 2}, 0.0, 0.0]",
        "flights.0.before_array={ahead_m: [5, 30], aside_m: [0, 20]}",
        "flights.0.below_array_m=[2, 12]",
        "flights.0.speed_mps=[1, 2]",
    ]
    train = generate(recipe, tmp_path, changes, progress=False).load("train")
    seen = train.positions_m - [0.0, 0.0, 70.0]
    assert (seen[:, 1] >= 5).all()  # ahead is +y now
    assert (seen[:, 1] <= 30).all()
    assert (seen[:, 0] <= 0).all()  # and left is -x
    assert (seen[:, 0] >= -20).all()
    assert ((seen[:, 2] >= -12) & (seen[:, 2] <= -2)).all()
    assert (np.abs(train.azimuth_rad) < np.pi / 2).all()
    changes = ["flights.0.before_array={ahead_m: [9000, 9001], aside_m: [0, 1]}"]
    with pytest.raises(InputError, match="outside the region"):
        generate(recipe, tmp_path / "far", changes, progress=False)
