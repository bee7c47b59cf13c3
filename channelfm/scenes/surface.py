"""The scene's surface as arrays: heights of roofs and ground, occupancy, and which points lie inside a building."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from channelfm.errors import InputError
from channelfm.records import Scene

Float = NDArray[np.float64]
Index = NDArray[np.int64]
Bounds = tuple[float, float, float, float]

_PAIRS_AT_ONCE = 2_000_000  # triangle-cell pairs held in memory together


@dataclass(frozen=True)
class HeightRaster:
    """Highest surface in each cell of a square grid.

    ``heights_m`` float64 [rows, cols]: row along +y, column along +x; -inf where no surface lies. Cell (0, 0)
    has its lower left corner at ``(x_min, y_min)`` [m].
    """

    heights_m: Float
    x_min: float
    y_min: float
    cell_m: float

    def cells(self, points_xy: ArrayLike) -> tuple[Index, Index, NDArray[np.bool_]]:
        """Row and column [N] of the cell that holds each point [N, 2], clipped to the grid, and whether the point
        lies on the grid [N]."""
        points = np.asarray(points_xy, dtype=np.float64).reshape(-1, 2)
        col, row = np.floor((points - (self.x_min, self.y_min)) / self.cell_m).astype(np.int64).T
        rows, cols = self.heights_m.shape
        inside = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
        return np.clip(row, 0, rows - 1), np.clip(col, 0, cols - 1), inside

    def at(self, points_xy: ArrayLike) -> Float:
        """Highest surface z [N] in m in the cells of points [N, 2]; -inf outside the raster or over nothing."""
        row, col, inside = self.cells(points_xy)
        return np.where(inside, self.heights_m[row, col], -np.inf)


def height_raster(scene: Scene, cell_m: float = 1.0, bounds: Bounds | None = None) -> HeightRaster:
    """Conservative height raster: no surface in a cell lies above the cell's value.

    Every cell that a triangle touches gets the triangle's plane at its highest corner, but no more than the
    triangle's own highest point; flat roofs are therefore exact. Covers ``bounds`` (x_min, y_min, x_max, y_max)
    in m, by default the scene's bounds and all its buildings; ground is included.
    """
    x_min, y_min, *shape = _grid(scene, cell_m, bounds)
    raster = HeightRaster(np.full(shape, -np.inf), x_min, y_min, cell_m)
    level = _lay_flat_ground(scene, raster)
    triangles = np.delete(scene.vertices[scene.faces], level, axis=0)
    local = (triangles[:, :, :2] - (x_min, y_min)) / cell_m  # in cells
    low = np.floor(local.min(axis=1)).astype(np.int64)
    high = np.floor(local.max(axis=1)).astype(np.int64)
    low, high = np.maximum(low, 0), np.minimum(high, (shape[1] - 1, shape[0] - 1))
    span = np.maximum(high - low + 1, 0)
    count = span.prod(axis=1)
    batch = np.cumsum(count) // _PAIRS_AT_ONCE
    for number in np.unique(batch):
        chosen = np.flatnonzero((batch == number) & (count > 0))
        _raise_cells(raster.heights_m, local[chosen], triangles[chosen, :, 2], low[chosen], span[chosen])
    return raster


def _lay_flat_ground(scene: Scene, raster: HeightRaster) -> Index:
    """Write a level ground rectangle into the raster in place and return the numbers of its two faces.

    Spares testing these triangles, much the largest of a scene, against every cell. Without such a ground,
    nothing is written and no number returned.
    """
    for number, item in enumerate(scene.objects):
        faces = np.flatnonzero(scene.face_object == number) if item.kind == "ground" else np.empty(0, dtype=np.int64)
        if len(faces) != 2:
            continue
        corners = scene.vertices[scene.faces[faces]]
        low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
        edges = corners[:, 1:, :2] - corners[:, :1, :2]
        area = np.abs(edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]).sum() / 2
        if high[2] == low[2] and np.isclose(area, np.prod(high[:2] - low[:2]), rtol=1e-6):
            first, last = np.floor((np.array([low[:2], high[:2]]) - (raster.x_min, raster.y_min)) / raster.cell_m)
            (col, row), (col_end, row_end) = np.maximum(first, 0).astype(int), np.maximum(last + 1, 0).astype(int)
            raster.heights_m[row:row_end, col:col_end] = low[2]
            return faces
    return np.empty(0, dtype=np.int64)


def _extent(scene: Scene) -> Bounds:
    """The scene's bounds, widened to hold everything that is not ground."""
    raised = np.array([item.kind != "ground" for item in scene.objects])
    corners = scene.vertices[scene.faces[raised[scene.face_object]]].reshape(-1, 3)[:, :2]
    points = np.concatenate([corners, np.reshape(scene.bounds, (2, 2))])
    (x_min, y_min), (x_max, y_max) = points.min(axis=0), points.max(axis=0)
    return float(x_min), float(y_min), float(x_max), float(y_max)


