"""A benchmark of channel prediction as a recipe."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from channelfm.benchmark.recipe import DataRecipe, Decibels, Seed
from channelfm.config import Recipe

Count = Annotated[int, Field(ge=1)]
Percent = Annotated[float, Field(ge=0, le=100)]
Speeds = tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]]


class TuningRecipe(Recipe):
    """Networks tuned on shares of a data set's training sequences before they are measured.

    ``recipes`` are pretraining recipes, one for each network; each starts from its ``start_from``, which is the row at
    0 %. ``sets`` are tuned on, at the shares ``percent`` of their sequences. Tuned networks lie in the
    benchmark's folder and are kept. They are measured at the first of ``snr_db`` and ``combs``.
    """

    recipes: tuple[str, ...] = ()
    sets: tuple[DataRecipe, ...] = ()
    percent: tuple[Percent, ...] = (0, 1, 2, 10, 50, 100)


class QuickPrediction(Recipe):
    """What ``--quick`` measures instead; null: what the recipe itself says. Nothing is tuned."""

    sets: tuple[DataRecipe, ...] | None = Field(default=None, min_length=1)
    max_sequences: Count = 24
    snr_db: tuple[Decibels | None, ...] | None = Field(default=None, min_length=1)
    combs: tuple[Count, ...] | None = Field(default=None, min_length=1)
    predictors: tuple[str, ...] | None = Field(default=None, min_length=1)


class PredictionRecipe(Recipe):
    """Channel prediction: the frames that follow ``context`` past ones, at each of ``horizons``.

    ``snr_db`` and ``combs`` (every comb-th subcarrier is observed) are crossed. ``speed_bins`` in m/s [from, to) group
    the sequences. ``predictors`` are names of ``channelfm.baselines.time.SEQUENCE_BASELINES``, packaged models,
    folders of checkpoints or runs, each with another row name as ``NAME=FOLDER``, and the words ``classical`` and
    ``packaged`` for all of a kind. ``rate_snr_db`` is that of the
    data behind the precoder (``metrics.achievable_rate``). ``max_sequences`` bounds each set: evenly spaced ones.
    ``seeds`` draw the noise; clean cases are measured once.
    """

    name: str
    task: Literal["prediction"]
    sets: tuple[DataRecipe, ...] = Field(min_length=1)
    context: Count = 10
    horizons: tuple[Count, ...] = Field(default=(1, 2, 4, 8), min_length=1)
    speed_bins: tuple[Speeds, ...] = Field(default=((0.0, 10.0), (10.0, 20.0), (20.0, 30.0)), min_length=1)
    snr_db: tuple[Decibels | None, ...] = Field(default=(None,), min_length=1)
    combs: tuple[Count, ...] = Field(default=(1,), min_length=1)
    seeds: tuple[Seed, ...] = Field(default=(0,), min_length=1)
    rate_snr_db: Decibels = 20.0
    predictors: tuple[str, ...] = Field(default=("classical", "packaged"), min_length=1)
    max_sequences: Count = 1000
    device: Literal["cpu", "cuda"] = "cpu"
    tuning: TuningRecipe = TuningRecipe()
    quick: QuickPrediction = QuickPrediction()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for low, high in self.speed_bins:
            if low >= high:
                raise ValueError(f"speed_bins: [{low:g}, {high:g}) is empty; give the smaller value first")
        names = [part.name for part in self.sets]
        if len(set(names)) < len(names):
            raise ValueError(f"sets: two have the same name among {names}; name them apart")
        return self

    def quickened(self) -> PredictionRecipe:
        """The recipe of a quick run."""
        changed = {name: getattr(self.quick, name) for name in QuickPrediction.model_fields}
        kept = {name: value for name, value in changed.items() if value is not None}
        return self.model_copy(update=kept | {"tuning": TuningRecipe()})
