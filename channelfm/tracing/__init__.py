"""Ray tracing: (Scene, Trajectory, array) -> Paths, exact in the near field by default."""

from channelfm.tracing.sequences import birth_death_statistics, follow, interpolate, trace_sequence
from channelfm.tracing.trace import Tracer, trace

__all__ = ["Tracer", "birth_death_statistics", "follow", "interpolate", "trace", "trace_sequence"]
