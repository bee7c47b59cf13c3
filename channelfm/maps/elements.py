"""Raw OpenStreetMap elements of a file, whatever its format and the order of its content (pyosmium)."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import osmium
import osmium.osm

from channelfm.errors import InputError

BUILDING_KEYS = ("building", "building:part")
Box = tuple[float, float, float, float]  # west, south, east, north, in degrees


@dataclass(frozen=True)
class Way:
    """A line of node ids; ``tags`` are kept for buildings and roads only."""

    id: int
    refs: tuple[int, ...]
    tags: dict[str, str]


@dataclass(frozen=True)
class Relation:
    """A building made of several ways: ``members`` are (way id, role)."""

    id: int
    members: tuple[tuple[int, str], ...]
    tags: dict[str, str]


@dataclass
class RawMap:
    """Elements of one file: ways by id, building relations, (longitude, latitude) in degrees by node id."""

    ways: dict[int, Way] = field(default_factory=dict)
    relations: list[Relation] = field(default_factory=list)
    locations: dict[int, tuple[float, float]] = field(default_factory=dict)
    box: Box | None = None


def read_elements(path: str | Path) -> RawMap:
    """Read ways, building relations and the nodes they use.

    The format is recognised by content, not by name: OSM XML (plain, gzip, bzip2) or PBF. Two passes, so that
    ways may come before their nodes. Raises InputError on a missing, empty, truncated or foreign file.
    """
    path = Path(path)
    file = osmium.io.File(str(path), _recognise(path))
    raw = RawMap()
    try:
        box = osmium.FileProcessor(file).header.box()
        if box.valid():
            low, high = box.bottom_left, box.top_right
            raw.box = (low.lon, low.lat, high.lon, high.lat)
        for item in osmium.FileProcessor(file, osmium.osm.WAY | osmium.osm.RELATION):
            _keep(raw, item)
        used = _used_nodes(raw)
        node: Any  # pyosmium's type is the union of all elements
        for node in osmium.FileProcessor(file, osmium.osm.NODE):
            if node.id in used and node.location.valid():
                raw.locations[node.id] = (node.location.lon, node.location.lat)
    except (RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: broken or truncated map file ({reason}); download the extract again") from error
    return raw


def _keep(raw: RawMap, item: Any) -> None:
    """Store one way, or one relation if it is a building."""
    if item.is_way():
        wanted = any(key in item.tags for key in (*BUILDING_KEYS, "highway"))
        tags = {tag.k: tag.v for tag in item.tags} if wanted else {}
        raw.ways[item.id] = Way(item.id, tuple(node.ref for node in item.nodes), tags)
    elif item.tags.get("type") == "multipolygon" and any(key in item.tags for key in BUILDING_KEYS):
        members = tuple((member.ref, member.role) for member in item.members if member.type == "w")
        raw.relations.append(Relation(item.id, members, {tag.k: tag.v for tag in item.tags}))


def _used_nodes(raw: RawMap) -> set[int]:
    """Ids of the nodes that buildings and roads refer to."""
    members = {ref for relation in raw.relations for ref, _ in relation.members}
    return {ref for way in raw.ways.values() if way.tags or way.id in members for ref in way.refs}


def _recognise(path: Path) -> str:
    """pyosmium's name of a file's format, from its first bytes; InputError if it is no OSM map."""
    if not path.is_file():
        raise InputError(f"{path}: no such map file; give an .osm, .osm.gz, .osm.bz2 or .osm.pbf extract")
    with path.open("rb") as file:
        head = file.read(4096)
    if not head.strip():
        raise InputError(f"{path}: the map file is empty; download the extract again")
    openers: dict[bytes, tuple[str, Callable[..., Any]]] = {
        b"\x1f\x8b": ("osm.gz", gzip.open),
        b"BZh": ("osm.bz2", bz2.open),
    }
    for magic, (kind, opener) in openers.items():
        if head.startswith(magic):
            try:
                with opener(path, "rb") as packed:
                    head = packed.read(4096)
            except (OSError, EOFError) as error:
                raise InputError(f"{path}: truncated or broken archive ({error}); download it again") from error
            _check_xml(path, head)
            return kind
    if b"OSMHeader" in head[:64]:
        return "osm.pbf"
    _check_xml(path, head)
    return "osm"


def _check_xml(path: Path, head: bytes) -> None:
    """Raise InputError unless the text looks like OSM XML; name what it is instead."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:1] in (b"{", b"["):
        raise InputError(
            f"{path}: this is JSON (an Overpass answer?), not OSM XML or PBF; "
            "download it again with [out:xml] instead of [out:json]"
        )
    if not text.startswith(b"<") or b"<osm" not in text:
        raise InputError(f"{path}: not an OpenStreetMap file; give an .osm, .osm.gz, .osm.bz2 or .osm.pbf extract")
