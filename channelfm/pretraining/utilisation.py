"""Throughput, and how much of the machine the training uses.

Utilisation is the floating point operations of the networks' forward and backward passes per second (multiplications
and additions of matrix products and convolutions, counted by torch's FlopCounterMode; what a clever implementation
saves or repeats does not count) over the rate of one large matrix product in the training precision on this machine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from channelfm.pretraining.batches import Batch
from channelfm.pretraining.learner import Learner
from channelfm.pretraining.objectives import OBJECTIVES, fresh_networks
from channelfm.pretraining.recipe import PretrainRecipe

_TYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "bf16-true": torch.bfloat16, "16-mixed": torch.half}
_SIDES = {"cpu": 1536, "cuda": 8192}  # of the product that the peak is measured with
_REPEATS = 6


class _CountingLearner(Learner):
    """Runs an objective's step on the device ``meta``: shapes alone, no values, no optimizer."""

    def __init__(self, recipe: PretrainRecipe) -> None:
        self.recipe = recipe
        with torch.device("meta"):
            networks = fresh_networks(recipe.model_copy(update={"start_from": None}))
        self.networks = {name: network for name, (network, _) in networks.items()}

    def descend(self, name: str, loss: Tensor) -> Tensor:
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    @contextmanager
    def frozen(self, name: str) -> Iterator[nn.Module]:
        yield self.networks[name].requires_grad_(False)


@lru_cache(maxsize=64)
def _sample_flops(key: str, size: tuple[int, ...]) -> float | None:
    recipe = PretrainRecipe.model_validate_json(key)
    grid = torch.empty((1, *size, 2), device="meta")
    mask = torch.empty((1, *size), dtype=torch.bool, device="meta")
    number = torch.empty(1, device="meta")
    batch = Batch(grid, grid, mask, grid, number.long(), number)
    try:
        with FlopCounterMode(display=False) as counter:
            OBJECTIVES[recipe.objective.kind].step(_CountingLearner(recipe), batch)
    except (NotImplementedError, RuntimeError):
        return None
    return float(counter.get_total_flops())


def sample_flops(recipe: PretrainRecipe, size: tuple[int, ...]) -> float | None:
    """Floating point operations of training on one sample of ``size``; None where shapes alone do not tell."""
    return _sample_flops(recipe.model_dump_json(), size)


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

    def __init__(
        self, recipe: PretrainRecipe, patch: int | tuple[int, ...], device: torch.device, processes: int
    ) -> None:
        self._recipe, self._processes = recipe, processes
        self._patch = (patch, patch) if isinstance(patch, int) else patch
        self._peak = matmul_peak(device, recipe.precision)
        self.restart()

    def restart(self) -> None:
        """Forget what was added; time counts from here."""
        self._samples, self._tokens, self._flops = 0, 0, 0.0
        self._countable, self._begin = True, time.perf_counter()

    def add(self, samples: int, size: tuple[int, ...]) -> None:
        """Another step on ``samples`` samples in each process; ``size``: rows, columns, or frames, angles, delays."""
        count = samples * self._processes
        flops = sample_flops(self._recipe, size)
        self._samples += count
        sides = (1,) * (len(size) - len(self._patch)) + self._patch
        self._tokens += count * math.prod(-(-whole // side) for whole, side in zip(size, sides, strict=True))
        self._flops += count * (flops or 0.0)
        self._countable &= flops is not None

    def read(self) -> dict[str, float]:
        """Samples and tokens per second of all processes, and utilisation where it can be counted."""
        seconds = time.perf_counter() - self._begin
        rates = {"samples_per_s": self._samples / seconds, "tokens_per_s": self._tokens / seconds}
        if self._countable:
            rates["utilisation"] = self._flops / seconds / (self._peak * self._processes)
        self.restart()
        return {name: float(f"{rate:.4g}") for name, rate in rates.items()}
