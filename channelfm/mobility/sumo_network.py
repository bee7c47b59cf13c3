"""SUMO's road network of a street map, and the way back from its coordinates to a scene's.

SUMO projects a map by itself and shifts the result; the network file says how (its ``location``), so that both
steps are undone exactly: network -> projection -> longitude and latitude -> the scene's frame.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import shapely
from numpy.typing import NDArray

from channelfm.errors import DependencyError, InputError
from channelfm.maps.elements import RawMap
from channelfm.maps.files import read_elements
from channelfm.maps.projection import to_local
from channelfm.maps.tags import road_exclusion
from channelfm.mobility.ground_grid import Bounds
from channelfm.records import Origin

Float = NDArray[np.float64]

NETCONVERT_LIMIT_S = 300.0
VEHICLE_CLASS = "passenger"
_PROJ_FOLDERS = ("PROJ_DATA", "PROJ_LIB")


def import_sumo(module: str) -> Any:
    """A module of the extra ``sumo`` ("libsumo", "sumolib" or "sumo"); DependencyError where it is missing."""
    try:
        with proj_folders_restored():
            return importlib.import_module(module)
    except ImportError as error:
        raise DependencyError(
            f"flights guided by SUMO need {module} ({error}); pip install 'channelfm[sumo]', or use street_guided"
        ) from error


def proj_of_sumo() -> dict[str, str]:
    """Environment variables that show SUMO's programs their own database of projections."""
    return dict.fromkeys(_PROJ_FOLDERS, str(Path(import_sumo("sumo").SUMO_HOME) / "data" / "proj"))


@contextlib.contextmanager
def proj_folders_restored() -> Iterator[None]:
    """Undo at the end what is done meanwhile to the environment: other libraries' PROJ cannot read SUMO's database."""
    before = {name: os.environ.get(name) for name in _PROJ_FOLDERS}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})


@dataclass(frozen=True)
class SumoNetwork:
    """A network file, its content as sumolib reads it, and the frame that its coordinates are wanted in."""

    path: Path
    net: Any
    origin: Origin

    def to_scene(self, points_xy: Float) -> Float:
        """Points [..., 2] of the network in m, in the scene's frame; NaN stays NaN."""
        x, y = np.moveaxis(points_xy.reshape(-1, 2), -1, 0).copy()  # a copy: sumolib shifts them in place
        known = np.isfinite(x)
        places = np.full((len(x), 2), np.nan)
        longitude, latitude = self.net.convertXY2LonLat(x[known], y[known])
        places[known] = to_local(np.stack([longitude, latitude], axis=-1), self.origin)
        return places.reshape(points_xy.shape)


def build_network(map_path: str | Path, folder: Path, origin: Origin, bounds: Bounds) -> SumoNetwork:
    """SUMO's network of the roads of a map within bounds (x_min, y_min, x_max, y_max) [m] of the scene's frame.

    Only roads above ground, as in a scene, and only lanes that passenger cars may use. ``folder`` takes the files.
    Raises InputError on a map that cannot be read or has no drivable road there, DependencyError without SUMO.
    """
    sumo, sumolib = import_sumo("sumo"), import_sumo("sumolib")
    nothing = InputError(f"{map_path}: no drivable road within the bounds; use cruise, or a map with roads")
    roads, path = folder / "roads.osm", folder / "roads.net.xml"
    if not _write_roads(read_elements(map_path), roads, origin, bounds):
        raise nothing
    home = Path(sumo.SUMO_HOME)
    command = [str(home / "bin" / "netconvert"), "--osm-files", str(roads), "--output-file", str(path), "--proj.utm"]
    command += ["--precision", "4", "--keep-edges.by-vclass", VEHICLE_CLASS, "--no-warnings"]
    # Maps set traffic lights at stop lines; SUMO takes them to the junction behind, one program for all of them.
    command += ["--tls.guess-signals", "--tls.discard-simple", "--tls.join", "--tls.default-type", "actuated"]
    settings = os.environ | {"SUMO_HOME": str(home)} | proj_of_sumo()
    try:
        done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=NETCONVERT_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{map_path}: netconvert took more than {NETCONVERT_LIMIT_S:.0f} s; choose smaller bounds"
        ) from error
    except OSError as error:
        raise DependencyError(
            f"cannot run SUMO's netconvert ({error}); pip install --force-reinstall 'channelfm[sumo]'"
        ) from error
    if done.returncode != 0 or not path.is_file():
        reason = " ".join(done.stderr.split())
        raise nothing if "No edges loaded" in reason else InputError(f"{map_path}: netconvert failed ({reason[:300]})")
    net = sumolib.net.readNet(str(path), lxml=False)
    if not any(edge.allows(VEHICLE_CLASS) for edge in net.getEdges()):
        raise nothing
    return SumoNetwork(path, net, origin)


def _write_roads(raw: RawMap, path: Path, origin: Origin, bounds: Bounds) -> int:
    """Write the roads within bounds as plain OSM XML and return their number.

    Written anew whatever the format of the map, so that netconvert meets no archive, no foreign format, no missing
    node and no external entity.
    """
    lonlat = np.array(list(raw.locations.values())).reshape(-1, 2)
    inside = shapely.intersects_xy(shapely.box(*bounds), to_local(lonlat, origin))
    known = {number for number, keep in zip(raw.locations, inside, strict=True) if keep}
    runs = [
        (run, way.tags)
        for way in raw.ways.values()
        if "highway" in way.tags and road_exclusion(way.tags) is None
        for run in _runs(way.refs, known)
    ]
    root = ElementTree.Element("osm", version="0.6", generator="channelfm")
    numbers = {ref: number for number, ref in enumerate(dict.fromkeys(ref for run, _ in runs for ref in run), start=1)}
    for ref, number in numbers.items():
        longitude, latitude = raw.locations[ref]
        place = {"lat": f"{latitude:.9f}", "lon": f"{longitude:.9f}"}
        node = ElementTree.SubElement(root, "node", {"id": str(number), "version": "1", **place})
        if ref in raw.signals:
            ElementTree.SubElement(node, "tag", k="highway", v="traffic_signals")
    for number, (run, tags) in enumerate(runs, start=1):
        way = ElementTree.SubElement(root, "way", id=str(number), version="1")
        for ref in run:
            ElementTree.SubElement(way, "nd", ref=str(numbers[ref]))
        for key, value in tags.items():
            ElementTree.SubElement(way, "tag", k=key, v=value)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    return len(runs)


def _runs(refs: tuple[int, ...], known: set[int]) -> Iterator[list[int]]:
    """Stretches of at least two known nodes."""
    run: list[int] = []
    for ref in (*refs, None):
        if ref in known:
            run.append(ref)
            continue
        if len(run) >= 2:
            yield run
        run = []
