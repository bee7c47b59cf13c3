"""What the figures of the documentation share: colours, an example channel, and how a file is written."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from channelfm import UPA
from channelfm.arrays import spherical_wave

BLUE, ORANGE, GREEN, GREY = "#1f6fb4", "#d9822b", "#2e8b57", "#666666"
IMAGES = Path(__file__).resolve().parents[1] / "images"

plt.rcParams.update(
    {
        "figure.dpi": 110,
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10,
        "svg.hashsalt": "channelfm",
        "svg.fonttype": "none",
    }
)


def example_array() -> UPA:
    """The array of LAETwin-XL: 64 x 64 elements at 7 GHz, half a wavelength apart."""
    return UPA(rows=64, cols=64, carrier_hz=7e9)


def example_channel() -> NDArray[np.complex128]:
    """A channel [row, column] of :func:`example_array`: a user 55 m away seen directly, by the ground and by a wall.

    Each path is a spherical wave that leaves a (mirrored) source: the user, the user below the ground 12 m under the
    array, the user behind a wall at y = 10 m. The gains fall with distance; the reflections lose 6 and 9 dB more.
    """
    bs = example_array()
    sources_m = np.array([[54.0, -6.0, -5.0], [54.0, -6.0, -19.0], [54.0, 26.0, -5.0]])
    distance = np.linalg.norm(sources_m, axis=1)
    gains = np.array([1.0, 0.5, 0.35]) * distance[0] / distance * np.exp(1j * np.array([0.0, 2.0, 4.0]))
    waves = spherical_wave(bs.rows, bs.cols, sources_m / bs.wavelength_m)
    return np.asarray(np.tensordot(gains, waves, axes=1))


def show_amplitude(axes: plt.Axes, channel: NDArray[np.complex128], title: str) -> None:
    """Draw |h| over the array, row 0 at the bottom, on one common scale; entries that are NaN stay grey."""
    colours = plt.get_cmap("viridis").with_extremes(bad="#dddddd")
    axes.imshow(np.abs(channel), origin="lower", cmap=colours, vmin=0.0, vmax=2.0, interpolation="nearest")
    axes.set(title=title, xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def write(figure: Figure, name: str) -> Path:
    """Write a figure beside the documentation, or into the folder given on the command line."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    # without a date, the same figure is the same file
    metadata = {"Date": None} if file.suffix == ".svg" else {"Software": None}
    figure.savefig(file, bbox_inches="tight", metadata=metadata)
    plt.close(figure)
    return file
