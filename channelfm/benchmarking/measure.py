"""One cell of a benchmark: what an estimator answers to the examples of one case, scored unit by unit.

Every estimator goes through here, whether it is a network or a classical one, and whatever the task.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from channelfm.benchmarking.memory import PeakMemory
from channelfm.datasets.blocks import Blocks, join_blocks
from channelfm.errors import InputError
from channelfm.estimator import CHANNEL, Estimator, Examples
from channelfm.observation import Entries, Observation, Operator, RandomlyCombined
from channelfm.records import Record
from channelfm.tasks import Task

BATCH = 32  # observations per call of an estimator, in whole units
_WARM_UP = 2  # units

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Cell(Record):
    """What was measured of one estimator on one set in one case.

    ``values`` float64 [name, seed, unit] of the first units, as many as the time budget paid for: what the task scores,
    by ``names``. ``shown`` complex64 [row, col]: the channel that it says one link has, for figures, empty where it
    says none. ``latency_ms``: wall-clock time per unit; ``peak_mb``: memory that a call needs beyond what is held
    between calls (weights, tables).
    """

    names: tuple[str, ...]
    values: Float
    shown: NDArray[np.complex64]
    latency_ms: float
    peak_mb: float

    axes: ClassVar[dict[str, str]] = {"values": "float M S U", "shown": "complex R K"}

    def by_name(self) -> dict[str, Float]:
        """Values [seed, unit] by name."""
        return dict(zip(self.names, self.values, strict=True))

    @property
    def units(self) -> int:
        """Units that were measured."""
        return len(self.values.T)

    @classmethod
    def _decode(cls, plain: dict[str, Any]) -> dict[str, Any]:
        return plain | {"names": tuple(plain["names"])}


class Answering:
    """An estimator and, where it gives channels and the task asks for something else, the task's rule on top."""

    def __init__(self, estimator: Estimator, task: Task) -> None:
        if estimator.gives not in (task.gives, CHANNEL):
            raise InputError(f"it gives {estimator.gives}, and {task.kind} asks for {task.gives}")
        self.estimator, self.task, self.seconds = estimator, task, 0.0

    def answer(self, observation: Observation) -> NDArray[Any]:
        """The answer, timed; InputError for one of a wrong shape or with values that are not finite."""
        begin = time.perf_counter()
        answer = self.estimator.estimate(observation)
        if self.estimator.gives != self.task.gives:
            answer = self.task.from_channel(answer, observation)
        self.seconds += time.perf_counter() - begin
        wanted = (len(observation), *observation.grid.shape) if self.task.gives == CHANNEL else (len(observation),)
        if answer.shape[: len(wanted)] != wanted or not np.isfinite(answer).all():
            raise InputError(
                f"estimator '{self.estimator.name}' answered with shape {answer.shape} (wanted {wanted}) or with "
                "values that are not finite: mend it"
            )
        return answer

    def warm_up(self, examples: Examples) -> float:
        """One small call that does not count: loads libraries, compiles, builds tables, starts threads. Its seconds
        for each unit."""
        first = examples.only(slice(0, _WARM_UP))
        self.answer(first.observation)
        spent, self.seconds = self.seconds, 0.0
        return spent / len(first)


