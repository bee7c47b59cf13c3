"""Batches in the order of steps: prepared in line, or ahead of the training by processes of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from channelfm.errors import InputError
from channelfm.pretraining.objectives import OBJECTIVES
from channelfm.pretraining.recipe import PretrainRecipe
from channelfm.pretraining.source import TrainingSource
from channelfm.pretraining.views import Batch
from channelfm.processes import one_thread, workers

AHEAD = 2  # batches that wait for the training beyond those being prepared
_CPU = torch.device("cpu")


def prepare(
    source: TrainingSource, recipe: PretrainRecipe, step: int, numbers: range, device: torch.device = _CPU
) -> Batch:
    """Samples ``numbers`` of the batch of a step, for the recipe's objective; the same with any number of threads."""
    with one_thread():
        batch: Batch = OBJECTIVES[recipe.objective.kind].views(source, recipe, step, numbers, device)
        return batch


@contextmanager
def feed(
    source: TrainingSource, recipe: PretrainRecipe, steps: range, numbers: range, device: torch.device
) -> Iterator[Iterator[Batch]]:
    """The batches of ``steps`` on ``device``, in order; ``numbers`` are this process's share of each."""
    if not recipe.workers:
        yield (prepare(source, recipe, step, numbers, device) for step in steps)
        return
    with workers(recipe.workers, _remember, source, recipe, numbers) as executor:
        yield _ahead(executor, steps, recipe.workers + AHEAD, device)


def _ahead(executor: Executor, steps: range, most: int, device: torch.device) -> Iterator[Batch]:
    """Batches from worker processes, ``most`` of them asked for before they are needed."""
    waiting: deque[Future[tuple[type[Batch], list[NDArray[Any]]]]] = deque()
    left = iter(steps)
    for _ in steps:
        while len(waiting) < most and (step := next(left, None)) is not None:
            waiting.append(executor.submit(_prepared, step))
        try:
            kind, arrays = waiting.popleft().result()
        except BrokenExecutor as error:
            raise InputError(
                "a process that prepares batches died, probably for want of memory; lower workers or batch_size; "
                "the state that was saved last is kept, so that the run can go on from there"
            ) from error
        yield kind(*(torch.from_numpy(array).to(device) for array in arrays))


_REMEMBERED: list[Any] = []  # in a worker process: source, recipe, numbers


def _remember(source: TrainingSource, recipe: PretrainRecipe, numbers: range) -> None:
    _REMEMBERED[:] = [source, recipe, numbers]


def _prepared(step: int) -> tuple[type[Batch], list[NDArray[Any]]]:
    """A batch as arrays, which travel between processes faster than tensors."""
    source, recipe, numbers = _REMEMBERED
    batch = prepare(source, recipe, step, numbers)
    return type(batch), [np.asarray(getattr(batch, item.name)) for item in fields(batch)]
