"""Finds an LLVM library that Dr.Jit can use, before Dr.Jit is imported.

Dr.Jit loads ``libLLVM`` at run time, and releases 14 to 16 abort the whole process. So every candidate is tried
in a subprocess first, newest first, and the answer is remembered until the file or Dr.Jit changes.

``python -m channelfm.tracing.llvm`` prints the library found, or says what to install (exit code 2).
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from channelfm.cache import cache_folder
from channelfm.errors import ChannelfmError, DependencyError
from channelfm.files import write_atomically

OLDEST_USABLE = 17
INSTALL_COMMAND = "apt-get install libllvm19 libatomic1 (as root), or: bash scripts/bootstrap.sh"
_SYSTEM_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
)
_PROBE = """
import sys
from channelfm.tracing.llvm import activate
activate(sys.argv[1])
import drjit, drjit.llvm
value = drjit.llvm.Float([1.0, 2.0, 3.0])
assert drjit.sum(value * value)[0] == 14.0
"""


@dataclass(frozen=True)
class LLVM:
    """A usable LLVM library."""

    path: str
    version: str


def find_llvm() -> LLVM:
    """The newest usable libLLVM; raises DependencyError that says what was found and how to install one.

    ``DRJIT_LIBLLVM_PATH`` in the environment, if set, is the only candidate.
    """
    found = candidates()
    rejected = []
    for path in found:
        version = version_of(path)
        if not path.is_file():
            rejected.append(f"{path} (no such file)")
        elif 0 < _major(version) < OLDEST_USABLE:
            rejected.append(f"{path} (too old)")
        elif _remembered(path) or _probe(path):
            _remember(path)
            return LLVM(str(path), version)
        else:
            rejected.append(f"{path} (does not run)")
    listing = ", ".join(rejected) if rejected else "none at all"
    raise DependencyError(
        f"no usable LLVM library for the ray tracer; found: {listing}; "
        f"needs libLLVM >= {OLDEST_USABLE}, install one with: {INSTALL_COMMAND}"
    )


def activate(path: str) -> None:
    """Make Dr.Jit use this library; call before it is imported.

    Libraries that the bootstrap unpacked without root (LLVM's own dependencies, Dr.Jit's libatomic) are loaded first.
    """
    os.environ["DRJIT_LIBLLVM_PATH"] = path
    unpacked = sorted((Path(sys.prefix) / "llvm").glob("**/lib*.so*"))
    _preload([library for library in unpacked if not library.name.startswith("libLLVM")])


def candidates() -> list[Path]:
    """libLLVM files on this machine, newest version first, each file once."""
    explicit = os.environ.get("DRJIT_LIBLLVM_PATH")
    if explicit:
        return [Path(explicit)]
    folders = [Path(sys.prefix) / "llvm", *map(Path, _SYSTEM_FOLDERS)]
    folders += [folder / "lib" for folder in Path("/usr/lib").glob("llvm-*")]
    files: dict[Path, Path] = {}
    for folder in folders:
        pattern = "**/libLLVM*.so*" if folder.is_relative_to(sys.prefix) else "libLLVM*.so*"
        for file in sorted(folder.glob(pattern)):
            if file.is_file() and re.fullmatch(r"libLLVM(-\d+)?\.so(\.[\d.]+)?", file.name):
                files.setdefault(file.resolve(), file)
    return sorted(files, key=lambda path: [int(part) for part in version_of(path).split(".")], reverse=True)


def version_of(path: Path) -> str:
    """Version in a library's file name: libLLVM.so.19.1 -> 19.1, libLLVM-17.so.1 -> 17; "0" where none is named."""
    named = re.search(r"libLLVM-(\d+)", path.name) or re.search(r"libLLVM\.so\.([\d.]*\d)", path.name)
    return named.group(1) if named else "0"


def _major(version: str) -> int:
    return int(version.split(".")[0])


def _probe(path: Path) -> bool:
    """Whether Dr.Jit computes with this library, tried where an abort harms nobody."""
    command = [sys.executable, "-c", _PROBE, str(path)]
    try:
        return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _preload(libraries: list[Path]) -> None:
    """Load libraries into the process, in whatever order their dependencies allow."""
    waiting = [library for library in libraries if library.is_file()]
    while waiting:
        failed = []
        for library in waiting:
            try:
                ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
            except OSError:
                failed.append(library)
        if len(failed) == len(waiting):
            return  # what is missing shows in the probe of libLLVM itself
        waiting = failed


def _memory_file() -> Path:
    return cache_folder() / "llvm.json"


def _identity(path: Path) -> dict[str, str]:
    """What must be unchanged for a remembered answer to hold."""
    status = path.stat()
    try:
        drjit = importlib.metadata.version("drjit")
    except importlib.metadata.PackageNotFoundError as error:
        raise DependencyError("the ray tracer is not installed; run: pip install 'channelfm[rt]'") from error
    return {"file": f"{path}:{status.st_size}:{status.st_mtime_ns}", "drjit": drjit, "python": sys.prefix}


def _remembered(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        return bool(json.loads(_memory_file().read_text()) == _identity(path))
    except (OSError, ValueError):
        return False


def _remember(path: Path) -> None:
    try:
        write_atomically(_memory_file(), json.dumps(_identity(path)).encode())
    except OSError:
        return  # a read-only home only costs the next process a second probe


def main() -> int:
    """Print the usable library, or the remedy."""
    try:
        llvm = find_llvm()
    except ChannelfmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{llvm.path} (LLVM {llvm.version})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
