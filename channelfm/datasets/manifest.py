"""The manifest: what a finished data set holds, with a hash of every file and of the manifest itself."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ValidationError

from channelfm.arrays import UPA
from channelfm.config import parse_recipe
from channelfm.datasets.plan import plan_units
from channelfm.datasets.recipe import DatasetRecipe, ForeignRecipe
from channelfm.datasets.shards import FileEntry, ShardEntry
from channelfm.errors import InputError, IntegrityError
from channelfm.files import write_atomically
from channelfm.plain import from_json

MANIFEST = "manifest.json"
RECIPE = "recipe.json"
SCENE_FOLDER = "scenes"
FORMAT = 2
COUNTED = ("snapshots", "near_field", "line_of_sight", "without_path")


@dataclass(frozen=True)
class MapEntry:
    """The map that a scene was made from: SHA-256 of the file, and the moment its data are of (ISO 8601), where the
    file tells."""

    sha256: str
    date: str | None


@dataclass(frozen=True)
class SceneEntry:
    """A scene of the data set: the file of its record (None where it came without one or is left out), the arrays in it
    by the names of their stations, whom to credit for the map, and which map it was (None where there is none)."""

    name: str
    record: FileEntry | None
    arrays: dict[str, UPA]
    attribution: str
    map: MapEntry | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON has it; a map that there is not is left out."""
        values = dataclasses.asdict(self)
        return values if self.map is not None else {key: value for key, value in values.items() if key != "map"}


@dataclass(frozen=True)
class Manifest:
    """Contents of ``manifest.json``.

    ``identity`` is the hash that a folder is claimed with: recipe plus contents of the map files it names.
    ``versions`` are those of the libraries that the bytes depend on. No wall time is in here. An excerpt has the recipe
    and the identity of the whole data set, and fewer shards than the recipe plans.
    """

    recipe: DatasetRecipe | ForeignRecipe
    identity: str
    versions: dict[str, str]
    scenes: tuple[SceneEntry, ...]
    shards: tuple[ShardEntry, ...]

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that hold snapshots, in the order train, val, test."""
        held = {shard.split for shard in self.shards}
        return tuple(split for split in ("train", "val", "test") if split in held)

    def counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """Snapshots, near-field, line-of-sight and pathless ones, per split and scene."""
        table: dict[str, dict[str, dict[str, int]]] = {}
        for shard in self.shards:
            row = table.setdefault(shard.split, {}).setdefault(shard.scene, dict.fromkeys(COUNTED, 0))
            for key in COUNTED:
                row[key] += getattr(shard, key)
        return table

    def planned(self) -> dict[str, int]:
        """Snapshots by split that the recipe says; those that are there, where they came without a recipe of ours."""
        planned: dict[str, int] = dict.fromkeys(self.splits, 0)
        if isinstance(self.recipe, ForeignRecipe):
            return {split: self._held(split) for split in planned}
        splits = {flight.name: flight.split for flight in self.recipe.flights}
        for unit in plan_units(self.recipe):
            planned[splits[unit.flight]] = planned.get(splits[unit.flight], 0) + unit.snapshots
        return planned

    def is_whole(self, split: str) -> bool:
        """Whether a split is there with all its snapshots; an excerpt may hold fewer, or none."""
        return 0 < self._held(split) == self.planned()[split]

    def _held(self, split: str) -> int:
        return sum(shard.snapshots for shard in self.shards if shard.split == split)

    def content_hash(self) -> str:
        """SHA-256 over the manifest, hence over every byte of the data set: what a checkpoint was trained on."""
        return _seal(self._plain())

    def save(self, folder: Path) -> None:
        """Write ``manifest.json`` atomically; equal data sets have equal bytes."""
        plain = self._plain()
        content = json.dumps(plain | {"seal": _seal(plain)}, indent=1, sort_keys=True)
        write_atomically(folder / MANIFEST, content.encode())

    def _plain(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "name": self.recipe.name,
            "recipe": self.recipe.model_dump(mode="json"),
            "recipe_hash": self.recipe.content_hash(),
            "identity": self.identity,
            "versions": self.versions,
            "counts": self.counts(),
            "scenes": [scene.plain() for scene in self.scenes],
            "shards": [shard.plain() for shard in self.shards],
        }

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read and check ``manifest.json``: InputError without one, IntegrityError for one that was altered."""
        path = folder / MANIFEST
        if not path.is_file():
            if (folder / RECIPE).is_file():
                raise InputError(f"{folder}: an unfinished data set; run generate again with its recipe to finish it")
            raise InputError(f"{folder}: no data set here ({MANIFEST} is missing); make one with 'channelfm generate'")
        try:
            plain = from_json(path.read_text(encoding="utf-8"))
            seal = plain.pop("seal")
            whole = seal == _seal(plain)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(f"{path}: not a whole manifest ({error}); {_REMEDY}") from error
        if not whole:
            raise IntegrityError(f"{path}: was altered after it was written (its seal does not fit); {_REMEDY}")
        if plain.get("format") != FORMAT:
            raise InputError(f"{path}: has format {plain.get('format')}, this version reads {FORMAT}; generate it anew")
        try:
            _Contents.model_validate(plain)
            foreign = "imported_from" in plain["recipe"]
            recipe: DatasetRecipe | ForeignRecipe = (
                parse_recipe(ForeignRecipe, plain["recipe"], str(path))
                if foreign
                else parse_recipe(DatasetRecipe, plain["recipe"], str(path))
            )
            return cls(
                recipe=recipe,
                identity=plain["identity"],
                versions=plain["versions"],
                scenes=tuple(decode_scene(item) for item in plain["scenes"]),
                shards=tuple(ShardEntry(**item) for item in plain["shards"]),
            )
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise IntegrityError(f"{path}: {place}: {first['msg']}; {_REMEDY}") from error
        except TypeError as error:
            raise IntegrityError(f"{path}: not a manifest of this version ({error}); {_REMEDY}") from error


class _Contents(BaseModel):
    """What a manifest must hold, beside what follows from it."""

    recipe: dict[str, Any]
    identity: str
    versions: dict[str, str]
    scenes: list[SceneEntry]
    shards: list[ShardEntry]


_REMEDY = "run generate again with the same recipe, whole shards are kept"


def decode_scene(item: dict[str, Any]) -> SceneEntry:
    """A scene's entry from its JSON values."""
    record = None if item["record"] is None else FileEntry(**item["record"])
    arrays = {key: UPA.of_plain(value) for key, value in item["arrays"].items()}
    made_from = MapEntry(**item["map"]) if item.get("map") else None
    return SceneEntry(item["name"], record, arrays, item["attribution"], made_from)


def _seal(plain: dict[str, Any]) -> str:
    # through JSON and back, so that a manifest in memory and the same one read from disk agree (tuples, float forms)
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
