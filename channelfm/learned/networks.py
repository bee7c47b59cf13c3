"""What everything that works with networks asks of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

NetworkT = TypeVar("NetworkT", bound=nn.Module)


def sharing_weights(network: NetworkT) -> NetworkT:
    """The same weights in a network of its own, in evaluation mode: the given one stays as it is."""
    tensors: dict[int, object] = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    return copy.deepcopy(network, tensors).eval()


def device_of(network: nn.Module) -> torch.device:
    """Where a network lies."""
    return next(network.parameters()).device


def batches(numbers: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Some numbers in parts of at most ``size``."""
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]
