"""A small map writer: OSM XML from shapes in metres."""

import xml.sax.saxutils as sax
from pathlib import Path

import numpy as np
import pytest

from channelfm.maps.projection import local_origin, to_geographic

CENTRE = (11.0, 48.0)


class MapWriter:
    """Collects nodes, ways and relations; ``write`` puts them in the order asked for."""

    def __init__(self, folder: Path, centre: tuple[float, float] = CENTRE) -> None:
        lon, lat = centre
        self.folder = folder
        self.origin = local_origin((lon - 0.001, lat - 0.001, lon + 0.001, lat + 0.001))
        self.nodes: list[str] = []
        self.ways: list[str] = []
        self.relations: list[str] = []
        self.numbers: dict[tuple[float, float], int] = {}
        self.bounds = ""

    def node(self, point: tuple[float, float]) -> int:
        """Id of the node at a point in metres; points shared by ways share their node."""
        if point not in self.numbers:
            self.numbers[point] = len(self.numbers) + 1
            (lon, lat), number = to_geographic(np.array([point]), self.origin)[0], self.numbers[point]
            lon = (lon + 180.0) % 360.0 - 180.0
            self.nodes.append(f'<node id="{number}" version="1" lat="{lat:.9f}" lon="{lon:.9f}"/>')
        return self.numbers[point]

    def way(self, number: int, points: list[tuple[float, float]], missing: int | None = None, **tags: str) -> None:
        """A way through points in metres; ``missing`` adds a reference to a node that is not in the file."""
        refs = [self.node(point) for point in points] + ([missing] if missing else [])
        body = "".join(f'<nd ref="{ref}"/>' for ref in refs) + self._tags(tags)
        self.ways.append(f'<way id="{number}" version="1">{body}</way>')

    def relation(self, number: int, members: list[tuple[int, str]], **tags: str) -> None:
        """A multipolygon of (way id, role)."""
        body = "".join(f'<member type="way" ref="{ref}" role="{role}"/>' for ref, role in members)
        tags = {"type": "multipolygon"} | tags
        self.relations.append(f'<relation id="{number}" version="1">{body}{self._tags(tags)}</relation>')

    @staticmethod
    def _tags(tags: dict[str, str]) -> str:
        named = {key.replace("__", ":"): value for key, value in tags.items()}
        return "".join(f"<tag k={sax.quoteattr(key)} v={sax.quoteattr(value)}/>" for key, value in named.items())

    def text(self, ways_first: bool = False) -> str:
        """The file's content."""
        parts = [self.nodes, self.ways, self.relations]
        if ways_first:
            parts = [self.relations, self.ways, self.nodes]
        return f'<osm version="0.6">{self.bounds}{"".join("".join(part) for part in parts)}</osm>'

    def write(self, name: str = "small.osm", ways_first: bool = False) -> Path:
        """Write the file and return its path."""
        path = self.folder / name
        path.write_text(self.text(ways_first))
        return path


def square(x: float, y: float, side: float) -> list[tuple[float, float]]:
    """Closed ring of a square from its lower left corner."""
    return [(x, y), (x + side, y), (x + side, y + side), (x, y + side), (x, y)]


@pytest.fixture
def city(tmp_path: Path) -> MapWriter:
    return MapWriter(tmp_path)


@pytest.fixture
def ring():
    return square


@pytest.fixture
def map_writer():
    return MapWriter
