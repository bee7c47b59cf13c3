"""What seed 000 (LAETwin-XL and CDDIM) publishes about channel extrapolation, to stand beside our rows.

Its numbers are from its own data (eleven other scenes, ray-traced by its own toolchain) and its own machine: they tell
the order of magnitude, not who is better.
"""

from __future__ import annotations

from typing import NamedTuple

SOURCE = (
    "LAETwin-XL's paper, tables IV and V: its own test scenes (Dubai and suburbs, 64 x 64 at 7 GHz), one RTX 4090; "
    'the average NMSE is over "various mask ratios". Other data and another machine: not comparable row by row'
)


class Published(NamedTuple):
    """One published row; ``nmse_db`` is the average over mask ratios, None where the paper only compares."""

    method: str
    parameters_m: float
    nmse_db: float | None
    latency_ms: float | None
    remark: str = ""


ROWS = (
    Published("CDDIM, 200 steps", 44.19, -31.16, 289.91),
    Published("CDDIM, 100 steps", 44.19, -30.83, 142.94),
    Published("CDDIM, 50 steps", 44.19, -30.08, 51.02),
    Published("CDDIM, 20 steps", 44.19, -27.25, 31.26),
    Published("CDDIM, 10 steps", 44.19, -23.92, 19.59),
    Published("CDDIM, depth 3", 14.78, -24.75, None),
    Published("CDDIM, depth 7", 31.59, -27.47, None),
    Published("CDDIM, depth 12", 52.60, -30.91, None),
    Published("CDDIM with U-Net", 3.51, None, 29.88, "up to 6 dB worse than CDDIM"),
    Published("CGAN", 1.56, None, 1.13, "up to 13 dB worse than CDDIM"),
    Published("LWM (MCM)", 44.19, None, 0.65, "up to 18 dB worse than CDDIM"),
)
