"""Where a field steps from one antenna to the next, and the regions between the steps, batched over paths.

Nothing is assumed of what makes a step. A smooth field changes between two neighbours as it does between the next ones;
a step is a change that the links on neither side lead to expect.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Labels = NDArray[np.int32]

# A change is expected to be the next one, in line with the next two, or with those behind a neighbour that may step.
EXPECTATIONS = (1.0,), (2.0, -1.0), (0.0, 3.0, -2.0)
# Noise of an antenna over the square of the usual height: 0.13 for white noise, 0.2 where it is in the phase alone, 0.4
# where phases have a few values only, as those of single-precision lengths have.
ENERGY_OF_USUAL = 0.25


def unexpected_changes(values: NDArray[Any], seen: Bool) -> tuple[Float, Float]:
    """What is unexpected in the changes of values [B, Q, rows, cols] along rows [B, rows, cols - 1] and along columns
    [B, rows - 1, cols]: its modulus over Q; NaN where not both neighbours see, 0 where nothing says what to expect."""
    turned = _unexpected(values.swapaxes(2, 3), seen.swapaxes(1, 2))
    return _unexpected(values, seen), turned.swapaxes(1, 2)


def _unexpected(values: NDArray[Any], seen: Bool) -> Float:
    change, linked = np.diff(values, axis=3), seen[:, :, 1:] & seen[:, :, :-1]
    links = linked.shape[2]
    lowest = np.full(linked.shape, np.inf)
    for way in (slice(None), slice(None, None, -1)):
        changes, known, least = change[..., way], linked[..., way], lowest[..., way]  # views: least writes to lowest
        for weights in EXPECTATIONS:
            some = max(0, links - len(weights))
            left, usable = changes[..., :some].copy(), np.ones(linked[..., :some].shape, np.bool_)
            for ahead, weight in enumerate(weights, start=1):
                left -= weight * changes[..., ahead : ahead + some]
                usable &= known[..., ahead : ahead + some]
            height = np.sum(left.real**2 + left.imag**2, axis=1)
            least[..., :some] = np.where(usable, np.minimum(least[..., :some], height), least[..., :some])
    lowest[np.isinf(lowest)] = 0.0
    return np.where(linked, np.sqrt(lowest), np.nan)


def usual_height(heights: tuple[Float, Float]) -> Float:
    """The height [B] that the unexpected of a path's links stays below, but for those that steps may have.

    It is that along rows or that along columns, which is lower: an edge along the ones is crossed by the others' links.
    Of either, steps may have a tenth, or as many as two edges can cross, but no more than half.
    """
    crossed = heights[0].shape[1] + heights[1].shape[2]
    lower = np.minimum(*(_usual(part, crossed) for part in heights))
    return np.where(np.isinf(lower), 0.0, lower)


def _usual(heights: Float, crossed: int) -> Float:
    """The same [B] of the links of one direction, ``crossed`` of which steps may have; inf where there are no links."""
    ordered = np.sort(heights.reshape(len(heights), heights.shape[1] * heights.shape[2]), axis=1)  # NaN goes last
    links = np.sum(~np.isnan(ordered), axis=1)
    below = links - np.clip(crossed, links // 10, links // 2)
    known = np.concatenate([np.full((len(ordered), 1), np.inf), ordered], axis=1)
    return np.asarray(np.take_along_axis(known, below[:, None], axis=1)[:, 0])


def noise_energy(usual: Float, seen: Bool) -> Float:
    """Energy [B] of noise over the antennas ``seen`` [B, M] that makes the ``usual`` height [B] of the unexpected."""
    return np.asarray(ENERGY_OF_USUAL * usual**2 * seen.sum(axis=1))


def regions_between(heights: tuple[Float, Float], seen: Bool, least: Float) -> Labels:
    """Numbers [B, rows, cols], from 1 on over all B, of the regions between steps higher than ``least`` [B].

    Neighbours that see belong together unless they step; antennas that do not see are 0.
    """
    paths, rows, cols = seen.shape
    # Antennas at even places, the links between them at odd ones.
    joined = np.zeros((paths, 2 * rows - 1, 2 * cols - 1), np.bool_)
    joined[:, ::2, ::2] = seen
    joined[:, ::2, 1::2], joined[:, 1::2, ::2] = (part <= least[:, None, None] for part in heights)
    neighbours = np.zeros((3, 3, 3), np.bool_)
    neighbours[1] = ndimage.generate_binary_structure(2, 1)
    return np.asarray(ndimage.label(joined, neighbours)[0], np.int32)[:, ::2, ::2]
