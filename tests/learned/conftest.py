"""What the tests of networks as estimators share."""

from types import SimpleNamespace

import numpy as np
import pytest

from channelfm.estimator import Examples
from channelfm.tasks.observing import Partial, partial


@pytest.fixture(scope="session")
def hide():
    """Channels [snapshot, row, col, F] as ``observed``, ``mask`` and ``target``, for predict."""

    def make(grid, ratio, seed=0):
        seen = partial(Examples.of_channels(grid).blocks, Partial("random", ratio), seed)
        return SimpleNamespace(observed=seen.values[:, 0], mask=np.array(seen.mask[:, 0]), target=grid)

    return make
