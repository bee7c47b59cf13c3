"""Map files of every format -> raw elements: OSM XML and PBF by pyosmium, other Overpass answers by :mod:`overpass`."""

from __future__ import annotations

import bz2
import datetime
import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import osmium
import osmium.osm

from channelfm.errors import InputError
from channelfm.maps.elements import RawMap
from channelfm.maps.overpass import check_remark, parse_overpass, parse_overpass_geometry

FORMATS = ".osm, .osm.gz, .osm.bz2 or .osm.pbf extract or an Overpass answer"
LARGEST_ANSWER_BYTES = 500_000_000  # of Overpass, unpacked
_CHUNK_BYTES = 1 << 20
_LONGEST_MATCH = 1000
# What makes an XML file more than OSM XML: coordinates within ways, and the note of a server that broke off.
_OVERPASS = re.compile(rb"<nd\b[^>]{0,200}\blat\s*=|<remark>[^<]{0,200}\berror\b[^<]{0,200}")
_STATED_DATE = re.compile(rb"""osm_base"?\s*[=:]\s*["']([0-9TZ:.+-]{10,30})["']""")
_HEAD_BYTES = 4096
_NEVER = datetime.datetime.fromtimestamp(0, datetime.UTC)  # what pyosmium says of an object without a time
_BROKEN = (RuntimeError, ValueError, OSError, osmium.InvalidLocationError)  # what pyosmium raises
_PACKED: dict[bytes, tuple[str, Any]] = {b"\x1f\x8b": (".gz", gzip.open), b"BZh": (".bz2", bz2.open)}


def read_elements(path: str | Path) -> RawMap:
    """Read ways, building relations and the nodes they use.

    The format is recognised by content, not by name: OSM XML, PBF, or an Overpass answer in JSON or in XML with
    coordinates within its elements (text plain, gzip or bzip2). Elements may come in any order. Raises InputError on a
    missing, empty, truncated or foreign file, and on an answer that the server broke off.
    """
    path = Path(path)
    kind, opener = _recognise(path)
    if kind.startswith("json"):
        return parse_overpass(_content(path, opener), str(path))
    note = None if kind == "osm.pbf" else _note_of_overpass(path, opener)
    if note is None:
        return _read_by_osmium(path, kind)
    check_remark(note.decode(errors="replace").removeprefix("<remark>"), str(path))
    return parse_overpass_geometry(_content(path, opener), str(path))


def map_date(path: str | Path) -> str | None:
    """The moment that a map's data are of, as ISO 8601: what Overpass states, else the time of the newest way or
    relation; None where the file does not tell. Raises InputError as :func:`read_elements` does."""
    path = Path(path)
    kind, opener = _recognise(path)
    if kind != "osm.pbf" and (stated := _STATED_DATE.search(next(_chunks(path, opener))[:_HEAD_BYTES])):
        return stated[1].decode()
    if kind.startswith("json"):
        return None
    try:
        items: Any = osmium.FileProcessor(osmium.io.File(str(path), kind), osmium.osm.WAY | osmium.osm.RELATION)
        newest = max((item.timestamp for item in items), default=_NEVER)
    except _BROKEN as error:
        raise _broken(path, error) from error
    return newest.strftime("%Y-%m-%dT%H:%M:%SZ") if newest > _NEVER else None


def _content(path: Path, opener: Any) -> bytes:
    """A whole text, unpacked."""
    content = bytearray()
    for chunk in _chunks(path, opener):
        content += chunk
        if len(content) > LARGEST_ANSWER_BYTES:
            raise InputError(f"{path}: holds more than {LARGEST_ANSWER_BYTES} bytes; query a smaller box")
    return bytes(content)


def _note_of_overpass(path: Path, opener: Any) -> bytes | None:
    """The first place in XML that only Overpass writes; None in plain OSM XML."""
    last = b""
    for chunk in _chunks(path, opener):
        if match := _OVERPASS.search(last + chunk):
            return match[0]
        last = chunk[-_LONGEST_MATCH:]
    return None


def _chunks(path: Path, opener: Any) -> Iterator[bytes]:
    """A text piece by piece; InputError where an archive breaks off."""
    try:
        with opener(path, "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: truncated or broken archive ({error}); download it again") from error


def _read_by_osmium(path: Path, kind: str) -> RawMap:
    """Two passes, so that ways may come before their nodes."""
    file = osmium.io.File(str(path), kind)
    raw = RawMap()
    try:
        with osmium.io.Reader(file, osmium.osm.WAY | osmium.osm.RELATION) as reader:
            box = reader.header().box()
            if box.valid():
                west, east = box.bottom_left.lon, box.top_right.lon
                if east - west > 180.0:  # pyosmium sorts the sides; a box across the antimeridian has west > east
                    west, east = east, west
                raw.take_box(west, box.bottom_left.lat, east, box.top_right.lat)
            for item in osmium.OsmFileIterator(reader):
                _add(raw, item)
        raw.settle()
        used = raw.used_nodes()
        node: Any  # pyosmium's type is the union of all elements
        for node in osmium.FileProcessor(file, osmium.osm.NODE):
            if node.id in used and node.location.valid():
                raw.locations[node.id] = (node.location.lon, node.location.lat)
                if node.tags.get("highway") == "traffic_signals":
                    raw.signals.add(node.id)
    except _BROKEN as error:
        raise _broken(path, error) from error
    return raw


def _broken(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    return InputError(f"{path}: broken or truncated map file ({reason}); download the extract again")


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
        head = file.read(_HEAD_BYTES)
    if not head.strip():
        raise InputError(f"{path}: the map file is empty; download the extract again")
    if b"OSMHeader" in head[:64]:
        return "osm.pbf", opener
    for magic, (packed_suffix, packed_opener) in _PACKED.items():
        if head.startswith(magic):
            suffix, opener = packed_suffix, packed_opener
            head = next(_chunks(path, opener), b"")[:_HEAD_BYTES]
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:1] in (b"{", b"["):
        return "json" + suffix, opener
    if not text.startswith(b"<") or b"<osm" not in text:
        raise InputError(f"{path}: not an OpenStreetMap file; give an {FORMATS}")
    return "osm" + suffix, opener
