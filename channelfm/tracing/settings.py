"""What a tracer is asked for, in one value."""

from __future__ import annotations

from dataclasses import dataclass

from channelfm.arrays import ElementPattern
from channelfm.tracing.antennas import UserPolarization


@dataclass(frozen=True)
class Settings:
    """The settings of :class:`channelfm.tracing.Tracer`, with the same names and meanings."""

    max_depth: int
    refraction: bool
    diffraction: bool
    diffuse: bool
    user_pattern: ElementPattern
    user_polarization: UserPolarization
    rays: int
    plane_wave_beyond: float | None
    seed: int
