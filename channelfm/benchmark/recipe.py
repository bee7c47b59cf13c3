"""A benchmark as a recipe: which channels, which predictors, which masks; and the one call that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from channelfm.arrays import UPA
from channelfm.baselines import BASELINES
from channelfm.benchmark.report import Example, Flight, ReportContent, write_report
from channelfm.benchmark.run import Results, evaluate, versions, write_results
from channelfm.checkpoints import load_model
from channelfm.config import Recipe, load_recipe
from channelfm.datasets import Dataset, open_dataset
from channelfm.datasets.generate import generate
from channelfm.records import Channels
from channelfm.tasks.extrapolation import examples
from channelfm.tasks.predictor import Predictor

Ratio = Annotated[float, Field(ge=0, lt=1)]


class BenchmarkRecipe(Recipe):
    """Channel extrapolation on one split of a data set.

    ``dataset`` is a folder; with ``data_recipe`` it is generated there first (or finished, or reused). ``predictors``
    are names of ``channelfm.baselines.BASELINES`` or checkpoints as ``load_model`` takes them. ``max_samples``, and
    ``quick_samples`` in a quick run, bound the snapshots measured: evenly spaced ones over the split.
    """

    name: str
    dataset: str
    data_recipe: str | None = None
    split: Literal["train", "val", "test"] = "test"
    scene: str | None = None
    predictors: tuple[str, ...] = Field(default=tuple(BASELINES), min_length=1)
    mask_ratios: tuple[Ratio, ...] = Field(default=(0.5, 0.75, 0.9), min_length=1)
    seed: int = Field(default=0, ge=0)
    max_samples: int = Field(default=1000, ge=1)
    quick_samples: int = Field(default=24, ge=1)


def benchmark(
    recipe: str | Path,
    out: str | Path = "runs/benchmark",
    quick: bool = False,
    overrides: Sequence[str] = (),
    progress: bool = True,
) -> Results:
    """Run a benchmark recipe; writes ``results.json`` and ``report.html`` into ``out`` and returns the results.

    ``quick`` measures few snapshots. Raises InputError for an unusable recipe, data set or predictor name.
    """
    settings = load_recipe(BenchmarkRecipe, recipe, overrides)
    for name in settings.predictors:  # a wrong name should not cost a data set first
        load_predictor(name)
    if settings.data_recipe is None:
        dataset = open_dataset(settings.dataset)
    else:
        dataset = generate(settings.data_recipe, settings.dataset, progress=progress)
    channels = dataset.load(settings.split, settings.scene)
    left_out = int((~channels.has_path).sum())
    channels = _thinned(channels, settings.quick_samples if quick else settings.max_samples)
    predictors = [load_predictor(name, channels.spacing_wavelengths) for name in settings.predictors]
    rows = evaluate(predictors, channels.grid, settings.mask_ratios, settings.seed, progress)
    scene = settings.scene or ", ".join(dataset.scenes)
    results = Results(rows=rows, scene=scene, seed=settings.seed, versions=versions(), left_out=left_out)
    write_results(Path(out) / "results.json", results)
    write_report(Path(out) / "report.html", _content(settings, dataset, channels, predictors, results))
    return results


def load_predictor(name: str, spacing_wavelengths: float = 0.5) -> Predictor:
    """A classical predictor by its row name, or else a checkpoint by name or path."""
    if name in BASELINES:
        return BASELINES[name](spacing_wavelengths=spacing_wavelengths)
    return load_model(name)


def show_example(predictors: Sequence[Predictor], channels: Channels, mask_ratio: float, seed: int) -> Example:
    """A channel for the report: the near-field snapshot (or any, if none is near) of median distance.

    Wide-band channels are shown at their first frequency.
    """
    near = channels.near_field & channels.has_path
    candidates = np.flatnonzero(near if near.any() else channels.has_path)
    chosen = candidates[np.argsort(channels.distance_m[candidates])[len(candidates) // 2]]
    case = examples(channels.grid[[chosen]][..., :1], mask_ratio, seed)
    field = "near field" if channels.near_field[chosen] else "far field"
    sight = "line of sight" if channels.line_of_sight[chosen] else "no line of sight"
    return Example(
        truth=case.target[0, ..., 0],
        mask=case.mask[0, ..., 0],
        estimates={predictor.name: predictor.predict(case.observed, case.mask)[0, ..., 0] for predictor in predictors},
        mask_ratio=mask_ratio,
        description=f"{field}, {channels.distance_m[chosen]:.0f} m from the array, {sight}",
    )


def flights_of(dataset: Dataset, scene: str, measured: str) -> list[Flight]:
    """The flights of a data set over one scene; those of the split ``measured`` count as held out."""
    flights = []
    for split in dataset.splits:
        if any(shard.split == split and shard.scene == scene for shard in dataset.manifest.shards):
            channels = dataset.load(split, scene)
            flights.append(Flight(channels.positions_m, channels.near_field, channels.track, split == measured))
    return flights


def describe_array(array: UPA) -> str:
    """One line such as "32 x 32 at 7 GHz"."""
    return f"{array.rows} x {array.cols} at {array.carrier_hz / 1e9:g} GHz"


def _thinned(channels: Channels, samples: int) -> Channels:
    """At most ``samples`` snapshots with a path, evenly spaced."""
    reached = np.flatnonzero(channels.has_path)
    if len(reached) <= samples:
        return channels.select(reached)
    return channels.select(reached[np.linspace(0, len(reached) - 1, samples).round().astype(int)])


def _content(
    settings: BenchmarkRecipe, dataset: Dataset, channels: Channels, predictors: Sequence[Predictor], results: Results
) -> ReportContent:
    """The report of a benchmark; its map shows the first scene that the split has."""
    measured = [shard.scene for shard in dataset.manifest.shards if shard.split == settings.split]
    scene_name = settings.scene or measured[0]
    array = dataset.array(scene_name)
    scene = dataset.scene(scene_name)
    return ReportContent(
        title=settings.name,
        rows=results["rows"],
        scene_name=results["scene"],
        array=describe_array(array),
        seed=settings.seed,
        versions=results["versions"],
        left_out=results["left_out"],
        scene=scene,
        flights=flights_of(dataset, scene_name, settings.split),
        array_position_m=array.position,
        rayleigh_distance_m=array.rayleigh_distance_m,
        example=show_example(predictors, channels, max(settings.mask_ratios), settings.seed),
        settings={
            "benchmark recipe": f"{settings.name}, {settings.content_hash()[:12]}",
            "data set": f"{dataset.name}, split {settings.split}, {dataset.manifest.content_hash()[:12]}",
        },
        attribution=scene.attribution,
    )
