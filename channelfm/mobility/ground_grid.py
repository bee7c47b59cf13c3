"""The ground under a user, fast to ask for at single points: a grid of the scene's ground heights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import map_coordinates

from channelfm.records import Scene
from channelfm.scenes.surface import ground_height

Float = NDArray[np.float64]
Bounds = tuple[float, float, float, float]

CELL_M = 2.0


@dataclass(frozen=True)
class GroundGrid:
    """Ground heights z [m] at the points of a square grid; ``heights_m`` float64 [rows, cols], row along +y.

    The grid's first point is ``(x_min, y_min)``. Between its points heights are bilinear; beyond its edge, those
    of the edge.
    """

    heights_m: Float
    x_min: float
    y_min: float
    cell_m: float

    @property
    def is_level(self) -> bool:
        """Whether the ground has one height."""
        return self.heights_m.size == 1

    def at(self, points_xy: ArrayLike) -> Float:
        """Ground height [N] in m at points [N, 2]."""
        points = np.asarray(points_xy, dtype=np.float64).reshape(-1, 2)
        if self.is_level:
            return np.full(len(points), self.heights_m[0, 0])
        col, row = ((points - (self.x_min, self.y_min)) / self.cell_m).T
        return np.asarray(map_coordinates(self.heights_m, [row, col], order=1, mode="nearest"))


def ground_grid(scene: Scene, bounds: Bounds) -> GroundGrid:
    """Ground of a scene within bounds (x_min, y_min, x_max, y_max) [m]; level ground is a grid of one point."""
    is_ground = np.array([item.kind == "ground" for item in scene.objects], dtype=bool)
    z = scene.vertices[scene.faces[is_ground[scene.face_object]], 2]
    x_min, y_min, x_max, y_max = bounds
    if z.size == 0 or np.ptp(z) == 0.0:
        return GroundGrid(np.full((1, 1), z.flat[0] if z.size else 0.0), x_min, y_min, CELL_M)
    x = np.arange(x_min, x_max + CELL_M, CELL_M)
    y = np.arange(y_min, y_max + CELL_M, CELL_M)
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    return GroundGrid(ground_height(scene, points).reshape(len(y), len(x)), x_min, y_min, CELL_M)
