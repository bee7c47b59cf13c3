"""Which face of a scene is seen in each pixel of a parallel projection: a z-buffer in NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Index = NDArray[np.int64]

_PAIRS_AT_ONCE = 4_000_000  # triangle-pixel pairs held in memory together


@dataclass(frozen=True)
class View:
    """A parallel projection: ``right``, ``up`` and ``towards`` (the viewer) are orthonormal [3]."""

    right: Float
    up: Float
    towards: Float

    def project(self, points: Float) -> Float:
        """Points [..., 3] m as (picture x, picture y, nearness) [..., 3] m."""
        return np.asarray(points @ np.stack([self.right, self.up, self.towards], axis=1))


def view_from(azimuth_deg: float, elevation_deg: float) -> View:
    """View of a distant eye at a compass bearing (180 = in the south, looking north) and an elevation above the
    horizon; 90 degrees is a plan, with the far side of the bearing up."""
    bearing, elevation = np.deg2rad([azimuth_deg, elevation_deg])
    away = -np.array([np.sin(bearing), np.cos(bearing), 0.0])
    towards = np.array([0.0, 0.0, np.sin(elevation)]) - away * np.cos(elevation)
    right = np.array([away[1], -away[0], 0.0])
    return View(right, np.cross(towards, right), towards)


@dataclass(frozen=True)
class Buffer:
    """What a view sees: ``face`` int64 [rows, cols] (-1 where nothing) and ``nearness`` float64 [rows, cols] m (-inf
    there). Pixel (0, 0) has its lower left corner at ``(x_min, y_min)`` of the picture; pixels measure ``pixel_m``."""

    face: Index
    nearness: Float
    x_min: float
    y_min: float
    pixel_m: float

    def nearness_at(self, points: Float) -> Float:
        """Nearness [...] of what is seen at projected points [..., 2]; -inf beyond the picture."""
        col, row = np.moveaxis(np.floor((points - (self.x_min, self.y_min)) / self.pixel_m).astype(np.int64), -1, 0)
        rows, cols = self.face.shape
        inside = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
        seen = self.nearness[np.clip(row, 0, rows - 1), np.clip(col, 0, cols - 1)]
        return np.where(inside, seen, -np.inf)


def draw_faces(corners: Float, limits: tuple[float, float, float, float], pixel_m: float) -> Buffer:
    """The nearest of projected triangles [T, 3, 3] in each pixel of ``limits`` (x_min, y_min, x_max, y_max)."""
    x_min, y_min, x_max, y_max = limits
    cols, rows = (max(1, int(np.ceil(size / pixel_m))) for size in (x_max - x_min, y_max - y_min))
    buffer = Buffer(np.full((rows, cols), -1), np.full((rows, cols), -np.inf), x_min, y_min, pixel_m)
    local = (corners[:, :, :2] - (x_min, y_min)) / pixel_m - 0.5  # pixel centres at whole numbers
    low = np.maximum(np.ceil(local.min(axis=1)).astype(np.int64), 0)
    high = np.minimum(np.floor(local.max(axis=1)).astype(np.int64), (cols - 1, rows - 1))
    span = np.maximum(high - low + 1, 0)
    count = span.prod(axis=1)
    batch = np.cumsum(count) // _PAIRS_AT_ONCE
    for number in np.unique(batch):
        chosen = np.flatnonzero((batch == number) & (count > 0))
        _draw(buffer, chosen, local[chosen], corners[chosen, :, 2], low[chosen], span[chosen])
    return buffer


def _draw(buffer: Buffer, number: Index, local: Float, nearness: Float, low: Index, span: Index) -> None:
    """Write triangles with corners [T, 3, 2] in pixels into the buffer in place, where they are nearest."""
    count = span.prod(axis=1)
    triangle = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(triangle)) - np.repeat(np.cumsum(count) - count, count)
    col = low[triangle, 0] + within % span[triangle, 0]
    row = low[triangle, 1] + within // span[triangle, 0]
    first, second = local[:, 1] - local[:, 0], local[:, 2] - local[:, 0]
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    scale = np.divide(1.0, area, out=np.zeros_like(area), where=np.abs(area) > 1e-12)[triangle]
    x, y = col - local[triangle, 0, 0], row - local[triangle, 0, 1]
    b = (x * second[triangle, 1] - y * second[triangle, 0]) * scale
    c = (y * first[triangle, 0] - x * first[triangle, 1]) * scale
    covered = (b >= 0.0) & (c >= 0.0) & (b + c <= 1.0) & (scale != 0.0)
    triangle, row, col, b, c = (values[covered] for values in (triangle, row, col, b, c))
    rise = nearness[:, 1:] - nearness[:, :1]
    depth = nearness[triangle, 0] + b * rise[triangle, 0] + c * rise[triangle, 1]
    order = np.argsort(depth, kind="stable")  # the nearest is written last
    triangle, row, col, depth = (values[order] for values in (triangle, row, col, depth))
    nearer = depth > buffer.nearness[row, col]
    row, col = row[nearer], col[nearer]
    buffer.nearness[row, col] = depth[nearer]
    buffer.face[row, col] = number[triangle[nearer]]
