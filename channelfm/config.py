"""Recipes: pydantic models read from YAML, with dotted overrides and a content hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from channelfm.errors import InputError


class Recipe(BaseModel):
    """Base of all recipe models: frozen, and an unknown key is an error, not a typo that goes unseen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def content_hash(self) -> str:
        """SHA-256 over the canonical JSON of all values: equal recipes have equal hashes."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


RecipeT = TypeVar("RecipeT", bound=Recipe)


def find_recipe(path: str | Path) -> Path:
    """A recipe by path, or by name among the recipes that ship with the package ("demo", "recipes/demo.yaml")."""
    given = Path(path)
    if given.is_file():
        return given
    here = Path(__file__).resolve().parent
    name = given.name if given.suffix in {".yaml", ".yml"} else f"{given.name}.yaml"
    for folder in (here / "recipes", here.parent / "recipes"):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{path}: no such recipe; give a YAML file, or one of: {', '.join(shipped_recipes())}")


def shipped_recipes() -> list[str]:
    """Names of the recipes that ship with the package."""
    here = Path(__file__).resolve().parent
    return sorted(
        {file.stem for folder in (here / "recipes", here.parent / "recipes") for file in folder.glob("*.yaml")}
    )


def recipe_task(path: str | Path) -> str | None:
    """The ``task`` that a recipe file names, None where it names none; errors are left to :func:`load_recipe`."""
    try:
        values = yaml.safe_load(find_recipe(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return None
    return values.get("task") if isinstance(values, dict) else None


def load_recipe(model: type[RecipeT], path: str | Path, overrides: Sequence[str] = ()) -> RecipeT:
    """Read a YAML recipe and apply overrides such as ``"array.rows=16"``.

    Raises InputError that names the file and the offending field for a missing file, broken YAML,
    an unknown key or a value out of range.
    """
    file = find_recipe(path)
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not valid YAML: {error}".replace("\n", " ")) from error
    if not isinstance(values, dict):
        raise InputError(f"{file}: a recipe is a mapping of keys to values, this is a {type(values).__name__}")
    for override in overrides:
        set_dotted(values, override)
    return parse_recipe(model, values, str(file))


def parse_recipe(model: type[RecipeT], values: dict[str, Any], source: str) -> RecipeT:
    """Validate plain values against a recipe model; InputError names ``source`` and the first bad field."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "(top level)"
        if first["type"] == "extra_forbidden":
            known = ", ".join(_fields_at(model, first["loc"][:-1]))
            raise InputError(f"{source}: unknown key '{place}'; remove it or use one of: {known}") from error
        raise InputError(f"{source}: {place}: {first['msg']} (given: {first.get('input')!r})") from error


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
        raise InputError(f"override '{override}': write it as key.subkey=value")
    *parents, last = key.split(".")
    target: Any = values
    try:
        for part in parents:
            target = target[int(part)] if isinstance(target, list) else target.setdefault(part, {})
        if isinstance(target, list):
            target[int(last)] = yaml.safe_load(text)
        else:
            target[last] = yaml.safe_load(text)
    except (ValueError, IndexError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise InputError(f"override '{override}': no such place in the recipe") from error
