"""Pictures of scenes: a city seen obliquely in sunlight, coloured by height, with a flight and an array in it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from channelfm.arrays import UPA
from channelfm.errors import InputError
from channelfm.records import Scene, Trajectory
from channelfm.scenes.rendering import Buffer, View, draw_faces, view_from
from channelfm.scenes.surface import ground_height

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Float = NDArray[np.float64]

SUN_AZIMUTH_DEG, SUN_ELEVATION_DEG = 235.0, 40.0
GROUND_COLOUR = (0.93, 0.92, 0.89)
FLIGHT_COLOUR, ARRAY_COLOUR = "#d62728", "#111111"
SHADOW, AMBIENT = 0.62, 0.55  # brightness of shade, and of faces that the sun only grazes
HEIGHT_SHARE = 98.0  # percentile of the roofs that gets the last colour, so that one tower does not fade the rest
EDGE_M = 30.0  # of the surroundings, around the bounds


def draw_scene(
    scene: Scene,
    target: str | Path | Axes,
    flight: Trajectory | None = None,
    array: UPA | None = None,
    *,
    azimuth_deg: float = 205.0,
    elevation_deg: float = 45.0,
    pixels: int = 1200,
) -> None:
    """Draw a scene as a PNG file or into matplotlib axes.

    ``flight`` is drawn track by track, ``array`` as a mast; neither is hidden by buildings. The eye is far away, at
    the bearing ``azimuth_deg`` (180 = south) and ``elevation_deg`` above the horizon (90 = plan). The picture shows
    the scene's bounds, is ``pixels`` wide, and carries the scene's attribution. Raises InputError on a folder that
    cannot be written or an elevation outside (0, 90].
    """
    if not 0.0 < elevation_deg <= 90.0:
        raise InputError(f"elevation_deg = {elevation_deg}: give degrees above the horizon, up to 90")
    if not isinstance(target, str | Path):
        _draw(scene, target, flight, array, view_from(azimuth_deg, elevation_deg), pixels)
        return
    from matplotlib.figure import Figure
    from PIL import Image

    view = view_from(azimuth_deg, elevation_deg)
    x_min, y_min, x_max, y_max = _limits(scene, view, flight)
    figure = Figure(figsize=(9.0, 9.0 * (y_max - y_min) / (x_max - x_min)), dpi=pixels / 9.0)
    _draw(scene, figure.add_axes((0.0, 0.0, 1.0, 1.0)), flight, array, view, pixels)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    drawn = Image.open(content).convert("RGB")
    try:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        drawn.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
            target, optimize=True
        )  # a palette: a third of the bytes
    except (OSError, ValueError) as error:
        raise InputError(f"{target}: cannot write the picture ({error}); give a .png in a folder of yours") from error


def _draw(scene: Scene, axes: Axes, flight: Trajectory | None, array: UPA | None, view: View, pixels: int) -> None:
    limits = _limits(scene, view, flight)
    x_min, y_min, x_max, y_max = limits
    image, highest = _image(scene, view, limits, (x_max - x_min) / pixels)
    axes.imshow(image, origin="lower", extent=(x_min, x_max, y_min, y_max), interpolation="antialiased")
    if flight is not None:
        for track in np.unique(flight.track):
            x, y, _ = view.project(flight.positions_m[flight.track == track]).T
            axes.plot(x, y, "-o", color=FLIGHT_COLOUR, linewidth=1.2, markersize=2.5)
    if array is not None:
        position = np.asarray(array.position, dtype=np.float64)
        foot_m = np.array([*position[:2], ground_height(scene, position[None, :2])[0]])
        (x, _), (foot, head) = view.project(np.stack([foot_m, position])).T[:2]
        axes.plot([x, x], [foot, head], color=ARRAY_COLOUR, linewidth=1.5)
        axes.plot([x], [head], "s", color=ARRAY_COLOUR, markersize=7)
    axes.set(xlim=(x_min, x_max), ylim=(y_min, y_max), xticks=[], yticks=[])
    axes.axis("off")
    caption = f"{scene.name}: {len(scene.buildings)} buildings, roofs up to {highest:.0f} m"
    note: dict[str, Any] = {"transform": axes.transAxes, "fontsize": 8, "color": "#333333"}
    box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 2.0}
    axes.text(0.008, 0.985, caption, va="top", bbox=box, **note)
    if scene.attribution:
        axes.text(0.992, 0.012, scene.attribution, ha="right", va="bottom", bbox=box, **note)


def _limits(scene: Scene, view: View, flight: Trajectory | None) -> tuple[float, float, float, float]:
    """Picture around the scene's bounds on the ground, the tops of what stands in them, and the flight."""
    x_min, y_min, x_max, y_max = scene.bounds
    inside = (scene.vertices[:, :2] >= (x_min, y_min)).all(axis=1) & (scene.vertices[:, :2] <= (x_max, y_max)).all(
        axis=1
    )
    corners = np.array(
        [(x, y, 0.0) for x in (x_min - EDGE_M, x_max + EDGE_M) for y in (y_min - EDGE_M, y_max + EDGE_M)]
    )
    points = [corners, scene.vertices[inside], *([flight.positions_m] if flight is not None else [])]
    x, y, _ = view.project(np.concatenate(points)).T
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def _image(scene: Scene, view: View, limits: tuple[float, float, float, float], pixel_m: float) -> tuple[Float, float]:
    """Colours [rows, cols, 3] of what is seen, and the height [m] of the highest roof."""
    corners = scene.vertices[scene.faces]
    buffer = draw_faces(view.project(corners), limits, pixel_m)
    colours, highest = _face_colours(scene, corners)
    seen = buffer.face >= 0
    image = np.full((*buffer.face.shape, 3), GROUND_COLOUR)
    shade = np.where(_in_shadow(buffer, view, corners, seen), SHADOW, 1.0)
    image[seen] = colours[buffer.face[seen]] * shade[:, None]
    return image, highest


