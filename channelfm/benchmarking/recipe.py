"""A benchmark as a recipe: one task, which data, which estimators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from channelfm.config import Recipe, parse_recipe, recipe_values, set_dotted
from channelfm.errors import InputError
from channelfm.tasks import TASKS, Task

if TYPE_CHECKING:
    AnyTask = Task
else:
    AnyTask = Annotated[reduce(or_, TASKS.values()), Field(discriminator="kind")]

Seed = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Percent = Annotated[float, Field(ge=0, le=100)]


class KeepRecipe(Recipe):
    """Which links of a split are meant: those with (true) or without (false) line of sight, those within (true) or
    beyond (false) the stored array's Rayleigh distance, and those with more than so many paths; null keeps all. Links
    without any path never are."""

    line_of_sight: bool | None = None
    near_field: bool | None = None
    more_paths_than: int | None = Field(default=None, ge=0)


class DataRecipe(Recipe):
    """One split of a data set, a name in the tables.

    ``dataset`` is a folder, or the name of a packaged data set. With ``data_recipe`` it is generated in that folder
    first (or finished, or reused), unless nothing lies there yet and the package holds this split of that recipe.
    """

    name: str = Field(default="links", min_length=1)
    dataset: str
    data_recipe: str | None = None
    split: Literal["train", "val", "test"] = "test"


class SetRecipe(DataRecipe):
    """One set of links, or of sequences where the task asks for them.

    ``scene``: of one scene alone. Of single links, ``keep`` chooses some, and ``array`` are rows and columns of the
    sub-array about the centre that is measured instead of the whole one, for data sets that store paths. Who learns is
    taught by the split "train" of ``learn_from``, a folder or the name of a packaged data set; null: of its own; of
    single links, by those that ``learn_keep`` chooses.
    """

    scene: str | None = None
    learn_from: str | None = None
    keep: KeepRecipe = KeepRecipe()
    learn_keep: KeepRecipe = KeepRecipe()
    array: tuple[Count, Count] | None = None


class TuningRecipe(Recipe):
    """Networks tuned on shares of a data set's training sequences before they are measured.

    ``recipes`` are pretraining recipes, one for each network; each starts from its ``start_from``, which is the row at
    0 %. ``sets`` are tuned on, at the shares ``percent`` of their sequences. Tuned networks lie in the benchmark's
    folder and are kept. They are measured in the task's first case.
    """

    recipes: tuple[str, ...] = ()
    sets: tuple[DataRecipe, ...] = ()
    percent: tuple[Percent, ...] = (0, 1, 2, 10, 50, 100)


class QuickRecipe(Recipe):
    """What ``--quick`` measures instead, settings of the ``task`` among it; null: what the recipe itself says. Nothing
    is tuned."""

    task: dict[str, Any] = Field(default_factory=dict)
    sets: tuple[SetRecipe, ...] | None = Field(default=None, min_length=1)
    seeds: tuple[Seed, ...] | None = Field(default=None, min_length=1)
    predictors: tuple[str, ...] | None = Field(default=None, min_length=1)
    learn_samples: Count | None = None
    max_samples: Count = 24
    time_budget_s: float | None = Field(default=None, gt=0)


class BenchmarkRecipe(Recipe):
    """A task on one or more sets of links or sequences.

    ``task``: its ``kind``, a key of :data:`channelfm.tasks.TASKS`, and its settings. ``predictors`` are names of
    ``channelfm.baselines.BASELINES`` and ``channelfm.learned.adapters.RIVALS``, packaged models, folders of checkpoints
    or runs, each with another row name as ``NAME=FOLDER``; ``MODEL+WAY`` for a model adapted to the task, a key of
    ``channelfm.learned.adapters.ADAPTERS``; and the words ``classical`` and ``packaged`` for all of a kind.
    ``max_samples`` bounds each set: evenly spaced ones over what it keeps. Each is measured once for each of ``seeds``,
    which draw masks and noise. Estimators that learn are taught with up to ``learn_samples`` of the data set's train
    split. ``time_budget_s``: seconds that one estimator may take for one case of one set; what it does not pay for is
    not measured (null: everything is). ``device`` is the networks'.
    """

    name: str
    task: AnyTask
    sets: tuple[SetRecipe, ...] = Field(min_length=1)
    seeds: tuple[Seed, ...] = Field(default=(0,), min_length=1)
    predictors: tuple[str, ...] = Field(default=("classical", "packaged"), min_length=1)
    learn_samples: Count = 1000
    max_samples: Count = 1000
    time_budget_s: float | None = Field(default=None, gt=0)
    device: Literal["cpu", "cuda"] = "cpu"
    tuning: TuningRecipe = TuningRecipe()
    quick: QuickRecipe = QuickRecipe()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for sets in (self.sets, self.quick.sets or ()):
            _refuse_twice("sets", [part.name for part in sets])
            chosen = [part for part in sets if {part.keep, part.learn_keep} != {KeepRecipe()} or part.array]
            if chosen and self.frames is not None:
                name = chosen[0].name
                raise ValueError(f"sets: '{name}': keep and array choose single links; {self.task.kind} has none")
        for seeds in (self.seeds, self.quick.seeds or ()):
            _refuse_twice("seeds", [str(seed) for seed in seeds])
        if self.tuning.recipes and self.frames is None:
            raise ValueError(f"tuning: networks are tuned on sequences; {self.task.kind} has none")
        try:
            quick = self._quick_task()
        except InputError as error:  # pydantic names the file
            raise ValueError(str(error)) from error
        for task in (self.task, quick):
            _refuse_twice("task", [str(case) for case in task.cases()])
        return self

    @property
    def frames(self) -> int | None:
        """Frames of a sequence; None where the task is about single links."""
        frames: int | None = getattr(self.task, "frames", None)
        return frames

    def quickened(self) -> BenchmarkRecipe:
        """The recipe of a quick run."""
        changed = {name: getattr(self.quick, name) for name in QuickRecipe.model_fields if name != "task"}
        kept = {name: value for name, value in changed.items() if value is not None}
        return self.model_copy(update=kept | {"task": self._quick_task(), "tuning": TuningRecipe()})

    def _quick_task(self) -> Task:
        return parse_recipe(type(self.task), self.task.model_dump() | self.quick.task, "quick.task")


def read_benchmark(path: str | Path, overrides: Sequence[str] = ()) -> BenchmarkRecipe:
    """A benchmark recipe by path or shipped name, with overrides such as ``"task.snr_db=[20]"``.

    Recipes of format 1, which had the task's settings beside the sets and named prediction alone, are read as well, and
    so are overrides of that kind. Raises what :func:`channelfm.config.load_recipe` does.
    """
    file, values = recipe_values(path)
    values = _lifted(values)
    for override in overrides:
        key, equals, value = override.partition("=")
        set_dotted(values, _lifted_key(key) + equals + value)
    return parse_recipe(BenchmarkRecipe, values, str(file))


# Where format 1 had the settings of its two tasks, and what it called the bound on a set's size.
_OF_TASK = ("masks", "snr_db", "context", "horizons", "speed_bins", "combs", "rate_snr_db")
_RENAMED = {"max_sequences": "max_samples"}


def _lifted_key(key: str) -> str:
    """The place of an override in format 2."""
    quick, dot, rest = key.partition(".")
    if quick == "quick" and dot:
        return f"quick.{_lifted_key(rest)}"
    first, dot, rest = key.partition(".")
    return f"task.{key}" if first in _OF_TASK else _RENAMED.get(first, first) + dot + rest


def _lifted(values: dict[str, Any]) -> dict[str, Any]:
    """Values in format 2, those of format 1 among them. Its prediction aligned sequences by their clean channels."""
    task = values.get("task", "extrapolation")
    if not isinstance(task, str):
        return values
    plain = {"kind": task} | ({"alignment": "clean"} if task == "prediction" else {})
    found = _gathered(values)
    found["task"] = plain | found["task"]
    if isinstance(values.get("quick"), dict):
        found["quick"] = _gathered(values["quick"])
    return found


def _gathered(values: dict[str, Any]) -> dict[str, Any]:
    """Values with those of a task gathered."""
    task = {name: values[name] for name in _OF_TASK if name in values}
    rest = {_RENAMED.get(name, name): value for name, value in values.items() if name not in (*_OF_TASK, "task")}
    return rest | {"task": task}


def _refuse_twice(field: str, names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{field}: '{twice[0]}' is there twice; keep one, or name them apart")
