"""The compact form of paths: some 70 bytes each, whatever the array, from which channels are synthesised on the fly.

A path is a spherical wavefront (delay, direction, curvature: its image source), gains that are smooth over the
aperture (a polynomial of low degree), and the edges of what the array sees of it. A reflected or refracted path has
exactly one image source (SPEC 1); what diffraction adds is a polynomial of its own, a few paths' only. Where gains step
(a diffracted path changes its sign where a reflection ends, a path through walls meets one more of them), the path has
several pieces with one wavefront: regions of the aperture with a polynomial each. Delays follow for any antenna and any
frequency; gains and visibility are known over the traced aperture alone, so an array that reaches beyond it is refused.
Gains do not change with frequency, as in :func:`channelfm.channels.synthesize`.
"""

from channelfm.channels.compact.expansion import expand
from channelfm.channels.compact.fitting import compress
from channelfm.channels.compact.record import CompactPaths

__all__ = ["CompactPaths", "compress", "expand"]
