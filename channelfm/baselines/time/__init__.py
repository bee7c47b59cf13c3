"""Classical predictors of channel sequences.

``SEQUENCE_BASELINES`` is the one list of them: row name -> constructor. All complete sparse pilots over frequency and
estimate the noise by themselves; none needs training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from channelfm.baselines.time.autoregression import (
    BinAutoregression,
    LocalAutoregression,
    SharedAutoregression,
)
from channelfm.baselines.time.harmonics import HarmonicPursuit
from channelfm.baselines.time.hold import SampleAndHold
from channelfm.baselines.time.kalman import KalmanFilter
from channelfm.baselines.time.mirror import MirroredPast
from channelfm.baselines.time.prony import MatrixPencil, SharedMatrixPencil
from channelfm.errors import InputError
from channelfm.estimator import SequenceEstimator

SEQUENCE_BASELINES: dict[str, Callable[[], SequenceEstimator]] = {
    "sample-and-hold": SampleAndHold,
    "mirrored-past": MirroredPast,
    "ar-per-bin": BinAutoregression,
    "ar-local": LocalAutoregression,
    "ar-shared": SharedAutoregression,
    "matrix-pencil": MatrixPencil,
    "esprit": SharedMatrixPencil,
    "kalman": KalmanFilter,
    "harmonic-pursuit": HarmonicPursuit,
}


def sequence_baselines(names: Sequence[str]) -> list[SequenceEstimator]:
    """The classical predictors of these row names; InputError that lists what there is for a name that is none."""
    unknown = [name for name in names if name not in SEQUENCE_BASELINES]
    if unknown:
        raise InputError(f"no classical predictor '{unknown[0]}' of sequences; use: {', '.join(SEQUENCE_BASELINES)}")
    return [SEQUENCE_BASELINES[name]() for name in names]


__all__ = [
    "SEQUENCE_BASELINES",
    "BinAutoregression",
    "HarmonicPursuit",
    "KalmanFilter",
    "LocalAutoregression",
    "MatrixPencil",
    "MirroredPast",
    "SampleAndHold",
    "SharedAutoregression",
    "SharedMatrixPencil",
    "sequence_baselines",
]
