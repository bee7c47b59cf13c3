"""Plain values from files that others wrote: right, or refused in one line, whatever the file asks for."""

import json
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm.plain import DEEPEST, MOST_BYTES, from_json, from_yaml, read_yaml

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
words = st.text(
    st.characters(exclude_characters="\x85", exclude_categories=["Cs"]), max_size=8
)  # PyYAML folds that one
scalars = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | words
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(words, inner), max_leaves=9)


@settings(max_examples=60, deadline=None)
@given(values)
def test_what_was_written_comes_back(value):
    assert from_yaml(yaml.safe_dump(value, allow_unicode=True)) == value
    if not has_infinity(value):
        assert from_json(json.dumps(value)) == value


def has_infinity(value):
    if isinstance(value, dict | list):
        return any(map(has_infinity, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float) and abs(value) == float("inf")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, "line 6: more than 100000 values, with those that aliases repeat"),
        ("<<: [" + "*a, " * 3, r"alias 'a' names nothing"),
        ("a: &a [1, *a]", "alias 'a' names nothing that is complete"),
        ("[" * 10_000, f"line 1: nested deeper than {DEEPEST} levels"),
        ("{a: " * 10_000, "nested deeper"),
        ("\n".join(f"{' ' * depth}a:" for depth in range(200)), "line 51: nested deeper"),
        ("a: [1\nb: 2", "line 2, column 2"),
        ("a: 0x_", "invalid literal"),
        ("a: !!int five", "invalid literal"),
        ("a: !!timestamp 2023-02-30", "day"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: " + "9" * 2_000, "line 1: a value of 2000 characters; put it into quotes"),
        ("a: \x00", "characters"),
    ],
)
def test_yaml_past_the_bounds_or_wrong_is_refused_at_once(text, words):
    begin = time.process_time()
    with pytest.raises(ValueError, match=words) as caught:
        from_yaml(text)
    assert time.process_time() - begin < 1
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_date_is_a_word():
    assert from_yaml("a: 2023-02-30\nb: 2023-02-03") == {"a": "2023-02-30", "b": "2023-02-03"}


def test_aliases_are_of_use_within_the_bounds():
    assert from_yaml("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}") == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}
    assert from_yaml('a: "' + "9" * 2_000 + '"') == {"a": "9" * 2_000}


def test_a_large_file_is_not_read(tmp_path):
    (tmp_path / "large.yaml").write_bytes(b"a" * (MOST_BYTES + 1))
    with pytest.raises(ValueError, match=f"{MOST_BYTES + 1} bytes; {MOST_BYTES} are the most"):
        read_yaml(tmp_path / "large.yaml")


@pytest.mark.parametrize(
    ("text", "words"), [("[" * 100_000, "too deep"), ("[NaN]", "NaN is no number"), ('{"a": -Infinity}', "-Infinity")]
)
def test_json_that_is_too_deep_or_not_finite_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        from_json(text)
