"""The figures of a benchmark report, each as one self-contained SVG string.

One palette runs through all of them: a predictor has the same colour everywhere.
"""

from channelfm.benchmark.figures.accuracy import accuracy_figure, structured_figure
from channelfm.benchmark.figures.amplitudes import Example, amplitude_figure, ratio_figure
from channelfm.benchmark.figures.places import Flight, map_figure
from channelfm.benchmark.figures.polar import focus_figure, polar_figure
from channelfm.benchmark.figures.style import colours
from channelfm.benchmark.figures.times import pareto_figure, time_figure

__all__ = [
    "Example",
    "Flight",
    "accuracy_figure",
    "amplitude_figure",
    "colours",
    "focus_figure",
    "map_figure",
    "pareto_figure",
    "polar_figure",
    "ratio_figure",
    "structured_figure",
    "time_figure",
]