def _face_colours(scene: Scene, corners: Float) -> tuple[Float, float]:
    """Sunlit colour [F, 3] of each face: buildings by the height of their top, brighter towards the sun."""
    import matplotlib

    is_ground = np.array([item.kind == "ground" for item in scene.objects])[scene.face_object]
    top = np.zeros(len(scene.objects))
    np.maximum.at(top, scene.face_object, corners[:, :, 2].max(axis=1))
    raised = np.array([item.kind != "ground" for item in scene.objects])
    highest = float(np.max(top[raised], initial=0.0))
    scale = float(np.percentile(top[raised], HEIGHT_SHARE)) if raised.any() else 1.0
    height = corners[:, :, 2].max(axis=1)
    colours = matplotlib.colormaps["YlGnBu"](0.18 + 0.75 * np.clip(height / max(scale, 1.0), 0.0, 1.0))[:, :3]
    colours[is_ground] = GROUND_COLOUR
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    sun = view_from(SUN_AZIMUTH_DEG, SUN_ELEVATION_DEG).towards
    light = AMBIENT + (1.0 - AMBIENT) * np.clip(normal @ sun / sun[2], 0.0, 1.0)
    return colours * light[:, None], highest


def _in_shadow(buffer: Buffer, view: View, corners: Float, seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """bool [seen pixels]: whether another face lies between what a pixel shows and the sun."""
    row, col = np.nonzero(seen)
    x = buffer.x_min + (col + 0.5) * buffer.pixel_m
    y = buffer.y_min + (row + 0.5) * buffer.pixel_m
    points = np.column_stack([x, y, buffer.nearness[seen]]) @ np.stack([view.right, view.up, view.towards])
    sun = view_from(SUN_AZIMUTH_DEG, SUN_ELEVATION_DEG)
    there = sun.project(points)
    (x_min, y_min), (x_max, y_max) = there[:, :2].min(axis=0), there[:, :2].max(axis=0)
    lit = draw_faces(sun.project(corners), (x_min, y_min, x_max, y_max), buffer.pixel_m)
    return np.asarray(lit.nearness_at(there[:, :2]) > there[:, 2] + 2.0 * buffer.pixel_m)
