"""Figure: the phase error that plane waves make over a 64 x 64 array, for users nearer and farther."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from style import example_array, write

from channelfm.arrays import spherical_wave


def main() -> None:
    bs = example_array()
    direction = np.array([np.cos(np.deg2rad(20.0)), np.sin(np.deg2rad(20.0)), 0.0])
    plane_wave = np.exp(2j * np.pi * (bs.element_offsets @ direction) / bs.wavelength_m).reshape(bs.rows, bs.cols)

    distances_m = [10.0, 40.0, bs.rayleigh_distance_m, 1000.0]
    figure, panels = plt.subplots(1, len(distances_m), figsize=(10, 2.9), layout="constrained")
    for axes, distance_m in zip(panels, distances_m, strict=True):
        exact = spherical_wave(bs.rows, bs.cols, distance_m * direction / bs.wavelength_m)
        error_deg = np.rad2deg(np.angle(exact * plane_wave.conj()))
        image = axes.imshow(error_deg, origin="lower", cmap="twilight_shifted", vmin=-180, vmax=180)
        note = " (Rayleigh)" if distance_m == bs.rayleigh_distance_m else ""
        exact_m = np.linalg.norm(distance_m * direction - bs.element_offsets, axis=1)
        difference_m = np.abs(exact_m - (distance_m - bs.element_offsets @ direction)).max()
        largest_deg = 360.0 * difference_m / bs.wavelength_m
        axes.set(title=f"{distance_m:.0f} m{note}\nat most {largest_deg:.0f}°", xticks=[], yticks=[])
    figure.colorbar(image, ax=panels, label="phase error [degrees]", ticks=[-180, -90, 0, 90, 180], shrink=0.85)
    write(figure, "near_and_far.png")


if __name__ == "__main__":
    main()
