"""Where the map of a name lies: in a folder of the user's, else in the cache that ``channelfm maps fetch`` fills.

A file belongs to the name that it begins with, up to the first underscore: ``berlin.osm.gz`` and
``berlin_kreuzberg.osm.pbf`` are both maps of "berlin". The folder is what CHANNELFM_MAPS in the environment names
(``--maps`` on the command line sets it); the cache lies in the user's cache folder, or where CHANNELFM_CACHE says.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from channelfm.errors import InputError
from channelfm.files import write_atomically
from channelfm.maps.data import OSM_ATTRIBUTION
from channelfm.maps.download import download_map, server
from channelfm.maps.files import map_date
from channelfm.maps.presets import known_maps, map_name
from channelfm.maps.projection import Box

FOLDER_VARIABLE = "CHANNELFM_MAPS"
CACHE_VARIABLE = "CHANNELFM_CACHE"
LICENCE = "ODbL-1.0, https://www.openstreetmap.org/copyright"
_MAP_FILE = re.compile(r"([^._][^_]*?)(_.*)?\.osm(\.gz|\.bz2|\.pbf)?")
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9.]+)*")


@dataclass(frozen=True)
class KeptMap:
    """A map in a folder: its name, the file, the SHA-256 of it, and the moment its data are of, where it tells."""

    name: str
    path: Path
    sha256: str
    date: str | None


def cache_folder() -> Path:
    """Where fetched maps are kept."""
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_path("channelfm")) / "maps"


def find_map(name: str) -> Path:
    """The file of a named map: in the user's folder, else in the cache.

    Raises InputError where there is none, which names the command that fetches it, and where there are several.
    """
    return find_maps([name])[name]


def find_maps(names: Iterable[str]) -> dict[str, Path]:
    """Files of several named maps; the InputError of :func:`find_map` names all that are missing."""
    found = {name: look_up(name) for name in dict.fromkeys(names)}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        known = [name for name in missing if map_name(name) in known_maps()]
        own = "" if known else f"W,S,E,N --name {missing[0]}"
        folder = os.environ.get(FOLDER_VARIABLE)
        raise InputError(
            f"no map of {', '.join(missing)} in {f'{folder} or ' if folder else ''}{cache_folder()}; run: "
            f"channelfm maps fetch {' '.join(known) or own}, or give a folder with --maps that holds "
            f"{missing[0]}.osm.gz or the like"
        )
    return {name: path for name, path in found.items() if path is not None}


def look_up(name: str) -> Path | None:
    """The file of a named map, or None; InputError where there are several in one folder."""
    for folder in _folders():
        files = _maps_in(folder).get(map_name(name), [])
        if len(files) > 1:
            listed = " and ".join(file.name for file in files)
            raise InputError(f"{folder}: {listed} are both maps of '{name}'; keep one, or rename the other")
        if files:
            return files[0]
    return None


def _folders() -> list[Path]:
    """The user's folder, if one is named, and the cache."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named and not Path(named).is_dir():
        raise InputError(f"{named}: no such folder of maps; correct --maps or {FOLDER_VARIABLE}")
    return [*([Path(named).absolute()] if named else []), cache_folder()]


def _maps_in(folder: Path) -> dict[str, list[Path]]:
    """Map files of a folder by the names of their maps."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if (match := _MAP_FILE.fullmatch(path.name.lower())) and path.is_file():
            found.setdefault(map_name(match[1]), []).append(path)
    return found


def located(given: str | Path) -> Path:
    """A map as users name it: a file, or the name of a known map. Raises InputError as :func:`find_map` does."""
    path, name = Path(given), str(given)
    if path.is_file() or not _NAME.fullmatch(name):
        return path
    return find_map(name) if map_name(name) in known_maps() or look_up(name) else path


def fetch_map(name: str, box: Box) -> KeptMap:
    """Download a box into the cache as the map of a name; what is kept already is not asked for again.

    Beside the map lies a JSON file with its hash, box, date, licence and attribution. Raises InputError on a name that
    makes no file name, and as :func:`channelfm.maps.download_map` does.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"name '{name}': use lower-case letters, digits and hyphens, such as my-town")
    folder, name = cache_folder(), map_name(name)
    if kept := _maps_in(folder).get(name):
        return describe(name, kept[0])
    found = describe(name, download_map(box, folder / f"{name}.osm.gz"))
    fetched = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    note = {
        **dataclasses.asdict(found),
        "path": found.path.name,
        "box": box,
        "fetched": fetched,
        "server": server(),
        "attribution": OSM_ATTRIBUTION,
        "licence": LICENCE,
    }
    write_atomically(folder / f"{name}.json", json.dumps(note, indent=1).encode())
    return found


def describe(name: str, path: Path) -> KeptMap:
    """What identifies a map file, wherever it lies. Raises InputError on one that cannot be read."""
    return KeptMap(name, path, hashlib.sha256(path.read_bytes()).hexdigest(), map_date(path))


def kept_maps() -> list[KeptMap]:
    """All maps that are found by name, the user's folder first."""
    found: dict[str, Path] = {}
    for folder in _folders():
        for name in _maps_in(folder):
            found.setdefault(name, find_map(name))
    return [describe(name, path) for name, path in found.items()]
