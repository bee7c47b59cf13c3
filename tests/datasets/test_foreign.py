"""Imported channels become a data set like any other: shards by track, a card, the array they belong to."""

import dataclasses

import numpy as np
import pytest

from channelfm.arrays import UPA
from channelfm.datasets.dataset import open_dataset
from channelfm.datasets.foreign import Part, store_foreign
from channelfm.datasets.recipe import ForeignRecipe
from channelfm.errors import InputError

RECIPE = ForeignRecipe(name="theirs", imported_from="arrays:h.npz", settings={"axes": "snapshot"}, attribution="© X")
ARRAY = UPA(2, 3, 7e9)


def test_every_track_becomes_a_shard(tmp_path, make_channels, tiny_scene):
    channels = dataclasses.replace(make_channels(5), track=np.array([7, 7, 3, 3, 3], np.int32))
    parts = [Part("train", "a", "f", channels, tiny_scene), Part("test", "b", "f", make_channels(2, seed=1))]
    store_foreign(tmp_path, RECIPE, parts, ARRAY)
    dataset = open_dataset(tmp_path, verify=True)
    assert dataset.manifest.recipe == RECIPE
    assert [shard.snapshots for shard in dataset.manifest.shards] == [3, 2, 2]
    np.testing.assert_array_equal(dataset.load("train").track, [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(dataset.load("train").response[3:], channels.response[:2])
    assert dataset.array("b") == ARRAY
    np.testing.assert_array_equal(dataset.scene("a").vertices, tiny_scene.vertices)
    with pytest.raises(InputError, match="without a 3-D scene"):
        dataset.scene("b")


def test_the_card_passes_over_what_is_not_known(tmp_path, make_channels):
    unknown = dataclasses.replace(make_channels(3), distance_m=np.full(3, np.nan), positions_m=np.full((3, 3), np.nan))
    store_foreign(tmp_path, RECIPE, [Part("train", "a", "f", unknown)], ARRAY)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "imported_from: arrays:h.npz" in card
    assert "© X" in card
    assert "| ? | ? |" in card


def test_channels_that_do_not_fit_are_refused(tmp_path, make_channels):
    with pytest.raises(InputError, match="no snapshot"):
        store_foreign(tmp_path / "a", RECIPE, [], ARRAY)
    with pytest.raises(InputError, match="6 antennas do not fit"):
        store_foreign(tmp_path / "b", RECIPE, [Part("train", "a", "f", make_channels(2))], UPA(4, 4, 7e9))
