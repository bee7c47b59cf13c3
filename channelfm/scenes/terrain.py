"""Uneven ground: a height raster as a triangulated grid in the scene's frame, and where buildings stand on it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from shapely import MultiPolygon, Polygon

from channelfm.errors import DependencyError, InputError
from channelfm.maps import Footprint
from channelfm.records import Origin
from channelfm.scenes.arrangement import components, touching_pairs

Float = NDArray[np.float64]
Int = NDArray[np.int32]

FINEST_CELL_M = 5.0  # finer ground costs triangles and shows noise of the survey as reflectors


@dataclass(frozen=True)
class Terrain:
    """Ground heights z on a square grid, linear on two triangles per cell (split from south-west to north-east).

    ``heights_m`` float64 [rows, cols]: row along +y, column along +x, node (0, 0) at ``(x_min, y_min)``; the lowest
    node has z = 0 and lies ``datum_m`` above the zero of the raster that it came from.
    """

    heights_m: Float
    x_min: float
    y_min: float
    cell_m: float
    datum_m: float

    def at(self, points_xy: ArrayLike) -> Float:
        """Ground z [N] in m at points [N, 2]; points beyond the grid get the height of its edge."""
        points: Float = self._in_cells(np.asarray(points_xy, dtype=np.float64).reshape(-1, 2))
        last = np.array(self.heights_m.shape[::-1]) - 1
        points = np.clip(points, 0.0, last)
        col, row = np.minimum(points.astype(np.int64), last - 1).T
        right, up = points[:, 0] - col, points[:, 1] - row
        corner = self.heights_m[row, col]
        opposite = self.heights_m[row + 1, col + 1]
        below, above = self.heights_m[row, col + 1], self.heights_m[row + 1, col]
        south_east = corner + right * (below - corner) + up * (opposite - below)
        north_west = corner + up * (above - corner) + right * (opposite - above)
        return np.asarray(np.where(right >= up, south_east, north_west))

    def lowest_under(self, area: Polygon | MultiPolygon) -> float:
        """Lowest ground z [m] under an area: exact, at one of its corners, at a node inside it, or where its outline
        crosses an edge of the grid's triangles."""
        candidates = [self._outline_points(shapely.get_coordinates(ring)) for ring in _rings(area)]
        x_low, y_low, x_high, y_high = self._in_cells(np.reshape(area.bounds, (2, 2))).reshape(4)
        cols, rows = np.arange(np.ceil(x_low), x_high + 1e-9), np.arange(np.ceil(y_low), y_high + 1e-9)
        nodes = np.stack(np.meshgrid(cols, rows), axis=-1).reshape(-1, 2) * self.cell_m + (self.x_min, self.y_min)
        candidates.append(nodes[shapely.intersects_xy(area, nodes)])
        return float(self.at(np.concatenate(candidates)).min())

    def mesh(self) -> tuple[Float, Int]:
        """Vertices [rows * cols, 3] m and upward faces."""
        rows, cols = self.heights_m.shape
        x, y = np.meshgrid(self.x_min + self.cell_m * np.arange(cols), self.y_min + self.cell_m * np.arange(rows))
        number = np.arange(rows * cols).reshape(rows, cols)
        corner, below = number[:-1, :-1].ravel(), number[:-1, 1:].ravel()
        above, opposite = number[1:, :-1].ravel(), number[1:, 1:].ravel()
        faces = np.stack([corner, below, opposite, corner, opposite, above], axis=1).reshape(-1, 3)
        return np.column_stack([x.ravel(), y.ravel(), self.heights_m.ravel()]), faces.astype(np.int32)

    def _in_cells(self, points: Float) -> Float:
        return np.asarray((points - (self.x_min, self.y_min)) / self.cell_m)

    def _outline_points(self, ring: Float) -> Float:
        """Points [N, 2] of a ring [M, 2], with those where it crosses grid lines and diagonals."""
        found = [ring]
        local = self._in_cells(ring)
        levels = np.column_stack([local, local[:, 0] - local[:, 1]])  # whole numbers on columns, rows, diagonals
        for (start, end), (low, high) in zip(itertools.pairwise(ring), itertools.pairwise(levels), strict=True):
            for a, b in zip(low, high, strict=True):
                lines = np.arange(np.ceil(min(a, b)), max(a, b))
                if a != b:
                    found.append(start + ((lines - a) / (b - a))[:, None] * (end - start))
        return np.concatenate(found)


