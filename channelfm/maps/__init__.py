"""OpenStreetMap extracts -> footprints with holes, heights (and where each came from), roofs, roads, one projection."""

from channelfm.maps.data import Footprint, MapData, Roof, height_sources
from channelfm.maps.download import download_map
from channelfm.maps.presets import CITIES, CityPreset, preset_box
from channelfm.maps.reader import read_map

__all__ = [
    "CITIES",
    "CityPreset",
    "Footprint",
    "MapData",
    "Roof",
    "download_map",
    "height_sources",
    "preset_box",
    "read_map",
]
