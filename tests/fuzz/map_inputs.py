"""Hostile maps: small files of every format that is read, spoilt in one to three places.

    for name, content in map_inputs(random.Random(0)): ...   # without end; equal seeds give equal maps

``read_hostile_map`` says what has to come of each.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import json
import math
import random
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import osmium
import osmium.osm.mutable

from channelfm.errors import ChannelfmError
from channelfm.maps import MapData, read_map

# Values that have broken readers before: no numbers, numbers too large, places off the globe, other scripts' digits.
VALUES = (
    *(
        "",
        " ",
        "NaN",
        "nan",
        "inf",
        "-Infinity",
        "1e400",
        "-1e-400",
        "0",
        "-0.0",
        "90",
        "-90",
        "91",
        "180",
        "180.0000001",
    ),
    *(
        "-180",
        "1e3",
        "9" * 30,
        "-1",
        "0x10",
        "1,5",
        "1_0",
        "٣",
        "½",
        "12'6\"",
        "1/0",
        "null",
        "true",
        "yes",
        "no",
        "\\u0000",
    ),
    *(
        "48.0",
        "11.0",
        "2147483648",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551616",
        "<",
        "&amp;",
        "]]>",
    ),
)
NUMBER = re.compile(rb"(?<=[\"':,\[ ])-?\d+(?:\.\d+)?(?=[\"',\]}: ])")
TEXT = re.compile(rb"\"[^\"<>{}\[\]]{0,40}\"")
PIECE = re.compile(rb"<[^<>]{1,200}>|\{[^{}]{1,300}\},?")

# (west, south) corners of squares in metres, and their sides: a court with an island, blocks that touch, a stray one.
_SQUARES = ((0, 0, 60), (10, 10, 40), (20, 20, 20), (100, 0, 20), (120, 20, 20), (0, 100, 30))
_METRE_DEG = 1e-5


def map_inputs(rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Hostile maps without end, as (file name, content)."""
    maps = sorted(whole_maps().items())
    while True:
        name, content = rng.choice(maps)
        for _ in range(rng.randint(1, 3)):
            content = rng.choice(_MISCHIEF)(content, rng)
        if name.endswith((".osm", ".json")) and rng.random() < 0.1:  # whole archives of broken texts
            suffix, pack = rng.choice(((".gz", functools.partial(gzip.compress, mtime=0)), (".bz2", bz2.compress)))
            name, content = name + suffix, pack(content)
        yield name, content


def read_hostile_map(path: Path) -> MapData | ChannelfmError:
    """Read a map: what came of it is footprints fit for a scene or one of our errors, in one line; else AssertionError.

    Any other exception passes.
    """
    try:
        data = read_map(path)
    except ChannelfmError as error:
        return _checked_error(error)
    return _checked_map(data)


def _checked_error(error: ChannelfmError) -> ChannelfmError:
    assert str(error).strip(), "an error without words"
    assert "\n" not in str(error), f"an error of several lines: {error}"
    return error


def _checked_map(data: MapData) -> MapData:
    assert data.footprints, "a map without a building"
    assert all(map(math.isfinite, data.bounds)), f"bounds {data.bounds}"
    for item in data.footprints:
        assert item.area.is_valid, f"{item.osm_id}: area not valid"
        assert item.area.area > 0.0, f"{item.osm_id}: area {item.area.area}"  # False for NaN
        assert all(map(math.isfinite, item.area.bounds)), f"{item.osm_id}: {item.area.bounds}"
        assert 0.0 <= item.min_height_m < item.height_m < math.inf, (
            f"{item.osm_id}: {item.min_height_m} {item.height_m}"
        )
    for road in data.roads:
        assert np.isfinite(road.points).all(), f"road {road}"
    return data


@functools.cache
def whole_maps() -> dict[str, bytes]:
    """The same small map in every format that is read, by file name."""
    xml = _xml(geometry=False)
    return {
        "plain.osm": xml,
        "packed.osm.gz": gzip.compress(xml, mtime=0),
        "packed.osm.bz2": bz2.compress(xml),
        "binary.osm.pbf": _pbf(),
        "geometry.osm": _xml(geometry=True),
        "answer.json": _json(geometry=False),
        "geometry.json": _json(geometry=True),
    }


def _elements() -> tuple[dict[int, tuple[float, float]], dict[int, tuple[list[int], dict[str, str]]], list[tuple]]:
    """Nodes (longitude, latitude), ways (node ids, tags) and relations (id, members, tags) of the small map."""
    numbers: dict[tuple[int, int], int] = {}
    ways: dict[int, tuple[list[int], dict[str, str]]] = {}
    for way, (x, y, side) in enumerate(_SQUARES, 1):
        corners = [(x, y), (x + side, y), (x + side, y + side), (x, y + side), (x, y)]
        ways[way] = ([numbers.setdefault(corner, len(numbers) + 1) for corner in corners], {})
    ways[6][1].update({"building": "house", "height": "12.5 m", "roof:shape": "gabled", "roof:height": "3"})
    ways[7] = (ways[6][0], {"building:part": "yes", "min_height": "4", "building:levels": "3"})
    street = [numbers.setdefault((x, 75), len(numbers) + 1) for x in (-50, 30, 200)]
    ways[10] = (street, {"highway": "residential", "oneway": "-1"})
    ring = ways.pop(1)[0]
    ways[1], ways[11] = (ring[:3], {}), (ring[2:], {})
    nodes = {number: (11.0 + x * _METRE_DEG, 48.0 + y * _METRE_DEG) for (x, y), number in numbers.items()}
    court = [(1, "outer"), (11, "outer"), (2, "inner"), (3, "outer")]
    relations = [
        (20, court, {"type": "multipolygon", "building": "yes", "building:levels": "5", "building:material": "brick"}),
        (21, [(way, "outer") for way in (4, 5)], {"type": "multipolygon", "building": "yes", "height": "40'6\""}),
    ]
    return nodes, ways, relations


