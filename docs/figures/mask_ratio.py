"""Figure: the amplitude of one channel over the array, whole and with three shares of the antennas hidden."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from style import example_channel, show_amplitude, write

from channelfm.tokens.masks import random_mask


def main() -> None:
    channel = example_channel()
    rows, cols = channel.shape
    rng = np.random.default_rng(0)
    figure, panels = plt.subplots(1, 4, figsize=(10, 2.8), layout="constrained")
    show_amplitude(panels[0], channel, f"the whole channel\n{rows * cols} antennas")
    for axes, ratio in zip(panels[1:], (0.5, 0.75, 0.9), strict=True):
        observed = random_mask(rng, 1, rows, cols, ratio)[0, :, :, 0]
        seen = int(observed.sum())
        show_amplitude(axes, np.where(observed, channel, np.nan), f"mask ratio {ratio}\n{seen} antennas seen")
    write(figure, "mask_ratio.png")


if __name__ == "__main__":
    main()
