"""Where a UAV may be: the free space of a scene, with a safety margin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from channelfm.errors import InputError
from channelfm.mobility.ground_grid import Bounds, GroundGrid, ground_grid
from channelfm.records import Scene
from channelfm.scenes.surface import HeightRaster, height_raster

Float = NDArray[np.float64]

CELL_M = 1.0
SAMPLES_PER_CELL = 2
BUILT_FROM_M = 2.0  # surfaces above this count as roofs when a default altitude is chosen
LOWEST_DEFAULT_M = 30.0  # SPEC 1: urban flights at 30-50 m
DEFAULT_BAND_M = 20.0


@dataclass(frozen=True)
class Airspace:
    """Free space of a scene inside ``bounds`` (x_min, y_min, x_max, y_max) [m].

    ``surface`` is the height raster of everything in it, ``ground`` the terrain that altitudes count from.
    ``floor`` holds per cell the lowest allowed z: ``margin_m`` above every surface within ``margin_m``
    horizontally (a square neighbourhood, so never less).
    """

    surface: HeightRaster
    floor: HeightRaster
    ground: GroundGrid
    bounds: Bounds
    margin_m: float

    def is_clear(self, start: Float, end: Float, lowest_m: float, legs: int = 1) -> bool:
        """Whether the line between two points [2] stays in the free space when flown at ``lowest_m`` above ground
        or higher; between the ends of its equal, straight ``legs`` it does not follow the terrain."""
        if not self.contains(end[None])[0]:
            return False
        length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
        share = np.linspace(0.0, 1.0, int(length / self.floor.cell_m * SAMPLES_PER_CELL) + 2)
        knots = np.linspace(0.0, 1.0, min(legs, len(share)) + 1)
        ground = self.ground.at(start + knots[:, None] * (end - start))
        lowest = np.interp(share, knots, ground) + lowest_m
        return bool((self.floor.at(start + share[:, None] * (end - start)) <= lowest).all())

    def contains(self, points_xy: Float) -> NDArray[np.bool_]:
        """bool [N]: whether points [N, 2] lie inside the bounds."""
        x_min, y_min, x_max, y_max = self.bounds
        return np.asarray(((points_xy >= (x_min, y_min)) & (points_xy <= (x_max, y_max))).all(axis=1))

    def without_room(self, what: str, altitude_m: tuple[float, float]) -> InputError:
        """The error of a flight that finds no way."""
        low, high = altitude_m
        return InputError(
            f"no room for a {what} flight at {low:g}-{high:g} m (highest surface {self.heights_above_ground.max():.0f} "
            f"m, margin {self.margin_m:g} m); raise altitude_m, lower margin_m or speed_mps, or take a larger scene"
        )

    @property
    def heights_above_ground(self) -> Float:
        """Height [rows, cols] in m of the highest surface of each cell above the ground at its middle."""
        rows, cols = self.surface.heights_m.shape
        cell = self.surface.cell_m
        x = self.surface.x_min + (np.arange(cols) + 0.5) * cell
        y = self.surface.y_min + (np.arange(rows) + 0.5) * cell
        middles = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        return np.asarray(self.surface.heights_m - self.ground.at(middles).reshape(rows, cols))


def open_airspace(scene: Scene, margin_m: float, bounds: Bounds | None) -> Airspace:
    """Airspace of a scene; InputError on a bad margin or bounds without area."""
    if not 0.0 <= margin_m < np.inf:
        raise InputError(f"margin_m = {margin_m}: give a distance in metres, at least 0")
    x_min, y_min, x_max, y_max = limits = bounds or scene.bounds
    if not (x_min < x_max and y_min < y_max):
        raise InputError(f"bounds = {limits}: give x_min, y_min, x_max, y_max in metres with an area between them")
    # A point is at most half a sample step from a sample, and a cell reaches 0.71 cells from its centre: two
    # cells more than the margin therefore cover every surface within the margin of the whole line.
    reach = int(np.ceil(margin_m / CELL_M)) + 2
    wide = (x_min - reach * CELL_M, y_min - reach * CELL_M, x_max + reach * CELL_M, y_max + reach * CELL_M)
    surface = height_raster(scene, CELL_M, wide)
    floor = maximum_filter(surface.heights_m, size=2 * reach + 1, mode="nearest") + margin_m
    return Airspace(
        surface, HeightRaster(floor, wide[0], wide[1], CELL_M), ground_grid(scene, wide), limits, float(margin_m)
    )


def altitude_band(altitude_m: tuple[float, float] | None, airspace: Airspace) -> tuple[float, float]:
    """The given altitudes [m above ground], or a band of 20 m above 90 % of all roof area (never below 30 m)."""
    if altitude_m is not None:
        low, high = altitude_m
        if not 0.0 < low <= high < np.inf:
            raise InputError(f"altitude_m = {altitude_m}: give (lowest, highest) in metres, above 0")
        return float(low), float(high)
    heights = airspace.heights_above_ground
    roofs = heights[heights > BUILT_FROM_M]
    above = float(np.percentile(roofs, 90)) + airspace.margin_m if len(roofs) else 0.0
    low = max(LOWEST_DEFAULT_M, above)
    return low, low + DEFAULT_BAND_M
