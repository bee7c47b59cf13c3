import contextlib
from typing import Annotated, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from channelfm.config import Recipe, find_recipe, load_recipe, parse_recipe, set_dotted
from channelfm.errors import InputError


class Part(Recipe):
    rows: int = 4
    names: tuple[str, ...] = ()


class Round(Recipe):
    kind: Literal["round"] = "round"
    radius: float = 1.0


class Square(Recipe):
    kind: Literal["square"] = "square"
    side: float = 1.0


class Whole(Recipe):
    seed: int = 0
    part: Part = Part()
    parts: tuple[Part, ...] = ()
    shape: Annotated[Round | Square, Field(discriminator="kind")] = Round()


def write(tmp_path, text):
    path = tmp_path / "some.yaml"
    path.write_text(text)
    return path


def test_reads_a_recipe_and_applies_overrides(tmp_path):
    path = write(tmp_path, "seed: 3\npart: {rows: 8}\nparts: [{rows: 1}, {rows: 2}]\n")
    recipe = load_recipe(Whole, path, ["part.rows=16", "parts.1.rows=5", "part.names=[a, b]"])
    assert recipe == Whole(seed=3, part=Part(rows=16, names=("a", "b")), parts=(Part(rows=1), Part(rows=5)))


def test_an_override_makes_the_mapping_that_the_file_left_out(tmp_path):
    assert load_recipe(Whole, write(tmp_path, ""), ["part.rows=2"]).part.rows == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sead: 1", "unknown key 'sead'.*seed, part"),
        ("part: {rows: 8, columns: 8}", "unknown key 'part.columns'.*rows, names"),
        ("shape: {kind: square, radius: 2}", "unknown key 'shape.square.radius'.*kind, side"),
        ("part: {rows: many}", "part.rows"),
        ("[1, 2]", "mapping"),
        ("a: [", "not valid YAML"),
        ("just text", "mapping"),
    ],
)
def test_a_bad_recipe_is_one_clear_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        load_recipe(Whole, write(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert "some.yaml" in str(caught.value)


def test_binary_is_not_a_recipe(tmp_path):
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InputError, match="not valid YAML"):
        load_recipe(Whole, path)


@pytest.mark.parametrize("override", ["seed", "=3", "parts.0.rows=1", "seed.deep=1", "part.names.x=1", "part=[", ""])
def test_a_bad_override_is_refused(tmp_path, override):
    with pytest.raises(InputError):
        load_recipe(Whole, write(tmp_path, "seed: 1\nparts: []\npart: {names: []}"), [override])


def test_recipes_are_frozen_and_hashed_by_content(tmp_path):
    one, same = Whole(seed=1), load_recipe(Whole, write(tmp_path, "seed: 1"))
    assert one.content_hash() == same.content_hash() != Whole(seed=2).content_hash()
    with pytest.raises(ValueError, match="frozen"):
        one.seed = 2


def test_shipped_recipes_are_found_by_name():
    assert find_recipe("demo").samefile(find_recipe("recipes/demo.yaml"))
    with pytest.raises(InputError, match=r"no-such.*demo"):
        find_recipe("no-such")


keys = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4)
values = st.one_of(
    st.integers(), st.booleans(), st.none(), st.lists(st.integers(), max_size=3), st.text("xyz", min_size=1)
)


@given(keys, values)
def test_overrides_set_exactly_what_they_name(path, value):
    settings = {"other": 1}
    set_dotted(
        settings, f"{'.'.join(path)}={yaml.safe_dump(value, default_flow_style=True).removesuffix('...' + chr(10))}"
    )
    found = settings
    for key in path:
        found = found[key]
    assert found == value
    assert settings["other"] == 1


@given(st.text())
def test_any_override_gives_a_recipe_or_an_input_error(text):
    settings = {"part": {"rows": 1}, "parts": [1]}
    recipe = None
    with contextlib.suppress(InputError):  # any other error fails the test
        set_dotted(settings, text)
        recipe = parse_recipe(Whole, settings, "test")
    assert recipe is None or isinstance(recipe, Whole)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: 2023-02-30", "seed: Input should be a valid integer.*given: 2023-02-30"),
        ("seed: .inf", "seed: "),
        ("seed: .nan", "seed: "),
        (f"{'k' * 900}: 1", "unknown key 'k{80}"),
        (f"seed: {list(range(3_000))}", "given: .{80}"),
        ("1: 2", "1: Keys should be strings"),
    ],
)
def test_a_message_is_short_whatever_was_given(text, words, tmp_path):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        load_recipe(Whole, tmp_path / "recipe.yaml")
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)
