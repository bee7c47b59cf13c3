"""Map files of every format -> raw elements: OSM XML and PBF by pyosmium, Overpass JSON by :mod:`overpass`."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path
from typing import Any

import osmium
import osmium.osm

from channelfm.errors import InputError
from channelfm.maps.elements import RawMap
from channelfm.maps.overpass import parse_overpass

FORMATS = ".osm, .osm.gz, .osm.bz2 or .osm.pbf extract or an Overpass answer"
_PACKED: dict[bytes, tuple[str, Any]] = {b"\x1f\x8b": (".gz", gzip.open), b"BZh": (".bz2", bz2.open)}


def read_elements(path: str | Path) -> RawMap:
    """Read ways, building relations and the nodes they use.

    The format is recognised by content, not by name: OSM XML or Overpass JSON (plain, gzip, bzip2), or PBF.
    Elements may come in any order. Raises InputError on a missing, empty, truncated or foreign file.
    """
    path = Path(path)
    kind, opener = _recognise(path)
    if not kind.startswith("json"):
        return _read_by_osmium(path, kind)
    with opener(path, "rb") as file:
        try:
            content = file.read()
        except (OSError, EOFError) as error:
            raise InputError(f"{path}: truncated or broken archive ({error}); download it again") from error
    return parse_overpass(content, str(path))


def _read_by_osmium(path: Path, kind: str) -> RawMap:
    """Two passes, so that ways may come before their nodes."""
    file = osmium.io.File(str(path), kind)
    raw = RawMap()
    try:
        box = osmium.FileProcessor(file).header.box()
        if box.valid():
            west, east = box.bottom_left.lon, box.top_right.lon
            if east - west > 180.0:  # pyosmium sorts the sides; a box across the antimeridian has west > east
                west, east = east, west
            raw.box = (west, box.bottom_left.lat, east, box.top_right.lat)
        for item in osmium.FileProcessor(file, osmium.osm.WAY | osmium.osm.RELATION):
            _add(raw, item)
        raw.settle()
        used = raw.used_nodes()
        node: Any  # pyosmium's type is the union of all elements
        for node in osmium.FileProcessor(file, osmium.osm.NODE):
            if node.id in used and node.location.valid():
                raw.locations[node.id] = (node.location.lon, node.location.lat)
                if node.tags.get("highway") == "traffic_signals":
                    raw.signals.add(node.id)
    except (RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: broken or truncated map file ({reason}); download the extract again") from error
    return raw


def _add(raw: RawMap, item: Any) -> None:
    """Store one way or relation."""
    tags = {tag.k: tag.v for tag in item.tags}
    if item.is_way():
        raw.add_way(item.id, tuple(node.ref for node in item.nodes), tags)
    else:
        members = tuple((member.ref, member.role) for member in item.members if member.type == "w")
        raw.add_relation(item.id, members, tags)


def _recognise(path: Path) -> tuple[str, Any]:
    """A file's format from its first bytes, in pyosmium's words or "json", and what opens it; else InputError."""
    if not path.is_file():
        raise InputError(f"{path}: no such map file; give an {FORMATS}")
    suffix, opener = "", open
    with path.open("rb") as file:
        head = file.read(4096)
    if not head.strip():
        raise InputError(f"{path}: the map file is empty; download the extract again")
    if b"OSMHeader" in head[:64]:
        return "osm.pbf", opener
    for magic, (packed_suffix, packed_opener) in _PACKED.items():
        if head.startswith(magic):
            suffix, opener = packed_suffix, packed_opener
            try:
                with opener(path, "rb") as packed:
                    head = packed.read(4096)
            except (OSError, EOFError) as error:
                raise InputError(f"{path}: truncated or broken archive ({error}); download it again") from error
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:1] in (b"{", b"["):
        return "json" + suffix, opener
    if not text.startswith(b"<") or b"<osm" not in text:
        raise InputError(f"{path}: not an OpenStreetMap file; give an {FORMATS}")
    return "osm" + suffix, opener
