"""Plain values - numbers, words, lists, mappings - from the YAML and JSON of files that others may have written.

A file of a few lines can ask for any amount of memory: by values that name one another over and over, or by nesting
that exhausts the stack. So size, depth and what aliases multiply are bounded, before anything is built.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 1_000_000  # of a YAML file; the largest that ships has some kB
MOST_VALUES = 100_000  # with those that aliases repeat
DEEPEST = 50
_LONGEST_NUMBER = 1_000  # characters of a value without quotes that might be one


_Fastest: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader  # the same values, ten times faster


class _Loader(_Fastest):  # type: ignore[misc]  # which of the two is not known before
    """Words that look like dates stay words: no field here is a date, and a date that does not exist is an error."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path) -> Any:
    """The values of a YAML file; ValueError, in one line, where it is none or past the bounds. Raises OSError."""
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path.stat().st_size} bytes; {MOST_BYTES} are the most")
    return from_yaml(path.read_text(encoding="utf-8"))


def from_yaml(text: str) -> Any:
    """The values of a YAML text; ValueError, in one line, where it is none or past the bounds."""
    try:
        _check_bounds(text)
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{place}{_short(error.problem or error.context)}") from error
    except yaml.YAMLError as error:
        raise ValueError(_short(error)) from error


def from_json(text: str) -> Any:
    """The values of a JSON text; ValueError, in one line, where it is none, is too deep, or holds NaN or infinity."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _check_bounds(text: str) -> None:
    """Refuse what is too large, without building it: ValueError says what and where."""
    opened: list[tuple[str | None, int]] = []  # anchors of the collections that are open, and the count before each
    sizes: dict[str, int] = {}  # of what anchors name
    count = 0
    for event in yaml.parse(text, _Loader):
        mark = event.start_mark
        assert mark is not None  # the parser always has one
        place = f"line {mark.line + 1}"
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise ValueError(f"{place}: alias '{_short(event.anchor)}' names nothing that is complete")
            count += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
            if event.implicit[0] and len(event.value) > _LONGEST_NUMBER:
                raise ValueError(f"{place}: a value of {len(event.value)} characters; put it into quotes")
        elif isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, count))
            count += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            if anchor is not None:
                sizes[anchor] = count - before
        if len(opened) > DEEPEST:
            raise ValueError(f"{place}: nested deeper than {DEEPEST} levels")
        if count > MOST_VALUES:
            raise ValueError(f"{place}: more than {MOST_VALUES} values, with those that aliases repeat")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _short(told: object) -> str:
    """What a library says, on one line."""
    return " ".join(str(told).split())[:120]
