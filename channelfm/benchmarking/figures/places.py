"""Where the links are: scene, array, flights, near field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from numpy.typing import NDArray

from channelfm.benchmarking.figures.style import FAINT, FAR, INK, NEAR, PAPER, STYLE, svg
from channelfm.records import Scene

_BUILDINGS = LinearSegmentedColormap.from_list("buildings", ["#e2e0db", "#a9a59c"])


@dataclass(frozen=True)
class Flight:
    """A flight on the map: ``positions_m`` float64 [S, 3]; ``near_field`` bool [S]; ``track`` int [S], which user;
    ``held_out``: True for the flight that was measured, False for one that was trained on."""

    positions_m: NDArray[np.float64]
    near_field: NDArray[np.bool_]
    track: NDArray[np.int32]
    held_out: bool


def map_figure(
    scene: Scene,
    flights: Sequence[Flight],
    array_position_m: tuple[float, float, float],
    rayleigh_distance_m: float,
) -> str:
    """The scene from above: buildings, array, near-field limit, flights coloured near and far."""
    with matplotlib.rc_context(STYLE):
        west, south, east, north = _map_window(scene, flights, array_position_m)
        figure = Figure(
            figsize=(7.2, float(np.clip(7.2 * (north - south) / (east - west), 3.0, 6.2))), layout="constrained"
        )
        axes = figure.add_subplot()
        _draw_buildings(axes, scene)
        for road in scene.roads:
            axes.plot(*np.array(road.points).T, color="#d9dce0", lw=0.8, zorder=0)
        axes.add_patch(
            Circle(array_position_m[:2], rayleigh_distance_m, fill=False, ls=(0, (5, 4)), lw=0.9, color=NEAR, alpha=0.7)
        )
        for flight in sorted(flights, key=lambda flight: flight.held_out):
            _draw_flight(axes, flight)
        axes.plot(*array_position_m[:2], marker="^", ms=10, color=INK, mec=PAPER, zorder=6)
        axes.set(xlim=(west, east), ylim=(south, north), aspect="equal", xlabel="east [m]", ylabel="north [m]")
        for spine in axes.spines.values():
            spine.set_visible(False)
        _map_legend(figure)
        return svg(figure)


def _draw_buildings(axes: Axes, scene: Scene) -> None:
    """Footprints: all triangles of the buildings seen from above, higher ones darker and on top."""
    kinds = np.array([item.kind == "building" for item in scene.objects], dtype=bool)
    triangles = scene.vertices[scene.faces[kinds[scene.face_object]]] if len(kinds) else np.zeros((0, 3, 3))
    if not len(triangles):
        return
    height = triangles[:, :, 2].mean(axis=1)
    order = np.argsort(height)
    shade = _BUILDINGS(np.clip(height / max(np.quantile(height, 0.98), 1.0), 0, 1))
    axes.add_collection(
        PolyCollection(
            list(triangles[order, :, :2]),
            facecolors=shade[order],
            edgecolors=shade[order],
            lw=0.25,
            zorder=1,
            rasterized=True,
        )
    )


def _draw_flight(axes: Axes, flight: Flight) -> None:
    """One line per user; dots coloured near and far; faint if it was trained on."""
    for user in np.unique(flight.track):
        own = flight.track == user
        x, y = flight.positions_m[own, 0], flight.positions_m[own, 1]
        colour = np.where(flight.near_field[own], NEAR, FAR)
        if flight.held_out:
            axes.plot(x, y, color=INK, lw=0.9, alpha=0.6, zorder=4)
            axes.scatter(x, y, c=colour, s=22, lw=0.5, ec=PAPER, zorder=5)
        else:
            axes.plot(x, y, color=FAINT, lw=0.5, alpha=0.35, zorder=2)
            axes.scatter(x, y, c=colour, s=5, lw=0, alpha=0.35, zorder=3)


def _map_window(
    scene: Scene, flights: Sequence[Flight], array_position_m: tuple[float, float, float]
) -> tuple[float, float, float, float]:
    """West, south, east, north of the picture: flights and array with a margin, within the scene's surroundings."""
    points = np.concatenate([[array_position_m[:2]], *(flight.positions_m[:, :2] for flight in flights)])
    if not flights:
        points = np.concatenate([points, np.reshape(scene.bounds, (2, 2))])
    low, high = points.min(axis=0), points.max(axis=0)
    margin = max(40.0, 0.12 * float((high - low).max()))
    return float(low[0] - margin), float(low[1] - margin), float(high[0] + margin), float(high[1] + margin)


def _map_legend(figure: Figure) -> None:
    def dot(colour: str, size: float, alpha: float, label: str) -> Line2D:
        return Line2D([], [], ls="", marker="o", ms=size, mec="none", color=colour, alpha=alpha, label=label)

    handles = [
        Line2D([], [], ls="", marker="^", ms=8, mec=PAPER, color=INK, label="array"),
        Line2D([], [], ls=(0, (5, 4)), lw=0.9, color=NEAR, label="Rayleigh distance"),
        dot(NEAR, 6, 1, "held-out flight, near field"),
        dot(FAR, 6, 1, "held-out flight, far field"),
        dot(FAINT, 4, 0.6, "training flights"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, handletextpad=0.5)
