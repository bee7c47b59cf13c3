"""What a folder is meant to hold: the identity of a recipe, and the claim that keeps two data sets apart."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import channelfm
from channelfm.datasets.manifest import RECIPE, SCENE_FOLDER
from channelfm.datasets.recipe import DatasetRecipe, ForeignRecipe
from channelfm.datasets.shards import SHARD_FOLDER
from channelfm.errors import InputError, IntegrityError
from channelfm.files import write_atomically
from channelfm.plain import from_json

_BYTES_DEPEND_ON = ("numpy", "torch", "osmium", "shapely", "sionna-rt", "sionna-no-rt", "mitsuba", "drjit")


def recipe_identity(recipe: DatasetRecipe, maps: Mapping[str, str]) -> str:
    """Hash of a recipe and of the contents of the files it names: a moved map is equal, an edited one is not.

    ``maps`` are the SHA-256 of the maps that scenes are made from, by the names of these scenes. Raises InputError for
    another file that is not there.
    """
    plain = recipe.model_dump(mode="json")
    for scene, values in zip(recipe.scenes, plain["scenes"], strict=True):
        if scene.has_map and scene.name in maps:
            values["source"] = "osm:" + maps[scene.name]
        del values["fallback"], values["instead_of"]  # of what might have been
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


def claim_folder(
    folder: Path,
    recipe: DatasetRecipe | ForeignRecipe,
    identity: str,
    versions: dict[str, str],
    maps: Mapping[str, str] | None = None,
) -> None:
    """Take a folder for a recipe: a new or empty one, or one that was begun with the same recipe, maps and versions.

    A claim under which no shard was written yet gives way, and what it knew of its scenes with it. Raises InputError
    for any other folder, and IntegrityError if its claim is not readable.
    """
    path = folder / RECIPE
    content = {
        "identity": identity,
        "versions": versions,
        "recipe": recipe.model_dump(mode="json"),
        "maps": dict(maps or {}),
    }
    if any((folder / SHARD_FOLDER).glob("*.safetensors")) and path.is_file():
        _check_claim(path, content)
        return
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give a folder for the data set")
    if folder.is_dir() and not path.is_file() and any(not item.name.startswith(".") for item in folder.iterdir()):
        raise InputError(f"{folder}: holds files that are no data set; give an empty or new folder")
    if path.is_file() and _identity_of(path) != identity:
        for journal in (folder / SCENE_FOLDER).glob("*.json"):
            journal.unlink(missing_ok=True)
    write_atomically(path, json.dumps(content, indent=1, sort_keys=True).encode())


@contextlib.contextmanager
def at_work(folder: Path, shared: bool = False) -> Iterator[None]:
    """Be the only run in a folder, or one of those that share it; InputError where another is at work there."""
    handle = os.open(folder, os.O_RDONLY)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, handle)
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{folder}: another run is at work here; wait for it or stop it") from error
        yield


def _identity_of(path: Path) -> str | None:
    """Whose a claim is, if it can be read."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["identity"])
    except (ValueError, KeyError, TypeError):
        return None


def _check_claim(path: Path, content: dict[str, Any]) -> None:
    try:
        begun = from_json(path.read_text(encoding="utf-8"))
        begun_identity, begun_versions, name = begun["identity"], dict(begun["versions"]), begun["recipe"]["name"]
        begun_maps = dict(begun.get("maps", {}))
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{path}: not readable ({error}); delete the folder or give another one") from error
    versions, maps = content["versions"], content["maps"]
    if begun_identity != content["identity"]:
        for scene in begun_maps if begun["recipe"] == content["recipe"] else ():
            if begun_maps[scene] != maps.get(scene):
                raise InputError(
                    f"{path.parent}: scene '{scene}' was begun with another map (SHA-256 {begun_maps[scene][:12]}) "
                    f"than is found now ({str(maps.get(scene))[:12]}); name the folder of the first with --maps, give "
                    "another --out, or delete that folder"
                )
        raise InputError(
            f"{path.parent}: holds the data set of another recipe ('{name}'); give another --out, or delete that folder"
        )
    if begun_versions != versions:
        changed = [key for key in {**begun_versions, **versions} if begun_versions.get(key) != versions.get(key)]
        raise InputError(
            f"{path.parent}: was begun with other versions of {', '.join(changed)} and its parts would not fit "
            "together; give another --out, or delete that folder"
        )
