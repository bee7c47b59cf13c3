"""What all figures share: palette, type, quiet axes, and rows as figures take them apart."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from channelfm.benchmarking.rows import Row
from channelfm.benchmarking.tables import distinct

INK, FAINT, GRID, PAPER = "#22262b", "#6b7480", "#e3e6ea", "#ffffff"
NEAR, FAR = "#c2553a", "#2d6a9f"
SILENT = "#eceef1"  # antennas without an observation
_KNOWN = {
    "zero-filling": "#a3abb5",
    "linear-interpolation": "#c4a484",
    "spline-interpolation": "#7a5c3e",
    "lmmse": "#a3c586",
    "lmmse-canonical": "#5b8c3a",
    "gaussian-process": "#a8a02c",
    "angular-omp": "#e8b878",
    "polar-omp": "#d1933c",
    "wave-frame": "#d68bab",
    "wave-frame-gp": "#b0486f",
    "off-grid": "#2f7f79",
    "off-grid-gp": "#62b5ab",
    "cddim-canonical": "#3d3f93",
    "cddim-raw": "#9a8fc9",
    "cddim-tiny": "#8fa3e0",
    "cddim-small": "#3f51c9",
    "cddim-base": "#1d1a5c",
    "wavefield-small": "#c2361f",
}
_OTHERS = ("#3a8fb7", "#8a3d8f", "#e07f6a", "#55606e", "#c77fb4", "#1f6f8b", "#86b049", "#6a4fb3", "#b5651d")
STYLE: dict[Any, Any] = {
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
LEGEND_COLUMNS = 4
# A few failures or an exact answer should not squeeze all other rows into a line.
HIGHEST_DB, LOWEST_DB = 12.0, -130.0


def colours(names: Sequence[str]) -> dict[str, str]:
    """One colour per row name, for every figure and table of a report."""
    others = iter(_OTHERS * (1 + len(names) // len(_OTHERS)))
    return {name: _KNOWN.get(name) or next(others) for name in names}


def names_of(rows: Sequence[Row]) -> list[str]:
    """Estimators in the order of their rows."""
    return distinct(row["estimator"] for row in rows)


def sets_of(rows: Sequence[Row]) -> list[str]:
    """Sets in the order of their rows."""
    return distinct(row["set"] for row in rows)


def marker(row: Row) -> dict[str, Any]:
    """Circles for networks, squares for classical estimators, dashes for references."""
    if row["reference"]:
        return {"marker": "_", "markersize": 6.0, "lw": 1.2, "ls": (0, (4, 2))}
    learned = row["params"] > 0
    return {"marker": "o" if learned else "s", "markersize": 4.5 if learned else 3.8, "lw": 1.8 if learned else 1.2}


def legend(figure: Figure, rows: Sequence[Row], palette: Mapping[str, str]) -> None:
    """The estimators below a figure."""
    first = {name: next(row for row in rows if row["estimator"] == name) for name in names_of(rows)}
    handles = [Line2D([], [], color=palette[name], label=name, **marker(row)) for name, row in first.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=LEGEND_COLUMNS, frameon=False, handlelength=1.6)


def legend_height(rows: Sequence[Row]) -> float:
    """Inches that the legend needs."""
    return 0.2 * -(-len(names_of(rows)) // LEGEND_COLUMNS)


def quiet(axes: Axes) -> None:
    """A quiet coordinate system: no box, light grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color=GRID, lw=0.7)
    axes.set_axisbelow(True)


def bare(axes: Axes) -> None:
    """A picture without ticks and box."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def svg(figure: Figure) -> str:
    """The figure as SVG, the same bytes for the same content."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", dpi=200, transparent=True, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