def _xml(geometry: bool) -> bytes:
    """As a plain extract, or as Overpass' ``out geom``."""
    nodes, ways, relations = _elements()

    def tags(values: dict[str, str]) -> str:
        return "".join(f'<tag k="{key}" v="{value.replace(chr(34), "&quot;")}"/>' for key, value in values.items())

    def place(node: int) -> str:
        return f'lat="{nodes[node][1]:.7f}" lon="{nodes[node][0]:.7f}"'

    lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<osm version="0.6" generator="Overpass API">']
    lines += ['<meta osm_base="2026-01-01T00:00:00Z"/>']
    if not geometry:
        lines += ['<bounds minlat="47.9990000" minlon="10.9990000" maxlat="48.0020000" maxlon="11.0030000"/>']
        lines += [f'<node id="{node}" version="1" {place(node)}/>' for node in nodes]
    for way, (refs, values) in ways.items():
        points = [f'<nd ref="{ref}"{" " + place(ref) if geometry else ""}/>' for ref in refs]
        lines += [f'<way id="{way}" version="1">', *points, tags(values), "</way>"]
    for number, members, values in relations:
        lines += [f'<relation id="{number}" version="1">']
        for way, role in members:
            points = "".join(f"<nd {place(ref)}/>" for ref in ways[way][0]) if geometry else ""
            lines += [f'<member type="way" ref="{way}" role="{role}">{points}</member>']
        lines += [tags(values), "</relation>"]
    return "\n".join([*lines, "</osm>", ""]).encode()


def _json(geometry: bool) -> bytes:
    """As an answer of Overpass in JSON."""
    nodes, ways, relations = _elements()

    def line(way: int) -> list[dict[str, float]]:
        return [{"lat": nodes[ref][1], "lon": nodes[ref][0]} for ref in ways[way][0]]

    found: list[dict] = []
    if not geometry:
        found += [{"type": "node", "id": node, "lat": lat, "lon": lon} for node, (lon, lat) in nodes.items()]
    for way, (refs, values) in ways.items():
        places = {"geometry": line(way)} if geometry else {}
        found.append({"type": "way", "id": way, "nodes": refs, **places, "tags": values})
    for number, members, values in relations:
        listed = [
            {"type": "way", "ref": way, "role": role, **({"geometry": line(way)} if geometry else {})}
            for way, role in members
        ]
        found.append({"type": "relation", "id": number, "members": listed, "tags": values})
    return json.dumps(
        {"version": 0.6, "osm3s": {"timestamp_osm_base": "2026-01-01T00:00:00Z"}, "elements": found}
    ).encode()


def _pbf() -> bytes:
    """As PBF."""
    nodes, ways, relations = _elements()
    make = osmium.osm.mutable
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.osm.pbf"
        with osmium.SimpleWriter(str(path)) as writer:
            for node, location in nodes.items():
                writer.add_node(make.Node(id=node, version=1, location=location))
            for way, (refs, values) in ways.items():
                writer.add_way(make.Way(id=way, version=1, nodes=refs, tags=values))
            for number, members, values in relations:
                listed = [("w", way, role) for way, role in members]
                writer.add_relation(make.Relation(id=number, version=1, members=listed, tags=values))
        return path.read_bytes()


def _other_value(content: bytes, rng: random.Random) -> bytes:
    """One number or text becomes another value, or that of another place."""
    pattern = NUMBER if rng.random() < 0.7 else TEXT
    place, other = _somewhere(pattern, content, rng), _somewhere(pattern, content, rng)
    if place is None or other is None:
        return content
    value = other[0] if rng.random() < 0.3 else rng.choice(VALUES).encode()
    if place[0].startswith(b'"') and not value.startswith(b'"'):
        value = b'"' + value + b'"'
    return content[: place.start()] + value + content[place.end() :]


def _other_pieces(content: bytes, rng: random.Random) -> bytes:
    """An element, or a part of one, is lost, doubled, or put elsewhere."""
    piece, place = _somewhere(PIECE, content, rng), _somewhere(PIECE, content, rng)
    if piece is None or place is None:
        return content
    lost = content[: piece.start()] + content[piece.end() :]
    target = min(place.start(), len(lost))
    return rng.choice((lost, content[:target] + piece[0] + content[target:], lost[:target] + piece[0] + lost[target:]))


def _somewhere(pattern: re.Pattern[bytes], content: bytes, rng: random.Random) -> re.Match[bytes] | None:
    """A match at or after a random place."""
    return pattern.search(content, rng.randrange(len(content) + 1))


def _other_bytes(content: bytes, rng: random.Random) -> bytes:
    """Up to eight bytes change."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8) if changed else 0):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _cut(content: bytes, rng: random.Random) -> bytes:
    """The end is missing, or the beginning, or a part in between."""
    first, last = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return rng.choice((content[:last], content[first:], content[:first] + content[last:]))


def _nested(content: bytes, rng: random.Random) -> bytes:
    """Brackets or elements within each other, many times, at some place."""
    place, depth = rng.randrange(len(content) + 1), rng.choice((10, 1000, 20_000))
    opening, closing = rng.choice(((b"[", b"]"), (b'{"elements":', b"}"), (b"<way>", b"</way>"), (b"<osm>", b"</osm>")))
    return content[:place] + opening * depth + closing * depth + content[place:]


_MISCHIEF: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(_other_value,) * 5,
    *(_other_pieces,) * 3,
    _other_bytes,
    _cut,
    _nested,
)
