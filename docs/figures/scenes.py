"""Figures: four cities as scenes, from maps that are found by name (``channelfm maps list``)."""

from __future__ import annotations

import sys
from pathlib import Path

from style import IMAGES

from channelfm import scenes
from channelfm.maps.source import find_maps
from channelfm.scenes.pictures import draw_scene

CITIES = ("monaco", "london", "heidelberg", "new-york")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    for name, file in find_maps(CITIES).items():
        draw_scene(scenes.from_osm(file), folder / f"scene_{name.replace('-', '_')}.png", pixels=1000)


if __name__ == "__main__":
    main()
