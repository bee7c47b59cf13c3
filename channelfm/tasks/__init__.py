"""Tasks: what is observed, what is asked, how answers are scored. ``TASKS`` is the one list of them."""

from __future__ import annotations

from channelfm.tasks.base import Measure, Task
from channelfm.tasks.estimation import HybridEstimation
from channelfm.tasks.extrapolation import Extrapolation
from channelfm.tasks.impaired import over
from channelfm.tasks.line_of_sight import LineOfSight
from channelfm.tasks.localisation import Localisation
from channelfm.tasks.near_field import NearField
from channelfm.tasks.pilot_estimation import PilotEstimation
from channelfm.tasks.prediction import Prediction

TASKS: dict[str, type[Task]] = {
    "extrapolation": Extrapolation,
    "prediction": Prediction,
    "estimation": PilotEstimation,
    "hybrid-estimation": HybridEstimation,
    "line-of-sight": LineOfSight,
    "near-field": NearField,
    "localisation": Localisation,
}
TASKS["impaired"] = over(dict(TASKS), HybridEstimation())

__all__ = [
    "TASKS",
    "Extrapolation",
    "HybridEstimation",
    "LineOfSight",
    "Localisation",
    "Measure",
    "NearField",
    "PilotEstimation",
    "Prediction",
    "Task",
]
