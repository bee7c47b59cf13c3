"""Classical predictors, and the bounds that no predictor can beat.

``BASELINES`` is the one list of them: row name -> constructor. Each takes ``spacing_wavelengths``, for when ``predict``
is not told any. Those that are :class:`channelfm.estimator.Learns` learn from examples
before they answer.
"""

from __future__ import annotations

from collections.abc import Callable

from channelfm.baselines.gaussian_process import GaussianProcess, WaveFrameProcess
from channelfm.baselines.interpolation import LinearInterpolation, SplineInterpolation
from channelfm.baselines.lmmse import LMMSE, CanonicalLMMSE
from channelfm.baselines.matching_pursuit import AngularOMP, PolarOMP
from channelfm.baselines.off_grid import OffGrid
from channelfm.baselines.off_grid_process import OffGridProcess
from channelfm.baselines.wave_frame import WaveFrame
from channelfm.baselines.zero_filling import ZeroFilling
from channelfm.estimator import Estimator

BASELINES: dict[str, Callable[..., Estimator]] = {
    "zero-filling": ZeroFilling,
    "lmmse": LMMSE,
    "linear-interpolation": LinearInterpolation,
    "spline-interpolation": SplineInterpolation,
    "lmmse-canonical": CanonicalLMMSE,
    "gaussian-process": GaussianProcess,
    "angular-omp": AngularOMP,
    "polar-omp": PolarOMP,
    "wave-frame": WaveFrame,
    "wave-frame-gp": WaveFrameProcess,
    "off-grid": OffGrid,
    "off-grid-gp": OffGridProcess,
}

__all__ = [
    "BASELINES",
    "LMMSE",
    "AngularOMP",
    "CanonicalLMMSE",
    "GaussianProcess",
    "LinearInterpolation",
    "OffGrid",
    "OffGridProcess",
    "PolarOMP",
    "SplineInterpolation",
    "WaveFrame",
    "WaveFrameProcess",
    "ZeroFilling",
]
