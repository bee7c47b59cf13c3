"""Scenes: maps, packaged cities and procedural cities as meshes with ITU materials."""

from channelfm.scenes.osm import from_osm
from channelfm.scenes.packaged import builtin
from channelfm.scenes.procedural import procedural

__all__ = ["builtin", "from_osm", "procedural"]
