"""The demo: from a street map to reconstructed channels in six steps, each kept for the next run.

Everything lies under one folder: ``data-<hash>`` (scene, flights and channels), ``model-<hash>`` (training run and
checkpoint), ``cells`` (what was measured); and, of the latest run, ``results.json`` and ``report.html``. The hashes are
of all that a part depends on, so an interrupted run resumes, a second one reuses, and a changed recipe starts afresh.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from channelfm.benchmarking.entries import find_entries
from channelfm.benchmarking.recipe import BenchmarkRecipe, SetRecipe
from channelfm.benchmarking.rows import Results
from channelfm.benchmarking.suite import run as measure
from channelfm.config import Recipe, load_recipe
from channelfm.datasets.dataset import Dataset
from channelfm.datasets.generate import generate, identity, runnable
from channelfm.datasets.manifest import MANIFEST
from channelfm.datasets.recipe import DatasetRecipe, SceneRecipe
from channelfm.errors import InputError
from channelfm.pretraining.loop import pretrain
from channelfm.pretraining.recipe import PretrainRecipe
from channelfm.tasks import Extrapolation
from channelfm.tasks.observing import MaskRecipe, Ratio

STEPS = ("scene", "flight", "data set", "training", "evaluation", "report")


class EvaluationRecipe(Recipe):
    """What is measured: ``predictors`` by name ("classical" and "packaged" mean all of a kind) beside the model that is
    trained here, on at most ``max_samples`` links. Those that learn statistics are taught with the training links."""

    split: Literal["val", "test"] = "test"
    predictors: tuple[str, ...] = (
        "zero-filling",
        "polar-omp",
        "wave-frame",
        "off-grid",
        "cddim-small",
        "wavefield-small",
    )
    mask_ratios: tuple[Ratio, ...] = Field(default=(0.5, 0.75, 0.9), min_length=1)
    max_samples: int = Field(default=100, ge=1)
    seed: int = Field(default=0, ge=0)


class DemoRecipe(Recipe):
    """The whole demo: data set, training, evaluation."""

    data: DatasetRecipe
    pretraining: PretrainRecipe = PretrainRecipe()
    evaluation: EvaluationRecipe = EvaluationRecipe()


def run_demo(
    osm: Path | None,
    out: Path,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    recipe: str | Path = "demo",
    progress: bool = True,
) -> Results:
    """Run the demo, or what is left of it; returns what ``results.json`` holds.

    ``osm`` is a map that takes the place of the recipe's scene; ``seed`` sets all seeds of the recipe; ``overrides``
    are dotted settings such as ``"pretraining.steps=50"``. Raises InputError and DependencyError as the parts do.
    """
    settings = read_demo(osm, seed, overrides, recipe)
    tell = _Teller(progress)
    if not (_data_folder(out, settings.data) / MANIFEST).is_file():
        settings = settings.model_copy(update={"data": runnable(settings.data)})
    data_folder = _data_folder(out, settings.data)
    dataset = generate(settings.data, data_folder, progress=progress, announce=tell.step)
    model_key = _key(settings.pretraining.content_hash(), dataset.manifest.content_hash())
    checkpoint = _train(settings, dataset, out / f"model-{model_key}", tell)
    training = settings.pretraining
    methods = sorted({shard.method for shard in dataset.manifest.shards})
    about = {
        "data set": f"{dataset.folder.name}: {len(dataset)} links, traced by: {', '.join(methods)}",
        "model": f"{training.predictor.model}, {training.predictor.sees}",
        "training": f"{len(dataset.load('train'))} links, {training.steps} steps of {training.batch_size}",
    }
    results = measure(_evaluation(settings, dataset, checkpoint), out, progress, about)
    rows = results["rows"]
    tell.step("evaluation", f"{len({row['estimator'] for row in rows})} estimators on links that training never saw")
    tell.step("report", f"{out / 'report.html'} and {out / 'results.json'}")
    return results


def _data_folder(out: Path, recipe: DatasetRecipe) -> Path:
    return out / f"data-{identity(recipe)[:12]}"


def _key(*hashes: str) -> str:
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:12]


def read_demo(
    osm: Path | None = None, seed: int | None = None, overrides: Sequence[str] = (), recipe: str | Path = "demo"
) -> DemoRecipe:
    """The demo's recipe with a map in place of its scene and one seed for all parts, if given."""
    seeds = () if seed is None else tuple(f"{part}.seed={seed}" for part in ("data", "pretraining", "evaluation"))
    settings = load_recipe(DemoRecipe, recipe, (*seeds, *overrides))
    find_entries(settings.evaluation.predictors)  # a wrong name should not cost a data set first
    for split in ("train", settings.evaluation.split):
        if split not in {flight.split for flight in settings.data.flights}:
            raise InputError(f"data.flights: the demo needs a flight of split '{split}'; add one")
    if osm is None:
        return settings
    name = re.sub(r"[^A-Za-z0-9]+", "-", osm.name.partition(".")[0]).strip("-") or "map"
    scene = SceneRecipe(name=name, source=f"osm:{osm}")
    flights = tuple(flight.model_copy(update={"scenes": ()}) for flight in settings.data.flights)
    data = settings.data.model_copy(update={"scenes": (scene,), "flights": flights})
    return settings.model_copy(update={"data": data})


def _train(settings: DemoRecipe, dataset: Dataset, folder: Path, tell: _Teller) -> Path:
    """Train on the flights of split "train", or take the checkpoint that is there; returns its folder."""
    train = dataset.load("train")
    validation = dataset.load("val") if "val" in dataset.splits else train.select(slice(0, 0))
    before = (folder / "checkpoint").is_dir()
    tell.start()
    checkpoint = pretrain(settings.pretraining, train.grid, validation.grid, folder)
    recipe = settings.pretraining
    what = f"{recipe.predictor.model} on {int(train.has_path.sum())} links, {recipe.steps} steps"
    tell.step("training", f"{what}: {'reused' if before else 'done'}, {checkpoint}")
    return checkpoint


def _evaluation(settings: DemoRecipe, dataset: Dataset, checkpoint: Path) -> BenchmarkRecipe:
    """The benchmark of all estimators and the trained model on the held-out flight."""
    recipe = settings.evaluation
    return BenchmarkRecipe(
        name="From a street map to reconstructed channels",
        task=Extrapolation(masks=(MaskRecipe(ratios=recipe.mask_ratios),)),
        sets=(SetRecipe(name=dataset.scenes[0], dataset=str(dataset.folder), split=recipe.split),),
        seeds=(recipe.seed,),
        predictors=(*recipe.predictors, str(checkpoint)),
        max_samples=recipe.max_samples,
    )


class _Teller:
    """Prints one line per finished step, with the time it took."""

    def __init__(self, progress: bool) -> None:
        self.progress = progress
        self._begin = time.perf_counter()

    def start(self) -> None:
        """Time the next step from here."""
        self._begin = time.perf_counter()

    def step(self, stage: str, text: str) -> None:
        """A step, or a part of one, is done."""
        if self.progress:
            seconds = time.perf_counter() - self._begin
            print(f"[{STEPS.index(stage) + 1}/{len(STEPS)}] {stage:<10} {text} ({seconds:.1f} s)", flush=True)
        self.start()
