"""Points of rough surfaces that scatter: fixed to the scene, the same for all users and flights.

Rays from the array tile what it sees into patches of equal solid angle; each patch scatters from its middle. The patch
belongs to the scene, so a scatterer stays where it is while users move, and every element sees the same one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from channelfm.tracing.chains import Triangles, unit_normals
from channelfm.tracing.rays import RayCaster, sphere_lattice

Float = NDArray[np.float64]
Index = NDArray[np.int64]

# Directive model with S = 0.4 and alpha_R = 4, fitted to brick and concrete facades by V. Degli-Esposti et al.,
# "Measurement and modelling of scattering from buildings", IEEE Trans. Antennas Propag. 55(1), 2007. Smooth materials
# are taken to scatter half of that in amplitude.
SCATTERING_COEFFICIENT, SMOOTH_COEFFICIENT, DIRECTIVITY = 0.4, 0.2, 4
SMOOTH_MATERIALS = frozenset({"glass", "metal", "marble"})
SCATTERING_NOTE = (
    f"directive, S = {SCATTERING_COEFFICIENT} ({SMOOTH_COEFFICIENT}: {', '.join(sorted(SMOOTH_MATERIALS))}), "
    f"alpha_R = {DIRECTIVITY}, Degli-Esposti et al. 2007"
)
_SHARPEST_COSINE = 0.02  # a patch seen more sharply than this would be kilometres long


@dataclass(frozen=True)
class Scatterers:
    """``points`` [N, 3] m, unit ``normals`` [N, 3] of the side that the array sees, ``areas`` [N] m^2 and ``triangle``
    int64 [N] of patches of surfaces."""

    points: Float
    normals: Float
    areas: Float
    triangle: Index

    @classmethod
    def seen_from(cls, rays: RayCaster, triangles: Triangles, centre: Float, count: int, seed: int) -> Scatterers:
        """Patches around the points that ``count`` rays from the array's centre [3] meet first."""
        directions = sphere_lattice(count, seed)
        distance, triangle = rays.first_hits(np.tile(centre, (count, 1)), directions, np.full(count, 1e5))
        met = triangle >= 0
        directions, distance, triangle = directions[met], distance[met], triangle[met]
        normals = unit_normals(triangles.corners[triangle])
        cosine = -np.sum(normals * directions, axis=1)
        normals *= np.sign(cosine)[:, None]
        areas = 4.0 * np.pi / count * distance**2 / np.maximum(np.abs(cosine), _SHARPEST_COSINE)
        return cls(centre + distance[:, None] * directions, normals, areas, triangle)

    def __len__(self) -> int:
        return len(self.areas)

    def facing(self, users: Float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """User [K] and scatterer [K] of all pairs where the user [U, 3] stands before the patch."""
        height = users @ self.normals.T - np.sum(self.points * self.normals, axis=1)
        user, scatterer = np.nonzero(height > 1e-3)
        return user, scatterer

    def solid_angles(self, users: Float, scatterer: Index) -> Float:
        """Solid angles [K] in sr under which users [K, 3] see scatterers [K], at most a half space."""
        towards = users - self.points[scatterer]
        distance = np.linalg.norm(towards, axis=1)
        cosine = np.sum(towards * self.normals[scatterer], axis=1) / distance
        return np.asarray(np.minimum(self.areas[scatterer] * cosine / distance**2, 2.0 * np.pi))
