"""Classical estimators, and the bounds that no estimator can beat.

``BASELINES`` is the one list of them: row name -> constructor, from trivial to strong, first over the antennas, then
over time (:mod:`channelfm.baselines.time`), then of places (:mod:`channelfm.baselines.places`). All are made without
an argument; those over the antennas take ``spacing_wavelengths``, for when ``predict`` is not told any. Those that are
:class:`channelfm.estimator.Learns` learn from examples before they answer. :func:`classical` names those that can
answer an observation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from channelfm.baselines import places, time
from channelfm.baselines.calibrated import OffGridCalibrated
from channelfm.baselines.gaussian_process import GaussianProcess, WaveFrameProcess
from channelfm.baselines.interpolation import LinearInterpolation, SplineInterpolation
from channelfm.baselines.least_squares import LeastSquares
from channelfm.baselines.lmmse import LMMSE, CanonicalLMMSE
from channelfm.baselines.majority import Majority
from channelfm.baselines.matching_pursuit import AngularOMP, PolarOMP
from channelfm.baselines.off_grid import OffGrid
from channelfm.baselines.off_grid_delay import OffGridDelay
from channelfm.baselines.off_grid_process import OffGridProcess
from channelfm.baselines.polar_sigw import PolarSIGW
from channelfm.baselines.range_rule import RangeRule
from channelfm.baselines.sample_lmmse import SampleLMMSE
from channelfm.baselines.simultaneous_pursuit import HybridFieldOMP, PolarSOMP, SimultaneousWeightedOMP
from channelfm.baselines.two_step import TwoStep
from channelfm.baselines.wave_frame import WaveFrame
from channelfm.baselines.zero_filling import ZeroFilling
from channelfm.errors import InputError
from channelfm.estimator import CHANNEL, ChannelEstimator, SequenceEstimator
from channelfm.observation import Observation

Classical = ChannelEstimator | SequenceEstimator | places.PlaceEstimator | Majority | RangeRule

BASELINES: dict[str, Callable[..., Classical]] = {
    "majority": Majority,
    "range-rule": RangeRule,
    "zero-filling": ZeroFilling,
    "least-squares": LeastSquares,
    "lmmse": LMMSE,
    "sample-lmmse": SampleLMMSE,
    "linear-interpolation": LinearInterpolation,
    "spline-interpolation": SplineInterpolation,
    "lmmse-canonical": CanonicalLMMSE,
    "gaussian-process": GaussianProcess,
    "angular-omp": AngularOMP,
    "polar-omp": PolarOMP,
    "sw-omp": SimultaneousWeightedOMP,
    "hybrid-field-omp": HybridFieldOMP,
    "polar-somp": PolarSOMP,
    "polar-sigw": PolarSIGW,
    "wave-frame": WaveFrame,
    "wave-frame-gp": WaveFrameProcess,
    "off-grid-delay": OffGridDelay,
    "two-step": TwoStep,
    "off-grid-calibrated": OffGridCalibrated,
    "off-grid": OffGrid,
    "off-grid-gp": OffGridProcess,
    "sample-and-hold": time.SampleAndHold,
    "mirrored-past": time.MirroredPast,
    "ar-per-bin": time.BinAutoregression,
    "ar-local": time.LocalAutoregression,
    "ar-shared": time.SharedAutoregression,
    "matrix-pencil": time.MatrixPencil,
    "esprit": time.SharedMatrixPencil,
    "kalman": time.KalmanFilter,
    "harmonic-pursuit": time.HarmonicPursuit,
    "mean-position": places.MeanPosition,
    "fingerprint-knn": places.Fingerprints,
    "power-ranging": places.PowerRanging,
    "subarray-music": places.SubarrayMusic,
    "polar-codebook-omp": places.PolarCodebook,
    "single-wave": places.SingleWave,
    "joint-waves": places.StrongestWave,
    "wave-posterior": places.WavePosterior,
    "ground-bounce": places.GroundBounce,
}


def classical(observation: Observation, gives: str = CHANNEL) -> list[str]:
    """Names of those rows that can answer such an observation with a channel, or with what a task ``gives``: cheap,
    since one link is enough to tell. InputError where the observation itself is wrong."""
    observation.check()
    return [name for name, make in BASELINES.items() if _answers(make(), observation, gives)]


def sequence_baselines(names: Sequence[str]) -> list[SequenceEstimator]:
    """The rows over time of these names; InputError that lists what there is for a name that is none."""
    made = {name: make() for name, make in BASELINES.items()}
    known = {name: row for name, row in made.items() if isinstance(row, SequenceEstimator)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"no classical predictor '{unknown[0]}' of sequences; use: {', '.join(known)}")
    return [known[name] for name in names]


def _answers(row: Classical, observation: Observation, gives: str) -> bool:
    try:
        row.check(observation)
    except InputError:
        return False
    return row.gives in (CHANNEL, gives)


__all__ = [
    "BASELINES",
    "LMMSE",
    "AngularOMP",
    "CanonicalLMMSE",
    "Classical",
    "GaussianProcess",
    "HybridFieldOMP",
    "LeastSquares",
    "LinearInterpolation",
    "Majority",
    "OffGrid",
    "OffGridCalibrated",
    "OffGridDelay",
    "OffGridProcess",
    "PolarOMP",
    "PolarSIGW",
    "PolarSOMP",
    "RangeRule",
    "SampleLMMSE",
    "SimultaneousWeightedOMP",
    "SplineInterpolation",
    "TwoStep",
    "WaveFrame",
    "WaveFrameProcess",
    "ZeroFilling",
    "classical",
    "sequence_baselines",
]
