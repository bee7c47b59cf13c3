import dataclasses

import numpy as np
import pytest
import yaml

from channelfm.benchmarking.recipe import SetRecipe
from channelfm.benchmarking.sets import describe_storage, load_set
from channelfm.datasets.blocks import spread
from channelfm.datasets.generate import Workforce, generate
from channelfm.errors import InputError
from channelfm.tasks.base import link_groups


def links_of(dataset, most=100, **changes):
    return load_set(SetRecipe(dataset=str(dataset.folder), **changes), None, most, progress=False)


def test_all_links_of_a_split_with_their_labels(tiny_dataset):
    links = links_of(tiny_dataset)
    whole = tiny_dataset.load("test")
    reached = np.flatnonzero(whole.has_path)
    assert np.array_equal(links.blocks.channel[:, 0], whole.select(reached).grid)
    assert links.left_out + len(reached) == len(whole) == 12
    assert links.scenes == ("first", "second")
    assert np.array_equal(
        links.blocks.labels.path_count, np.concatenate([p.path_count for _, p in tiny_dataset.paths("test")])[reached]
    )


def test_what_storing_paths_has_cost_is_known_of_each_link(tiny_dataset):
    links = links_of(tiny_dataset, most=5)
    whole = np.concatenate([paths.error_db for _, paths in tiny_dataset.paths("test")])
    assert len(links.blocks.stored_error_db) == 5
    assert np.isin(links.blocks.stored_error_db, whole).all()
    assert links.blocks.stored_error_db.max() < -50
    assert f"(worst {links.blocks.stored_error_db.max():.1f})" in describe_storage(links.blocks)
    for unknown in (None, np.full(5, np.nan)):
        assert describe_storage(dataclasses.replace(links.blocks, stored_error_db=unknown)) == ""


def test_at_most_so_many_evenly_spaced_and_no_more_are_read(tiny_dataset, monkeypatch):
    asked = []
    batch = type(tiny_dataset.samples("test")).batch
    monkeypatch.setattr(
        "channelfm.datasets.samples.Samples.batch", lambda self, numbers: asked.append(numbers) or batch(self, numbers)
    )
    links = links_of(tiny_dataset, most=3)
    assert len(links.blocks) == 3
    assert len(np.concatenate(asked)) == 3
    assert spread(np.arange(10), 4).tolist() == [0, 3, 6, 9]


def test_links_are_kept_by_sight_paths_and_scene(tiny_dataset):
    everything = links_of(tiny_dataset)
    most = int(everything.blocks.labels.path_count.max())
    richest = links_of(tiny_dataset, keep={"more_paths_than": most - 1})
    assert (richest.blocks.labels.path_count == most).all()
    assert len(richest.blocks) == (everything.blocks.labels.path_count == most).sum()
    seen = links_of(tiny_dataset, keep={"line_of_sight": True})
    assert seen.blocks.labels.line_of_sight.all()
    assert len(seen.blocks) == everything.blocks.labels.line_of_sight.sum()
    near = links_of(tiny_dataset, keep={"near_field": bool(everything.blocks.labels.near_field[0])})
    assert len(np.unique(near.blocks.labels.near_field)) == 1
    second = links_of(tiny_dataset, scene="second")
    assert second.scenes == ("second",)
    assert 0 < len(second.blocks) < len(everything.blocks)


def test_who_learns_is_taught_by_the_links_that_are_chosen_for_it(tiny_dataset, monkeypatch):
    lesson, alike = (links_of(tiny_dataset, **kept).training(1000) for kept in ({}, {"keep": {"line_of_sight": True}}))
    assert len(lesson) == len(alike)
    chosen = links_of(tiny_dataset, learn_keep={"line_of_sight": True}).training(1000)
    assert chosen.labels.line_of_sight.all()
    assert len(chosen) == lesson.labels.line_of_sight.sum() > 0
    with pytest.raises(InputError, match="learn_keep"):
        links_of(tiny_dataset, learn_keep={"more_paths_than": 900}).training(1000)
    untold = links_of(tiny_dataset, learn_keep={"more_paths_than": 1})
    labels = dataclasses.replace(untold.teacher.labels("train"), path_count=None)
    monkeypatch.setattr("channelfm.datasets.dataset.Dataset.labels", lambda *_: labels)
    with pytest.raises(InputError, match=r"learn_keep: the data do not tell how many paths .*: leave out"):
        untold.training(1000)


