"""The map files that a recipe's scenes are made from: found by name or path, and identified by their contents."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from channelfm.datasets.claim import recipe_identity
from channelfm.datasets.manifest import Manifest
from channelfm.datasets.recipe import DatasetRecipe, SceneRecipe
from channelfm.errors import InputError
from channelfm.maps.presets import crop_box, crop_name
from channelfm.maps.source import fetch_map, find_map, find_maps, look_up

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SceneMap:
    """The map of a scene: the file as it lies here, and its SHA-256."""

    scene: str
    path: Path
    sha256: str


def scene_maps(recipe: DatasetRecipe, tell: Callable[[str], None] = _log.info) -> tuple[SceneMap, ...]:
    """The maps of all scenes that have one; crops of cities that are not kept yet are downloaded, as ``tell`` hears.

    Raises InputError for a file that is not there, and for names without a map: it tells how to fetch them.
    """
    find_maps(scene.where for scene in recipe.scenes if scene.kind == "map")  # names all that are missing at once
    found = []
    for scene in recipe.scenes:
        if scene.kind == "city" and look_up(_crop_name(scene)) is None:
            kept = fetch_map(_crop_name(scene), crop_box(scene.where, scene.crop, scene.crop_m))
            tell(f"{scene.name}: {kept.path} downloaded, data of {kept.date}")
        if scene.has_map:
            found.append(_described(scene))
    return tuple(found)


def maps_at_hand(recipe: DatasetRecipe) -> tuple[SceneMap, ...]:
    """Those of the maps that are here without a download."""
    found = []
    for scene in recipe.scenes:
        if scene.has_map:
            with contextlib.suppress(InputError):
                found.append(_described(scene))
    return tuple(found)


def hashes(maps: tuple[SceneMap, ...]) -> dict[str, str]:
    """SHA-256 of maps by the names of their scenes."""
    return {item.scene: item.sha256 for item in maps}


def identity(recipe: DatasetRecipe) -> str:
    """Hash of all that a data set follows from: its recipe and the contents of the files it names, maps included."""
    return recipe_identity(recipe, hashes(scene_maps(recipe)))


def identity_beside(recipe: DatasetRecipe, manifest: Manifest) -> str:
    """The same beside a finished data set, which knows the maps of its scenes: those that are not here any more are
    taken to be the recorded ones."""
    recorded = {entry.name: entry.map.sha256 for entry in manifest.scenes if entry.map is not None}
    same = manifest.recipe.scenes if isinstance(manifest.recipe, DatasetRecipe) else ()
    kept = {scene.name: recorded[scene.name] for scene in recipe.scenes if scene in same and scene.name in recorded}
    return recipe_identity(recipe, kept | hashes(maps_at_hand(recipe)))


def _file_of(scene: SceneRecipe) -> Path:
    """The file of a scene that has a map."""
    if scene.kind != "osm":
        return find_map(scene.where if scene.kind == "map" else _crop_name(scene))
    path = Path(scene.where)
    if not path.is_file():
        raise InputError(f"scene '{scene.name}': {path}: no such file; give an .osm or .osm.pbf")
    return path


def _crop_name(scene: SceneRecipe) -> str:
    return crop_name(scene.where, scene.crop, scene.crop_m)


def _described(scene: SceneRecipe) -> SceneMap:
    path = _file_of(scene)
    return SceneMap(scene.name, path, hashlib.sha256(path.read_bytes()).hexdigest())
