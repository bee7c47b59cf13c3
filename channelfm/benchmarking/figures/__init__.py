"""The figures of a benchmark report, each as one self-contained SVG string.

One palette runs through all of them: an estimator has the same colour everywhere.
"""

from channelfm.benchmarking.figures.amplitudes import Example, amplitude_figure, ratio_figure
from channelfm.benchmarking.figures.curves import axis_figure, case_figure, other_figure
from channelfm.benchmarking.figures.leads import lead_figure, leads_of
from channelfm.benchmarking.figures.places import Flight, map_figure
from channelfm.benchmarking.figures.polar import focus_figure, polar_figure
from channelfm.benchmarking.figures.style import colours
from channelfm.benchmarking.figures.times import pareto_figure, time_figure

__all__ = [
    "Example",
    "Flight",
    "amplitude_figure",
    "axis_figure",
    "case_figure",
    "colours",
    "focus_figure",
    "lead_figure",
    "leads_of",
    "map_figure",
    "other_figure",
    "pareto_figure",
    "polar_figure",
    "ratio_figure",
    "time_figure",
]
