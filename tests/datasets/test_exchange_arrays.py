"""Plain channel arrays: every declared order is undone, and what does not fit is named."""

import itertools

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm.arrays import UPA
from channelfm.datasets.exchange.arrays import ORDER, Axes, export_arrays, import_arrays
from channelfm.errors import InputError
from channelfm.records import Channels

SUFFIXES = [".npz", ".mat"]


def assert_equal(one: Channels, other: Channels) -> None:
    for name in vars(one):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
        assert np.asarray(getattr(one, name)).dtype == np.asarray(getattr(other, name)).dtype, name


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "axes",
    [
        "snapshot,antenna,frequency",
        "frequency,snapshot,antenna",
        "snapshot,row,col,frequency,polarization",
        "part,col*row,snapshot,frequency*polarization",
    ],
)
@pytest.mark.parametrize("polarizations", [1, 2])
def test_export_and_import_are_inverse(make_channels, tmp_path, suffix, axes, polarizations):
    channels = make_channels(5, 2 * polarizations, 3, frequencies=4)
    count = np.array([0, 1, 9, 2, 3], np.int32) if polarizations == 2 else None  # known, or not
    channels = Channels(**vars(channels) | {"rows": 2, "path_count": count})
    export_arrays(channels, tmp_path / f"channels{suffix}", axes)
    assert_equal(import_arrays(tmp_path / f"channels{suffix}"), channels)


@settings(max_examples=40, deadline=None)
@given(
    order=st.permutations([name for name in ORDER if name != "part"]),
    cuts=st.sets(st.integers(1, 4)),
    sizes=st.tuples(*[st.integers(1, 3)] * 4),
    suffix=st.sampled_from(SUFFIXES),
)
def test_any_order_and_product_of_axes_is_undone(tmp_path_factory, make_channels, order, cuts, sizes, suffix):
    bounds = [0, *sorted(cuts), 5]
    groups = [order[low:high] for low, high in itertools.pairwise(bounds)]
    if any({"snapshot", "frequency"} <= set(group) for group in groups):
        return
    snapshots, rows, cols, frequencies = sizes
    channels = make_channels(snapshots, rows, cols, frequencies)
    file = tmp_path_factory.mktemp("arrays") / f"h{suffix}"
    export_arrays(channels, file, ",".join("*".join(group) for group in groups))
    assert_equal(import_arrays(file), channels)


def test_axes_mean_what_they_say(tmp_path):
    array = UPA(2, 3, 7e9)
    h = np.arange(2 * 6 * 4).reshape(4, 6, 2) * (1 + 1j)  # frequency, antenna by columns, snapshot
    np.save(tmp_path / "h.npy", h)
    channels = import_arrays(
        tmp_path / "h.npy", array, "frequency,col*row,snapshot", frequencies_hz=7e9 + np.arange(4.0)
    )
    assert channels.response.shape == (2, 6, 4)
    for snapshot, row, col, frequency in itertools.product(range(2), range(2), range(3), range(4)):
        assert channels.response[snapshot, row * 3 + col, frequency] == h[frequency, col * 2 + row, snapshot]


def test_missing_axes_have_length_one(tmp_path):
    np.save(tmp_path / "h.npy", np.ones((2, 3), np.complex128))
    channels = import_arrays(tmp_path / "h.npy", UPA(2, 3, 7e9), "row,col")
    assert channels.response.shape == (1, 6, 1)
    assert channels.frequencies_hz.tolist() == [7e9]


def test_two_polarisations_become_one_after_the_other(tmp_path):
    h = np.random.default_rng(0).normal(size=(4, 6, 2)) + 0j
    np.savez(tmp_path / "h.npz", h=h)
    channels = import_arrays(tmp_path / "h.npz", UPA(2, 3, 7e9, polarization="VH"), "snapshot,row*col,polarization")
    np.testing.assert_array_equal(channels.response[:, 6:, 0], h[..., 1].astype(np.complex64))


