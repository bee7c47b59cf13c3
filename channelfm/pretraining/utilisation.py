"""Throughput, and how much of the machine the training uses.

Utilisation is the floating point operations of the networks' forward and backward passes per second (multiplications
and additions of matrix products, convolutions and attention, counted by torch's FlopCounterMode; what a clever
implementation saves or repeats does not count) over the rate of one large matrix product in the training precision on
this machine. They are counted in one more step on the first batch of each size, which no network learns from: within
the counter, gradients are rounded otherwise.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from channelfm.learned.networks import device_of
from channelfm.pretraining.learner import Learner
from channelfm.pretraining.objectives import OBJECTIVES, fresh_networks
from channelfm.pretraining.views import Batch

_TYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "bf16-true": torch.bfloat16, "16-mixed": torch.half}
_SIDES = {"cpu": 1536, "cuda": 8192}  # of the product that the peak is measured with
_REPEATS = 6
_COUNTED = 4  # samples: attention by matrix products takes more memory


class _Counted(Learner):
    """Runs an objective's step on networks of its own, without an optimizer."""

    def __init__(self, learner: Learner) -> None:
        self.recipe, self.state, self.teacher = learner.recipe, learner.state, learner.teacher
        fresh = fresh_networks(learner.recipe.model_copy(update={"start_from": None}))
        device = device_of(learner.state.average)
        self.networks = {name: network.to(device) for name, (network, _) in fresh.items()}

    def descend(self, name: str, loss: Tensor) -> Tensor:
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    @contextmanager
    def frozen(self, name: str) -> Iterator[nn.Module]:
        yield self.networks[name].requires_grad_(False)


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Attention and recurrence by matrix products, which the counter knows."""
    mkldnn: Any = torch.backends.mkldnn
    (before, *_) = mkldnn.set_flags(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        mkldnn.set_flags(before)


def step_flops(learner: Learner, batch: Batch) -> float:
    """Floating point operations of the next step on a batch, from those on a few of its samples."""
    counted, few = _Counted(learner), batch.first(_COUNTED)
    with plain_kernels(), FlopCounterMode(display=False) as counter:
        OBJECTIVES[learner.recipe.objective.kind].step(counted, few)
    return float(counter.get_total_flops()) * len(batch) / len(few)


@lru_cache(maxsize=8)
def matmul_peak(device: torch.device, precision: str) -> float:
    """Floating point operations per second of the machine's best of a few large matrix products."""
    side = _SIDES.get(device.type, 4096)
    left = torch.randn((side, side), device=device, generator=torch.Generator(device).manual_seed(0))
    left = left.to(_TYPES[precision])
    best = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        float((left @ left)[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


class Meter:
    """Adds up what was done in which time; :meth:`read` tells the rates since it was read last.

    A token is a patch of ``patch`` x ``patch`` antennas; of sequences of such sides, the last one's being delay.
    """

    def __init__(self, precision: str, patch: int | tuple[int, ...], device: torch.device, processes: int) -> None:
        self._processes, self._counted = processes, dict[tuple[int, ...], float]()
        self._patch = (patch, patch) if isinstance(patch, int) else patch
        self._peak = matmul_peak(device, precision)
        self.restart()

    def restart(self) -> None:
        """Forget what was added; time counts from here."""
        self._samples, self._tokens, self._flops, self._begin = 0, 0, 0.0, time.perf_counter()

    def add(self, learner: Learner, batch: Batch) -> None:
        """The next step, on a batch in each process: its ``mask`` is of rows and columns, or frames, angles, delays."""
        size, recipe = tuple(batch.mask.shape[1:]), learner.recipe
        kind = (*batch.mask.shape, OBJECTIVES[recipe.objective.kind].phase(recipe, learner.state.step))
        if kind not in self._counted:
            begin = time.perf_counter()
            self._counted[kind] = step_flops(learner, batch)
            self._begin += time.perf_counter() - begin
        count = len(batch) * self._processes
        sides = (1,) * (len(size) - len(self._patch)) + self._patch
        self._samples += count
        self._tokens += count * math.prod(-(-whole // side) for whole, side in zip(size, sides, strict=True))
        self._flops += self._counted[kind] * self._processes

    def read(self) -> dict[str, float]:
        """Samples and tokens per second of all processes, and utilisation."""
        seconds = time.perf_counter() - self._begin
        rates = {
            "samples_per_s": self._samples / seconds,
            "tokens_per_s": self._tokens / seconds,
            "utilisation": self._flops / seconds / (self._peak * self._processes),
        }
        self.restart()
        return {name: float(f"{rate:.4g}") for name, rate in rates.items()}
