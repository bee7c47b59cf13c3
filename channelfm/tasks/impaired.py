"""Any task through imperfect hardware: the same question and score, other observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import Annotated, Any, ClassVar, Literal

from numpy.typing import NDArray
from pydantic import Field, create_model, field_validator

from channelfm.datasets.blocks import Blocks
from channelfm.errors import InputError
from channelfm.estimator import CHANNEL, Examples
from channelfm.hardware import AnyImpairment, Hardware, Impairment, Quantisation, impairments_of
from channelfm.impairments import impair
from channelfm.observation import Bool, Complex, Float, Observation
from channelfm.tasks.base import Measure, Task, single_paths
from channelfm.waves.bounds import SphericalWaves
from channelfm.waves.quantised_bounds import quantised_bound


@dataclass(frozen=True)
class Through:
    """A ``case`` of the task, through ``hardware`` in words."""

    hardware: str
    case: Any

    def __str__(self) -> str:
        return f"{self.hardware}; {self.case}"

    def _asdict(self) -> dict[str, Any]:  # as of a NamedTuple, in one level
        return {"hardware": self.hardware, **self.case._asdict()}


class Impaired(Task):
    """``task`` in each of its cases through each set of impairments in ``hardware`` (empty: ideal).

    RF chains are those of the case; without, every antenna is a chain of its own. Targets and the bound are those of
    ideal hardware, and observations tell the models of what is imperfect, not what was drawn. Use it as ``over`` makes
    it, which knows the tasks.
    """

    kind: Literal["impaired"] = "impaired"
    task: Task
    hardware: tuple[tuple[AnyImpairment, ...], ...] = Field(
        default=((), impairments_of([{"kind": "quantisation", "bits": 2}])), min_length=1, validate_default=True
    )

    beside: ClassVar[tuple[str, ...]] = ("hardware",)

    @field_validator("hardware")
    @classmethod
    def _once_each(cls, sets: tuple[tuple[Impairment, ...], ...]) -> tuple[tuple[Impairment, ...], ...]:
        try:
            return tuple(Hardware(models).impairments for models in sets)
        except InputError as error:  # pydantic names the file
            raise ValueError(str(error)) from error

    @property
    def gives(self) -> str:  # type: ignore[override]  # what the task inside gives, which its class alone does not know
        """See :class:`Task`."""
        return self.task.gives

    @property
    def trivial(self) -> str:  # type: ignore[override]
        """See :class:`Task`."""
        return self.task.trivial

    @property
    def question(self) -> str:  # type: ignore[override]
        """See :class:`Task`."""
        return f"{self.task.question} Its hardware is not ideal."

    @property
    def frames(self) -> int | None:
        """Frames of a sequence; None where the task is about single links."""
        frames: int | None = getattr(self.task, "frames", None)
        return frames

    @property
    def measures(self) -> Sequence[Measure]:
        """See :class:`Task`."""
        return self.task.measures

    def cases(self) -> Sequence[Through]:
        """See :class:`Task`."""
        return [Through(str(Hardware(models)), case) for models in self.hardware for case in self.task.cases()]

    def repeats(self, case: Through) -> bool:
        """See :class:`Task`."""
        return self.task.repeats(case.case) or bool(self._models(case))

    def examples(self, blocks: Blocks, case: Through, seed: int) -> Examples:
        """See :class:`Task`."""
        ideal = self.task.examples(blocks, case.case, seed)
        hardware = Hardware(self._models(case), getattr(case.case, "chains", None), seed)
        return replace(ideal, observation=impair(ideal.observation, ideal.channel, hardware, seed))

    def from_channel(self, channel: Complex, observation: Observation) -> NDArray[Any]:
        """See :class:`Task`."""
        return self.task.from_channel(channel, observation)

    def score(self, answer: NDArray[Any], examples: Examples) -> Mapping[str, Float]:
        """See :class:`Task`."""
        return self.task.score(answer, examples)

    def groups(self, examples: Examples) -> dict[str, Bool]:
        """See :class:`Task`."""
        return self.task.groups(examples)

    def bound(self, examples: Examples, waves: SphericalWaves) -> Float | None:
        """See :class:`Task`: that of ideal hardware."""
        return self.task.bound(examples, waves)

    def references(self, examples: Examples) -> Mapping[str, Float]:
        """See :class:`Task`: those of the task, which take what imperfect hardware gave as it is, and the bound behind
        converters of few bits, of known single paths in noise."""
        found = dict(self.task.references(examples))
        waves, seen = single_paths(examples.blocks), examples.observation
        if seen.hardware is None or seen.hardware.find(Quantisation) is None:
            return found
        if seen.noise is None or not seen.noise.all() or seen.grid.shape[0] > 1:
            return found
        if waves is not None and self.task.gives == CHANNEL:
            found["quantised-bound"] = quantised_bound(waves, seen)
        return found

    def _models(self, case: Through) -> tuple[Impairment, ...]:
        for models in self.hardware:
            if str(Hardware(models)) == case.hardware:
                return models
        raise InputError(f"case '{case}': no such hardware in the recipe")


def over(tasks: Mapping[str, type[Task]], default: Task) -> type[Impaired]:
    """The task through imperfect hardware, of any of some tasks, which recipes tell apart by their kinds."""
    union: Any = Annotated[reduce(or_, tasks.values()), Field(discriminator="kind")]
    found = create_model("Impaired", __base__=Impaired, __module__="channelfm.tasks", task=(union, default))
    found.__doc__ = Impaired.__doc__
    return found
