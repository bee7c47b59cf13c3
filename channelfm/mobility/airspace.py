"""Where a UAV may be: the free space of a scene, with a safety margin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from channelfm.errors import InputError
from channelfm.records import Scene
from channelfm.scenes.surface import HeightRaster, height_raster

Float = NDArray[np.float64]
Bounds = tuple[float, float, float, float]

CELL_M = 1.0
SAMPLES_PER_CELL = 2
BUILT_FROM_M = 2.0  # surfaces above this count as roofs when a default altitude is chosen
LOWEST_DEFAULT_M = 30.0  # SPEC 1: urban flights at 30-50 m
DEFAULT_BAND_M = 20.0


@dataclass(frozen=True)
class Airspace:
    """Free space of a scene inside ``bounds`` (x_min, y_min, x_max, y_max) [m].

    ``floor`` holds per cell the lowest allowed altitude: ``margin_m`` above every surface within ``margin_m``
    horizontally (a square neighbourhood, so never less).
    """

    floor: HeightRaster
    bounds: Bounds
    margin_m: float

    def is_clear(self, start: Float, end: Float, lowest_m: float) -> bool:
        """Whether the straight line between two points [2] stays in the free space when flown at ``lowest_m`` or
        above."""
        x_min, y_min, x_max, y_max = self.bounds
        if not (x_min <= end[0] <= x_max and y_min <= end[1] <= y_max):
            return False
        length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
        share = np.linspace(0.0, 1.0, int(length / self.floor.cell_m * SAMPLES_PER_CELL) + 2)[:, None]
        return bool((self.floor.at(start + share * (end - start)) <= lowest_m).all())

    def without_room(self, what: str, altitude_m: tuple[float, float]) -> InputError:
        """The error of a flight that finds no way."""
        low, high = altitude_m
        return InputError(
            f"no room for a {what} flight at {low:g}-{high:g} m (highest surface {self.highest_surface_m:.0f} m, "
            f"margin {self.margin_m:g} m); raise altitude_m, lower margin_m or speed_mps, or take a larger scene"
        )

    @property
    def highest_surface_m(self) -> float:
        """Top of the highest surface in the airspace [m]."""
        return float(self.floor.heights_m.max()) - self.margin_m


def open_airspace(scene: Scene, margin_m: float, bounds: Bounds | None) -> tuple[Airspace, HeightRaster]:
    """Airspace of a scene, and the height raster under it; InputError on a bad margin or bounds without area."""
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
    return Airspace(HeightRaster(floor, wide[0], wide[1], CELL_M), limits, margin_m), surface


def altitude_band(
    altitude_m: tuple[float, float] | None, surface: HeightRaster, margin_m: float
) -> tuple[float, float]:
    """The given altitudes [m], or a band of 20 m above 90 % of all roof area (never below 30 m)."""
    if altitude_m is not None:
        low, high = altitude_m
        if not 0.0 < low <= high < np.inf:
            raise InputError(f"altitude_m = {altitude_m}: give (lowest, highest) in metres, above 0")
        return float(low), float(high)
    roofs = surface.heights_m[surface.heights_m > BUILT_FROM_M]
    above = float(np.percentile(roofs, 90)) + margin_m if len(roofs) else 0.0
    low = max(LOWEST_DEFAULT_M, above)
    return low, low + DEFAULT_BAND_M
