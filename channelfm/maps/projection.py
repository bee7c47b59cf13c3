"""The one local metric projection of a scene: transverse Mercator about the middle of the region of interest.

Both ends are on WGS 84, so that the projection alone is the whole way; a ``pyproj.Transformer`` would look that up in a
database, which takes longer than to project a map.
"""

from __future__ import annotations

import numpy as np
import pyproj
from numpy.typing import NDArray

from channelfm.errors import InputError
from channelfm.records import Origin

LARGEST_EXTENT_M = 50_000.0  # beyond it one flat frame stops being a fair picture of a city

# west, south, east, north; east may exceed 180 where a box spans the antimeridian
Box = tuple[float, float, float, float]


def checked_box(bbox: Box) -> Box:
    """Validate (west, south, east, north) in degrees; west > east means that the box spans the antimeridian, and
    the returned east lies above 180 then."""
    if len(bbox) != 4 or not np.all(np.isfinite(bbox)):
        raise InputError(f"bbox = {bbox}: give west, south, east, north in degrees")
    west, south, east, north = (float(value) for value in bbox)
    if not (-90.0 <= south < north <= 90.0 and -180.0 <= west <= 180.0 and -180.0 <= east <= 180.0 and west != east):
        raise InputError(f"bbox = {bbox}: give west, south, east, north in degrees, with south < north")
    return west, south, east + 360.0 if east < west else east, north


def box_around(latitude: float, longitude: float, size_m: float) -> Box:
    """(west, south, east, north) in degrees of a square of side ``size_m`` about a point; west > east across the
    antimeridian. Raises InputError on a point that is not on Earth or a side that is not between 0 and 50 km."""
    if not (abs(latitude) < 90.0 and abs(longitude) <= 180.0 and 0.0 < size_m <= LARGEST_EXTENT_M):
        raise InputError(
            f"a square of {size_m} m about latitude {latitude}, longitude {longitude}: "
            "give degrees, and a side above 0 and of at most 50 km"
        )
    half = size_m / 2.0
    middle = local_origin((longitude, latitude, longitude, latitude))
    edges = to_geographic(np.array([(-half, 0.0), (0.0, -half), (half, 0.0), (0.0, half)]), middle)
    west, east = ((float(value) + 180.0) % 360.0 - 180.0 for value in edges[(0, 2), 0])
    return west, float(edges[1, 1]), east, float(edges[3, 1])


def box_of(lonlat: NDArray[np.float64]) -> Box:
    """Smallest box around points [N, 2] (longitude, latitude), unwrapped about the first point."""
    longitude = unwrap(lonlat[:, 0], lonlat[0, 0])
    return longitude.min(), lonlat[:, 1].min(), longitude.max(), lonlat[:, 1].max()


def unwrap(longitude: NDArray[np.float64], reference: float) -> NDArray[np.float64]:
    """Longitudes shifted by whole turns to within 180 degrees of a reference."""
    return np.asarray((longitude - reference + 180.0) % 360.0 - 180.0 + reference)


def local_origin(box: Box) -> Origin:
    """Origin and projection at the middle of a box; raises InputError if the box is too large for one frame."""
    west, south, east, north = box
    latitude = round((south + north) / 2, 7)
    longitude = round(((west + east) / 2 + 180.0) % 360.0 - 180.0, 7)
    crs = f"+proj=tmerc +lat_0={latitude} +lon_0={longitude} +k=1 +x_0=0 +y_0=0 +datum=WGS84 +units=m +no_defs"
    width = np.deg2rad(east - west) * np.cos(np.deg2rad(latitude)) * 6_371_000.0
    height = np.deg2rad(north - south) * 6_371_000.0
    if max(width, height) > LARGEST_EXTENT_M:
        raise InputError(
            f"the map covers {width / 1000:.0f} x {height / 1000:.0f} km: "
            "choose a part of at most 50 km with bbox = west, south, east, north"
        )
    return Origin(latitude, longitude, crs)


def to_local(lonlat: NDArray[np.float64], origin: Origin) -> NDArray[np.float64]:
    """(longitude, latitude) [N, 2] in degrees -> (x east, y north) [N, 2] in m, in the frame of ``origin``."""
    return np.stack(pyproj.Proj(origin.crs)(lonlat[:, 0], lonlat[:, 1]), axis=-1)


def to_geographic(points_xy: NDArray[np.float64], origin: Origin) -> NDArray[np.float64]:
    """Inverse of :func:`to_local`."""
    return np.stack(pyproj.Proj(origin.crs)(points_xy[:, 0], points_xy[:, 1], inverse=True), axis=-1)


def local_bounds(box: Box, origin: Origin) -> tuple[float, float, float, float]:
    """(x_min, y_min, x_max, y_max) in m that encloses a box given in degrees."""
    west, south, east, north = box
    middle = (west + east) / 2
    edge = np.array([(lon, lat) for lon in (west, middle, east) for lat in (south, north)])
    points = to_local(edge, origin)
    (x_min, y_min), (x_max, y_max) = points.min(axis=0), points.max(axis=0)
    return float(x_min), float(y_min), float(x_max), float(y_max)
