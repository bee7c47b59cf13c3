"""Samples of a Predictor as the estimators take them: one planar field each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channelfm.tasks.predictor import fold_frequency, unfold_frequency


def estimate_in_chunks(
    estimate: Callable[[Tensor, Tensor], Tensor],
    observed: NDArray[np.complex64],
    mask: NDArray[np.bool_],
    chunk: int,
) -> NDArray[np.complex64]:
    """Apply an estimator of [n, rows, cols] fields and masks to all samples and frequencies, ``chunk`` at a time.

    Both arrays are complete, [N, rows, cols, F]. Where nothing but zeros was observed the answer is zero.
    """
    field, seen = torch.from_numpy(fold_frequency(observed)), torch.from_numpy(fold_frequency(mask))
    answer = torch.zeros_like(field)
    heard = torch.nonzero(field.abs().sum((1, 2)) > 0)[:, 0]
    for start in range(0, len(heard), chunk):
        part = heard[start : start + chunk]
        answer[part] = estimate(field[part], seen[part]).to(answer.dtype)
    return unfold_frequency(answer.to(torch.complex64).numpy(), observed.shape[3])
