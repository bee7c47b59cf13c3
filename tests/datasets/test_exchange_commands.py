"""Foreign files to a data set and back to files, as the command line does it."""

import numpy as np
import pytest

from channelfm.arrays import UPA
from channelfm.channels import synthesize
from channelfm.datasets.exchange import (
    export_arrays,
    export_dataset,
    export_deepmimo,
    import_arrays,
    import_dataset,
    save_sionna,
)
from channelfm.errors import InputError
from channelfm.scenes.materials import electromagnetic_properties

STATION = UPA(2, 3, 7e9, (0.0, 0.0, 20.0))
USERS = np.array([[60.0, 10.0, 2.0], [40.0, -30.0, 1.0]])


@pytest.mark.parametrize("suffix", ["npz", "mat"])
def test_arrays_to_a_data_set_and_back(make_channels, tmp_path, suffix):
    channels = make_channels(snapshots=6, frequencies=2)
    export_arrays(channels, tmp_path / f"my channels.{suffix}")
    dataset = import_dataset("arrays", tmp_path / f"my channels.{suffix}", tmp_path / "set", ["split=test"])
    assert (dataset.name, dataset.splits, len(dataset)) == ("my-channels", ("test",), 6)
    np.testing.assert_array_equal(dataset.load("test").response, channels.response)
    files = export_dataset(tmp_path / "set", suffix, tmp_path / "out")
    assert [file.name for file in files] == [f"test--my-channels.{suffix}"]
    np.testing.assert_array_equal(import_arrays(files[0]).response, channels.response)


def test_a_deepmimo_scenario_to_a_data_set(tmp_path, tiny_scene, direct_paths):
    paths = direct_paths(STATION, USERS)
    export_deepmimo(paths, STATION, tmp_path / "town", scene=tiny_scene, properties_of=electromagnetic_properties)
    settings = ["channel.num_subcarriers=2", "attribution=made here"]
    dataset = import_dataset("deepmimo", tmp_path / "town", tmp_path / "set", settings)
    channels = dataset.load("train")
    expected = synthesize(paths, STATION, channels.frequencies_hz)
    np.testing.assert_allclose(channels.response, expected, atol=1e-9)
    assert dataset.array() == STATION
    assert len(dataset.scene().faces) == len(tiny_scene.faces)
    larger = import_dataset("deepmimo", tmp_path / "town", tmp_path / "other", ["rows=4", "cols=4"])
    assert larger.load("train").response.shape == (2, 16, 1)


def test_a_stored_sionna_object_to_a_data_set(tmp_path, direct_paths):
    paths = direct_paths(STATION, USERS)
    zenith, azimuth = (np.arccos(paths.arrival[..., 2]), np.arctan2(paths.arrival[..., 1], paths.arrival[..., 0]))
    tensors = {name: np.zeros((1, 2, 1)) for name in ("theta_t", "phi_t", "doppler")}
    tensors |= {"theta_r": zenith[None], "phi_r": azimuth[None], "tau": paths.delay_s[None, ..., 0]}
    tensors |= {"valid": np.ones((1, 2, 1), bool), "a": np.full((1, 6, 2, 1, 1), 1e-4 + 0j)}
    tensors |= {name: np.zeros((1, 1, 2, 1), np.uint32) for name in ("interactions", "objects")}
    tensors |= {"vertices": np.zeros((1, 1, 2, 1, 3))}
    save_sionna(tensors, USERS, tmp_path / "paths.npz")
    array = ["array.rows=2", "array.cols=3", "array.carrier_hz=7e9", "array.position=[0, 0, 20]"]
    dataset = import_dataset("sionna", tmp_path / "paths.npz", tmp_path / "set", [*array, "array_end=rx"])
    channels = dataset.load("train")
    np.testing.assert_allclose(channels.distance_m, np.linalg.norm(USERS - STATION.position, axis=1))
    np.testing.assert_allclose(np.abs(channels.response), 1e-4, rtol=1e-5)
    with pytest.raises(InputError, match=r"import sionna: array_end: Field required"):
        import_dataset("sionna", tmp_path / "paths.npz", tmp_path / "other", array)


def test_unusable_commands_are_named(make_channels, tmp_path):
    with pytest.raises(InputError, match="cannot import 'csv'; give one of: arrays, deepmimo, sionna"):
        import_dataset("csv", tmp_path, tmp_path / "set")
    with pytest.raises(InputError, match=r"import arrays: unknown key 'axis'; remove it or use one of: .*axes"):
        import_dataset("arrays", tmp_path, tmp_path / "set", ["axis=row"])
    export_arrays(make_channels(), tmp_path / "h.npz")
    import_dataset("arrays", tmp_path / "h.npz", tmp_path / "set")
    with pytest.raises(InputError, match="cannot export to 'csv'; give one of: mat, npz"):
        export_dataset(tmp_path / "set", "csv", tmp_path / "out")
    with pytest.raises(InputError, match="directions at the user"):
        export_dataset(tmp_path / "set", "deepmimo", tmp_path / "out")
