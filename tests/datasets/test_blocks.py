"""Blocks hold the channels that the data set holds, with their labels, and tell users and scenes apart."""

import dataclasses

import numpy as np
import pytest

from channelfm.arrays import UPA
from channelfm.datasets import open_dataset
from channelfm.datasets.blocks import join_blocks, link_blocks, spread, unlabelled
from channelfm.datasets.packaged import packaged_folder
from channelfm.errors import InputError
from channelfm.observation import Grid


@pytest.fixture(scope="module")
def hard():
    return open_dataset(packaged_folder("laetwin-hard"))


def test_links_are_those_of_the_split_with_their_labels(made):
    dataset = open_dataset(made)
    whole, blocks = dataset.load("train"), link_blocks(dataset, "train", np.array([7, 2]))
    assert np.array_equal(blocks.channel[:, 0], whole.grid[[7, 2]])
    assert np.array_equal(blocks.labels.positions_m, whole.positions_m[[7, 2]])
    assert blocks.grid.shape == blocks.channel.shape[1:]
    assert blocks.scene.tolist() == ["corner", "corner"]
    assert blocks.stored_error_db is None
    everything = link_blocks(dataset, "train")
    assert np.array_equal(everything.channel[:, 0], whole.grid)


def test_paths_give_any_array_about_the_centre_and_tell_their_error(hard):
    numbers = np.flatnonzero(hard.labels("test").has_path)[:3]
    whole, part = (link_blocks(hard, "test", numbers, array) for array in (None, (16, 8)))
    assert np.allclose(part.channel[..., 0], whole.channel[:, :, 24:40, 28:36, 0], atol=1e-3 * abs(whole.channel).max())
    assert part.grid.array.rows == 16
    assert len(part.stored_error_db) == 3
    assert (part.labels.path_count > 0).all()


def test_one_user_of_one_scene_is_one_track(hard):
    labels = hard.labels("test")
    blocks = link_blocks(hard, "test", np.flatnonzero(labels.has_path)[::10])
    pairs = set(zip(blocks.scene.tolist(), blocks.labels.track.tolist(), strict=True))
    assert len(set(blocks.tracks.tolist())) == len(pairs)
    assert len(set(blocks.scenes.tolist())) == 2


def test_blocks_join_where_they_fit():
    grid = Grid(UPA(2, 2, 1e9), np.zeros(1), np.array([1e9]))
    first, second = (unlabelled(np.full((2, 1, 2, 2, 1), number, np.complex64), grid) for number in (1, 2))
    joined = join_blocks([first, second])
    assert joined.channel[:, 0, 0, 0, 0].tolist() == [1, 1, 2, 2]
    longer = dataclasses.replace(second, channel=second.channel.repeat(2, axis=1))
    with pytest.raises(InputError, match="do not join"):
        join_blocks([first, longer])


def test_some_are_spread_evenly():
    assert spread(np.arange(10), 4).tolist() == [0, 3, 6, 9]
    assert spread(np.arange(3), 4).tolist() == [0, 1, 2]
