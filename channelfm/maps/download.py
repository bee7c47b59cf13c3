"""Download of a box or a place from OpenStreetMap: maps from Overpass, the boxes of places by OSMnx (Nominatim).

The Overpass query is our own. OSMnx's ``features_from_*`` return polygons and lose the relations, and its private
request function retries a busy server without end, knows no limit of size, and redirects the process's name
resolution. So only names need OSMnx, whose settings for Nominatim are kept to. The answer is stored as OSM XML, which
``read_map`` and also SUMO's netconvert read.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib
import math
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import channelfm
from channelfm.errors import DependencyError, InputError
from channelfm.files import write_atomically
from channelfm.maps.elements import BUILDING_KEYS
from channelfm.maps.files import LARGEST_ANSWER_BYTES
from channelfm.maps.projection import Box, box_around, checked_box, local_origin

SERVER = "https://overpass-api.de/api"
SERVER_VARIABLE = "CHANNELFM_OVERPASS"  # names another server's API in the environment
CONNECT_TIMEOUT_S = 15.0
_CHUNK_BYTES = 1 << 13  # small: a read ends only when it is full, and time is looked at between reads
_BUSY = (429, 502, 503, 504)


def download_map(
    query: str | Box,
    out: str | Path,
    *,
    size_m: float | None = None,
    overpass_url: str | None = None,
    time_limit_s: float = 180.0,
) -> Path:
    """Download buildings and roads of a place or a box into an OSM file, and return its path.

    Parameters
    ----------
    query : a place name or address ("Marienplatz, Munich"), or (west, south, east, north) in degrees, west > east
        across the antimeridian.
    out : the file, OSM XML; compressed if its name ends in ".gz". It appears whole or not at all. It keeps
        Overpass' note on OpenStreetMap and its licence, and the box, which ``read_map`` takes as the region.
    size_m : side of a square about a named place; None takes the place's own extent.
    overpass_url : of the Overpass interpreter's API; None takes what CHANNELFM_OVERPASS in the environment names, else
        "https://overpass-api.de/api".
    time_limit_s : for the whole answer, and for the server's work on it.

    Raises
    ------
    DependencyError : no connection, a server that is busy or broken, or OSMnx is missing, which places by name need.
    InputError : an unknown place, a bad box or one above 50 km, an answer that is empty, above 500 MB, or too slow.
    """
    box = checked_box(_place_box(query, size_m, time_limit_s) if isinstance(query, str) else query)
    local_origin(box)  # refuses what read_map would refuse
    url = f"{(overpass_url or server()).rstrip('/')}/interpreter"
    content = _with_bounds(_checked(_fetch(url, _overpass_query(box, time_limit_s), time_limit_s), url), box)
    out = Path(out)
    write_atomically(out, gzip.compress(content, mtime=0) if out.suffix == ".gz" else content)
    return out


def server() -> str:
    """Address of the Overpass API that is asked."""
    return os.environ.get(SERVER_VARIABLE) or SERVER


def _import_osmnx() -> ModuleType:
    try:
        return importlib.import_module("osmnx")
    except ImportError as error:
        raise DependencyError(
            f"a place's name needs OSMnx to be found ({error}); run: pip install 'channelfm[maps]', or give a box"
        ) from error


def _place_box(place: str, size_m: float | None, time_limit_s: float) -> Box:
    """The box of a named place, by Nominatim."""
    import requests

    osmnx = _import_osmnx()
    with _settings(osmnx, time_limit_s):
        try:
            if size_m is not None:
                latitude, longitude = osmnx.geocode(place)
                return box_around(latitude, longitude, size_m)
            west, south, east, north = osmnx.geocode_to_gdf(place, which_result=1).total_bounds
        except requests.RequestException as error:
            _unreachable(osmnx.settings.nominatim_url, error)
        except (ValueError, KeyError) as error:  # OSMnx's own errors: an unknown place, or an answer that is none
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"no place '{place}' found ({reason}); spell it otherwise or give a box") from error
    if west == east or south == north:  # Nominatim knows some places as a point
        raise InputError(f"place '{place}' is a point; give size_m, the side of a square about it")
    return float(west), float(south), float(east), float(north)


@contextlib.contextmanager
def _settings(osmnx: ModuleType, time_limit_s: float) -> Iterator[None]:
    """OSMnx without its cache folder, and without its endless retries: a busy server is an error at once."""
    settings = osmnx.settings
    ours = {
        "use_cache": False,
        "requests_timeout": time_limit_s,
        "requests_kwargs": {**settings.requests_kwargs, "hooks": {"response": _refuse_busy}},
    }
    before = {name: getattr(settings, name) for name in ours}
    try:
        for name, value in ours.items():
            setattr(settings, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(settings, name, value)


def _refuse_busy(response: Any, *_: Any, **__: Any) -> None:
    if response.status_code in _BUSY:
        response.raise_for_status()


def _overpass_query(box: Box, time_limit_s: float) -> str:
    """Overpass QL: buildings, their parts and roads that touch the box, the multipolygons of which building ways are
    members (old-style ones have no tags of their own), and all their ways and nodes."""
    west, south, east, north = box
    halves = [(west, east)] if east <= 180.0 else [(west, 180.0), (-180.0, east - 360.0)]
    areas = [f"({south:.7f},{low:.7f},{north:.7f},{high:.7f})" for low, high in halves]
    ways = "".join(f'way["{key}"]{area};' for key in BUILDING_KEYS for area in areas)
    relations = "".join(f'rel["type"="multipolygon"]["{key}"]{area};' for key in BUILDING_KEYS for area in areas)
    roads = "".join(f'way["highway"]{area};' for area in areas)
    parents = 'rel(bw.buildings)["type"="multipolygon"][!"landuse"][!"natural"];'
    header = f"[out:xml][timeout:{math.ceil(time_limit_s)}][maxsize:{LARGEST_ANSWER_BYTES}];"
    return f"{header}({ways})->.buildings;(.buildings;{relations}{parents}{roads})->.found;(.found;.found>;);out body;"


def _fetch(url: str, query: str, time_limit_s: float) -> bytes:
    """The answer's body, within the limits of time and size."""
    import requests

    agent = {"User-Agent": f"channelfm/{channelfm.__version__}"}  # Overpass wants to know who asks
    stop = time.monotonic() + time_limit_s
    content = bytearray()
    try:
        with requests.post(
            url, data={"data": query}, headers=agent, timeout=(CONNECT_TIMEOUT_S, time_limit_s), stream=True
        ) as response:
            response.raise_for_status()
            for chunk in response.iter_content(_CHUNK_BYTES):
                content += chunk
                if len(content) > LARGEST_ANSWER_BYTES:
                    raise InputError(f"{url}: the answer exceeds {LARGEST_ANSWER_BYTES} bytes; choose a smaller box")
                if time.monotonic() > stop:
                    raise InputError(
                        f"{url}: no whole answer in {time_limit_s:g} s; choose a smaller box or allow more"
                    )
    except requests.RequestException as error:
        _unreachable(url, error)
    return bytes(content)


