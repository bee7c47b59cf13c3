"""One channel over the array, as it is, as it was observed, and as everyone reconstructs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from channelfm.benchmarking.figures.style import INK, PAPER, SILENT, STYLE, bare, svg
from channelfm.metrics import bounded_db, nmse, psnr, ssim

_PER_LINE = 6
_RATIOS = (0.5, 0.75, 0.9, 0.98)  # lines of the figure by ratio, as far as they were measured


@dataclass(frozen=True)
class Example:
    """One channel as seen by everyone.

    ``truth`` complex [rows, cols]; ``mask`` bool [rows, cols], True = observed; ``estimates``: by row name,
    complex [rows, cols]; ``mask_ratio``; ``description``: what it is, e.g. "near field, 83 m from the array"; ``set``:
    the name of the set it is of, in a report of several. ``spacing_wavelengths`` and ``wavelength_m`` of the array and,
    in line of sight, the user's distance ``focus_m`` give the polar-domain figures their axes. ``by_ratio``: estimates
    at several mask ratios.
    """

    truth: NDArray[np.complex64]
    mask: NDArray[np.bool_]
    estimates: Mapping[str, NDArray[np.complex64]]
    mask_ratio: float
    description: str
    set: str = ""
    spacing_wavelengths: float = 0.5
    wavelength_m: float | None = None
    focus_m: float | None = None
    by_ratio: Mapping[float, Mapping[str, NDArray[np.complex64]]] = field(default_factory=dict)


def amplitude_figure(example: Example) -> str:
    """Amplitude maps over the array, truth, what was observed, each reconstruction; below each, its error."""
    truth = np.abs(example.truth)
    peak, floor = _span(truth)
    shades = matplotlib.colormaps["cividis"].with_extremes(bad=SILENT)
    energy = float(np.mean(truth**2))
    pictures = [("truth", np.ma.array(truth)), ("observed", np.ma.array(truth, mask=~example.mask))]
    pictures += [(name, np.ma.array(np.abs(estimate))) for name, estimate in example.estimates.items()]
    columns, lines = min(len(pictures), _PER_LINE), -(-len(pictures) // _PER_LINE)
    rows, cols = truth.shape
    with matplotlib.rc_context(STYLE):
        side = 9.6 / columns if columns > 4 else 1.95
        aspect = min(max(rows / cols, 0.35), 1.6)
        figure = Figure(figsize=(side * columns, lines * (2 * side * aspect + 0.6) + 0.2), layout="constrained")
        axes = figure.subplots(2 * lines, columns, squeeze=False)
        for panel in axes.flat:
            bare(panel)
        for number, (name, amplitude) in enumerate(pictures):
            line, column = divmod(number, columns)
            above, below = axes[2 * line, column], axes[2 * line + 1, column]
            decibels = 20 * np.ma.log10(np.maximum(amplitude, 1e-30) / peak)
            drawn = above.imshow(
                decibels, origin="lower", cmap=shades, vmin=20 * np.log10(floor / peak), vmax=0, interpolation="nearest"
            )
            above.set_title(name, color=INK)
            if name in example.estimates:
                error = np.abs(example.estimates[name] - example.truth) ** 2 / energy
                shown = 10 * np.log10(np.maximum(error, 1e-30))
                missed = below.imshow(shown, origin="lower", cmap="magma", vmin=-60, vmax=0)
                below.set_title(f"NMSE {10 * np.log10(max(float(error.mean()), 1e-20)):.1f} dB", color=INK)
            else:
                below.set_facecolor(PAPER)
        bars = [(drawn, axes[0], "amplitude [dB of peak]")]
        bars += [(missed, axes[1], "error [dB of mean power]")] if example.estimates else []
        for picture, beside, label in bars:
            bar = figure.colorbar(picture, ax=beside, fraction=0.012, pad=0.01, label=label)
            bar.outline.set_visible(False)
        return svg(figure)


def ratio_figure(example: Example, names: Sequence[str]) -> str | None:
    """Amplitude maps of some estimators at several mask ratios, the truth beside them, with NMSE, PSNR and SSIM (as
    figure 9 of seed 000). None with fewer than two ratios."""
    ratios = [ratio for ratio in _RATIOS if names and set(names) <= set(example.by_ratio.get(ratio, {}))]
    if len(ratios) < 2:
        return None
    truth = np.abs(example.truth)
    peak, floor = _span(truth)
    rows, cols = truth.shape
    columns, side = 1 + len(names), 1.6
    aspect = min(max(rows / cols, 0.35), 1.6)
    with matplotlib.rc_context(STYLE | {"axes.titlesize": 8.0}):
        figure = Figure(
            figsize=(max(side * columns, 7.2), len(ratios) * (side * aspect + 0.5) + 0.3), layout="constrained"
        )
        axes = figure.subplots(len(ratios), columns, squeeze=False)
        for line, ratio in zip(axes, ratios, strict=True):
            estimates = [example.truth, *(example.by_ratio[ratio][name] for name in names)]
            for panel, estimate in zip(line, estimates, strict=True):
                bare(panel)
                decibels = 20 * np.log10(np.maximum(np.abs(estimate), 1e-30) / peak)
                panel.imshow(decibels, origin="lower", cmap="cividis", vmin=20 * np.log10(floor / peak), vmax=0)
            for panel, name, estimate in zip(line[1:], names, estimates[1:], strict=True):
                pair = estimate[None], example.truth[None]
                numbers = f"{bounded_db(nmse(*pair)[0]):.1f} dB, {psnr(*pair)[0]:.0f} dB, {ssim(*pair)[0]:.3f}"
                panel.set_title(f"{name}\n{numbers}" if ratio == ratios[0] else numbers, color=INK)
            line[0].set_title("truth" if ratio == ratios[0] else "", color=INK)
            line[0].set_ylabel(f"mask {ratio:g}")
        return svg(figure)


def _span(amplitude: NDArray[np.float32]) -> tuple[float, float]:
    """Largest and smallest amplitude of the shades: single deep fades do not stretch them."""
    peak = float(amplitude.max())
    return peak, max(float(np.quantile(amplitude, 0.002)) * 0.8, peak * 1e-2)
