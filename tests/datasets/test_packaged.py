"""Data sets that ship with the package, and the excerpts that they are."""

import numpy as np
import pytest

from channelfm.config import load_recipe
from channelfm.datasets import DatasetRecipe, open_dataset
from channelfm.datasets.generate import Workforce, generate, generate_excerpt
from channelfm.datasets.packaged import packaged_folder, packaged_sets
from channelfm.errors import InputError

MOST_BYTES = 15e6
EXACT = ("exact-cities", "exact-flights")  # which hold the response of every antenna; the others hold paths


@pytest.fixture(scope="module")
def excerpt(recipe, tmp_path_factory):
    """The first of three users in the train split, and the whole test split."""
    folder = tmp_path_factory.mktemp("excerpt")
    return generate_excerpt(recipe, folder, {"train": 1}, progress=False, workforce=Workforce(processes=1))


def test_an_excerpt_has_the_bytes_of_the_whole(excerpt, made) -> None:
    whole = open_dataset(made)
    by_unit = {shard.unit: shard.sha256 for shard in whole.manifest.shards}
    kept = {shard.unit: shard.sha256 for shard in excerpt.manifest.shards}
    assert kept.items() < by_unit.items()
    assert len(kept) == 2
    assert excerpt.manifest.identity == whole.manifest.identity
    assert excerpt.manifest.scenes == whole.manifest.scenes


def test_an_excerpt_knows_which_of_its_splits_are_whole(excerpt, made) -> None:
    assert excerpt.manifest.planned() == {"train": 12, "test": 4}
    assert (excerpt.manifest.is_whole("train"), excerpt.manifest.is_whole("test")) == (False, True)
    assert all(open_dataset(made).manifest.is_whole(split) for split in ("train", "test"))
    card = (excerpt.folder / "README.md").read_text(encoding="utf-8")
    assert "An excerpt of what the recipe makes, the first users of each flight: 4 of 12 in train." in card
    assert "excerpt" not in (made / "README.md").read_text(encoding="utf-8")


def test_a_split_without_any_user_is_no_split(recipe, tmp_path) -> None:
    dataset = generate_excerpt(recipe, tmp_path, {"train": 0}, progress=False, workforce=Workforce(processes=1))
    assert dataset.splits == ("test",)
    assert not dataset.manifest.is_whole("train")


def test_an_excerpt_becomes_the_whole_where_it_lies(recipe, made, contents, tmp_path) -> None:
    few = generate_excerpt(recipe, tmp_path / "set", {"train": 1}, progress=False, workforce=Workforce(processes=1))
    before = {shard.file: (few.folder / shard.file).stat().st_mtime_ns for shard in few.manifest.shards}
    generate(recipe, tmp_path / "set", progress=False, workforce=Workforce(processes=1))
    assert contents(tmp_path / "set") == contents(made)
    assert {file: (few.folder / file).stat().st_mtime_ns for file in before} == before


@pytest.mark.parametrize("name", packaged_sets())
def test_a_packaged_set_is_whole_credited_and_of_the_shipped_recipe(name) -> None:
    dataset = open_dataset(name, verify=True)
    assert dataset.folder == packaged_folder(name)
    assert dataset.manifest.recipe == load_recipe(DatasetRecipe, name), "run scripts/package_sets.py again"
    assert dataset.manifest.is_whole("test")
    assert {shard.form for shard in dataset.manifest.shards} == {"Channels" if name in EXACT else "PathChannels"}
    card = (dataset.folder / "README.md").read_text(encoding="utf-8")
    sources = {scene.name: scene.kind for scene in dataset.manifest.recipe.scenes}
    for scene in dataset.manifest.scenes:
        if sources[scene.name] != "procedural":
            assert "OpenStreetMap contributors" in scene.attribution
            assert f"- {scene.name}: {scene.attribution}" in card
        if scene.map is not None:
            assert f"- {scene.name}: {scene.attribution}; data of {scene.map.date or 'unknown date'}" in card
    assert "Open Database License 1.0 (https://www.openstreetmap.org/copyright)" in card


@pytest.mark.parametrize("name", EXACT)
def test_exact_sets_hold_what_every_antenna_receives_in_six_cities(name) -> None:
    dataset = open_dataset(name, verify=True)
    assert len(dataset.scenes) == 6
    assert dataset.splits == ("test",)
    for scene in dataset.scenes:
        array, channels = dataset.array(scene), dataset.load("test", scene)
        assert channels.response.shape == (len(channels), array.num_elements, 1) == (len(channels), 4096, 1)
        np.testing.assert_array_equal(channels.response.any(axis=(1, 2)), channels.has_path)
        np.testing.assert_array_equal(channels.path_count > 0, channels.has_path)
        assert channels.has_path.sum() >= 9
        assert len(np.unique(channels.track)) >= 5


def test_exact_cities_have_hard_links_of_many_users_in_each_city() -> None:
    dataset = open_dataset("exact-cities")
    for scene in dataset.scenes:
        labels = dataset.labels("test", scene)
        hard = labels.has_path & ~labels.line_of_sight & (labels.path_count > 6)
        assert hard.sum() >= 15, scene
        assert len(np.unique(labels.track[hard])) >= 8, scene


def test_packaged_sets_are_small() -> None:
    files = [file for name in packaged_sets() for file in packaged_folder(name).rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < MOST_BYTES


def test_a_folder_comes_before_the_packaged_set_of_its_name(made, tmp_path, monkeypatch) -> None:
    name = packaged_sets()[0]
    (tmp_path / name).symlink_to(made)
    monkeypatch.chdir(tmp_path)
    assert open_dataset(name).name == "small"


def test_a_name_that_is_nothing_lists_what_there_is() -> None:
    with pytest.raises(InputError, match=rf"no-such-set: no data set there.*{packaged_sets()[0]}"):
        open_dataset("no-such-set")
    with pytest.raises(InputError, match="left out of a packaged data set"):
        open_dataset(packaged_sets()[0]).scene()
