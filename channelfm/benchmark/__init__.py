"""Predictors x tasks -> one honest table, its figures, and a report.

``channelfm.benchmark`` is a module that can be called, since both ``channelfm.benchmark.evaluate`` and
``channelfm.benchmark("recipes/bench-extrapolation.yaml")`` should read as they mean.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from channelfm.benchmark.content import flights_of, show_example
from channelfm.benchmark.links import describe_array
from channelfm.benchmark.prediction.suite import PredictionResults, benchmark_prediction
from channelfm.benchmark.predictors import load_predictor
from channelfm.benchmark.recipe import BenchmarkRecipe
from channelfm.benchmark.report import Example, Flight, ReportContent, write_report
from channelfm.benchmark.run import Results, Row, evaluate, versions, write_results
from channelfm.benchmark.suite import benchmark
from channelfm.config import recipe_task

__all__ = [
    "BenchmarkRecipe",
    "Example",
    "Flight",
    "PredictionResults",
    "ReportContent",
    "Results",
    "Row",
    "benchmark",
    "benchmark_prediction",
    "describe_array",
    "evaluate",
    "flights_of",
    "load_predictor",
    "show_example",
    "versions",
    "write_report",
    "write_results",
]


class _CallableModule(ModuleType):
    def __call__(self, recipe: str | Path, *arguments: Any, **settings: Any) -> Results | PredictionResults:
        run = benchmark_prediction if recipe_task(recipe) == "prediction" else benchmark
        return run(recipe, *arguments, **settings)


sys.modules[__name__].__class__ = _CallableModule