def measure(
    asked: Answering,
    drawn: Sequence[Examples],
    shown: int = 0,
    budget_s: float | None = None,
    advance: Callable[[int], None] = lambda units: None,
) -> Cell:
    """Measure an estimator on one case, ``drawn`` once for each seed, after a warm-up.

    ``shown`` is the number of the link whose estimate is kept. ``budget_s`` bounds the time of all seeds together; at
    least one unit is measured. ``advance`` is called with the units of each batch. Raises what
    :meth:`Answering.answer` does.
    """
    each_s = asked.warm_up(drawn[0])
    share_s = math.inf if budget_s is None else budget_s / len(drawn)
    peak, kept = PeakMemory(), np.zeros((0, 0), np.complex64)
    scored: list[Mapping[str, Float]] = []
    for number, examples in enumerate(drawn):
        if number == 0:
            answer = _answers(asked, examples, share_s, each_s, peak, advance)
            units = len(answer) // examples.unit
            if answer.ndim == 5 and answer.shape[1] == 1 and shown < len(answer):
                kept = answer[shown, 0, :, :, 0].astype(np.complex64)
        else:  # the units that the first seed could pay for
            answer = _answers(asked, examples.only(slice(0, units)), math.inf, each_s, nullcontext(), advance)
        scored.append(asked.task.score(answer, examples.only(slice(0, units))))
    names = tuple(scored[0])
    values = np.array([[part[name] for part in scored] for name in names], np.float64)
    return Cell(names, values, kept, 1e3 * asked.seconds / (units * len(drawn)), peak.mb)


def _answers(
    asked: Answering,
    examples: Examples,
    budget_s: float,
    each_s: float,
    first_call: AbstractContextManager[Any],
    advance: Callable[[int], None],
) -> NDArray[Any]:
    """Answers to the first units that a budget pays for, at least one; ``each_s``: what a unit took before."""
    begin, done = asked.seconds, 0
    parts: list[NDArray[Any]] = []
    while done < len(examples):
        spent = asked.seconds - begin
        affordable = _affordable(budget_s - spent, spent / done if done else each_s)
        if done and not affordable:
            break
        batch = min(max(BATCH // examples.unit, 1), max(affordable, 1), len(examples) - done)
        with nullcontext() if done else first_call:
            parts.append(asked.answer(examples.only(slice(done, done + batch)).observation))
        done += batch
        advance(batch)
    return np.concatenate(parts)


def _affordable(left_s: float, each_s: float) -> int:
    """Units that the time left pays for, up to a batch."""
    return BATCH if left_s >= BATCH * each_s else max(int(left_s / max(each_s, 1e-9)), 0)


def mixed_examples(task: Task, blocks: Blocks, seed: int) -> Examples:
    """Examples of all cases of a task for estimators that learn: each case has an equal share of the blocks in turn.

    Cases whose measurements have another shape than the first's cannot stand beside it, and have no share.
    """
    cases = task.cases()[: len(blocks)]
    parts = _shared(task, blocks, cases, seed)
    shapes = [part.observation.values.shape[1:] for part in parts]
    alike = [case for case, shape in zip(cases, shapes, strict=True) if shape == shapes[0]]
    if len(alike) < len(cases):
        parts = _shared(task, blocks, alike, seed)
    noise = [part.observation.noise for part in parts if part.observation.noise is not None]
    observation = replace(
        parts[0].observation,
        values=np.concatenate([part.observation.values for part in parts]),
        operator=_joined([part.observation for part in parts]),
        noise=np.concatenate(noise) if len(noise) == len(parts) else None,
    )
    target = np.concatenate([part.target for part in parts])
    return Examples(observation, target, join_blocks([part.blocks for part in parts]), parts[0].unit)


def _shared(task: Task, blocks: Blocks, cases: Sequence[Any], seed: int) -> list[Examples]:
    """Examples of each case, of every so many of the blocks."""
    return [
        task.examples(blocks.select(slice(start, None, len(cases))), case, seed) for start, case in enumerate(cases)
    ]


def _joined(parts: Sequence[Observation]) -> Operator:
    """The operators of several observations of one grid as one."""
    operators = [part.operator for part in parts]
    if all(isinstance(operator, Entries) for operator in operators):
        return Entries(np.concatenate([part.mask for part in parts]))
    if all(isinstance(operator, RandomlyCombined) for operator in operators):
        links = np.concatenate([operator.links for operator in operators if isinstance(operator, RandomlyCombined)])
        first = operators[0]
        assert isinstance(first, RandomlyCombined)
        return replace(first, links=links)
    raise InputError(f"measurements of kind {parts[0].kind} of several cases do not join: learn from one case alone")