def test_a_sub_array_is_the_middle_of_the_whole_one(tiny_dataset):
    whole, middle = links_of(tiny_dataset), links_of(tiny_dataset, array=(4, 6))
    array, labels = middle.blocks.grid.array, middle.blocks.labels
    assert (array.rows, array.cols, labels.rows, labels.cols) == (4, 6, 4, 6)
    assert np.allclose(middle.blocks.channel, whole.blocks.channel[:, :, 2:6, 1:7], rtol=1e-4, atol=1e-10)
    assert np.array_equal(labels.near_field, labels.distance_m < array.rayleigh_distance_m)
    assert middle.identity != whole.identity


def test_groups_part_the_links(tiny_dataset):
    blocks = links_of(tiny_dataset).blocks
    groups = {name: int(members.sum()) for name, members in link_groups(blocks).items()}
    for pair in (("near", "far"), ("los", "nlos"), ("few", "rich")):
        assert sum(groups.get(name, 0) for name in pair) == len(blocks)
    assert sum(size for name, size in groups.items() if "-" in name) == len(blocks)
    assert all(groups.values())
    unknown = dataclasses.replace(blocks, labels=dataclasses.replace(blocks.labels, path_count=None))
    assert set(link_groups(unknown)) <= {"near", "far", "los", "nlos"}


def test_what_links_are_named_and_lie_in_changes_no_number(tiny_dataset):
    assert links_of(tiny_dataset, name="a").identity == links_of(tiny_dataset, name="b").identity
    assert links_of(tiny_dataset, 3).identity != links_of(tiny_dataset, 2).identity


def test_training_links_are_of_the_measured_array(tiny_dataset):
    assert links_of(tiny_dataset, array=(4, 6)).training(2).channel.shape == (2, 1, 4, 6, 1)
    train = tiny_dataset.load("train")
    assert np.array_equal(links_of(tiny_dataset).training(100).channel[:, 0], train.select(train.has_path).grid)


def test_the_shown_link_is_a_near_one(tiny_dataset):
    links = links_of(tiny_dataset)
    labels = links.blocks.labels
    near = dataclasses.replace(labels, near_field=np.arange(len(labels)) == 3)
    assert dataclasses.replace(links, blocks=dataclasses.replace(links.blocks, labels=near)).shown == 3
    far = dataclasses.replace(labels, near_field=np.zeros(len(labels), bool))
    shown = dataclasses.replace(links, blocks=dataclasses.replace(links.blocks, labels=far)).shown
    assert (far.distance_m < far.distance_m[shown]).sum() == len(labels) // 4


def test_sequences_are_the_snapshots_of_users_in_order(tiny_dataset):
    found = load_set(SetRecipe(dataset=str(tiny_dataset.folder)), 2, 100, progress=False)
    test = tiny_dataset.load("test")
    assert found.blocks.channel.shape[1:] == (2, 8, 8, 1)
    assert len(found.blocks) + found.left_out == 4  # users of 3 snapshots have one sequence of 2 each
    first = np.flatnonzero((test.positions_m == found.blocks.labels.positions_m[0]).all(axis=1))[0]
    assert np.array_equal(found.blocks.channel[0], test.grid[first : first + 2])
    assert found.blocks.grid.times_s == pytest.approx(test.times_s[first : first + 2] - test.times_s[first])
    assert found.blocks.labels.path_count is not None
    assert len(set(found.blocks.tracks)) == len(found.blocks)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"split": "val"}, "no split 'val'; it has: train, test"),
        ({"scene": "third"}, "no scene 'third'; it has: first, second"),
        ({"keep": {"more_paths_than": 900}}, "none of the 12 links.*loosen 'keep'"),
        ({"array": (16, 8)}, "array"),
        ({"array": (8, 8), "keep": {"line_of_sight": True, "more_paths_than": 900}}, "none of the 12"),
    ],
)
def test_bad_sets_are_refused(tiny_dataset, changes, words):
    with pytest.raises(InputError, match=words):
        links_of(tiny_dataset, **changes)


def test_stored_responses_are_chosen_by_their_paths_and_have_no_sub_array(tmp_path, tiny_dataset):
    recipe = yaml.safe_load((tiny_dataset.folder.parent / "tiny.yaml").read_text())
    recipe |= {"channel": {"storage": "complex64"}, "scenes": recipe["scenes"][:1]}
    recipe["array"] = {"rows": 2, "cols": 2}
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump(recipe))
    plain = generate(tmp_path / "plain.yaml", tmp_path / "plain", progress=False, workforce=Workforce(processes=1))
    counts = links_of(plain, keep={"more_paths_than": 1}).blocks.labels.path_count
    assert 0 < len(counts) < len(links_of(plain).blocks)
    assert counts.min() > 1
    with pytest.raises(InputError, match=r"storage=paths"):
        links_of(plain, array=(2, 1))