def _raise_cells(heights: Float, corners: Float, z: Float, low: Index, span: Index) -> None:
    """Raise the cells of ``heights`` in place to triangles with corners [T, 3, 2] (in cells) and z [T, 3] (m); the
    candidates of triangle t are the ``span[t]`` (x, y) cells from ``low[t]`` on."""
    count = span.prod(axis=1)
    triangle = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(triangle)) - np.repeat(np.cumsum(count) - count, count)
    col = low[triangle, 0] + within % span[triangle, 0]
    row = low[triangle, 1] + within // span[triangle, 0]
    # Separating axes of a triangle and a unit square: the square's were the candidates' box, these are the edges'.
    touching = np.ones(len(triangle), dtype=bool)
    for first, second in ((0, 1), (1, 2), (2, 0)):
        edge = corners[:, second] - corners[:, first]
        normal = np.stack([-edge[:, 1], edge[:, 0]], axis=1)
        along = np.einsum("tij,tj->ti", corners, normal)
        reach = np.abs(normal).sum(axis=1) / 2
        centre = normal[triangle, 0] * (col + 0.5) + normal[triangle, 1] * (row + 0.5)
        touching &= centre + reach[triangle] >= along.min(axis=1)[triangle] - 1e-9
        touching &= centre - reach[triangle] <= along.max(axis=1)[triangle] + 1e-9
    triangle, row, col = triangle[touching], row[touching], col[touching]
    height, slope = _planes(corners, z)
    middle = np.stack([col + 0.5, row + 0.5], axis=1) - corners[triangle, 0]
    highest = height[triangle] + (slope[triangle] * middle).sum(axis=1) + np.abs(slope[triangle]).sum(axis=1) / 2
    np.maximum.at(heights, (row, col), np.minimum(highest, z.max(axis=1)[triangle]))


