"""Ways to spoil what is right: bytes of a file, values of a recipe, arrays of a record."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

# Values that have broken readers before.
PLAIN: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 0.5, 2**31, 2**63, 10**30, -(10**30)),
    *(1e308, -1e308, 1e-320, 1e20, float("nan"), float("inf"), float("-inf")),
    *("", " ", "NaN", "1e400", "2023-02-30", "0x_", "x", "x" * 3000, "../..", "/etc/passwd", "a=b", "\u0663", "~"),
    *([], {}, [[]], [0, 0], [1.5] * 4, {"a": 1}, {"": ""}),
)
TOKENS = (
    *(b"", b"\x00", b"\xff\xfe", b"NaN", b"Infinity", b"-1", b"1e999", b"9" * 400, b"null", b"[", b"]", b"{", b"}"),
    *(b": ", b"\n", b"\t", b"- ", b"&a ", b"*a", b"<<: ", b"!!int ", b"2023-02-30", b"'", b'"', b"#", b"%", b"|"),
    *(b"[" * 2000, b"&a [" + b"*a, " * 5, b"0x_", b"1:60", b"!!binary x"),
)
NUMBERS = (0.0, -1.0, 1e-43, 1e-20, 1e20, 1e30, 3e38, float("nan"), float("inf"), -float("inf"))


def other_bytes(content: bytes, rng: random.Random) -> bytes:
    """Some bits or bytes change, a piece is lost, doubled or moved, a token comes in, or the end is missing."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        place, size = rng.randrange(len(changed) + 1), rng.choice((1, 1, 4, 30, 300))
        kind = rng.randrange(6)
        if kind == 0 and changed:
            changed[place % len(changed)] ^= 1 << rng.randrange(8)
        elif kind == 1 and changed:
            changed[place % len(changed)] = rng.randrange(256)
        elif kind == 2:
            del changed[place : place + size]
        elif kind == 3:
            piece = changed[place : place + size]
            target = rng.randrange(len(changed) + 1)
            changed[target:target] = piece
        elif kind == 4:
            changed[place : place + rng.choice((0, size))] = rng.choice(TOKENS)
        elif rng.random() < 0.3:
            del changed[place:]
    return bytes(changed)


def other_values(tree: Any, rng: random.Random) -> Any:
    """Plain values with one to three places that hold others, are missing, double, or of another name."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = [place for place in _places(tree) if len(place[0])]
        if not places:
            return rng.choice(PLAIN)
        container, key = rng.choice(places)
        kind = rng.randrange(6)
        if kind <= 2:
            container[key] = copy.deepcopy(rng.choice(PLAIN))
        elif kind == 3:
            del container[key]
        elif kind == 4:
            other, name = rng.choice(places)
            container[key] = copy.deepcopy(other[name])
        elif isinstance(container, dict):
            container[rng.choice(("", "colour", str(key).upper(), 7))] = container.pop(key)
        else:
            container.insert(key, copy.deepcopy(container[key]))
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every (mapping or list, key or number) of a tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield tree, key
        yield from _places(value)


def other_array(values: np.ndarray, rng: random.Random) -> np.ndarray:
    """An array of another shape, type or content."""
    kind = rng.randrange(7)
    if kind == 0 and values.ndim:
        return values[: rng.randrange(len(values) + 1)]
    if kind == 1:
        return np.concatenate([values.reshape(-1), values.reshape(-1)])
    if kind == 2:
        return values[None]
    if kind == 3:
        with np.errstate(all="ignore"):
            return values.astype(rng.choice((np.float64, np.float32, np.float16, np.int32, np.uint8, np.bool_)))
    changed = values.copy().reshape(-1)
    if not changed.size:
        return values.reshape(-1)
    number = rng.choice(NUMBERS)
    with np.errstate(all="ignore"):
        if kind == 4:
            raw = changed.view(np.uint8)
            raw[rng.randrange(raw.size)] ^= np.uint8(1 << rng.randrange(8))
        elif kind == 5:
            changed[rng.randrange(changed.size)] = np.asarray(number).astype(changed.dtype)
        else:
            changed = (changed * number).astype(changed.dtype) if changed.dtype.kind in "fc" else ~changed
    return changed.reshape(values.shape)
