import dataclasses
import json

import numpy as np
import pytest

from channelfm.datasets.shards import finished_entry, sweep_leftovers, write_shard
from channelfm.errors import IntegrityError
from channelfm.records import Channels


@pytest.fixture
def written(tmp_path, make_channels):
    channels = make_channels(snapshots=5)
    near, sight = np.array([1, 1, 0, 0, 0], bool), np.array([1, 0, 1, 0, 1], bool)
    channels = dataclasses.replace(channels, near_field=near, line_of_sight=sight, track=np.full(5, 3, np.int32))
    entry = write_shard(tmp_path, channels, unit="u", split="train", scene="s", flight="f", method="test")
    return tmp_path, channels, entry


def test_an_entry_describes_its_shard(written):
    folder, channels, entry = written
    assert (entry.snapshots, entry.near_field, entry.line_of_sight, entry.without_path) == (5, 2, 3, 0)
    assert entry.track == 3
    np.testing.assert_array_equal(Channels.load(folder / entry.file).response, channels.response)
    assert finished_entry(folder, "u") == entry
    entry.check(folder)


def test_a_unit_that_was_never_done_is_not_finished(tmp_path):
    assert finished_entry(tmp_path, "u") is None


def test_a_temporary_file_is_not_a_shard(written):
    folder, _, entry = written
    shard = folder / entry.file
    shard.rename(shard.with_name(f".{shard.name}.abc123"))
    assert finished_entry(folder, "u") is None
    with pytest.raises(IntegrityError, match=r"u\.safetensors: missing"):
        entry.check(folder)


def test_what_a_kill_left_is_swept(written):
    folder, channels, entry = written
    leftover = (folder / entry.file).with_name(".u.safetensors.abc123")
    leftover.write_bytes(b"half")
    sweep_leftovers(folder)
    again = write_shard(folder, channels, unit="u", split="train", scene="s", flight="f", method="test")
    assert again == entry
    assert sorted(item.name for item in leftover.parent.iterdir()) == ["u.json", "u.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_shard_is_found_out(written, damage):
    folder, _, entry = written
    path = folder / entry.file
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-1] ^= 1
    path.write_bytes({"cut": content[:-7], "flip": content, "empty": b""}[damage])
    assert finished_entry(folder, "u") is None
    with pytest.raises(IntegrityError, match=r"u\.safetensors.*generate"):
        entry.check(folder)


@pytest.mark.parametrize("journal", ["", "{", "[]", "{}", "null", '{"file": 3}'])
def test_a_damaged_journal_means_not_finished(written, journal):
    folder, _, _ = written
    (folder / "shards/u.json").write_text(journal)
    assert finished_entry(folder, "u") is None


def test_the_journal_holds_no_wall_time(written):
    folder, _, entry = written
    assert json.loads((folder / "shards/u.json").read_text()) == entry.plain()
