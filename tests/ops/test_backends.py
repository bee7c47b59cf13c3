"""Compiled, plain and Triton implementations agree; what happens where one cannot be had."""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from channelfm.ops import compiled, gpu, plain, ssta
from channelfm.ops.neighbourhood import Neighbourhood, Routing, count_neighbours

CASES = [
    ((2, 3, 4), 4, torch.float32, Neighbourhood(offsets=(1,)), None),
    ((2, 3, 4), 4, torch.float32, Neighbourhood(offsets=(1,)), Routing(0.5, 2, 5)),
    ((3, 2, 5), 5, torch.float64, Neighbourhood((1, 0), (2,), (0.5, 1.0), causal=True), None),
    ((3, 2, 5), 5, torch.float64, Neighbourhood((1, 0), (2,), (0.5, 1.0), causal=True), Routing(0.5, 2, 5)),
]
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="needs a C++ compiler, as the kernels do"
)
HAS_TRITON = importlib.util.find_spec("triton") is not None


@pytest.fixture
def forgotten():
    """The library is looked for anew, within the test and after it."""
    compiled.library.cache_clear()
    yield
    compiled.library.cache_clear()


def _run(backend, grid, width, dtype, neighbourhood, routing, device="cpu"):
    """Everything that forward and backward pass return."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, 2, math.prod(grid), width)
    query, key, value, upper = (torch.randn(shape, generator=generator, dtype=dtype).to(device) for _ in range(4))
    kept = None if routing is None else routing.kept(count_neighbours(neighbourhood.boxes, grid)).to(device)
    output, total, threshold = backend.forward(query, key, value, grid, neighbourhood.boxes, kept)
    delta = (output * upper).sum(-1)
    grads = backend.backward(query, key, value, upper, total, delta, threshold, grid, neighbourhood.boxes)
    return [tensor.cpu() for tensor in (output, total, *grads)]


def _expected(grid, width, dtype, neighbourhood, routing):
    """The same from the reference by autograd."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, 2, math.prod(grid), width)
    *inputs, upper = (torch.randn(shape, generator=generator, dtype=dtype) for _ in range(4))
    inputs = [tensor.requires_grad_() for tensor in inputs]
    kept = None if routing is None else routing.kept(count_neighbours(neighbourhood.boxes, grid))
    output, total = plain.reference_attention(*inputs, grid, neighbourhood.boxes, kept)
    return [output, total, *torch.autograd.grad((output * upper).sum(), inputs)]


@needs_compiler
@pytest.mark.parametrize("case", CASES)
def test_the_compiled_kernels_agree_with_the_reference(case) -> None:
    assert compiled.library() is not None
    torch.testing.assert_close(_run(compiled, *case), _expected(*case), rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_the_plain_chunks_agree_with_the_reference(case, monkeypatch) -> None:
    monkeypatch.setattr(plain, "_CHUNK_BYTES", 10_000)
    torch.testing.assert_close(_run(plain, *case), _expected(*case), rtol=0, atol=1e-5)


@needs_compiler
def test_the_number_of_threads_changes_nothing() -> None:
    case = ((6, 7, 18), 4, torch.float32, Neighbourhood(), Routing())
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = _run(compiled, *case)
        torch.set_num_threads(3)
        three = _run(compiled, *case)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(*pair) for pair in zip(one, three, strict=True))


@pytest.mark.cuda
@pytest.mark.parametrize("case", [*CASES, ((20, 32, 32), 4, torch.float32, Neighbourhood(), Routing())])
def test_the_triton_kernels_agree_with_the_compiled_ones(case) -> None:
    from channelfm.ops import kernels

    torch.testing.assert_close(_run(kernels, *case, device="cuda"), _run(compiled, *case), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TRITON, reason="needs Triton, whose interpreter runs the GPU's kernels here")
@pytest.mark.skipif(torch.cuda.is_available(), reason="the kernels themselves are tested on this machine's GPU")
def test_the_triton_kernels_agree_with_the_reference_in_tritons_interpreter() -> None:
    script = (
        "import importlib.util, torch\n"
        f"spec = importlib.util.spec_from_file_location('backends', {str(Path(__file__))!r})\n"
        "own = importlib.util.module_from_spec(spec); spec.loader.exec_module(own)\n"
        "from channelfm.ops import kernels\n"
        "for case in own.CASES:\n"
        "    torch.testing.assert_close(own._run(kernels, *case), own._expected(*case), rtol=0, atol=1e-5)\n"
    )
    environment = os.environ | {"TRITON_INTERPRET": "1"}  # read when the kernels are imported
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, timeout=600)


def test_without_a_compiler_it_runs_in_plain_pytorch_and_says_so_once(forgotten, monkeypatch, draw) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    grid, neighbourhood = (2, 3, 4), Neighbourhood()
    inputs = draw(grid)
    with pytest.warns(RuntimeWarning, match=r"no C\+\+ compiler.*apt install g\+\+"):
        output = ssta.sparse_attention(*inputs, grid, neighbourhood)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = ssta.sparse_attention(*inputs, grid, neighbourhood)
        again.sum().backward()
    assert torch.equal(output, again)
    expected, _ = plain.reference_attention(*inputs, grid, neighbourhood.boxes)
    torch.testing.assert_close(output, expected)


def test_a_compiler_that_fails_is_named(forgotten, monkeypatch, tmp_path) -> None:
    failing = tmp_path / "badcc"
    failing.write_text("#!/bin/sh\necho 'no such language' >&2\nexit 3\n")
    failing.chmod(0o755)
    monkeypatch.setenv("CXX", str(failing))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.warns(RuntimeWarning, match=r"badcc could not compile ssta.cpp \(no such language\)"):
        assert compiled.library() is None
    assert not list((tmp_path / "channelfm").iterdir())


@needs_compiler
def test_a_cache_that_cannot_be_written_is_named(forgotten, monkeypatch, tmp_path) -> None:
    (tmp_path / "channelfm").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.warns(RuntimeWarning, match="XDG_CACHE_HOME"):
        assert compiled.library() is None


@needs_compiler
def test_the_library_is_compiled_once_and_then_found(forgotten, monkeypatch, tmp_path) -> None:
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    counting = tmp_path / "cc"
    counting.write_text(
        f'#!/bin/sh\ncase "$*" in *ssta.cpp*) echo x >> {tmp_path}/runs;; esac\nexec {compiler} -O0 "$@"\n'
    )
    counting.chmod(0o755)
    monkeypatch.setenv("CXX", str(counting))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for _ in range(2):
        compiled.library.cache_clear()
        assert compiled.library() is not None
    assert (tmp_path / "runs").read_text().split() == ["x"]
    assert [file.suffix for file in (tmp_path / "channelfm").iterdir()] == [".so"]


@pytest.mark.skipif(HAS_TRITON, reason="Triton is installed")
def test_without_triton_the_gpu_runs_plain_pytorch_and_says_so() -> None:
    gpu.backend.cache_clear()
    with pytest.warns(RuntimeWarning, match="pip install triton"):
        assert gpu.backend() is plain


@needs_compiler
def test_memory_that_cannot_be_had_is_an_error_and_no_crash(monkeypatch) -> None:
    class Failing:
        def __getitem__(self, name):
            return lambda *_: 1

    monkeypatch.setattr(compiled, "library", Failing)
    with pytest.raises(MemoryError, match="fewer sequences"):
        _run(compiled, *CASES[0])
