"""All maps that are found by name as scenes: buildings, where their heights came from, triangles, time, and faults.

    python -m benchmarks.scenes [--maps DIR]

Faults are meshes that are not watertight, and pairs of faces of different solids that coincide back to back; both
must be 0. "Before" counts the triangles of the same buildings, each extruded on its own. Without --maps, the maps are
those that ``channelfm maps list`` lists. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

from channelfm import scenes
from channelfm.errors import InputError
from channelfm.maps import read_map
from channelfm.maps.source import FOLDER_VARIABLE, kept_maps
from channelfm.scenes.extrusion import extrude, is_watertight
from channelfm.scenes.inspection import coincident_faces

SOURCES = ("height", "levels", "default")


def main() -> None:
    """Print one row per map, then the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", help="folder of OpenStreetMap extracts, named like berlin.osm.gz")
    if folder := parser.parse_args().maps:
        os.environ[FOLDER_VARIABLE] = folder
    maps = [kept.path for kept in kept_maps()]
    if not maps:
        raise InputError("no map is kept; give a folder of them with --maps, or run: channelfm maps fetch berlin")
    print(f"{'map':32}{'buildings':>10}{'objects':>9}{'height':>8}{'levels':>8}{'default':>8}", end="")
    print(f"{'triangles':>11}{'before':>8}{'seconds':>9}{'leaks':>7}{'doubles':>9}{'pitched':>9}")
    rows = [_measure(path) for path in maps]
    summary: dict[str, Any] = {"maps": len(rows)}
    for key in ("buildings", "triangles", "triangles_before", "seconds", "not_watertight", "coincident_pairs"):
        summary[key] = round(sum(row[key] for row in rows), 2)
    print(json.dumps(summary))


def _measure(path: Path) -> dict[str, Any]:
    """Build one scene, print its row and return its figures."""
    start = time.perf_counter()
    scene = scenes.from_osm(path)
    seconds = time.perf_counter() - start
    solids = [number for number, item in enumerate(scene.objects) if item.kind == "building"]
    row: dict[str, Any] = {
        "buildings": len(scene.buildings),
        "triangles": len(scene.faces) - 2,
        "triangles_before": sum(len(extrude(item.area, 0.0, 1.0)[1]) for item in read_map(path).footprints),
        "seconds": seconds,
        "not_watertight": sum(not is_watertight(*scene.object_mesh(number)) for number in solids),
        "coincident_pairs": len(coincident_faces(scene)),
    }
    sources = Counter(item.height_source for item in scene.buildings)
    shares = "".join(f"{sources[source] / len(scene.buildings):>8.0%}" for source in SOURCES)
    pitched = sum(item.roof_shape != "flat" for item in scene.buildings)
    print(f"{scene.name:32}{row['buildings']:>10}{len(solids):>9}{shares}{row['triangles']:>11}", end="")
    print(f"{row['triangles_before']:>8}{seconds:>9.2f}{row['not_watertight']:>7}", end="")
    print(f"{row['coincident_pairs']:>9}{pitched:>9}", flush=True)
    return row


if __name__ == "__main__":
    main()
