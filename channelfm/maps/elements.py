"""Raw OpenStreetMap elements, as every file format gives them: ways, building relations, node locations."""

from __future__ import annotations

from dataclasses import dataclass, field

BUILDING_KEYS = ("building", "building:part")
Box = tuple[float, float, float, float]  # west, south, east, north, in degrees

# Tags that say nothing about what a multipolygon is: with these alone, its outer ways say it.
_SILENT_KEYS = frozenset({"type", "source", "created_by", "note", "fixme", "name"})


@dataclass(frozen=True)
class Way:
    """A line of node ids; ``tags`` are kept for buildings and roads only."""

    id: int
    refs: tuple[int, ...]
    tags: dict[str, str]

    @property
    def is_closed(self) -> bool:
        """Whether it ends where it begins."""
        return len(self.refs) > 1 and self.refs[0] == self.refs[-1]


@dataclass(frozen=True)
class Relation:
    """A building made of several ways: ``members`` are (way id, role); ``osm_id`` names what carries the tags."""

    osm_id: str
    members: tuple[tuple[int, str], ...]
    tags: dict[str, str]


@dataclass
class RawMap:
    """Elements of one file: ways by id, building relations, (longitude, latitude) in degrees by node id, and the ids
    of nodes with traffic lights.

    Readers add all ways and relations, call :meth:`settle`, and may then drop every node not in ``used_nodes``.
    """

    ways: dict[int, Way] = field(default_factory=dict)
    relations: list[Relation] = field(default_factory=list)
    locations: dict[int, tuple[float, float]] = field(default_factory=dict)
    signals: set[int] = field(default_factory=set)
    box: Box | None = None

    def take_box(self, west: float, south: float, east: float, north: float) -> None:
        """Take the box that a file states; one without extent, or off the globe, says nothing."""
        if -90.0 <= south < north <= 90.0 and max(abs(west), abs(east)) <= 180.0 and west != east:
            self.box = (west, south, east, north)

    def add_way(self, number: int, refs: tuple[int, ...], tags: dict[str, str]) -> None:
        """Store a way. Overpass may repeat one without its tags or nodes: what either copy knows is kept."""
        wanted = tags if is_building(tags) or "highway" in tags else {}
        known = self.ways.get(number, Way(number, (), {}))
        self.ways[number] = Way(number, known.refs or refs, known.tags or wanted)

    def add_relation(self, number: int, members: tuple[tuple[int, str], ...], tags: dict[str, str]) -> None:
        """Store a relation if it is a multipolygon that is a building, or that leaves its tags to its outer ways."""
        if tags.get("type") == "multipolygon" and (is_building(tags) or tags.keys() <= _SILENT_KEYS):
            self.relations.append(Relation(f"relation/{number}", members, tags))

    def settle(self) -> None:
        """Drop repeated relations, and give old-style ones the tags of their outer ways (once all ways are known)."""
        single = {relation.osm_id: relation for relation in self.relations}
        settled: list[Relation] = []
        for relation in single.values():
            settled += [relation] if is_building(relation.tags) else self._tagged_by_outer_ways(relation)
        self.relations = settled

    def _tagged_by_outer_ways(self, relation: Relation) -> list[Relation]:
        """An old-style multipolygon as one relation for each closed building way among its outer ones (they may be
        buildings of different heights), and one for all outer ways that are split; each has all the holes."""
        inner = tuple(member for member in relation.members if member[1] == "inner")
        ways = {ref: self.ways[ref] for ref, role in relation.members if role != "inner" and ref in self.ways}
        buildings = [way for way in ways.values() if is_building(way.tags)]
        found = [Relation(f"way/{way.id}", ((way.id, "outer"), *inner), way.tags) for way in buildings if way.is_closed]
        split = [way for way in buildings if not way.is_closed]
        if split:
            outer = tuple((ref, "outer") for ref, way in ways.items() if not way.is_closed)
            found.append(Relation(f"way/{split[0].id}", (*outer, *inner), split[0].tags))
        return found

    def used_nodes(self) -> set[int]:
        """Ids of the nodes that buildings and roads refer to."""
        members = {ref for relation in self.relations for ref, _ in relation.members}
        return {ref for way in self.ways.values() if way.tags or way.id in members for ref in way.refs}


def is_building(tags: dict[str, str]) -> bool:
    """Whether tags describe a building or a part of one."""
    return any(key in tags for key in BUILDING_KEYS)
