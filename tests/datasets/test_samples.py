"""Random access to samples: equal to what a whole load gives, in every stored form."""

import multiprocessing
import os
import pickle

import numpy as np
import pytest

from channelfm.arrays import UPA
from channelfm.channels.compact import compress
from channelfm.channels.synthesis import observe
from channelfm.datasets.samples import Samples
from channelfm.datasets.shards import write_shard
from channelfm.datasets.storage import halved, restored, with_paths
from channelfm.errors import IntegrityError
from channelfm.records import Trajectory
from channelfm.tracing.trace import trace

ARRAY = UPA(2, 3, 7e9, position=(0.0, 1.0, 60.0))
WHERE = {"split": "train", "scene": "a", "flight": "f", "method": "t"}


def written(folder, records):
    entries = [write_shard(folder, record, unit=f"unit-{number}", **WHERE) for number, record in enumerate(records)]
    return Samples(folder, entries, [ARRAY] * len(entries))


@pytest.fixture
def records(make_channels):
    """Four shards of 2, 3, 4 and 5 snapshots, every second one in half precision."""
    full = [make_channels(snapshots=2 + number, seed=number) for number in range(4)]
    return [halved(record) if number % 2 else record for number, record in enumerate(full)]


@pytest.fixture
def whole(records):
    return np.concatenate([restored(record, ARRAY).response for record in records])


def test_batches_are_what_a_whole_load_gives(tmp_path, records, whole):
    samples = written(tmp_path, records)
    assert len(samples) == len(whole) == 14
    for wanted in (np.arange(14), [13, 0, 7, 7, 3], [-1, -14], [5]):
        batch = samples.batch(wanted)
        assert batch.dtype == np.complex64
        np.testing.assert_array_equal(batch, whole[wanted])
    np.testing.assert_array_equal(samples[6], whole[6])


@pytest.mark.parametrize("wanted", [[14], [0, -15], []])
def test_numbers_outside_are_refused(tmp_path, records, wanted):
    with pytest.raises(IndexError):
        written(tmp_path, records).batch(wanted)


def test_no_file_stays_open(tmp_path, records, whole):
    """Thousands of shards are usual, and a process may have some thousand files open."""
    before = len(os.listdir("/proc/self/fd"))
    samples = written(tmp_path, records)
    np.testing.assert_array_equal(samples.batch(np.arange(14)[::-1]), whole[::-1])
    assert len(os.listdir("/proc/self/fd")) == before


def test_batches_are_copies(tmp_path, records, whole):
    samples = written(tmp_path, records)
    samples.batch([0, 1])[:] = 0
    samples[0][:] = 0
    np.testing.assert_array_equal(samples.batch([0, 1]), whole[:2])


def _read_in_child(samples, wanted, queue):
    queue.put(samples.batch(wanted))


def test_samples_go_to_other_processes(tmp_path, records, whole):
    samples = written(tmp_path, records)
    samples.batch([0, 5, 9])  # shards are mapped
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(samples)).batch([8, 1]), whole[[8, 1]])
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_read_in_child, args=(samples, [13, 2], queue))
    child.start()
    np.testing.assert_array_equal(queue.get(timeout=60), whole[[13, 2]])
    child.join()
    np.testing.assert_array_equal(samples.batch([4, 10]), whole[[4, 10]])


def test_stored_paths_are_expanded(tmp_path, tiny_scene):
    positions = np.array([[10.0, 5.0, 20.0], [20.0, -5.0, 30.0], [90.0, 0.0, 10.0]])
    flight = Trajectory(np.arange(3.0), positions, np.ones((3, 3)), np.zeros(3, np.int32), "by hand")
    paths = trace(tiny_scene, flight, ARRAY, 1, method="images")
    record = with_paths(observe(flight, paths, ARRAY), compress(paths, ARRAY))
    entry = write_shard(tmp_path, record, unit="unit", **WHERE)
    samples = Samples(tmp_path, [entry], [ARRAY])
    expected = restored(record, ARRAY).response
    assert np.abs(expected).min() > 0
    np.testing.assert_allclose(samples.batch([2, 0]), expected[[2, 0]], rtol=1e-5)
    np.testing.assert_allclose(samples[1], expected[1], rtol=1e-5)


@pytest.mark.parametrize("damage", ["gone", "cut", "foreign", "empty"])
def test_broken_shards_are_named(tmp_path, records, damage):
    samples = written(tmp_path, records)
    path = tmp_path / "shards/unit-0.safetensors"
    if damage == "gone":
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes({"cut": content[:700], "foreign": b"something else " * 9, "empty": b""}[damage])
    with pytest.raises(IntegrityError, match="unit-0") as caught:
        samples.batch([0, 1])
    assert "\n" not in str(caught.value)


def test_shards_of_different_arrays_do_not_mix(tmp_path, records, make_channels):
    samples = written(tmp_path, [records[0], make_channels(rows=3)])
    with pytest.raises(IntegrityError, match="unit-1"):
        samples.batch([0, 2])
