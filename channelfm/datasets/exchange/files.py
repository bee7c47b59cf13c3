"""Arrays by name from files of other programs: ``.npz``, ``.npy`` and MATLAB's ``.mat``; never a pickle."""

from __future__ import annotations

import importlib
import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.config import brief
from channelfm.datasets.exchange.mat5 import HEADER, is_mat5, read_mat5
from channelfm.errors import InputError
from channelfm.files import write_atomically

SUFFIXES = (".npz", ".mat", ".npy")
UNNAMED = "array"  # the name under which a .npy file's only array is found


def read_arrays(path: str | Path) -> dict[str, NDArray[Any]]:
    """All plain arrays of a file by name; the one of a ``.npy`` file is called "array".

    MATLAB's structs, cells and objects, and NumPy's object arrays, are left out: they would have to be unpickled.
    Files of MATLAB's version 7.3 are HDF5 and are read through h5py where it is installed.

    Raises
    ------
    InputError : no such file, an unknown suffix, or not a readable file of its kind.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    if file.suffix not in SUFFIXES:
        raise InputError(f"{file}: unknown kind of file '{file.suffix}'; give one of: {', '.join(SUFFIXES)}")
    read, remedy = {
        ".npz": (_from_npz, "write it again with numpy.savez"),
        ".npy": (_from_npy, "write it again with numpy.save"),
        ".mat": (_from_mat, "save it again with 'save -v7'"),
    }[file.suffix]
    try:
        return read(file)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{file}: tells of more numbers than memory holds; {remedy}") from error
    except Exception as error:  # what readers raise about a spoilt file has no end: zlib.error, RuntimeError, KeyError
        raise InputError(f"{file}: not a readable {file.suffix} file ({brief(error, 120)}); {remedy}") from error


def write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays to a compressed ``.npz`` file, atomically."""
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write_atomically(path, content.getvalue())


def write_mat(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays to a ``.mat`` file of version 5, which every MATLAB and SciPy reads, atomically.

    Raises InputError for an array past the format's 4 GiB.
    """
    from scipy.io import savemat

    for name, values in arrays.items():
        if values.nbytes >= 2**32:
            raise InputError(f"{path}: '{name}' has {values.nbytes} bytes, .mat holds less than 2^32; export to .npz")
    content = io.BytesIO()
    savemat(content, dict(arrays), do_compression=True, oned_as="row")  # type: ignore[arg-type]  # takes any stream
    write_atomically(path, content.getvalue())


def _from_npz(file: Path) -> dict[str, NDArray[Any]]:
    arrays = {}
    with np.load(file, allow_pickle=False) as content:
        if not isinstance(content, np.lib.npyio.NpzFile):
            raise ValueError("holds a single array, as .npy files do")
        for name in content.files:
            try:
                arrays[name] = np.asarray(content[name])
            except ValueError as error:
                if "pickle" not in str(error):
                    raise
    return arrays


def _from_npy(file: Path) -> dict[str, NDArray[Any]]:
    return {UNNAMED: np.asarray(np.lib.format.open_memmap(file, mode="r"))}


def _from_mat(file: Path) -> dict[str, NDArray[Any]]:
    with file.open("rb") as opened:
        header = opened.read(HEADER)
    if header[124:128] in (b"\x00\x02IM", b"\x02\x00MI"):
        return _from_hdf5(file)
    if is_mat5(header):
        return read_mat5(file.read_bytes())
    if b"\x00" not in header[:4]:  # which is how version 4 begins
        raise ValueError("of no version of MATLAB's")
    from scipy.io import loadmat

    content = loadmat(file)
    plain = {name: values for name, values in content.items() if isinstance(values, np.ndarray)}
    return {name: values for name, values in plain.items() if values.dtype.kind in "biufcUS"}


def _from_hdf5(file: Path) -> dict[str, NDArray[Any]]:
    """MATLAB 7.3: axes in reverse order, complex numbers as pairs of fields."""
    if importlib.util.find_spec("h5py") is None:
        raise InputError(f"{file}: a .mat file of version 7.3; save it with 'save -v7', or run: pip install h5py")
    h5py: Any = importlib.import_module("h5py")

    arrays: dict[str, NDArray[Any]] = {}
    with h5py.File(file) as content:
        for name, item in content.items():
            if not isinstance(item, h5py.Dataset):
                continue
            values = np.asarray(item[()])
            if values.dtype.names == ("real", "imag"):
                values = values["real"] + 1j * values["imag"]
            if item.attrs.get("MATLAB_class") == b"char":
                arrays[name] = np.array("".join(map(chr, values.ravel().tolist())))
            elif values.dtype.kind in "biufc":
                arrays[name] = values.T
    return arrays
