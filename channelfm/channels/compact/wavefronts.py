"""Fits of wavefronts and of smooth functions over an aperture, batched over paths: what the compact form is made of.

Coordinates y [M] along columns and z [M] along rows are in metres in the array's local frame, from its centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.polynomial.legendre import legvander
from numpy.typing import NDArray

from channelfm.arrays import UPA
from channelfm.errors import InputError

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

GAUSS_NEWTON_STEPS = 5  # at most: from the direction and length of a specular path one suffices
NEAREST = 10.0  # a source is no nearer than a tenth of the aperture's radius
CONVERGED_M = 1e-7  # change of a length at the aperture's edge
OFF_PLANE = 1e-3  # spacings that an element may lie off the traced plane
LEAST_EIGENVALUE = 1e-10  # of the normal matrix, against its largest: what the antennas do not resolve stays as it is


def smooth_basis(y: Float, z: Float, degree: int) -> Float:
    """Products of Legendre polynomials [K, M] of total degree up to ``degree``, at coordinates y, z in [-1, 1].

    Lower degrees come first: the first (n + 1)(n + 2) / 2 functions are those of degree n.
    """
    along_y, along_z = legvander(y, degree), legvander(z, degree)
    orders = [(total - k, k) for total in range(degree + 1) for k in range(total + 1)]
    return np.stack([along_y[:, i] * along_z[:, k] for i, k in orders])


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


def basis_size(degree: Any) -> Any:
    """Number of functions of a basis of this total degree (a number, or an array of them)."""
    return (degree + 1) * (degree + 2) // 2


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
    for _ in range(GAUSS_NEWTON_STEPS):
        u_y, u_z, curvature = (found[:, i, None] for i in (1, 2, 3))
        difference = path_difference((u_y, u_z), curvature, y, z)
        along, square = u_y * y + u_z * z, y * y + z * z
        ratio = 1.0 + curvature * difference
        bent = (along * difference + square) / (ratio * (1.0 + ratio))
        slopes = np.stack([np.ones_like(ratio), -y / ratio / radius, -z / ratio / radius, bent / radius**2], axis=1)
        slopes *= weight[:, None]
        error = np.where(seen, length_m - found[:, :1] - difference, 0.0)
        step = _least_squares(slopes @ slopes.transpose(0, 2, 1), slopes @ error[..., None])[..., 0]
        found += step / np.array([1.0, radius, radius, radius**2])
        found[:, 1:3] /= np.maximum(np.linalg.norm(found[:, 1:3], axis=1, keepdims=True), 1.0)
        found[:, 3] = np.clip(found[:, 3], -NEAREST / radius, NEAREST / radius)
        if np.abs(step).max(initial=0.0) < CONVERGED_M:
            break
    return found


def fit_smooth(
    values: NDArray[Any], seen: Bool, basis: Float, degrees: Sequence[int], allowed: Float, stored_as: type
) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Weighted sums of smooth functions that fit values [R, Q, M] over the seen antennas [R, M], Q fits for each row.

    Returns the degree [R] and the coefficients [R, Q, K] (0 beyond the degree; rounded to real numbers of the type
    ``stored_as``, relative to the largest where that is float16). The degree is the lowest of ``degrees`` whose error
    energy, summed over Q, is within ``allowed`` [R] or, where none is, the lowest within twice the best: past that
    point a higher one follows noise.
    """
    size = basis_size(max(degrees))
    errors = np.full((len(degrees), len(values)), np.inf)
    coefficients = np.zeros((len(degrees), *values.shape[:2], size), values.dtype)
    weight = seen.astype(np.float64)
    open_rows = np.arange(len(values))
    for index, degree in enumerate(degrees):
        functions = basis[: basis_size(degree)]
        weighted = weight[open_rows, None] * functions
        right = weighted @ values[open_rows].transpose(0, 2, 1)
        solved = _rounded(_least_squares(weighted @ functions.T, right).transpose(0, 2, 1), stored_as)
        left = np.where(seen[open_rows, None], values[open_rows] - solved @ functions, 0.0)
        errors[index, open_rows] = np.sum(np.abs(left) ** 2, axis=(1, 2))
        coefficients[index, open_rows, :, : len(functions)] = solved
        open_rows = open_rows[errors[index, open_rows] > allowed[open_rows]]
    chosen = np.argmax(errors <= np.maximum(allowed, 2.0 * errors.min(axis=0)), axis=0)
    rows = np.arange(len(values))
    return np.asarray(degrees, np.uint8)[chosen], coefficients[chosen, rows]


def _least_squares(normal: Float, right: NDArray[Any]) -> NDArray[Any]:
    """Solutions of normal equations [R, K, K] x = [R, K, Q] with the least norm."""
    return np.asarray(np.linalg.pinv(normal, rcond=LEAST_EIGENVALUE, hermitian=True) @ right)


def gain_scale(coefficients: NDArray[Any]) -> NDArray[np.float32]:
    """Largest modulus [R] of a real or imaginary part among coefficients [R, Q, K]; 1 where all are 0."""
    largest = np.maximum(np.abs(coefficients.real), np.abs(coefficients.imag)).max(axis=(1, 2), initial=0.0)
    return np.where(largest > 0, largest, 1.0).astype(np.float32)


def _rounded(coefficients: NDArray[Any], stored_as: type) -> NDArray[Any]:
    """Coefficients [R, Q, K] as they come back from storage."""
    if stored_as is not np.float16:
        return coefficients.astype(stored_as).astype(coefficients.dtype)
    scale = gain_scale(coefficients)[:, None, None]
    scaled = coefficients / scale
    return np.asarray(scale * (scaled.real.astype(np.float16) + 1j * scaled.imag.astype(np.float16)))


def encode_edges(seen: Bool, rows: int, cols: int) -> tuple[NDArray[np.uint16], NDArray[np.uint16], Bool]:
    """Where visibility changes along the elements of a grid: (changes, their number [R], whether column by column [R]).

    ``seen`` is [R, rows * cols]. Elements are walked row by row or, where that has fewer changes, column by column;
    before the first element nothing is seen, so that a path that all see has the single change 0.
    """
    orders = seen, seen.reshape(-1, rows, cols).transpose(0, 2, 1).reshape(-1, rows * cols)
    changes = [np.diff(order, axis=1, prepend=False) for order in orders]
    by_column = np.asarray(changes[1].sum(axis=1) < changes[0].sum(axis=1))
    flips = np.where(by_column[:, None], changes[1], changes[0])
    return np.nonzero(flips)[1].astype(np.uint16), flips.sum(axis=1).astype(np.uint16), by_column


def decode_edges(
    changes: NDArray[np.uint16], counts: NDArray[np.uint16], by_column: Bool, rows: int, cols: int
) -> Bool:
    """Visibility [R, rows * cols], row by row; inverse of :func:`encode_edges`."""
    flips = np.zeros((len(counts), rows * cols), np.bool_)
    flips[np.repeat(np.arange(len(counts)), counts), changes] = True
    seen = np.logical_xor.accumulate(flips, axis=1)
    turned = seen[by_column].reshape(-1, cols, rows).transpose(0, 2, 1)
    seen[by_column] = turned.reshape(-1, rows * cols)
    return np.asarray(seen)
