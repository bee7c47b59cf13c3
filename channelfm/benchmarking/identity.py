"""What an estimator's numbers depend on: the source that it reaches by imports, its weights and settings; no more."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from channelfm.config import Recipe
from channelfm.estimator import Estimator

PACKAGE = Path(__file__).resolve().parent.parent
# What these make of a data set is told by the bytes that they give, which are known by themselves.
_DATA = ("datasets.blocks", "datasets.dataset")
_COMPILED = {".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp"}  # sources that are built, beside the module that asks


def source_files(modules: Iterable[str], package: Path = PACKAGE) -> list[Path]:
    """Files of a package that modules reach by their imports, functions' own imports too, and the compiled sources in
    the same folders. What lies in the folders on the way to a module (their ``__init__``) counts where it is imported;
    what only reads data sets does not.
    """
    data = {f"{package.name}.{name}" for name in _DATA}
    found: set[Path] = set()
    left = list(modules)
    while left:
        file = _file_of(left.pop(), package)
        if file is None or file in found or file == package / "__init__.py":
            continue
        found.add(file)
        imported = _imported(file.read_bytes(), _module_of(file, package), package.name)
        left += [name for name in imported if not any(name == part or name.startswith(f"{part}.") for part in data)]
    beside = {other for file in found for other in file.parent.iterdir() if other.suffix in _COMPILED}
    return sorted(found | beside)


def source_identity(modules: Iterable[str], package: Path = PACKAGE) -> str:
    """SHA-256 over :func:`source_files`."""
    digest = hashlib.sha256()
    for file in source_files(modules, package):
        digest.update(file.relative_to(package).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


def identity(held: Any) -> str:
    """SHA-256 of an estimator: of the source of all objects that it is made of, their plain values, arrays, recipes and
    weights. Its name, and the device that it lies on, are none of its numbers."""
    modules: set[str] = set()
    digest = hashlib.sha256()
    for path, value in _parts(held, "", set()):
        if isinstance(value, type):
            modules |= {base.__module__ for base in value.__mro__}
            digest.update(f"{path}:{value.__qualname__};".encode() + _foreign_source(value))
        else:
            digest.update(f"{path}=".encode() + _bytes_of(value) + b";")
    return hashlib.sha256(digest.digest() + source_identity(sorted(modules)).encode()).hexdigest()


def networks_of(held: Any) -> list[nn.Module]:
    """The outermost networks that an estimator holds, each once."""
    seen: dict[int, nn.Module] = {}
    stack: list[Any] = [held]
    visited: set[int] = set()
    while stack:
        value = stack.pop()
        if id(value) in visited:
            continue
        visited.add(id(value))
        if isinstance(value, nn.Module):
            seen[id(value)] = value
        else:
            stack += [inner for _, inner in _inner(value)]
    return list(seen.values())


def _file_of(module: str, package: Path) -> Path | None:
    if module.split(".")[0] != package.name:
        return None
    place = package.parent.joinpath(*module.split("."))
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


def _module_of(file: Path, package: Path) -> str:
    return ".".join(file.relative_to(package.parent).with_suffix("").parts)


@cache
def _imported(source: bytes, module: str, package: str) -> tuple[str, ...]:
    """Modules of the package, and names that may be some, that a source imports anywhere."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            start = ".".join([*above, *([node.module] if node.module else [])])
            names += [start, *(f"{start}.{alias.name}" for alias in node.names)]
    return tuple(name for name in names if name.split(".")[0] == package)


def _inner(value: Any) -> list[tuple[str, Any]]:
    """What an object holds, by name: of this package's objects, networks and plain collections."""
    if isinstance(value, Mapping):
        return [(str(key), item) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [(str(number), item) for number, item in enumerate(value)]
    open_to_us = _is_ours(value) or isinstance(value, nn.Module | Estimator)
    return sorted(vars(value).items()) if open_to_us and hasattr(value, "__dict__") else []


def _is_ours(value: Any) -> bool:
    return type(value).__module__.split(".")[0] == PACKAGE.name


def _foreign_source(kind: type) -> bytes:
    """The file of somebody's own estimator, which the package knows nothing of."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    ours = kind.__module__.split(".")[0] == PACKAGE.name
    return b"" if ours or file is None else Path(file).read_bytes()


def _parts(value: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Types and plain values of all that an object is made of, by their paths in it."""
    if isinstance(value, Recipe):
        yield path, value.content_hash()
    elif isinstance(value, bool | int | float | complex | str | bytes | np.ndarray | np.generic | torch.Tensor | None):
        yield path, value
    elif id(value) not in seen:
        seen.add(id(value))
        if _is_ours(value) or path == "":
            yield path, type(value)
        for name, inner in _inner(value):
            if not (path == "" and name == "name"):
                yield from _parts(inner, f"{path}.{name}", seen)


def _bytes_of(value: Any) -> bytes:
    if isinstance(value, torch.Tensor):
        plain = value.detach().cpu().contiguous()
        return f"{plain.dtype}{tuple(plain.shape)}".encode() + plain.reshape(-1).view(torch.uint8).numpy().tobytes()
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes()
    return value if isinstance(value, bytes) else repr(value).encode()