def test_labels_are_read_by_their_names_and_the_rest_is_unknown(tmp_path):
    h = np.ones((3, 4), np.complex64)
    h[1] = 0
    positions = np.array([[100.0, 0, 0], [0, 50, 0], [1.0, 1, 1]])
    np.savez(tmp_path / "h.npz", h=h, ue=positions, times_s=[0.0, 1, 2])
    array = UPA(2, 2, 7e9, (0.0, 0.0, 0.0))
    channels = import_arrays(tmp_path / "h.npz", array, "snapshot,antenna", key="h", labels={"positions_m": "ue"})
    np.testing.assert_allclose(channels.distance_m, np.linalg.norm(positions, axis=1))
    np.testing.assert_allclose(channels.azimuth_rad, [0, np.pi / 2, np.pi / 4])
    assert channels.times_s.tolist() == [0, 1, 2]
    assert channels.has_path.tolist() == [True, False, True]
    assert np.isnan(channels.velocities_mps).all()
    assert not channels.near_field.any()
    unplaced = import_arrays(tmp_path / "h.npz", array, "snapshot,antenna", key="h")
    assert np.isnan(unplaced.distance_m).all()


def test_real_and_imaginary_part_apart(tmp_path):
    rng = np.random.default_rng(0)
    h = rng.normal(size=(3, 4)) + 1j * rng.normal(size=(3, 4))
    scipy.io.savemat(tmp_path / "h.mat", {"hr": h.real, "hi": h.imag})
    np.save(tmp_path / "h.npy", np.stack([h.real, h.imag]))
    array = UPA(2, 2, 7e9)
    two_keys = import_arrays(tmp_path / "h.mat", array, "snapshot,antenna", key=("hr", "hi"))
    one_axis = import_arrays(tmp_path / "h.npy", array, "part,snapshot,antenna")
    np.testing.assert_array_equal(two_keys.response[..., 0], h.astype(np.complex64))
    np.testing.assert_array_equal(one_axis.response, two_keys.response)


def test_trailing_axes_that_matlab_drops_come_back(tmp_path):
    scipy.io.savemat(tmp_path / "h.mat", {"h": np.ones((3, 4), np.complex128)})
    channels = import_arrays(tmp_path / "h.mat", UPA(2, 2, 7e9), "snapshot,antenna,frequency")
    assert channels.response.shape == (3, 4, 1)


def test_matlab_7_3_through_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py", reason="MATLAB 7.3 files are HDF5")
    h = np.random.default_rng(0).normal(size=(3, 4, 2)) * (1 + 2j)
    write_matlab_7_3(h5py, tmp_path / "h.mat", h)
    channels = import_arrays(
        tmp_path / "h.mat", UPA(2, 2, 7e9), "snapshot,antenna,frequency", frequencies_hz=[7e9, 7.1e9]
    )
    np.testing.assert_array_equal(channels.response, h.astype(np.complex64))


def test_matlab_7_3_without_hdf5_names_the_remedy(tmp_path, monkeypatch):
    header = b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM"
    (tmp_path / "h.mat").write_bytes(header.ljust(512, b"\x00") + b"\x89HDF\r\n\x1a\n")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"save it with 'save -v7'"):
        import_arrays(tmp_path / "h.mat", UPA(2, 2, 7e9), "snapshot,antenna")


def write_matlab_7_3(h5py, file, h):
    """A file as MATLAB's ``save -v7.3`` writes it: header of 512 bytes, axes reversed, complex as a pair."""
    with h5py.File(file, "w", userblock_size=512) as content:
        pair = np.empty(h.T.shape, dtype=[("real", "<f8"), ("imag", "<f8")])
        pair["real"], pair["imag"] = h.T.real, h.T.imag
        content["h"] = pair
        content["h"].attrs["MATLAB_class"] = np.bytes_("double")
    with file.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM")


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ("snapshot,antena", "unknown axis 'antena'"),
        ("snapshot,antenna,row", "axis 'row' appears twice"),
        ("snapshot*frequency,antenna", "two axes of unknown length"),
        ("snapshot,row", "no 'col', of which the array has 2"),
        ("snapshot,antenna,frequency", "has 2 axes"),
        ("antenna,snapshot", "length 3 along axis"),
        ("part,antenna", "remove the axis 'part'"),
    ],
)
def test_unusable_axes_are_named(tmp_path, axes, message):
    np.save(tmp_path / "h.npy", np.ones((3, 4), np.complex64))
    with pytest.raises(InputError, match=message):
        import_arrays(tmp_path / "h.npy", UPA(2, 2, 7e9), axes)


