import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save as serialize

from channelfm.arrays import UPA
from channelfm.errors import InputError, IntegrityError
from channelfm.files import write_atomically
from channelfm.records import Building, Channels, Origin, Paths, Road, Scene, SceneObject, Trajectory, _to_plain


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


ARRAY = UPA(2, 2, 7e9, (1.0, -2.0, 30.0), 0.6, (0.1, 0.2, 0.3), "dipole", "H")
ARRAY_OF_SIX = dataclasses.asdict(ARRAY) | {"cols": 3}
small = st.integers(0, 4)
disk = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@disk
@given(small, small, small, small)
def test_paths_come_back_as_they_were(tmp_path, snapshots, slots, antennas, depth):
    paths = some_paths(snapshots, slots, antennas, depth)
    paths.save(tmp_path / "paths.safetensors")
    assert_same(Paths.load(tmp_path / "paths.safetensors"), paths)


def test_paths_know_the_array_that_they_were_traced_for(tmp_path):
    paths = dataclasses.replace(some_paths(3, 2, 4, 1), array=ARRAY)
    paths.save(tmp_path / "paths.safetensors")
    assert Paths.load(tmp_path / "paths.safetensors").array == ARRAY


def test_paths_of_files_without_an_array_are_read_as_of_an_unknown_one(tmp_path):
    paths = some_paths(3, 2, 4, 1)
    arrays, plain = paths._parts()
    del plain["array"]  # as files were before there was this field
    header = json.dumps({"record": "Paths", "fields": plain})
    write_atomically(tmp_path / "old", serialize(arrays, metadata={"channelfm": header}))
    assert_same(Paths.load(tmp_path / "old"), paths)
    assert paths.array is None


@disk
@given(small, st.integers(1, 4), st.integers(1, 4), small)
def test_channels_come_back_as_they_were(tmp_path, make_channels, snapshots, rows, cols, frequencies):
    channels = make_channels(snapshots, rows, cols, frequencies)
    channels.save(tmp_path / "channels.safetensors")
    assert_same(Channels.load(tmp_path / "channels.safetensors"), channels)


def test_channels_know_how_many_paths_they_have_or_that_they_do_not(tmp_path, make_channels):
    unknown, path = make_channels(3), tmp_path / "channels.safetensors"
    unknown.save(path)
    with safe_open(path, framework="numpy") as file:
        assert "path_count" not in file.metadata()["channelfm"]  # as in files from before there was this field
    assert Channels.load(path).path_count is None
    known = dataclasses.replace(unknown, path_count=np.array([0, 2, 7], np.int32))
    known.save(path)
    assert_same(Channels.load(path), known)
    assert known.select([2]).path_count.tolist() == [7]
    dataclasses.replace(unknown, path_count=np.array([0, 2], np.int32)).save(path)
    with pytest.raises(IntegrityError, match="path_count"):
        Channels.load(path)


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

    monkeypatch.setattr("channelfm.files.os.fsync", disk_full)
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


def stored(record, path, **arrays):
    """A record's file with other arrays than it may have: as a faulty writer or a cut copy leaves them."""
    own, plain = record._parts()
    header = json.dumps({"record": type(record).__name__, "fields": plain | arrays.pop("plain", {})}, default=_to_plain)
    write_atomically(path, serialize(own | arrays, metadata={"channelfm": header}))
    return path


@pytest.mark.parametrize(
    ("record", "changes", "words"),
    [
        (some_paths(3, 2, 4, 1), {"gain": np.zeros((3, 2, 5), np.complex64)}, "'delay_s' has shape .* as 'gain' has"),
        (some_paths(3, 2, 4, 1), {"times_s": np.zeros(2)}, r"'times_s' has shape \(2,\): 2 entries where .* be 3"),
        (some_paths(3, 2, 4, 1), {"points_m": np.zeros((3, 2, 1, 2))}, "'points_m' .* must be 3"),
        (some_paths(3, 2, 4, 1), {"valid": np.zeros((3, 2, 4))}, "'valid' holds float64, not bool"),
        (some_paths(3, 2, 4, 1), {"arrival": np.zeros((3, 2))}, r"'arrival' has shape \(3, 2\), not 3 axes"),
        (some_paths(3, 2, 4, 1), {"gain": np.full((3, 2, 4), np.nan, np.complex64)}, "'gain' holds NaN"),
        (some_paths(3, 2, 4, 1), {"plain": {"carrier_hz": "7e9"}}, "'carrier_hz' is '7e9', not a float"),
        (some_paths(3, 2, 4, 1), {"plain": {"array": {"rows": 2, "cols": 2}}}, "carrier_hz"),
        (some_paths(3, 2, 4, 1), {"plain": {"array": dataclasses.asdict(ARRAY) | {"pattern": "iso"}}}, "pattern"),
        (some_paths(3, 2, 4, 1), {"plain": {"array": ARRAY_OF_SIX}}, "4 antennas at 7e.09 Hz do not fit 'array': 6 at"),
        (some_trajectory(), {"track": np.zeros(2, np.int32)}, "'track' has shape"),
        (some_trajectory(), {"plain": {"kind": 3}}, "'kind' is '3', not a str"),
        (some_scene(), {"faces": np.array([[0, 1, 5]], np.int32)}, "'face_object' has shape"),
        (some_scene(), {"faces": np.full((4, 3), 5, np.int32)}, "'faces' points beyond 5"),
        (some_scene(), {"face_object": np.array([0, 0, 1, -1], np.int32)}, "'face_object' points beyond 2"),
        (some_scene(), {"plain": {"roads": [{"kind": 7, "points": [], "oneway": False}]}}, "'kind' is '7'"),
        (some_scene(), {"plain": {"bounds": 3}}, "not iterable"),
    ],
)
def test_a_record_whose_parts_do_not_fit_is_refused(record, changes, words, tmp_path):
    with pytest.raises(IntegrityError, match=words) as caught:
        type(record).load(stored(record, tmp_path / "record", **changes))
    assert str(caught.value).startswith(str(tmp_path / "record"))
    assert "\n" not in str(caught.value)


def test_channels_of_another_array_or_with_nan_are_refused(make_channels, tmp_path):
    channels = make_channels(snapshots=4, rows=2, cols=3)
    for changes, words in (
        ({"plain": {"rows": 5}}, "6 antennas do not fit 5 x 3"),
        ({"plain": {"rows": True}}, "'rows' is 'True', not a int"),
        ({"response": np.full((4, 6, 1), np.inf, np.complex64)}, "'response' holds NaN or infinity"),
        ({"has_path": np.ones(3, bool)}, "'has_path' has shape"),
    ):
        with pytest.raises(IntegrityError, match=words):
            Channels.load(stored(channels, tmp_path / "record", **changes))


def test_a_header_nested_too_deep_is_refused(tmp_path):
    content = serialize({"a": np.zeros(1)}, metadata={"channelfm": "[" * 100_000})
    (tmp_path / "deep").write_bytes(content)
    with pytest.raises(IntegrityError, match="deep"):
        Scene.load(tmp_path / "deep")
