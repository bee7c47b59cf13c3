"""Numeric and text arrays of MATLAB's files of version 5, as "MAT-File Format" by The MathWorks has them (R2024b).

SciPy's reader believes what a file says of its own lengths and types: one spoilt byte in 50 kills the process. This
one checks each before it reads. Structs, cells, objects and sparse arrays are passed over.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADER = 128  # bytes; the last four hold the version and the order of bytes
_MATRIX, _COMPRESSED = 14, 15
# number of a stored type -> NumPy's, and of an array's class -> NumPy's
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXT = {2: "latin-1", 4: "utf-16-{}e", 16: "utf-8", 17: "utf-16-{}e", 18: "utf-32-{}e"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_SINGLE, _CHARACTERS, _CLASS_BITS, _COMPLEX, _LOGICAL = 7, 4, 0xFF, 0x800, 0x200


def is_mat5(content: bytes) -> bool:
    """Whether a file begins as one of version 5."""
    return len(content) >= HEADER and content[124:128] in (b"\x00\x01IM", b"\x01\x00MI")


def read_mat5(content: bytes) -> dict[str, NDArray[Any]]:
    """Numeric and text arrays by name; ValueError where lengths, types and shapes do not fit together."""
    order = "<" if content[126:128] == b"IM" else ">"
    arrays = {}
    for kind, body in _elements(content[HEADER:], order):
        if kind == _COMPRESSED:
            try:
                kind, body = next(_elements(zlib.decompress(body), order), (0, b""))
            except zlib.error as error:
                raise ValueError(f"damaged: {error}") from error
        if kind == _MATRIX and (found := _array(body, order)) is not None:
            arrays[found[0]] = found[1]
    return arrays


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and bytes of the data elements that lie one behind the other."""
    place = 0
    while place < len(content):
        if place + 8 > len(content):
            raise ValueError(f"ends within an element, at byte {place}")
        kind, size = struct.unpack_from(f"{order}II", content, place)
        if kind >> 16:  # a small element: its size and its bytes are in the tag
            kind, size, begin, after = kind & 0xFFFF, kind >> 16, place + 4, place + 8
            if size > 4:
                raise ValueError(f"a small element of {size} bytes")
        else:
            begin = place + 8
            after = begin + size + (0 if kind == _COMPRESSED else -size % 8)
        if begin + size > len(content):
            raise ValueError(f"an element of {size} bytes where {len(content) - begin} are left")
        yield kind, content[begin : begin + size]
        place = after


def _array(body: bytes, order: str) -> tuple[str, NDArray[Any]] | None:
    """Name and values of a matrix; None for those of no plain class."""
    parts = list(_elements(body, order))
    if len(parts) < 3 or len(parts[0][1]) != 8 or len(parts[1][1]) % 4 or not parts[1][1]:
        raise ValueError("a matrix without flags, shape or name")
    (flags,) = struct.unpack_from(f"{order}I", parts[0][1])
    shape = struct.unpack(f"{order}{len(parts[1][1]) // 4}i", parts[1][1])
    name, values, kind = parts[2][1].decode("latin-1"), parts[3:], flags & _CLASS_BITS
    if min(shape) < 0:
        raise ValueError(f"'{name[:40]}' has shape {shape[:8]}")
    if kind == _CHARACTERS and shape[0] == 1:
        return name, _text(name, values, order)
    if kind not in _CLASSES:
        return None
    numbers = [_numbers(name, stored, data, math.prod(shape), order) for stored, data in values]
    if len(numbers) != (2 if flags & _COMPLEX else 1):
        raise ValueError(f"'{name[:40]}' has {len(numbers)} parts")
    found = numbers[0].astype(np.bool_ if flags & _LOGICAL else _CLASSES[kind])
    if flags & _COMPLEX:
        both = np.empty(len(found), np.complex64 if kind == _SINGLE else np.complex128)
        both.real, both.imag = found, numbers[1].astype(_CLASSES[kind])
        found = both
    return name, found.reshape(shape, order="F")


def _numbers(name: str, stored: int, data: bytes, count: int, order: str) -> NDArray[Any]:
    if stored not in _STORED:
        raise ValueError(f"'{name[:40]}' is stored as type {stored}")
    kind = np.dtype(f"{order}{_STORED[stored]}")
    if len(data) != count * kind.itemsize:
        raise ValueError(f"'{name[:40]}' has {len(data)} bytes for {count} numbers")
    return np.frombuffer(data, kind)


def _text(name: str, values: list[tuple[int, bytes]], order: str) -> NDArray[Any]:
    """A line of characters, as one word."""
    if len(values) != 1 or values[0][0] not in _TEXT:
        raise ValueError(f"'{name[:40]}' holds no text")
    stored, data = values[0]
    return np.array(data.decode(_TEXT[stored].format("l" if order == "<" else "b"), errors="replace"))
