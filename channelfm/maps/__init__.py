"""OpenStreetMap extracts -> footprints with holes, heights (and where each came from), roads, one projection."""

from channelfm.maps.data import Footprint, MapData
from channelfm.maps.reader import read_map

__all__ = ["Footprint", "MapData", "read_map"]
