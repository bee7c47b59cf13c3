"""Recipes: pydantic models read from YAML, with dotted overrides and a content hash."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from channelfm.errors import InputError
from channelfm.plain import from_yaml, read_yaml


class Recipe(BaseModel):
    """Base of all recipe models: frozen, and an unknown key is an error, not a typo that goes unseen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def content_hash(self) -> str:
        """SHA-256 over the canonical JSON of all values: equal recipes have equal hashes."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


RecipeT = TypeVar("RecipeT", bound=Recipe)
Values = TypeVar("Values")


def find_recipe(path: str | Path) -> Path:
    """A recipe by path, or by name among the recipes that ship with the package ("demo", "recipes/demo.yaml")."""
    given = Path(path)
    if os.path.isfile(given):  # which asks no question of a name that no file can have
        return given
    here = Path(__file__).resolve().parent
    name = given.name if given.suffix in {".yaml", ".yml"} else f"{given.name}.yaml"
    for folder in (here / "recipes", here.parent / "recipes"):
        if os.path.isfile(folder / name):
            return folder / name
    names = shipped_recipes()
    close = difflib.get_close_matches(Path(path).stem, names, n=3)
    listed = ", ".join([*close, *(name for name in names if name not in close)])
    raise InputError(f"{brief(str(path))}: no such recipe; give a YAML file, or one of: {listed}")


def shipped_recipes() -> list[str]:
    """Names of the recipes that ship with the package."""
    here = Path(__file__).resolve().parent
    return sorted(
        {file.stem for folder in (here / "recipes", here.parent / "recipes") for file in folder.glob("*.yaml")}
    )


def load_recipe(model: type[RecipeT], path: str | Path, overrides: Sequence[str] = ()) -> RecipeT:
    """Read a YAML recipe and apply overrides such as ``"array.rows=16"``.

    Raises InputError that names the file and the offending field for a missing file, broken YAML,
    an unknown key or a value out of range.
    """
    file, values = recipe_values(path)
    for override in overrides:
        set_dotted(values, override)
    return parse_recipe(model, values, str(file))


def recipe_values(path: str | Path) -> tuple[Path, dict[str, Any]]:
    """The file of a recipe and its plain values; InputError where it is missing or no mapping in YAML."""
    file = find_recipe(path)
    try:
        values = read_yaml(file) or {}
    except ValueError as error:
        raise InputError(f"{file}: not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{file}: a recipe is a mapping of keys to values, this is a {type(values).__name__}")
    return file, values


def parse_recipe(model: type[RecipeT], values: dict[str, Any], source: str) -> RecipeT:
    """Validate plain values against a recipe model; InputError names ``source`` and the first bad field."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "extra_forbidden":
            place, known = brief(".".join(map(str, first["loc"]))), ", ".join(_fields_at(model, first["loc"][:-1]))
            raise InputError(f"{source}: unknown key '{place}'; remove it or use one of: {known}") from error
        raise InputError(_first_problem(source, error)) from error


def parse_values(kind: type[Values], values: Any, source: str) -> Values:
    """Plain values as a dataclass; InputError names ``source`` and the first field that is wrong."""
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise InputError(_first_problem(source, error)) from error


def _first_problem(source: str, error: ValidationError) -> str:
    """Where in a source the first wrong value stands, what is wrong with it, and the value."""
    first = error.errors()[0]
    place = brief(".".join(str(part) for part in first["loc"])) or "(top level)"
    return f"{source}: {place}: {brief(first['msg'], 200)} (given: {brief(first['input'])})"


def brief(value: object, most: int = 80) -> str:
    """A value as messages show it: on one line, cut after ``most`` characters."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        text = "a number of thousands of digits"
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[:most]}..."


def _fields_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Field names of the (possibly nested) model at an error's location; a union's member goes by its tag there."""
    members: list[type[BaseModel]] = []
    for part in location:
        tagged = [item for item in members if isinstance(part, str) and part in _defaults(item)]
        if tagged:
            model = tagged[0]
            continue
        annotation = (
            model.model_fields[part].annotation if isinstance(part, str) and part in model.model_fields else None
        )
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        members = [item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel)]
        if members:
            model = members[0]
    return list(model.model_fields)


def _defaults(model: type[BaseModel]) -> list[Any]:
    return [field.default for field in model.model_fields.values()]


def set_dotted(values: dict[str, Any], override: str) -> None:
    """Apply one ``a.b=value`` override in place; the value is read as YAML, list items by number."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"override '{brief(override)}': write it as key.subkey=value")
    try:
        value = from_yaml(text)
    except ValueError as error:
        raise InputError(f"override '{brief(override)}': not valid YAML: {error}") from error
    *parents, last = key.split(".")
    target: Any = values
    try:
        for part in parents:
            target = target[int(part)] if isinstance(target, list) else target.setdefault(part, {})
        if isinstance(target, list):
            target[int(last)] = value
        else:
            target[last] = value
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise InputError(f"override '{brief(override)}': no such place in the recipe") from error
