"""Classical estimators of places: where a user is, in the array's own frame."""

from channelfm.baselines.places.base import PlaceEstimator
from channelfm.baselines.places.codebook import PolarCodebook
from channelfm.baselines.places.ground import GroundBounce
from channelfm.baselines.places.music import SubarrayMusic
from channelfm.baselines.places.statistics import Fingerprints, MeanPosition, PowerRanging
from channelfm.baselines.places.strongest import SingleWave, StrongestWave, WavePosterior

__all__ = [
    "Fingerprints",
    "GroundBounce",
    "MeanPosition",
    "PlaceEstimator",
    "PolarCodebook",
    "PowerRanging",
    "SingleWave",
    "StrongestWave",
    "SubarrayMusic",
    "WavePosterior",
]
