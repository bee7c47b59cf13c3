"""Whether what came from a file or a caller can be what it says.

Of a file's arrays and plain values ValueError says why not, for whoever knows the file; of a caller's, InputError.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.errors import InputError

_KINDS = {"complex": "c", "float": "f", "int": "iu", "bool": "b"}  # in words, and as NumPy's dtypes have them
_PLAIN: dict[str, tuple[type, ...]] = {"int": (int,), "float": (float, int), "str": (str,), "bool": (bool,)}


def check_axes(arrays: Mapping[str, Any], axes: Mapping[str, str]) -> None:
    """Check kinds and shapes of arrays against ``axes``, such as {"delay_s": "float S P", "points_m": "float S P 3"}.

    A letter stands for one length wherever it occurs, a number for itself; a kind may be a type, such as "float16".
    """
    lengths: dict[str, tuple[int, str]] = {}
    for name, text in axes.items():
        kind, *letters = text.split()
        values = arrays.get(name)
        kinds = _KINDS.get(kind)
        if not isinstance(values, np.ndarray) or not (values.dtype.kind in kinds if kinds else values.dtype == kind):
            raise ValueError(f"'{name}' holds {getattr(values, 'dtype', type(values).__name__)}, not {kind} numbers")
        if values.ndim != len(letters):
            raise ValueError(f"'{name}' has shape {values.shape}, not {len(letters)} axes")
        for letter, length in zip(letters, values.shape, strict=True):
            known, first = (int(letter), "") if letter.isdigit() else lengths.setdefault(letter, (length, name))
            if length != known:
                of = f" as '{first}' has" if first else ""
                raise ValueError(f"'{name}' has shape {values.shape}: {length} entries where there must be {known}{of}")


def check_plain(instance: Any) -> None:
    """Check the numbers, words and flags of a dataclass, and of the dataclasses in its tuples, by its annotations."""
    for item in dataclasses.fields(instance):
        value = getattr(instance, item.name)
        for inner in value if isinstance(value, tuple) else (value,):
            if dataclasses.is_dataclass(inner) and not hasattr(inner, "check"):
                check_plain(inner)
        told = str(item.type)
        if told.startswith("tuple[float, ") and "..." not in told:
            right = isinstance(value, tuple) and len(value) == 1 + told.count(",")
            right = right and all(_is(number, "float") and abs(number) < 2**63 for number in value)
        else:
            right = told not in _PLAIN or _is(value, told)
        if not right:
            raise ValueError(f"'{item.name}' is {str(value)[:40]!r}, not a {item.type}")


def _is(value: Any, kind: str) -> bool:
    """Whether a value is of a plain kind, and a number within 64 bits; a flag is no number."""
    right = isinstance(value, _PLAIN[kind]) and (kind == "bool" or not isinstance(value, bool))
    return right and not (isinstance(value, float | int) and not abs(value) < (2**63 if kind == "int" else math.inf))


def as_numbers(values: Any, name: str) -> NDArray[Any]:
    """A caller's values as a NumPy array, those of a PyTorch tensor, too; InputError where they are no numbers."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(values, torch.Tensor):
        values = values.detach().cpu().resolve_conj().resolve_neg()
        values = (values.float() if values.dtype in (torch.bfloat16, torch.complex32) else values).numpy()
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}: no array of numbers ({str(error)[:80]})") from error
    if array.dtype.kind not in "biufc":
        raise InputError(f"{name} holds {array.dtype}: give an array of numbers")
    return array


def as_whole(value: Any, name: str, least: int = 1) -> int:
    """A caller's count; InputError where it is no whole number, or below ``least``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name} = {str(value)[:40]}: give a whole number of at least {least}")
    return int(value)


def all_finite(values: NDArray[Any]) -> bool:
    """Whether no number is NaN or infinite: at the speed of memory, twice that of asking number by number."""
    if values.dtype.kind == "c":
        values = np.ascontiguousarray(values).view(values.real.dtype)
    if values.dtype == np.float16:  # whose extremes NumPy finds slowly
        return bool(np.isfinite(values).all())
    if not values.size or values.dtype.kind != "f":
        return True
    with np.errstate(invalid="ignore"):
        return bool(np.isfinite(values.min()) and np.isfinite(values.max()))
