"""The polar domain, as figures 10 and 11 of seed 000 show it: power over directions, and power over focus distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from channelfm.benchmarking.figures.amplitudes import Example
from channelfm.benchmarking.figures.curves import ratio_places
from channelfm.benchmarking.figures.style import FAINT, INK, STYLE, legend, legend_height, marker, names_of, quiet, svg
from channelfm.benchmarking.rows import Row, number
from channelfm.channels.transforms import matched_filter_power, polar_spectrum
from channelfm.metrics import polar_peaks
from channelfm.units import power_to_db, rayleigh_distance
from channelfm.waves.geometry import largest_inverse_range
from channelfm.waves.spherical import FARTHEST_SOURCE

_RINGS, _OVERSAMPLING = 6, 4
_BEAMS = 10  # shown to either side of the strongest direction
_FLOOR_DB = -40.0
_PER_LINE = 5
_DISTANCES = 160

Float = NDArray[np.float64]


def polar_figure(example: Example) -> str | None:
    """Polar-domain power of truth and estimates over direction, the strongest of several ranges at each.

    Round about the truth's strongest direction (cross); the line is 3 dB below the truth's peak. None for linear
    arrays, which see one angle only.
    """
    rows, cols = example.truth.shape
    if min(rows, cols) < 2:
        return None
    channels = {"truth": example.truth, **example.estimates}
    spacing = example.spacing_wavelengths
    inverse = np.linspace(0.0, largest_inverse_range(rows, cols, spacing), _RINGS)
    ranges = 1.0 / np.maximum(inverse, 1.0 / FARTHEST_SOURCE)
    power = polar_spectrum(np.stack(list(channels.values()))[..., None], ranges, _OVERSAMPLING, spacing).max(axis=1)
    decibels = np.fft.fftshift(power_to_db(power / power[0].max()), axes=(1, 2))
    centre_y, centre_z = polar_peaks(example.truth[None], spacing).sines[0]
    window_y, window_z = _window(centre_y, cols * spacing, spacing), _window(centre_z, rows * spacing, spacing)
    columns, lines = min(len(channels), _PER_LINE), -(-len(channels) // _PER_LINE)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6 if columns > 3 else 3.4 * columns, 2.1 * lines + 0.6), layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        for panel in panels.flat[len(channels) :]:
            panel.set_axis_off()
        for panel, name, shown in zip(panels.flat, channels, decibels, strict=False):
            sine_y, sine_z = (
                (np.arange(bins) - bins // 2) / (bins * spacing) for bins in (shown.shape[1], shown.shape[0])
            )
            drawn = panel.pcolormesh(sine_y, sine_z, shown, cmap="viridis", vmin=_FLOOR_DB, vmax=0, rasterized=True)
            panel.contour(sine_y, sine_z, shown, levels=[-3.0], colors="white", linewidths=0.9)
            panel.plot(centre_y, centre_z, marker="+", ms=9, mew=0.9, color="#ff8a65")
            panel.set(xlim=window_y, ylim=window_z)
            panel.set_title(name, color=INK)
        for panel in panels[-1]:
            panel.set_xlabel("sine along y")
        for panel in panels[:, 0]:
            panel.set_ylabel("sine along z")
        bar = figure.colorbar(drawn, ax=panels, fraction=0.012, pad=0.01, label="power [dB of the truth's peak]")
        bar.outline.set_visible(False)
        return svg(figure)


def _window(centre: float, aperture: float, spacing: float) -> tuple[float, float]:
    """Sines that are shown: ``_BEAMS`` beams to either side, within what the spacing tells apart."""
    return max(centre - _BEAMS / aperture, -0.5 / spacing), min(centre + _BEAMS / aperture, 0.5 / spacing)


def focus_figure(example: Example, rows: Sequence[Row], palette: Mapping[str, str]) -> str | None:
    """Left: power against focus distance in the truth's strongest direction, for truth and estimates of one link.
    Right: median error of the polar-domain range against mask ratio, over near-field links where there are any.

    None without the array's wavelength.
    """
    if example.wavelength_m is None:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.2 + legend_height(rows)), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        quiet(left)
        quiet(right)
        _focus(left, example, example.wavelength_m, palette)
        own = [row for row in rows if row["set"] == example.set] or list(rows)
        group = "near" if any(row["group"] == "near" for row in own) else "all"
        own = [row for row in own if row["group"] == group and row["case"]["mask_kind"] == "random"]
        own = [row for row in own if row["case"]["snr_db"] is None]
        for name in names_of(own):
            mine = sorted((row for row in own if row["estimator"] == name), key=lambda row: row["case"]["mask_ratio"])
            places = ratio_places([row["case"]["mask_ratio"] for row in mine])
            errors = [max(number(row, "peak_range"), 1e-6) for row in mine]
            right.plot(places, errors, color=palette[name], **marker(mine[0]))
        ticks = sorted({row["case"]["mask_ratio"] for row in own} & {0.1, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99})
        right.set_xticks(ratio_places(ticks), [f"{ratio:g}" for ratio in ticks])
        right.set_yscale("log")
        right.set_xlabel("mask ratio")
        right.set_title("median error of 1 / range\n[inverse Rayleigh distances]", color=INK)
        legend(figure, own or list(rows), palette)
        return svg(figure)


def _focus(axes: Axes, example: Example, wavelength_m: float, palette: Mapping[str, str]) -> None:
    rows, cols = example.truth.shape
    spacing = example.spacing_wavelengths
    aperture = float(np.hypot(rows - 1, cols - 1)) * spacing
    nearest = 1.0 / largest_inverse_range(rows, cols, spacing)
    ranges = np.geomspace(nearest, max(3.0 * rayleigh_distance(aperture, 1.0), 10.0 * nearest), _DISTANCES)
    sines = polar_peaks(example.truth[None], spacing).sines[0]
    direction = np.array([np.sqrt(max(1.0 - float(sines @ sines), 0.0)), *sines])
    sources = np.append(ranges, FARTHEST_SOURCE)[:, None] * direction
    channels = {"truth": example.truth, **example.estimates}
    power = matched_filter_power(np.stack(list(channels.values()))[..., None], sources, spacing)
    decibels: Float = power_to_db(power / power[0].max())
    metres = ranges * wavelength_m
    axes.plot(metres, decibels[0, :-1], color=INK, lw=2.6, alpha=0.85, label="truth")
    axes.axhline(decibels[0, -1], color=FAINT, lw=1.0, ls=(0, (5, 4)), label="truth, plane waves")
    for name, curve in zip(example.estimates, decibels[1:], strict=True):
        axes.plot(metres, curve[:-1], color=palette[name], lw=1.2)
    if example.focus_m is not None and metres[0] < example.focus_m < metres[-1]:
        axes.axvline(example.focus_m, color=FAINT, lw=0.9, ls=":", label="the user")
    axes.set_xscale("log")
    axes.set_ylim(bottom=max(float(decibels[0].min()) - 12.0, _FLOOR_DB), top=2.0)
    axes.set_xlabel("focus distance [m]")
    axes.set_ylabel("received power [dB]")
    axes.legend(frameon=False, loc="center right", fontsize=8.5)
