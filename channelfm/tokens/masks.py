"""Which antennas are observed. True = observed; the mask ratio is the share that is hidden (SPEC 2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from channelfm.errors import InputError


def random_mask(
    generator: np.random.Generator, count: int, rows: int, cols: int, ratio: float | NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Masks bool [count, rows, cols, 1] with exactly round(ratio * rows * cols) hidden antennas each.

    ``ratio`` is one number or one per sample, in [0, 1]; at least one antenna is always observed.
    Raises InputError on a ratio outside [0, 1].
    """
    ratios = np.broadcast_to(np.asarray(ratio, dtype=np.float64), (count,))
    if not ((ratios >= 0) & (ratios <= 1)).all():
        raise InputError(f"mask ratio {ratio}: give the share of hidden antennas, between 0 and 1")
    antennas = rows * cols
    hidden = np.minimum(np.round(ratios * antennas), antennas - 1).astype(np.int64)
    # The rank of independent uniform numbers is a random permutation; the lowest ranks are hidden.
    rank = generator.random((count, antennas)).argsort(axis=1).argsort(axis=1)
    return (rank >= hidden[:, None]).reshape(count, rows, cols, 1)
