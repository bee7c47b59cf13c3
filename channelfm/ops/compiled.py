"""Sparse attention on the processor: ``ssta.cpp``, compiled once per machine kind, kept in the user's cache.

The library is plain C++ behind a C interface, called through ctypes: it needs a compiler and nothing of PyTorch. The
instruction set is the one that PyTorch chose for this processor, named in the flags; a cache that machines of
different kinds share holds one library for each.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor

from channelfm.cache import cache_folder
from channelfm.ops.neighbourhood import Grid
from channelfm.ops.plain import Boxes

_SOURCES = ("ssta.cpp", "ssta_grid.h")
_FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-w")
_INSTRUCTIONS = {  # by torch.backends.cpu.get_cpu_capability(); other processors take the compiler's default
    "AVX2": ("-mavx2", "-mfma"),
    "AVX512": ("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"),
}
_COMPILERS = ("c++", "g++", "clang++")
_REMEDY = "install one with OpenMP (Debian, Ubuntu: apt install g++), or name it in the environment variable CXX"
_SUFFIX = {torch.float32: "f32", torch.float64: "f64"}


class _View(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("stride", ctypes.c_int64 * 4))


class _Problem(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "heads", "frames", "rows", "cols", "dims", "boxes", "threads")),
        ("box", ctypes.c_void_p),
        ("kept", ctypes.c_void_p),
        ("scale", ctypes.c_double),
    )


@functools.lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None, after one warning that names the remedy, where they cannot be had."""
    try:
        return ctypes.CDLL(str(_built()))
    except (OSError, RuntimeError) as error:
        warnings.warn(
            f"sparse attention runs in plain PyTorch, a hundred times slower: {error}", RuntimeWarning, stacklevel=2
        )
        return None


def _built() -> Path:
    """Path of the library, compiled now if need be. Raises RuntimeError without a compiler that can."""
    named = shlex.split(os.environ.get("CXX", ""))
    compiler = named or [name for name in _COMPILERS if shutil.which(name)][:1]
    if not compiler or shutil.which(compiler[0]) is None:
        raise RuntimeError(f"no C++ compiler ({' '.join(named) or ', '.join(_COMPILERS)}); {_REMEDY}")
    folder = Path(__file__).parent
    flags = (*_FLAGS, *_INSTRUCTIONS.get(torch.backends.cpu.get_cpu_capability(), ()))
    version = subprocess.run([*compiler, "--version"], capture_output=True, check=False).stdout
    content = b"".join((folder / name).read_bytes() for name in _SOURCES)
    digest = hashlib.sha256(content + version + repr((platform.machine(), flags)).encode()).hexdigest()[:16]
    cache = cache_folder()
    target = cache / f"ssta-{digest}.so"
    if target.is_file():
        return target
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _compile(compiler, flags, target)
    except OSError as error:
        remedy = "name a folder that can be written in XDG_CACHE_HOME"
        raise RuntimeError(f"the compiled operator cannot be stored ({error}); {remedy}") from error
    return target


def _compile(compiler: list[str], flags: tuple[str, ...], target: Path) -> None:
    source = Path(__file__).with_name(_SOURCES[0])
    with tempfile.TemporaryDirectory(dir=target.parent) as own:  # so that processes that build at once do not meet
        made = Path(own, target.name)
        command = [*compiler, *flags, str(source), "-o", str(made)]
        outcome = subprocess.run(command, capture_output=True, text=True, check=False)
        if outcome.returncode:
            told = next(filter(None, outcome.stderr.splitlines()), f"exit code {outcome.returncode}")
            raise RuntimeError(f"{compiler[0]} could not compile {source.name} ({told}); {_REMEDY}")
        made.replace(target)


def forward(
    query: Tensor, key: Tensor, value: Tensor, grid: Grid, boxes: Boxes, kept: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """As :func:`channelfm.ops.plain.forward`, float32 or float64, tensors of any strides."""
    output = torch.empty_like(query)
    total = query.new_empty(query.shape[:-1])
    threshold = total.new_empty(total.shape if kept is not None else 0)
    views = [_view(tensor) for tensor in (query, key, value, output)]
    _call("forward", query, grid, boxes, kept, *views, _pointer(total), _pointer(threshold))
    return output, total, threshold


def backward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    upper: Tensor,
    total: Tensor,
    delta: Tensor,
    threshold: Tensor,
    grid: Grid,
    boxes: Boxes,
) -> tuple[Tensor, Tensor, Tensor]:
    """As :func:`channelfm.ops.plain.backward`, float32 or float64, tensors of any strides."""
    grads = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
    delta, total = delta.contiguous(), total.contiguous()
    views = [_view(tensor) for tensor in (query, key, value, upper)]
    numbers = [_pointer(tensor) for tensor in (total, delta, threshold)]
    routed = threshold if threshold.numel() else None  # the backward pass asks only whether there was routing
    _call("backward", query, grid, boxes, routed, *views, *numbers, *(_view(grad) for grad in grads))
    return grads


def _call(name: str, query: Tensor, grid: Grid, boxes: Boxes, kept: Tensor | None, *arguments: object) -> None:
    found = library()
    assert found is not None, "callers ask library() first"
    flat = [number for box in boxes for number in box]
    numbers = (ctypes.c_int32 * len(flat))(*flat)
    batch, heads, _, dims = query.shape
    problem = _Problem(batch, heads, *grid, dims, len(boxes), torch.get_num_threads())
    problem.box = ctypes.addressof(numbers)
    problem.kept = kept.data_ptr() if kept is not None else None
    problem.scale = dims**-0.5
    function = found[f"ssta_{name}_{_SUFFIX[query.dtype]}"]
    if function(ctypes.byref(problem), *arguments):
        raise MemoryError(f"sparse attention: no memory for a batch of {batch}; take fewer sequences at a time")


def _view(tensor: Tensor) -> object:
    return ctypes.byref(_View(tensor.data_ptr(), (ctypes.c_int64 * 4)(*tensor.stride())))


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())
