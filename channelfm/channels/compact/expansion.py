"""Compact paths -> channels, on CPU or GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from channelfm.arrays import UPA
from channelfm.channels.compact.record import CompactPaths
from channelfm.channels.synthesis import checked_frequencies

if TYPE_CHECKING:
    from torch import Tensor

CPU_PHASES, DEVICE_PHASES = 1 << 16, 1 << 24  # phases held at once: in cache, and some 1 GB


def expand(
    compact: CompactPaths,
    array: UPA | None = None,
    frequencies_hz: ArrayLike | None = None,
    snapshots: Any = None,
    offset_s: ArrayLike = 0.0,
    device: str = "cpu",
) -> Tensor:
    """Channels complex64 [S, A, F] on ``device``, as :func:`channelfm.channels.synthesize` gives them from the paths.

    ``array``: any array of the traced carrier, pattern and polarisation whose elements lie within the traced aperture
    (half a spacing beyond the outermost elements included) and in its plane: smaller, sparser, denser, shifted, or
    rolled about the boresight. Elements themselves stay as they were traced: a rolled array is a rolled grid of
    antennas that are not. None: the traced array. On other grids visibility is that of the nearest traced element.
    ``snapshots``: a NumPy index of those wanted. ``offset_s``: time since the snapshot, a scalar or one for each.

    Raises
    ------
    InputError : on an array that is not known from the traced aperture, or a frequency that is not usable.
    """
    import torch  # here, so that workers that only store paths need not load it

    from channelfm.channels.compact.waves import Aperture, sum_over_band

    chosen = compact if snapshots is None else compact.select(snapshots)
    wanted = compact.array if array is None else array
    frequencies = checked_frequencies(compact.array.carrier_hz, frequencies_hz)
    offsets = np.broadcast_to(np.asarray(offset_s, dtype=np.float64), (len(chosen),))
    shape = len(chosen), wanted.num_antennas, len(frequencies)
    aperture = Aperture(compact.array, wanted, torch.device(device))
    response = torch.zeros(shape, dtype=torch.complex64, device=aperture.device)
    at_once = (CPU_PHASES if aperture.device.type == "cpu" else DEVICE_PHASES) // wanted.num_antennas
    order = np.argsort(-chosen.path_count.astype(np.int64), kind="stable")[: np.count_nonzero(chosen.has_path)]
    while len(order):  # snapshots with about as many paths go together: little is padded
        step = max(1, at_once // int(chosen.path_count[order[0]]))
        some, order = order[:step], order[step:]
        waves = aperture.waves(chosen.select(some), offsets[some])
        response[torch.from_numpy(some).to(aperture.device)] = sum_over_band(waves, frequencies)
    return response
