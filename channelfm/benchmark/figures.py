"""The figures of a benchmark report, each as one self-contained SVG string.

One palette runs through all of them: a predictor has the same colour everywhere.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from numpy.typing import NDArray

from channelfm.benchmark.run import Row
from channelfm.records import Scene

INK, FAINT, GRID, PAPER = "#22262b", "#6b7480", "#e3e6ea", "#ffffff"
NEAR, FAR, ARRAY = "#c2553a", "#2d6a9f", "#22262b"
_KNOWN = {
    "zero-filling": "#a3abb5",
    "polar-omp": "#d1933c",
    "wave-frame": "#b0486f",
    "off-grid": "#2f7f79",
    "cddim-canonical": "#3d3f93",
    "cddim-raw": "#9a8fc9",
}
_OTHERS = ("#5b8c3a", "#7a5c3e", "#3a8fb7", "#8a3d8f", "#6b6f1f")
_BUILDINGS = LinearSegmentedColormap.from_list("buildings", ["#e2e0db", "#a9a59c"])
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 9.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.titlesize": 9.5,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "svg.hashsalt": "channelfm",  # equal content, equal bytes
}


@dataclass(frozen=True)
class Flight:
    """A flight on the map: ``positions_m`` float64 [S, 3]; ``near_field`` bool [S]; ``track`` int [S], which user;
    ``held_out``: True for the flight that was measured, False for one that was trained on."""

    positions_m: NDArray[np.float64]
    near_field: NDArray[np.bool_]
    track: NDArray[np.int32]
    held_out: bool


@dataclass(frozen=True)
class Example:
    """One channel as seen by everyone.

    ``truth`` complex [rows, cols]; ``mask`` bool [rows, cols], True = observed; ``estimates``: by predictor name,
    complex [rows, cols]; ``mask_ratio``; ``description``: what it is, e.g. "near field, 83 m from the array".
    """

    truth: NDArray[np.complex64]
    mask: NDArray[np.bool_]
    estimates: Mapping[str, NDArray[np.complex64]]
    mask_ratio: float
    description: str


def colours(names: Sequence[str]) -> dict[str, str]:
    """One colour per predictor name, the same in every figure of a report."""
    others = iter(_OTHERS * (1 + len(names) // len(_OTHERS)))
    return {name: _KNOWN.get(name) or next(others) for name in names}


def accuracy_figure(rows: Sequence[Row]) -> str:
    """NMSE against mask ratio: mean with its 95 % interval (solid), median (dotted)."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        axes = figure.add_subplot()
        _plain(axes)
        names = _names(rows)
        palette = colours(names)
        for name in names:
            own = sorted((row for row in rows if row["predictor"] == name), key=lambda row: row["mask_ratio"])
            ratio = [row["mask_ratio"] for row in own]
            mean = np.array([row["nmse_db"] for row in own])
            margins = np.abs([[row["nmse_db_low"], row["nmse_db_high"]] for row in own] - mean[:, None]).T
            style: dict[str, Any] = {"color": palette[name], "markersize": 4.5}
            axes.errorbar(
                ratio, mean, yerr=margins, marker="o", lw=1.8, capsize=2.5, elinewidth=0.9, label=name, **style
            )
            axes.plot(ratio, [row["nmse_median_db"] for row in own], ls=":", lw=1.1, color=palette[name])
        axes.set_xlabel("mask ratio: share of antennas that are hidden")
        axes.set_ylabel("NMSE [dB], lower is better")
        axes.set_xticks(sorted({row["mask_ratio"] for row in rows}))
        axes.margins(x=0.06, y=0.08)
        figure.legend(loc="outside right upper", frameon=False, handlelength=1.6)
        return _svg(figure)


def time_figure(rows: Sequence[Row]) -> str:
    """Time per sample of each predictor, median over mask ratios with the range of all, logarithmic."""
    with matplotlib.rc_context(_STYLE):
        names = _names(rows)
        palette = colours(names)
        figure = Figure(figsize=(7.2, 0.75 + 0.42 * len(names)), layout="constrained")
        axes = figure.add_subplot()
        _plain(axes)
        axes.grid(visible=False, axis="y")
        for place, name in enumerate(names):
            times = [max(row["latency_ms"], 1e-4) for row in rows if row["predictor"] == name]
            middle = float(np.median(times))
            axes.barh(place, middle, height=0.58, color=palette[name])
            axes.plot([min(times), max(times)], [place, place], color=INK, lw=0.9)
            label = f"{middle:.3g} ms"
            axes.annotate(label, (max(times), place), xytext=(6, 0), textcoords="offset points", va="center")
        axes.set_xscale("log")
        axes.set_xlim(right=4 * max(row["latency_ms"] for row in rows))
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", colors=INK, length=0)
        axes.invert_yaxis()
        axes.set_xlabel("time per sample [ms], logarithmic")
        return _svg(figure)


