"""A benchmark as a recipe: which links, which predictors, which masks."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from channelfm.config import Recipe
from channelfm.tokens.masks import MASKS

Ratio = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0)]
Side = Annotated[int, Field(ge=1)]
# The paper's own range of noise (seed 000, VI-B2) lies well within.
Decibels = Annotated[float, Field(ge=-60, le=100)]


class KeepRecipe(Recipe):
    """Which links of a split are measured: those with (true) or without (false) line of sight, and those with more than
    so many paths; null keeps all. Links without any path are never measured."""

    line_of_sight: bool | None = None
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
    """One set of links.

    ``scene``: of one scene alone. ``array``: rows and columns of the sub-array about the centre that is measured
    instead of the whole one, for data sets that store paths.
    """

    scene: str | None = None
    keep: KeepRecipe = KeepRecipe()
    array: tuple[Side, Side] | None = None


class MaskRecipe(Recipe):
    """One kind of mask (:data:`channelfm.tokens.masks.MASKS`) at some shares of hidden antennas."""

    kind: str = "random"
    ratios: tuple[Ratio, ...] = Field(min_length=1)

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in MASKS:
            raise ValueError(f"no such mask; use one of: {', '.join(MASKS)}")
        return kind


class QuickRecipe(Recipe):
    """What ``--quick`` measures instead; null: what the recipe itself says."""

    max_samples: int = Field(default=24, ge=1)
    masks: tuple[MaskRecipe, ...] | None = Field(default=None, min_length=1)
    snr_db: tuple[Decibels | None, ...] | None = Field(default=None, min_length=1)
    seeds: tuple[Seed, ...] | None = Field(default=None, min_length=1)
    predictors: tuple[str, ...] | None = Field(default=None, min_length=1)
    learn_samples: int | None = Field(default=None, ge=1)


class BenchmarkRecipe(Recipe):
    """Channel extrapolation on one or more sets of links.

    ``predictors`` are names of ``channelfm.baselines.BASELINES``, packaged models, folders of checkpoints or runs, each
    with another row name as ``NAME=FOLDER``, and the words ``classical`` and ``packaged`` for all of a kind.
    ``max_samples`` bounds the links of each set: evenly spaced ones over what the set keeps. Each link is measured once
    for each of ``seeds``, which draw masks and noise. ``snr_db`` lists signal-to-noise ratios of the observed antennas,
    null for clean ones. Classical predictors that learn statistics are taught with up to ``learn_samples`` links of the
    data set's train split. ``device`` is the networks'.
    """

    name: str
    sets: tuple[SetRecipe, ...] = Field(min_length=1)
    masks: tuple[MaskRecipe, ...] = Field(default=(MaskRecipe(ratios=(0.5, 0.75, 0.9)),), min_length=1)
    snr_db: tuple[Decibels | None, ...] = Field(default=(None,), min_length=1)
    seeds: tuple[Seed, ...] = Field(default=(0,), min_length=1)
    predictors: tuple[str, ...] = Field(default=("classical", "packaged"), min_length=1)
    learn_samples: int = Field(default=1000, ge=1)
    max_samples: int = Field(default=1000, ge=1)
    device: Literal["cpu", "cuda"] = "cpu"
    quick: QuickRecipe = QuickRecipe()

    @model_validator(mode="after")
    def _nothing_twice(self) -> Self:
        for masks in (self.masks, self.quick.masks or ()):
            _refuse_twice("masks", [f"{kind} at {ratio:g}" for kind, ratio in mask_cases(masks)])
        _refuse_twice("sets", [part.name for part in self.sets])
        for seeds in (self.seeds, self.quick.seeds or ()):
            _refuse_twice("seeds", [str(seed) for seed in seeds])
        for ratios in (self.snr_db, self.quick.snr_db or ()):
            _refuse_twice("snr_db", [str(ratio) for ratio in ratios])
        return self

    def quickened(self) -> BenchmarkRecipe:
        """The recipe of a quick run."""
        changed = {name: getattr(self.quick, name) for name in QuickRecipe.model_fields}
        return self.model_copy(update={name: value for name, value in changed.items() if value is not None})


def mask_cases(masks: tuple[MaskRecipe, ...]) -> list[tuple[str, float]]:
    """All (kind, ratio) of some masks, in order."""
    return [(mask.kind, ratio) for mask in masks for ratio in mask.ratios]


def _refuse_twice(field: str, names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{field}: '{twice[0]}' is there twice; keep one, or name them apart")
