"""What a folder is meant to hold: the identity of a recipe, and the claim that keeps two data sets apart."""

from __future__ import annotations

import contextlib
import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import channelfm
from channelfm.datasets.manifest import RECIPE
from channelfm.datasets.recipe import DatasetRecipe, ForeignRecipe
from channelfm.datasets.shards import SHARD_FOLDER
from channelfm.errors import InputError, IntegrityError
from channelfm.records import write_atomically

_BYTES_DEPEND_ON = ("numpy", "torch", "osmium", "shapely", "sionna-rt", "sionna-no-rt", "mitsuba", "drjit")


def recipe_identity(recipe: DatasetRecipe) -> str:
    """Hash of a recipe and of the contents of the files it names: a moved map is equal, an edited one is not.

    Raises InputError for a file that is not there.
    """
    plain = recipe.model_dump(mode="json")
    for scene, values in zip(recipe.scenes, plain["scenes"], strict=True):
        if scene.kind == "osm":
            values["source"] = "osm:" + _contents(scene.where, f"scene '{scene.name}'", "give an .osm or .osm.pbf")
        if scene.terrain is not None:
            values["terrain"] = _contents(scene.terrain, f"scene '{scene.name}'", "give a GeoTIFF or ASC raster")
    for flight, values in zip(recipe.flights, plain["flights"], strict=True):
        if flight.file is not None:
            values["file"] = _contents(flight.file, f"flight '{flight.name}'", "give a CSV of positions")
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _contents(path: str, what: str, remedy: str) -> str:
    if not Path(path).is_file():
        raise InputError(f"{what}: {path}: no such file; {remedy}")
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def library_versions() -> dict[str, str]:
    """Versions of the libraries that a data set's bytes depend on; absent ones are left out."""
    found = {"channelfm": channelfm.__version__}
    for name in _BYTES_DEPEND_ON:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def claim_folder(folder: Path, recipe: DatasetRecipe | ForeignRecipe, identity: str, versions: dict[str, str]) -> None:
    """Take a folder for a recipe: a new or empty one, or one that was begun with the same recipe and versions.

    A claim under which no shard was written yet gives way. Raises InputError for any other folder, and IntegrityError
    if its claim is not readable.
    """
    path = folder / RECIPE
    if any((folder / SHARD_FOLDER).glob("*.safetensors")) and path.is_file():
        _check_claim(path, identity, versions)
        return
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give a folder for the data set")
    if folder.is_dir() and not path.is_file() and any(not item.name.startswith(".") for item in folder.iterdir()):
        raise InputError(f"{folder}: holds files that are no data set; give an empty or new folder")
    content = {"identity": identity, "versions": versions, "recipe": recipe.model_dump(mode="json")}
    write_atomically(path, json.dumps(content, indent=1, sort_keys=True).encode())


def _check_claim(path: Path, identity: str, versions: dict[str, str]) -> None:
    try:
        begun = json.loads(path.read_text(encoding="utf-8"))
        begun_identity, begun_versions, name = begun["identity"], dict(begun["versions"]), begun["recipe"]["name"]
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{path}: not readable ({error}); delete the folder or give another one") from error
    if begun_identity != identity:
        raise InputError(
            f"{path.parent}: holds the data set of another recipe ('{name}'); give another --out, or delete that folder"
        )
    if begun_versions != versions:
        changed = [key for key in {**begun_versions, **versions} if begun_versions.get(key) != versions.get(key)]
        raise InputError(
            f"{path.parent}: was begun with other versions of {', '.join(changed)} and its parts would not fit "
            "together; give another --out, or delete that folder"
        )
