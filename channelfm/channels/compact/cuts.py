"""Straight cuts through regions where no step bounds the parts: noise hides it, or the field bends too fast."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.channels.compact.smooth import basis_size

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

DEGREE = 2  # of the polynomials on both sides that judge a cut
ANGLES, PLACES = 16, 24  # of the cuts that are tried; their places are denser towards the region's ends
RIDGE = 1e-9  # of the mean of a normal matrix's diagonal


def straight_cut(values: NDArray[Any], region: Bool, basis: Float) -> Bool:
    """Both sides [2, M] of the straight line through a ``region`` [M] across which polynomials fit values [Q, M] best.

    ``basis`` [K, M] are the smooth functions over the aperture, of which the second and third are its coordinates.
    The region has two antennas at least.
    """
    inside = np.flatnonzero(region)
    functions = basis[: basis_size(DEGREE), inside]
    real = np.concatenate([values[:, inside].real, values[:, inside].imag])
    products = np.einsum("km,nm->knm", functions, np.concatenate([functions, real]))
    shares = (1.0 - np.cos(np.pi * np.arange(1, PLACES + 1) / (PLACES + 1))) / 2.0
    places = np.unique(np.clip(np.round(shares * len(inside)).astype(np.intp), 1, len(inside) - 1))
    best, side = -1.0, inside[:1]
    for angle in np.pi * np.arange(ANGLES) / ANGLES:
        order = np.argsort(np.cos(angle) * basis[1, inside] + np.sin(angle) * basis[2, inside], kind="stable")
        strips = np.add.reduceat(products[:, :, order], np.append(0, places), axis=2)
        before = np.cumsum(strips, axis=2)
        explained = _explained(before[..., :-1]) + _explained(before[..., -1:] - before[..., :-1])
        if explained.max() > best:
            best, side = float(explained.max()), inside[order[: places[explained.argmax()]]]
    sides = np.stack([region, region])
    sides[0] = False
    sides[0, side] = True
    sides[1, side] = False
    return sides


def _explained(products: Float) -> Float:
    """Energy [C] of values that their best polynomials hold, from products [K, K + values, C] of functions and both."""
    moved = np.moveaxis(products, 2, 0)
    size = products.shape[0]
    normal, right = moved[:, :, :size], moved[:, :, size:]
    ridge = RIDGE * np.trace(normal, axis1=1, axis2=2) / size
    solved = np.linalg.solve(normal + ridge[:, None, None] * np.eye(size), right)
    return np.asarray(np.sum(solved * right, axis=(1, 2)))
