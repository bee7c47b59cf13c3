"""Overpass answers -> raw elements: JSON (``[out:json]``) of any form, and XML with coordinates within its elements.

Both common forms of JSON are read: nodes as elements of their own (``out body; >; out skel``), and coordinates within
ways and relation members (``out geom``). XML of the latter form is no OSM XML any more, so pyosmium refuses it. Format:
OSM wiki, "Overpass API/Overpass QL", section "Output format (out:)".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree import ElementTree

from channelfm.errors import InputError
from channelfm.maps.elements import RawMap


def parse_overpass(content: bytes, name: str) -> RawMap:
    """Elements of an Overpass answer in JSON; ``name`` is the file's, for messages.

    Raises InputError on JSON that is truncated, foreign, or an answer that the server broke off.
    """
    return _collected(_elements(content, name), name)


def parse_overpass_geometry(content: bytes, name: str) -> RawMap:
    """Elements of an Overpass answer in XML of the form ``out geom``, with coordinates in ways and members.

    Raises InputError on XML that is truncated or declares entities.
    """
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise InputError(f"{name}: declares a document type or entities, which maps need not; remove them")
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the latter two: an encoding that is none
        raise InputError(f"{name}: broken or truncated XML ({error}); download the answer again") from error
    check_remark(root.findtext("remark", ""), name)
    return _collected(map(_as_json, root), name)


def _collected(elements: Iterable[Any], name: str) -> RawMap:
    """A map of elements, as Overpass has them in JSON."""
    answer = _Answer()
    for number, element in enumerate(elements):
        try:
            answer.add(element)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            problem = f"element {number} is no Overpass element ({type(error).__name__}: {error})"
            raise InputError(f"{name}: {problem}; download the answer again") from error
    raw = answer.raw
    raw.settle()
    used = raw.used_nodes()
    raw.locations = {number: location for number, location in raw.locations.items() if number in used}
    return raw


def _elements(content: bytes, name: str) -> list[Any]:
    """The list of elements of a whole answer."""
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: truncated or broken JSON ({error}); download the answer again") from error
    elements = answer.get("elements") if isinstance(answer, dict) else None
    if not isinstance(elements, list):
        found = f"JSON of type {answer['type']!r}" if isinstance(answer, dict) and "type" in answer else "foreign JSON"
        raise InputError(f"{name}: {found}, not an Overpass answer with its 'elements'; query with [out:json]")
    check_remark(str(answer.get("remark", "")), name)
    return elements


def check_remark(remark: str, name: str) -> None:
    """Raise InputError on the remark of a server that broke off, such as "runtime error: Query timed out": what came
    before it is incomplete."""
    if "error" in remark:
        reason = " ".join(remark.split())
        raise InputError(f"{name}: Overpass broke off ({reason}); query a smaller box or allow more time")


def _as_json(element: ElementTree.Element) -> dict[str, Any]:
    """An XML element as the same answer in JSON has it; all values are text."""
    values: dict[str, Any] = {**element.attrib, "type": element.tag}
    values["tags"] = {tag.get("k"): tag.get("v") for tag in element.iter("tag")}
    if element.tag == "way":
        values |= _line(element)
    elif element.tag == "relation":
        values["members"] = [{**member.attrib, **_line(member)} for member in element.iter("member")]
    return values


def _line(element: ElementTree.Element) -> dict[str, Any]:
    """Node ids and coordinates of a way or member, as far as it has them."""
    points = [point.attrib for point in element.iter("nd")]
    line: dict[str, Any] = {}
    if points and all("ref" in point for point in points):
        line["nodes"] = [point["ref"] for point in points]
    if any("lat" in point for point in points):
        line["geometry"] = [point if "lat" in point else None for point in points]
    return line


class _Answer:
    """Collects elements; places without a node of their own get one, with an id below all real ones."""

    def __init__(self) -> None:
        self.raw = RawMap()
        self._made: dict[tuple[float, float], int] = {}
        self._last_id = -(10**18)

    def add(self, element: dict[str, Any]) -> None:
        """Store a node, a way, a relation or the box; other types (areas, counts) are no part of a map."""
        kind = element["type"]
        if kind == "node" and "lat" in element:
            self._locate(int(element["id"]), element)
            if _tags(element).get("highway") == "traffic_signals":
                self.raw.signals.add(int(element["id"]))
        elif kind == "way":
            refs = self._refs(element.get("nodes"), element.get("geometry"))
            self.raw.add_way(int(element["id"]), refs, _tags(element))
        elif kind == "relation":
            ways = [member for member in element.get("members", []) if member["type"] == "way"]
            for member in ways:
                if "geometry" in member:
                    self.raw.add_way(int(member["ref"]), self._refs(None, member["geometry"]), {})
            members = tuple((int(member["ref"]), str(member.get("role", ""))) for member in ways)
            self.raw.add_relation(int(element["id"]), members, _tags(element))
        elif kind == "bounds":
            self.raw.take_box(*(float(element[side]) for side in ("minlon", "minlat", "maxlon", "maxlat")))

    def _refs(self, nodes: Sequence[int] | None, geometry: Sequence[dict[str, float] | None] | None) -> tuple[int, ...]:
        """Node ids of a line; its geometry, if given, locates them. Points outside the queried box are null there:
        they stay without a location, like any missing node."""
        if nodes is None:
            return tuple(self._node_at(point) for point in geometry or ())
        refs = tuple(int(node) for node in nodes)
        if geometry is not None:
            for ref, point in zip(refs, geometry, strict=True):
                if point is not None:
                    self._locate(ref, point)
        return refs

    def _node_at(self, point: dict[str, float] | None) -> int:
        """Id of the node made for a place: one for each place, and one without location for each null."""
        key = None if point is None else (float(point["lon"]), float(point["lat"]))
        if key in self._made:
            return self._made[key]
        self._last_id -= 1
        if point is not None and key is not None:
            self._made[key] = self._last_id
            self._locate(self._last_id, point)
        return self._last_id

    def _locate(self, number: int, point: dict[str, float]) -> None:
        longitude, latitude = float(point["lon"]), float(point["lat"])
        if abs(longitude) <= 180.0 and abs(latitude) <= 90.0:
            self.raw.locations[number] = (longitude, latitude)


def _tags(element: dict[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in element.get("tags", {}).items()}
