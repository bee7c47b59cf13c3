"""Figures: four cities as scenes, from the OpenStreetMap extracts in ``shared/osm`` beside the checkout."""

from __future__ import annotations

import sys
from pathlib import Path

from style import IMAGES

from channelfm import scenes
from channelfm.scenes.pictures import draw_scene

EXTRACTS = Path(__file__).resolve().parents[3] / "shared" / "osm"
CITIES = {
    "monaco": "monaco_montecarlo_1km.osm.pbf",
    "london": "london_farringdon_1km.osm.pbf",
    "heidelberg": "heidelberg_altstadt_1km.osm.pbf",
    "new_york": "nyc_midtown_empire_state_1km.osm.pbf",
}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    for name, extract in CITIES.items():
        draw_scene(scenes.from_osm(EXTRACTS / extract), folder / f"scene_{name}.png", pixels=1000)


if __name__ == "__main__":
    main()
