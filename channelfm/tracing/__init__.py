"""Ray tracing: (Scene, Trajectory, array) -> Paths, exact in the near field by default."""

from channelfm.tracing.trace import Tracer, trace

__all__ = ["Tracer", "trace"]
