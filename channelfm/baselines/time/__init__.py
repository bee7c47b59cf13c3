"""Classical rows over time. All complete sparse pilots over frequency and estimate the noise by themselves; none needs
training. Their names are in :data:`channelfm.baselines.BASELINES`."""

from __future__ import annotations

from channelfm.baselines.time.autoregression import BinAutoregression, LocalAutoregression, SharedAutoregression
from channelfm.baselines.time.harmonics import HarmonicPursuit
from channelfm.baselines.time.hold import SampleAndHold
from channelfm.baselines.time.kalman import KalmanFilter
from channelfm.baselines.time.mirror import MirroredPast
from channelfm.baselines.time.prony import MatrixPencil, SharedMatrixPencil

__all__ = [
    "BinAutoregression",
    "HarmonicPursuit",
    "KalmanFilter",
    "LocalAutoregression",
    "MatrixPencil",
    "MirroredPast",
    "SampleAndHold",
    "SharedAutoregression",
    "SharedMatrixPencil",
]
