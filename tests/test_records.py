import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channelfm.errors import InputError, IntegrityError
from channelfm.records import (
    Building,
    Channels,
    Origin,
    Paths,
    Road,
    Scene,
    SceneObject,
    Trajectory,
    write_atomically,
)


def assert_same(one, other):
    assert type(one) is type(other)
    for item in dataclasses.fields(one):
        left, right = getattr(one, item.name), getattr(other, item.name)
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype, item.name
            np.testing.assert_array_equal(left, right, err_msg=item.name)
        else:
            assert left == right, item.name


def some_scene():
    return Scene(
        name="tetrahedron",
        vertices=np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [9, 9, 9]], np.float64),
        faces=np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32),
        face_object=np.array([0, 0, 1, 1], np.int32),
        objects=(SceneObject("one", "concrete", "building"), SceneObject("two", "glass", "other")),
        bounds=(0.0, 0.0, 1.0, 1.0),
        buildings=(Building("way/1", 1.0, 0.0, "levels", 0.5, 0.0, 1 / 6, "concrete", True),),
        roads=(Road("residential", ((0.0, 0.0), (1.0, 1.5))), Road("primary", ((0.0, 2.0), (3.0, 4.0)), oneway=True)),
        origin=Origin(43.7, 7.4, "+proj=aeqd"),
        skipped={"underground": 2},
        attribution="© OpenStreetMap contributors",
    )


def some_trajectory(count=3):
    rng = np.random.default_rng(count)
    return Trajectory(
        times_s=np.arange(count, dtype=np.float64),
        positions_m=rng.normal(size=(count, 3)),
        velocities_mps=rng.normal(size=(count, 3)),
        track=np.zeros(count, np.int32),
        kind="cruise",
        seed=7,
    )


def some_paths(snapshots, slots, antennas, depth):
    rng = np.random.default_rng(0)
    shape = (snapshots, slots, antennas)
    return Paths(
        gain=(rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64),
        delay_s=rng.random(shape),
        valid=rng.random(shape) < 0.5,
        doppler_hz=rng.normal(size=shape).astype(np.float32),
        interactions=rng.integers(0, 2, (snapshots, slots, depth), np.int32),
        points_m=rng.normal(size=(snapshots, slots, depth, 3)),
        departure=rng.normal(size=(snapshots, slots, 3)),
        arrival=rng.normal(size=(snapshots, slots, 3)),
        times_s=np.arange(snapshots, dtype=np.float64),
        positions_m=rng.normal(size=(snapshots, 3)),
        carrier_hz=7e9,
        method="test",
        materials={"glass": "held at 10 GHz"},
    )


small = st.integers(0, 4)
disk = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@disk
@given(small, small, small, small)
def test_paths_come_back_as_they_were(tmp_path, snapshots, slots, antennas, depth):
    paths = some_paths(snapshots, slots, antennas, depth)
    paths.save(tmp_path / "paths.safetensors")
    assert_same(Paths.load(tmp_path / "paths.safetensors"), paths)


@disk
@given(small, st.integers(1, 4), st.integers(1, 4), small)
def test_channels_come_back_as_they_were(tmp_path, make_channels, snapshots, rows, cols, frequencies):
    channels = make_channels(snapshots, rows, cols, frequencies)
    channels.save(tmp_path / "channels.safetensors")
    assert_same(Channels.load(tmp_path / "channels.safetensors"), channels)


@pytest.mark.parametrize("record", [some_scene(), some_trajectory(), dataclasses.replace(some_scene(), origin=None)])
def test_scenes_and_trajectories_come_back_as_they_were(tmp_path, record):
    record.save(tmp_path / "record.safetensors")
    assert_same(type(record).load(tmp_path / "record.safetensors"), record)


def test_equal_records_have_equal_bytes_in_every_process(tmp_path):
    code = "import sys; from channelfm.records import Scene; Scene.load(sys.argv[1]).save(sys.argv[2])"
    some_scene().save(tmp_path / "0")
    for number in range(1, 4):
        command = [sys.executable, "-c", code, str(tmp_path / "0"), str(tmp_path / str(number))]
        subprocess.run(command, check=True)
    assert len({(tmp_path / str(number)).read_bytes() for number in range(4)}) == 1


def test_loading_what_is_not_the_record(tmp_path):
    path = tmp_path / "record"
    with pytest.raises(InputError, match="no such file"):
        Scene.load(path)
    some_trajectory().save(path)
    with pytest.raises(IntegrityError, match="holds a Trajectory, not a Scene"):
        Scene.load(path)
    whole = path.read_bytes()
    for broken in (b"", whole[:20], whole[:-9], b"\xff" * 40):
        path.write_bytes(broken)
        with pytest.raises(IntegrityError):
            Trajectory.load(path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def disk_full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("channelfm.records.os.fsync", disk_full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_object_mesh_renumbers_its_own_vertices():
    vertices, faces = some_scene().object_mesh(0)
    assert len(vertices) == 4
    np.testing.assert_array_equal(vertices[faces], some_scene().vertices[some_scene().faces[:2]])


def test_selecting_snapshots(make_channels):
    channels = dataclasses.replace(make_channels(5, 2, 3, 2), track=np.array([0, 0, 1, 1, 2], np.int32))
    chosen = channels.select(channels.track == 1)
    assert len(chosen) == 2
    np.testing.assert_array_equal(chosen.response, channels.response[2:4])
    np.testing.assert_array_equal(chosen.frequencies_hz, channels.frequencies_hz)
    assert chosen.grid.shape == (2, 2, 3, 2)
    assert channels.select(slice(0, 0)).grid.shape == (0, 2, 3, 2)
    assert len(some_trajectory(5).select(slice(1, 3))) == 2


def test_line_of_sight_and_having_a_path():
    paths = some_paths(3, 2, 4, 1)
    interactions = np.array([[[0], [1]], [[1], [1]], [[0], [1]]], np.int32)
    valid = np.zeros((3, 2, 4), bool)
    valid[0, 0, 3] = valid[1, 1, 0] = True  # direct at one antenna; reflected only; nothing at all
    paths = dataclasses.replace(paths, interactions=interactions, valid=valid)
    np.testing.assert_array_equal(paths.line_of_sight, [True, False, False])
    np.testing.assert_array_equal(paths.has_path, [True, True, False])
