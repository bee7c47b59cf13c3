"""MATLAB's files: what SciPy writes comes back as SciPy reads it; what is spoilt is refused, and kills nobody."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.io import loadmat, savemat

from channelfm.datasets.exchange.files import read_arrays
from channelfm.datasets.exchange.mat5 import is_mat5, read_mat5
from channelfm.errors import InputError

KINDS = ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "c8", "c16", "?")


def written(compressed=True, **arrays):
    content = io.BytesIO()
    savemat(content, arrays, do_compression=compressed, oned_as="row")
    return content.getvalue()


@settings(max_examples=80, deadline=None)
@given(data=st.data(), kind=st.sampled_from(KINDS), compressed=st.booleans())
def test_arrays_come_back_as_scipy_reads_them(data, kind, compressed):
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=4, min_side=0, max_side=4))
    values = data.draw(hnp.arrays(np.dtype(kind), shape))
    content = written(compressed, h=values, other=np.ones((1, 2)))
    expected, found = loadmat(io.BytesIO(content)), read_mat5(content)
    assert is_mat5(content)
    assert set(found) == {"h", "other"}
    np.testing.assert_array_equal(found["h"], values)
    np.testing.assert_array_equal(found["h"], expected["h"])


def test_words_come_back_and_structs_are_passed_over():
    content = written(axes="snapshot,antenna", umlaut="Größe", some={"a": 1}, cell=np.array([1, "x"], object), n=3.0)
    found = read_mat5(content)
    assert {name: str(values) for name, values in found.items() if values.dtype.kind == "U"} == {
        "axes": "snapshot,antenna",
        "umlaut": "Größe",
    }
    assert set(found) == {"axes", "umlaut", "n"}


def test_the_other_order_of_bytes_is_read():
    def element(kind, data):
        return struct.pack(">II", kind, len(data)) + data + b"\0" * (-len(data) % 8)

    flags, shape = struct.pack(">II", 6, 0), struct.pack(">ii", 1, 2)
    body = element(6, flags) + element(5, shape) + element(1, b"h") + element(9, struct.pack(">dd", 1.5, -2.0))
    content = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI" + element(14, body)
    np.testing.assert_array_equal(read_mat5(content)["h"], [[1.5, -2.0]])


def test_a_spoilt_file_is_refused_or_read_but_kills_nobody(tmp_path):
    """SciPy's reader ends the process with a segmentation fault on one of 50 of these."""
    right = written(False, h=np.ones((3, 4)) * 1j, axes="snapshot,antenna", n=np.arange(5))
    rng, path, refused = np.random.default_rng(0), tmp_path / "spoilt.mat", 0
    for _ in range(600):
        spoilt = bytearray(right)
        for place in rng.integers(128, len(right), rng.integers(1, 4)):
            spoilt[place] = rng.integers(256)
        path.write_bytes(spoilt)
        try:
            read_arrays(path)
        except InputError:
            refused += 1
    assert 100 < refused < 600


@pytest.mark.parametrize("content", [b"", b"x" * 200, b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + b"\x0e" * 5])
def test_what_is_no_such_file_is_named(content, tmp_path):
    path = tmp_path / "none.mat"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"none\.mat: not a readable \.mat file .*save -v7"):
        read_arrays(path)


def test_version_4_is_read_too(tmp_path):
    savemat(tmp_path / "old.mat", {"h": np.arange(6.0).reshape(2, 3)}, format="4")
    np.testing.assert_array_equal(read_arrays(tmp_path / "old.mat")["h"], np.arange(6.0).reshape(2, 3))