def read_terrain(path: str | Path, origin: Origin, bounds: tuple[float, float, float, float]) -> Terrain:
    """Ground heights from a raster with a coordinate system (GeoTIFF, ESRI ASCII grid with its .prj ...).

    The first band, in metres, is resampled (bilinear) onto a grid in the frame of ``origin`` that covers ``bounds``
    (x_min, y_min, x_max, y_max) in m, at the raster's own resolution but no finer than 5 m. z = 0 is the lowest
    node of that grid.

    Raises DependencyError without rasterio; InputError on a file that is no raster, has no coordinate system, or
    has no heights for a part of the bounds.
    """
    try:
        import rasterio
        from rasterio.warp import Resampling, calculate_default_transform, reproject
    except ImportError as error:
        raise DependencyError("terrain needs rasterio: pip install 'channelfm[maps]'") from error
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; give a GeoTIFF or ASC height raster")
    try:
        with rasterio.open(path) as raster:
            if raster.crs is None:
                raise InputError(f"{path}: states no coordinate system; add a .prj file or save it as GeoTIFF with one")
            extent = (raster.width, raster.height, *raster.bounds)
            own, _, _ = calculate_default_transform(raster.crs, origin.crs, *extent)
            cell = max(FINEST_CELL_M, round(float(own.a), 3))
            x_min, y_min, x_max, y_max = bounds
            cols, rows = (int(np.ceil(size / cell)) + 1 for size in (x_max - x_min, y_max - y_min))
            top = y_min + (rows - 1) * cell
            heights = np.full((rows, cols), np.nan)
            reproject(
                rasterio.band(raster, 1),
                heights,
                dst_transform=rasterio.Affine(cell, 0.0, x_min - cell / 2, 0.0, -cell, top + cell / 2),
                dst_crs=origin.crs,
                dst_nodata=np.nan,
                resampling=Resampling.bilinear,
            )
    except rasterio.errors.RasterioError as error:
        raise InputError(f"{path}: cannot read the height raster ({error}); give a GeoTIFF or ASC file") from error
    missing = float(np.isnan(heights).mean())
    if missing:
        raise InputError(
            f"{path}: has no heights for {max(missing, 0.001):.1%} of the ground from ({x_min:.0f}, {y_min:.0f}) to "
            f"({x_max:.0f}, {y_max:.0f}) m about {origin.latitude_deg:.5f}, {origin.longitude_deg:.5f}; "
            "give a raster that covers it, or a smaller bbox"
        )
    lowest = float(heights.min())
    return Terrain(heights[::-1] - lowest, x_min, y_min, cell, lowest)


def base_heights(footprints: Sequence[Footprint], terrain: Terrain | None) -> list[float]:
    """z [m] on which each footprint stands: the lowest ground under it, or 0 without terrain.

    Raised parts (``min_height_m`` above 0) and what touches them share one base, so that they still fit together.
    """
    if terrain is None:
        return [0.0] * len(footprints)
    raised = [item.min_height_m > 0.0 for item in footprints]
    together = [(a, b) for a, b in touching_pairs([item.area for item in footprints]) if raised[a] or raised[b]]
    bases = [0.0] * len(footprints)
    for group in components(len(footprints), together):
        lowest = round(min(terrain.lowest_under(footprints[number].area) for number in group), 3)
        for number in group:
            bases[number] = lowest
    return bases


def _rings(area: Polygon | MultiPolygon) -> list[shapely.LinearRing]:
    return [ring for part in shapely.get_parts(area) for ring in (part.exterior, *part.interiors)]
