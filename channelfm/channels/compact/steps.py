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
# White noise over the squared median of the unexpected, for each antenna: 0.5, or 3 where it is in the phase alone.
ENERGY_OF_UNEXPECTED = 3.0


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


def median_height(heights: tuple[Float, Float]) -> Float:
    """Median [B] of the unexpected over all links, and one of height 0."""
    rows, columns = (part.reshape(len(part), part.shape[1] * part.shape[2]) for part in heights)
    ordered = np.sort(np.concatenate([rows, columns, np.zeros((len(rows), 1))], axis=1), axis=1)  # NaN goes last
    middle = np.sum(~np.isnan(ordered), axis=1) // 2
    return np.asarray(np.take_along_axis(ordered, middle[:, None], axis=1)[:, 0])


def noise_energy(median: Float, seen: Bool) -> Float:
    """Energy [B] that noise has at most over the antennas ``seen`` [B, M], by the ``median`` [B] of the unexpected."""
    return np.asarray(ENERGY_OF_UNEXPECTED * median**2 * seen.sum(axis=1))


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
