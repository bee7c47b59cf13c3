"""Coordinates over an aperture and the wavefronts that cross it, batched over paths.

Coordinates y [M] along columns and z [M] along rows are in metres in the array's local frame, from its centre.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.arrays import UPA
from channelfm.channels.compact.smooth import LEAST_EIGENVALUE
from channelfm.errors import InputError

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

GAUSS_NEWTON_STEPS = 5  # at most: from the direction and length of a specular path one suffices
NEAREST = 10.0  # a source is no nearer than a tenth of the aperture's radius
CONVERGED_M = 3e-5  # change of a length at the aperture's edge, after which the next one is of its square
OFF_PLANE = 1e-3  # spacings that an element may lie off the traced plane


def local_coordinates(traced: UPA, array: UPA) -> tuple[Float, Float]:
    """Coordinates (y, z) [M] in m of an array's elements in the local frame of another one, which has its plane.

    Raises InputError where an element lies off the plane, or more than half a spacing outside the other's aperture.
    """
    local = (array.element_positions - np.asarray(traced.position)) @ traced.rotation
    reach = np.array([traced.cols, traced.rows]) * traced.spacing_m / 2.0
    outside = np.abs(local[:, 1:]).max(axis=0) > reach * (1.0 + 1e-9)
    if np.abs(local[:, 0]).max() > OFF_PLANE * traced.spacing_m or outside.any():
        raise InputError(
            f"array of {array.rows} x {array.cols} elements {array.spacing_m:.4g} m apart at {array.position} leaves "
            f"the plane or the aperture of the traced {traced.rows} x {traced.cols}: trace the larger array instead"
        )
    return local[:, 1], local[:, 2]


def normalized(array: UPA, y: Float, z: Float) -> tuple[Float, Float]:
    """Coordinates in m as shares of half the sides of an array, each side one spacing longer than its elements'."""
    return y / (array.cols * array.spacing_m / 2.0), z / (array.rows * array.spacing_m / 2.0)


def path_difference(direction: Any, curvature: Any, y: Any, z: Any) -> Any:
    """|s - e| - |s| in m of a source s = direction / curvature and points e = (0, y, z), in broadcast shapes.

    ``direction`` is the pair (u_y, u_z); ``curvature`` 1 / |s| per metre is 0 for a plane wave. Written so that
    distant sources lose no digits. Works on NumPy arrays and on torch tensors.
    """
    along = direction[0] * y + direction[1] * z
    reach = curvature * (y * y + z * z) - 2.0 * along
    return reach / (1.0 + (1.0 + curvature * reach) ** 0.5)


def fit_wavefront(length_m: Float, seen: Bool, y: Float, z: Float, direction: Float, range_m: Float) -> Float:
    """Spherical waves (length at the centre [m], u_y, u_z, 1 / range [1 / m]) [R, 4] that fit path lengths best.

    Gauss-Newton in double precision on lengths [R, M] where ``seen`` [R, M], from a direction (u_y, u_z) [R, 2] and a
    range [R] in m. Parameters that the seen antennas do not resolve (across a linear array, say) stay at the start.
    """
    radius = float(np.hypot(y, z).max()) or 1.0
    weight = seen.astype(np.float64)
    started = path_difference((direction[:, :1], direction[:, 1:]), 1.0 / range_m[:, None], y, z)
    # From the right mean length on, steps are small: the least one in an unresolved direction moves little.
    centre = np.sum(weight * (length_m - started), axis=1) / weight.sum(axis=1)
    found = np.column_stack([centre, direction, 1.0 / range_m])
    open_rows = np.arange(len(found))
    for _ in range(GAUSS_NEWTON_STEPS):
        step = _newton_step(found[open_rows], length_m[open_rows], weight[open_rows], y, z, radius)
        moved = found[open_rows] + step / np.array([1.0, radius, radius, radius**2])
        moved[:, 1:3] /= np.maximum(np.linalg.norm(moved[:, 1:3], axis=1, keepdims=True), 1.0)
        moved[:, 3] = np.clip(moved[:, 3], -NEAREST / radius, NEAREST / radius)
        found[open_rows] = moved
        open_rows = open_rows[np.abs(step).max(axis=1, initial=0.0) >= CONVERGED_M]
        if not len(open_rows):
            break
    return found


def _newton_step(found: Float, length_m: Float, weight: Float, y: Float, z: Float, radius: float) -> Float:
    """Change [R, 4], in m at the edge of the aperture, that brings spherical waves nearest to the lengths."""
    u_y, u_z, curvature = (found[:, i, None] for i in (1, 2, 3))
    difference = path_difference((u_y, u_z), curvature, y, z)
    along, square = u_y * y + u_z * z, y * y + z * z
    ratio = 1.0 + curvature * difference
    slopes = np.empty((len(found), 4, len(y)))
    slopes[:, 0] = 1.0
    slopes[:, 1], slopes[:, 2] = -y / radius / ratio, -z / radius / ratio
    slopes[:, 3] = (along * difference + square) / radius**2 / (ratio * (1.0 + ratio))
    slopes *= weight[:, None]
    error = weight * (length_m - found[:, :1] - difference)
    return _least_squares(slopes @ slopes.transpose(0, 2, 1), slopes @ error[..., None])[..., 0]


def _least_squares(normal: Float, right: NDArray[Any]) -> NDArray[Any]:
    """Solutions of normal equations [R, K, K] x = [R, K, Q] with the least norm."""
    return np.asarray(np.linalg.pinv(normal, rcond=LEAST_EIGENVALUE, hermitian=True) @ right)
