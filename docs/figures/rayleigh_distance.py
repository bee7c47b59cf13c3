"""Figure: the Rayleigh distance against the size of a square array, at three carriers."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from style import BLUE, GREEN, GREY, ORANGE, write

from channelfm import UPA


def main() -> None:
    sides = np.arange(2, 129)
    figure, axes = plt.subplots(figsize=(6.2, 3.4), layout="constrained")
    for carrier_hz, colour in ((3.5e9, GREEN), (7e9, BLUE), (28e9, ORANGE)):
        distances_m = [UPA(side, side, carrier_hz).rayleigh_distance_m for side in sides]
        axes.loglog(sides, distances_m, color=colour)
        axes.annotate(
            f"{carrier_hz / 1e9:g} GHz", (sides[-1], distances_m[-1]), (4, -3), textcoords="offset points", color=colour
        )
    for side in (8, 16, 32, 64):
        distance_m = UPA(side, side, 7e9).rayleigh_distance_m
        axes.plot(side, distance_m, "o", color=BLUE)
        axes.annotate(f"{distance_m:.3g} m", (side, distance_m), (5, -11), textcoords="offset points", color=GREY)
    axes.set(xlabel="antennas per side (half a wavelength apart)", ylabel="Rayleigh distance 2D²/λ [m]")
    axes.set_xticks([2, 4, 8, 16, 32, 64, 128], labels=["2", "4", "8", "16", "32", "64", "128"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    write(figure, "rayleigh_distance.svg")


if __name__ == "__main__":
    main()