def _planes(corners: Float, z: Float) -> tuple[Float, Float]:
    """z at the first corner [T] and slope per cell [T, 2] of triangles; upright ones are level at their top."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    rise = z[:, 1:] - z[:, :1]
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    upright = np.abs(area) < 1e-9
    with np.errstate(divide="ignore", invalid="ignore"):
        slope_x = (rise[:, 0] * second[:, 1] - rise[:, 1] * first[:, 1]) / area
        slope_y = (rise[:, 1] * first[:, 0] - rise[:, 0] * second[:, 0]) / area
    slope = np.where(upright[:, None], 0.0, np.stack([slope_x, slope_y], axis=1))
    return np.where(upright, z.max(axis=1), z[:, 0]), slope


def inside_buildings(scene: Scene, points_m: ArrayLike) -> NDArray[np.bool_]:
    """bool [N]: whether points [N, 3] lie inside an object of kind "building".

    A point is inside an object if a ray straight up crosses it an odd number of times; so courtyards and the
    space below raised parts are outside. Objects without an underside count as standing on the ground. Points
    exactly on a surface may count either way.
    """
    points = np.asarray(points_m, dtype=np.float64).reshape(-1, 3)
    point, triangle, owner = _faces_over(scene, points[:, :2], "building")
    z = _height_on(points[point, :2], triangle)
    above = z > points[point, 2]
    pair = point[above] * len(scene.objects) + owner[above]
    crossed, times = np.unique(pair, return_counts=True)
    inside = np.zeros(len(points), dtype=bool)
    inside[crossed[times % 2 == 1] // len(scene.objects)] = True
    return inside


def ground_height(scene: Scene, points_xy: ArrayLike) -> Float:
    """z [N] in m of the ground at points [N, 2]: of the highest face of kind "ground" there.

    A level ground counts as endless, and a scene without ground has it at z = 0. Raises InputError for a point
    beyond the edge of an uneven one.
    """
    points = np.asarray(points_xy, dtype=np.float64).reshape(-1, 2)
    heights = _ground_under(scene, points)
    if np.isnan(heights).any():
        x, y = points[int(np.argmax(np.isnan(heights)))]
        raise InputError(f"the ground of scene '{scene.name}' ends before ({x:g}, {y:g}); stay inside its edges")
    return heights


def _ground_under(scene: Scene, points: Float) -> Float:
    """As ``ground_height``, with NaN beyond the edge."""
    is_ground = np.array([item.kind == "ground" for item in scene.objects], dtype=bool)
    levels = scene.vertices[scene.faces[is_ground[scene.face_object]]][..., 2]
    if not levels.size or np.ptp(levels) == 0.0:
        return np.full(len(points), levels.flat[0] if levels.size else 0.0)
    heights = np.full(len(points), -np.inf)
    point, triangle, _ = _faces_over(scene, points, "ground")
    np.maximum.at(heights, point, _height_on(points[point], triangle))
    return np.where(np.isneginf(heights), np.nan, heights)


def occupancy(scene: Scene, cell_m: float = 1.0, bounds: Bounds | None = None) -> NDArray[np.bool_]:
    """bool [rows, cols]: whether a building stands, or hangs, over the centre of each cell of a square grid.

    Row along +y, column along +x from the lower left corner of ``bounds`` (x_min, y_min, x_max, y_max) in m, by
    default the scene's bounds and all its buildings, as in :func:`height_raster`.
    """
    centres, shape = _cell_centres(scene, cell_m, bounds)
    covered = np.zeros(len(centres), dtype=bool)
    covered[_faces_over(scene, centres, "building")[0]] = True
    return covered.reshape(shape)


def voxels(
    scene: Scene, cell_m: float = 1.0, bounds: Bounds | None = None, height_m: float | None = None
) -> NDArray[np.bool_]:
    """bool [levels, rows, cols]: whether the centre of each cube lies inside a building.

    Level k spans z from ``k * cell_m`` to ``(k + 1) * cell_m``, up to ``height_m``, by default the highest surface;
    rows and columns as in :func:`occupancy`.
    """
    centres, shape = _cell_centres(scene, cell_m, bounds)
    top = float(scene.vertices[:, 2].max()) if height_m is None else height_m
    count = max(1, int(np.ceil(top / cell_m)))
    layers = [np.column_stack([centres, np.full(len(centres), (k + 0.5) * cell_m)]) for k in range(count)]
    return np.stack([inside_buildings(scene, layer).reshape(shape) for layer in layers])


def _cell_centres(scene: Scene, cell_m: float, bounds: Bounds | None) -> tuple[Float, tuple[int, int]]:
    """Centres [rows * cols, 2] m of the cells of a grid, and its shape."""
    x_min, y_min, rows, cols = _grid(scene, cell_m, bounds)
    x, y = np.meshgrid(x_min + (np.arange(cols) + 0.5) * cell_m, y_min + (np.arange(rows) + 0.5) * cell_m)
    return np.column_stack([x.ravel(), y.ravel()]), (rows, cols)


def _grid(scene: Scene, cell_m: float, bounds: Bounds | None) -> tuple[float, float, int, int]:
    """Lower left corner (x, y) m, rows and columns of a grid of square cells over the bounds or the whole scene."""
    if not cell_m > 0.0:
        raise InputError(f"cell_m = {cell_m}: give a positive cell size in metres")
    x_min, y_min, x_max, y_max = bounds or _extent(scene)
    return x_min, y_min, max(1, int(np.ceil((y_max - y_min) / cell_m))), max(1, int(np.ceil((x_max - x_min) / cell_m)))


def _faces_over(scene: Scene, points: Float, kind: str) -> tuple[Index, Float, NDArray[np.int32]]:
    """Every crossing of an upright line through one of the points [N, 2] with a face of objects of a kind: the
    point's number [K], the face's corners [K, 3, 3] and its object [K]."""
    chosen = np.array([item.kind == kind for item in scene.objects], dtype=bool)[scene.face_object]
    corners, owner = scene.vertices[scene.faces[chosen]], scene.face_object[chosen]
    low, high = corners[:, :, :2].min(axis=1), corners[:, :, :2].max(axis=1)
    tree = shapely.STRtree(shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1]))
    point, triangle = tree.query(shapely.points(points), predicate="intersects")
    hit = _covers(points[point], corners[triangle])
    return point[hit], corners[triangle[hit]], owner[triangle[hit]]


def _covers(points: Float, corners: Float) -> NDArray[np.bool_]:
    """bool [K]: whether each point [K, 2] lies in its triangle [K, 3, 3] seen from above.

    Edges are half open and evaluated from their lower end, so triangles that share one never both count it.
    """
    x, y = points[:, 0], points[:, 1]
    odd = np.zeros(len(points), dtype=bool)
    for first, second in ((0, 1), (1, 2), (2, 0)):
        a, b = corners[:, first, :2], corners[:, second, :2]
        swap = ((a[:, 1] > b[:, 1]) | ((a[:, 1] == b[:, 1]) & (a[:, 0] > b[:, 0])))[:, None]
        lower, upper = np.where(swap, b, a), np.where(swap, a, b)
        straddles = (lower[:, 1] <= y) & (y < upper[:, 1])
        run = np.where(straddles, upper[:, 1] - lower[:, 1], 1.0)
        crossing = lower[:, 0] + (y - lower[:, 1]) / run * (upper[:, 0] - lower[:, 0])
        odd ^= straddles & (x < crossing)
    return odd


def _height_on(points: Float, corners: Float) -> Float:
    """z [K] of the planes of triangles [K, 3, 3] at points [K, 2]."""
    _, slope = _planes(corners[:, :, :2], corners[:, :, 2])
    return np.asarray(corners[:, 0, 2] + (slope * (points - corners[:, 0, :2])).sum(axis=1))


def require_free(scene: Scene, position_m: ArrayLike, what: str = "position") -> None:
    """Raise InputError if a point (x, y, z) lies inside a building or below the ground.

    ``what`` names it in the message, e.g. "base station".
    """
    point = np.asarray(position_m, dtype=np.float64).reshape(3)
    place = "(" + ", ".join(f"{value:g}" for value in point) + ")"
    if inside_buildings(scene, point[None])[0]:
        roof = height_raster(scene, 0.5, (point[0] - 1, point[1] - 1, point[0] + 1, point[1] + 1)).heights_m.max()
        raise InputError(
            f"{what} {place} lies inside a building of scene '{scene.name}'; raise it above {roof:.1f} m or move it"
        )
    ground = _ground_under(scene, point[None, :2])[0]
    if point[2] < ground:  # beyond the ground's edge (NaN) nothing is below it
        raise InputError(f"{what} {place} lies below the ground at z = {ground:.4g}; give a larger z")