def amplitude_figure(example: Example) -> str:
    """Amplitude maps over the array: truth, what was observed, each reconstruction; below, the errors."""
    names = list(example.estimates)
    columns = 2 + len(names)
    truth = np.abs(example.truth)
    peak, floor = truth.max(), max(np.quantile(truth, 0.002) * 0.8, truth.max() * 1e-2)
    shades = matplotlib.colormaps["cividis"].with_extremes(bad="#eceef1")
    errors = matplotlib.colormaps["magma"].with_extremes(bad=PAPER)
    rows, cols = truth.shape
    with matplotlib.rc_context(_STYLE):
        aspect = min(max(rows / cols, 0.35), 1.6)
        figure = Figure(figsize=(1.95 * columns, 1.95 * 2 * aspect + 1.0), layout="constrained")
        axes = figure.subplots(2, columns, squeeze=False)
        observed = np.ma.array(truth, mask=~example.mask)
        pictures = [("truth", np.ma.array(truth)), ("observed", observed)]
        pictures += [(name, np.ma.array(np.abs(example.estimates[name]))) for name in names]
        for column, (title, amplitude) in enumerate(pictures):
            decibels = 20 * np.ma.log10(np.maximum(amplitude, 1e-30) / peak)
            drawn = axes[0, column].imshow(
                decibels, origin="lower", cmap=shades, vmin=20 * np.log10(floor / peak), vmax=0, interpolation="nearest"
            )
            axes[0, column].set_title(title, color=INK)
        energy = float(np.mean(truth**2))
        for column, name in enumerate(names, start=2):
            error = np.abs(example.estimates[name] - example.truth) ** 2 / energy
            missed = axes[1, column].imshow(
                10 * np.log10(np.maximum(error, 1e-30)), origin="lower", cmap=errors, vmin=-60, vmax=0
            )
            total = 10 * np.log10(max(float(error.mean()), 1e-20))
            axes[1, column].set_title(f"NMSE {total:.1f} dB", color=INK)
        for panel in axes.flat:
            panel.set_xticks([])
            panel.set_yticks([])
            for spine in panel.spines.values():
                spine.set_visible(False)
        for panel in axes[1, :2]:
            panel.set_axis_off()
        figure.colorbar(
            drawn, ax=axes[0], fraction=0.012, pad=0.01, label="amplitude [dB of peak]"
        ).outline.set_visible(False)
        if names:
            bar = figure.colorbar(missed, ax=axes[1], fraction=0.012, pad=0.01, label="error [dB of mean power]")
            bar.outline.set_visible(False)
        return _svg(figure)


def map_figure(
    scene: Scene,
    flights: Sequence[Flight],
    array_position_m: tuple[float, float, float],
    rayleigh_distance_m: float,
) -> str:
    """The scene from above: buildings, array, near-field limit, flights coloured near and far."""
    with matplotlib.rc_context(_STYLE):
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
        axes.plot(*array_position_m[:2], marker="^", ms=10, color=ARRAY, mec=PAPER, zorder=6)
        axes.set(xlim=(west, east), ylim=(south, north), aspect="equal", xlabel="east [m]", ylabel="north [m]")
        for spine in axes.spines.values():
            spine.set_visible(False)
        _map_legend(figure)
        return _svg(figure)


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
        Line2D([], [], ls="", marker="^", ms=8, mec=PAPER, color=ARRAY, label="array"),
        Line2D([], [], ls=(0, (5, 4)), lw=0.9, color=NEAR, label="Rayleigh distance"),
        dot(NEAR, 6, 1, "held-out flight, near field"),
        dot(FAR, 6, 1, "held-out flight, far field"),
        dot(FAINT, 4, 0.6, "training flights"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, handletextpad=0.5)


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["predictor"] for row in rows))


def _plain(axes: Axes) -> None:
    """A quiet coordinate system: no box, light grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color=GRID, lw=0.7)
    axes.set_axisbelow(True)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", dpi=200, transparent=True, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
