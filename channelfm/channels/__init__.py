"""Paths -> channels over time, frequency and antenna, and their transforms to angle, delay and range."""

from channelfm.channels.compact import CompactPaths, compress, expand
from channelfm.channels.stochastic import stochastic_channels
from channelfm.channels.synthesis import observe, plane_wave, synthesize, synthesize_symbols
from channelfm.channels.transforms import (
    PolarCodebook,
    angle_delay,
    from_angle_delay,
    matched_filter_power,
    polar_codebook,
    polar_ranges,
    polar_spectrum,
)

__all__ = [
    "CompactPaths",
    "PolarCodebook",
    "angle_delay",
    "compress",
    "expand",
    "from_angle_delay",
    "matched_filter_power",
    "observe",
    "plane_wave",
    "polar_codebook",
    "polar_ranges",
    "polar_spectrum",
    "stochastic_channels",
    "synthesize",
    "synthesize_symbols",
]