@pytest.mark.parametrize(
    ("arrays", "arguments", "message"),
    [
        ({"h": np.full((3, 4), np.nan + 0j)}, {}, r"'h' has a NaN or infinite value at .* \[0, 0, 0\]"),
        ({"h": np.full((3, 4), 1e300 + 0j)}, {}, "infinite"),
        ({"h": np.ones((3, 4))}, {}, "declare an axis 'part'"),
        ({"h": np.ones((3, 4)) + 0j, "g": np.ones((3, 4)) + 0j}, {}, "say with key .* h, g"),
        ({"h": np.ones((3, 4)) + 0j}, {"key": "g"}, "no array 'g'; it has: h"),
        ({"h": np.array(["x"])}, {"key": "h"}, "not numbers"),
        ({"r": np.ones((3, 4)), "i": np.ones((4, 3))}, {"key": ("r", "i")}, "not two real parts"),
        ({"h": np.ones((3, 4)) + 0j, "times_s": np.ones(4)}, {"key": "h"}, "label 'times_s'"),
        ({"h": np.ones((3, 4)) + 0j}, {"labels": {"speed": "v"}}, "unknown label 'speed'"),
        ({"h": np.ones((3, 4)) + 0j}, {"labels": {"times_s": "t"}}, "no array 't'"),
        ({"h": np.ones((3, 4)) + 0j}, {"frequencies_hz": [1e9, 2e9]}, "must be 1 positive"),
    ],
)
def test_unusable_contents_are_named(tmp_path, arrays, arguments, message):
    np.savez(tmp_path / "h.npz", **arrays)
    with pytest.raises(InputError, match=message):
        import_arrays(tmp_path / "h.npz", UPA(2, 2, 7e9), "snapshot,antenna", **arguments)


def test_a_file_without_declarations_asks_for_them(tmp_path):
    np.savez(tmp_path / "h.npz", h=np.ones((3, 4, 2)) + 0j)
    with pytest.raises(InputError, match="does not tell rows, cols"):
        import_arrays(tmp_path / "h.npz")
    with pytest.raises(InputError, match="does not declare its axes"):
        import_arrays(tmp_path / "h.npz", UPA(2, 2, 7e9))
    with pytest.raises(InputError, match="2 frequencies, but not which"):
        import_arrays(tmp_path / "h.npz", UPA(2, 2, 7e9), "snapshot,antenna,frequency")


def test_no_pickle_is_loaded(tmp_path):
    np.savez(tmp_path / "h.npz", h=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="no array 'h'"):
        import_arrays(tmp_path / "h.npz", UPA(2, 2, 7e9), "snapshot,antenna", key="h")
    np.save(tmp_path / "h.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match=r"not a readable \.npy file"):
        import_arrays(tmp_path / "h.npy", UPA(2, 2, 7e9), "snapshot,antenna")


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".mat"])
def test_broken_files_are_named(tmp_path, suffix):
    file = tmp_path / f"h{suffix}"
    file.write_bytes(b"not a file of this kind" * 20)
    with pytest.raises(InputError, match=f"h{suffix}: not a readable"):
        import_arrays(file, UPA(2, 2, 7e9), "snapshot,antenna")
    with pytest.raises(InputError, match="no such file"):
        import_arrays(tmp_path / f"none{suffix}", UPA(2, 2, 7e9), "snapshot,antenna")


def test_unusable_suffixes_are_named(make_channels, tmp_path):
    (tmp_path / "h.txt").write_text("1")
    with pytest.raises(InputError, match=r"unknown kind of file '\.txt'"):
        import_arrays(tmp_path / "h.txt", UPA(2, 2, 7e9), "snapshot,antenna")
    with pytest.raises(InputError, match=r"unknown kind of file '\.npy'"):
        export_arrays(make_channels(), tmp_path / "h.npy")
    with pytest.raises(InputError, match="have no 'frequency'"):
        export_arrays(make_channels(frequencies=2), tmp_path / "h.npz", "snapshot,antenna")


def test_axes_are_written_out():
    assert str(Axes.parse("snapshot, antenna,frequency")) == "snapshot,polarization*row*col,frequency"
