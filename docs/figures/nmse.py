"""Figure: what an NMSE of -5, -10, -20 and -30 dB looks like."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from style import example_channel, show_amplitude, write

from channelfm.metrics import nmse
from channelfm.units import power_to_db


def main() -> None:
    channel = example_channel()
    rng = np.random.default_rng(0)
    error = rng.standard_normal(channel.shape) + 1j * rng.standard_normal(channel.shape)
    error *= np.linalg.norm(channel) / np.linalg.norm(error)

    figure, panels = plt.subplots(1, 5, figsize=(11, 2.6), layout="constrained")
    show_amplitude(panels[0], channel, "true channel")
    for axes, level_db in zip(panels[1:], (-5, -10, -20, -30), strict=True):
        estimate = channel + 10 ** (level_db / 20) * error
        measured_db = float(power_to_db(nmse(estimate[None, :, :, None], channel[None, :, :, None]))[0])
        show_amplitude(axes, estimate, f"NMSE {measured_db:.0f} dB")
    write(figure, "nmse.png")


if __name__ == "__main__":
    main()