def _unreachable(url: str, error: Exception) -> NoReturn:
    """Raise a DependencyError that says why a server gave nothing."""
    response = getattr(error, "response", None)
    status = None if response is None else response.status_code
    if status in _BUSY:
        raise DependencyError(
            f"{url} is busy or limits its users (status {status}); try later or name another in {SERVER_VARIABLE}"
        )
    if status is not None:
        raise DependencyError(f"{url} refused the query (status {status}); check the address")
    reason = type(error).__name__
    raise DependencyError(f"no connection to {url} ({reason}); check the network or use a local map file") from error


def _checked(content: bytes, url: str) -> bytes:
    """Raise unless an answer is a whole map with a building in it."""
    remark = re.search(rb"<remark>(.*?)</remark>", content, re.DOTALL)
    if remark and b"error" in remark[1]:  # status 200 all the same
        reason = " ".join(remark[1].decode(errors="replace").split())
        raise InputError(f"{url} broke off ({reason}); choose a smaller box or allow more time")
    if b"<osm" not in content[:1000] or not content.rstrip().endswith(b"</osm>"):
        raise DependencyError(f"{url}: the answer is not a whole OSM file; check the address or try again")
    if b'<tag k="building' not in content:
        raise InputError("OpenStreetMap has no building in this box; choose another one")
    return content


def _with_bounds(content: bytes, box: Box) -> bytes:
    """The answer with the box in its header, as other OSM files have it: the region to read."""
    west, south, east, north = box
    east = east - 360.0 if east > 180.0 else east
    bounds = f'<bounds minlat="{south:.7f}" minlon="{west:.7f}" maxlat="{north:.7f}" maxlon="{east:.7f}"/>'
    start = content.index(b">", content.index(b"<osm")) + 1
    return content[:start] + b"\n" + bounds.encode() + content[start:]
