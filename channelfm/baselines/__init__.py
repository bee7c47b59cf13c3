"""Classical predictors, and the bounds that no predictor can beat.

``BASELINES`` is the one list of them: row name -> constructor, each called with ``spacing_wavelengths``.
"""

from __future__ import annotations

from collections.abc import Callable

from channelfm.baselines.off_grid import OffGrid
from channelfm.baselines.polar_omp import PolarOMP
from channelfm.baselines.wave_frame import WaveFrame
from channelfm.baselines.zero_filling import ZeroFilling
from channelfm.tasks.predictor import Predictor

BASELINES: dict[str, Callable[..., Predictor]] = {
    "zero-filling": ZeroFilling,
    "polar-omp": PolarOMP,
    "wave-frame": WaveFrame,
    "off-grid": OffGrid,
}

__all__ = ["BASELINES", "OffGrid", "PolarOMP", "WaveFrame", "ZeroFilling"]
