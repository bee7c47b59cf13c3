"""From a recipe to a data set: scenes, flights, paths, channels, shards; the only place where the stages meet.

A work unit is one user of one flight in one scene; its bytes follow from the recipe alone, whoever makes it. So units
may be shared out to processes, to a Dask cluster, or to machines that know nothing of each other (``part``).
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from channelfm.config import load_recipe, parse_recipe, set_dotted
from channelfm.datasets.card import write_card
from channelfm.datasets.claim import at_work, claim_folder, library_versions, recipe_identity
from channelfm.datasets.dataset import Dataset, open_dataset
from channelfm.datasets.generate.fallback import runnable
from channelfm.datasets.generate.maps import SceneMap, hashes, identity, identity_beside, scene_maps
from channelfm.datasets.generate.units import Advance, Job, finished_scene
from channelfm.datasets.generate.workers import Workforce, build_scenes, do_units
from channelfm.datasets.manifest import MANIFEST, Manifest, SceneEntry
from channelfm.datasets.plan import Unit, first_users, plan_units, share_of
from channelfm.datasets.recipe import DatasetRecipe
from channelfm.datasets.shards import ShardEntry, finished_entry, sweep_leftovers
from channelfm.errors import InputError, IntegrityError
from channelfm.files import write_atomically
from channelfm.plain import from_json
from channelfm.scenes.pictures import draw_scene
from channelfm.tracing.trace import Method, available_method

__all__ = ["Workforce", "generate", "generate_excerpt", "generate_part", "identity", "read_recipe", "runnable"]

Announce = Callable[[str, str], None]  # (stage, what it did)


def generate(
    recipe: str | Path | DatasetRecipe,
    out: str | Path,
    overrides: Sequence[str] = (),
    progress: bool = True,
    announce: Announce | None = None,
    workforce: Workforce | None = None,
) -> Dataset:
    """Make, or finish, the data set of a recipe in the folder ``out``.

    ``overrides`` are dotted settings such as ``"flights.0.num_uavs=2"``. ``progress`` draws a bar on the terminal;
    ``announce(stage, text)`` hears one line per scene, flight and data set. ``workforce`` says who works: processes of
    this machine (one per core by default) or a Dask cluster; the bytes are the same. Units whose shard is whole are
    kept, so an interrupted run continues where it stopped, and a finished one returns at once.

    Maps that the recipe names are looked for as :mod:`channelfm.maps.source` says; a finished data set needs none.

    Raises InputError if the recipe is not usable, if a map is missing, if ``out`` holds another recipe, one of other
    maps or foreign files, if another run is at work there, or if workers keep dying.
    """
    return _whole_run(_Run(recipe, out, overrides, announce or (lambda stage, text: None)), progress, workforce)


def generate_part(
    recipe: str | Path | DatasetRecipe,
    out: str | Path,
    part: int,
    parts: int,
    overrides: Sequence[str] = (),
    progress: bool = True,
    announce: Announce | None = None,
    workforce: Workforce | None = None,
) -> Dataset | None:
    """Make part ``part`` of ``parts`` (counted from 1) of a data set in a folder that all parts share.

    For plain clusters: every part may run on a machine of its own, at any time and in any order. Whichever finds all
    units whole at its end completes the data set and returns it; the others return None. Raises as ``generate`` does.
    """
    if not 1 <= part <= parts:
        raise InputError(f"part {part} of {parts}: give i/n with i from 1 to n")
    run = _Run(recipe, out, overrides, announce or (lambda stage, text: None))
    if (finished := run.found()) is not None:
        return finished
    with run.claimed(shared=True):
        units = share_of(run.units, part, parts)
        run.work(units, workforce or Workforce(), f"generation-{part}-of-{parts}.json", progress)
        return run.complete() if run.is_whole() else None


def generate_excerpt(
    recipe: str | Path | DatasetRecipe,
    out: str | Path,
    most_users: Mapping[str, int],
    progress: bool = True,
    announce: Announce | None = None,
    workforce: Workforce | None = None,
) -> Dataset:
    """Make a part of a data set that can be passed on: of each split named in ``most_users`` the first so many users of
    every flight, with the bytes that they have in the whole one; other splits whole. Raises as ``generate`` does."""
    return _whole_run(_Run(recipe, out, (), announce or (lambda stage, text: None), most_users), progress, workforce)


def read_recipe(recipe: str | Path | DatasetRecipe, overrides: Sequence[str] = ()) -> DatasetRecipe:
    """A data set recipe from a file, a shipped name or another recipe, with overrides applied."""
    if not isinstance(recipe, DatasetRecipe):
        return load_recipe(DatasetRecipe, recipe, overrides)
    values = recipe.model_dump(mode="json")
    for override in overrides:
        set_dotted(values, override)
    return parse_recipe(DatasetRecipe, values, recipe.name)


class _Run:
    """One call of generate: the recipe, its folder, and what is to be done in it."""

    def __init__(
        self,
        recipe: str | Path | DatasetRecipe,
        out: str | Path,
        overrides: Sequence[str],
        say: Announce,
        most_users: Mapping[str, int] | None = None,
    ) -> None:
        self.recipe, self.folder, self.say = read_recipe(recipe, overrides), Path(out), say
        self.most_users, self.start = most_users or {}, time.perf_counter()
        self.units = self._planned()
        self.maps: tuple[SceneMap, ...] = ()
        self.identity, self.versions = "", library_versions()

    def finished(self) -> Dataset | None:
        """The data set, if this very recipe is complete and whole in the folder."""
        if not (self.folder / MANIFEST).is_file():
            return None
        try:
            dataset = open_dataset(self.folder)
            if dataset.manifest.identity != identity_beside(self.recipe, dataset.manifest):
                return None  # claim_folder says what to do about another recipe
            if [shard.unit for shard in dataset.manifest.shards] != [unit.name for unit in self.units]:
                return None  # another excerpt: the units that are there are kept
            dataset.verify()
        except IntegrityError:
            return None  # the units that are whole are kept, the others done again
        return dataset

    def found(self) -> Dataset | None:
        """The data set, if it is complete: of the recipe, or else of what can be made of it here, which it becomes."""
        if (dataset := self.finished()) is not None:
            return dataset
        asked, self.recipe = self.recipe, runnable(self.recipe)
        self.units = self._planned()
        return None if self.recipe is asked else self.finished()

    def _planned(self) -> tuple[Unit, ...]:
        return first_users(plan_units(self.recipe), self.recipe, self.most_users)

    @contextlib.contextmanager
    def claimed(self, shared: bool) -> Iterator[None]:
        """Find the maps, and claim the folder: parts share it with one another, a whole run with nobody."""
        self.maps = scene_maps(self.recipe, lambda text: self.say("scene", text))
        self.identity = recipe_identity(self.recipe, hashes(self.maps))
        claim_folder(self.folder, self.recipe, self.identity, self.versions, hashes(self.maps))
        with at_work(self.folder, shared):
            yield

    def work(self, units: Sequence[Unit], force: Workforce, times_file: str, progress: bool) -> None:
        """Build the scenes and do the units that are not whole yet."""
        job = Job(self.folder, self.recipe, self._method(), self.maps)
        seconds: dict[str, float] = {}
        for scene in build_scenes(job, _scenes_of(units), force):
            self._announce(scene)
        whole = {unit.name for unit in units if finished_entry(self.folder, unit.name) is not None}
        missing = [unit for unit in units if unit.name not in whole]
        with _bar(sum(unit.snapshots for unit in units), progress) as advance:
            advance(sum(unit.snapshots for unit in units if unit.name in whole))
            try:
                for done in do_units(job, missing, force, advance):
                    seconds[done.entry.unit] = done.seconds
            finally:
                self._write_times(times_file, seconds)

    def is_whole(self) -> bool:
        """Whether every unit of the recipe has its shard, whoever made it."""
        return all(finished_entry(self.folder, unit.name) is not None for unit in self.units)

    def complete(self) -> Dataset:
        """Write manifest and card over what is there; scenes that nobody moves in are left out."""
        scenes = [self._scene_entry(name) for name in _scenes_of(self.units)]
        shards = [self._shard_entry(unit) for unit in self.units]
        Manifest(self.recipe, self.identity, self.versions, tuple(scenes), tuple(shards)).save(self.folder)
        dataset = open_dataset(self.folder)
        write_card(dataset, draw_scene)
        self.say("data set", f"{self.folder}: {_in_words(dataset)}")
        return dataset

    def _method(self) -> Method:
        """How paths are traced; "auto" looks for a ray tracer, and warns if there is none, once a run."""
        chosen = self.recipe.tracing.method
        traced = not all(scene.is_stochastic for scene in self.recipe.scenes)
        return available_method(chosen) if traced else chosen

    def _announce(self, scene: SceneEntry) -> None:
        array = next(iter(scene.arrays.values()))
        stations = "" if len(scene.arrays) == 1 else f"{len(scene.arrays)} stations, "
        self.say("scene", f"{scene.name}: {stations}{array.rows} x {array.cols} array at {array.position[2]:.0f} m")
        for flight in self.recipe.flights_in(scene.name):
            positions = flight.num_uavs * flight.num_steps
            self.say("flight", f"{flight.name} ({flight.split}): {flight.num_uavs} users, {positions} positions")

    def _scene_entry(self, name: str) -> SceneEntry:
        entry = finished_scene(self.folder, name)
        if entry is None:
            raise IntegrityError(f"{self.folder / 'scenes' / name}: was lost during the run; run generate again")
        return entry

    def _shard_entry(self, unit: Unit) -> ShardEntry:
        entry = finished_entry(self.folder, unit.name)
        if entry is None:
            raise IntegrityError(f"{self.folder}: unit {unit.name} was lost during the run; run generate again")
        return entry

    def _write_times(self, file: str, seconds: dict[str, float]) -> None:
        """Add this run's wall times to the one file that differs between equal data sets."""
        if not seconds:
            return
        path = self.folder / file
        try:
            runs = from_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            runs = []
        machine = {"processor": _processor(), "cores": os.cpu_count(), "python": platform.python_version()}
        runs.append({"seconds": seconds, "wall_s": round(time.perf_counter() - self.start, 1), "machine": machine})
        write_atomically(path, json.dumps(runs, indent=1).encode())


def _whole_run(run: _Run, progress: bool, workforce: Workforce | None) -> Dataset:
    """What is asked for, reused or made, by this run alone."""
    finished = run.found()
    if finished is not None:
        run.say("scene", f"{', '.join(finished.scenes)}: stored in {run.folder}")
        run.say("flight", f"{len(finished.manifest.shards)} UAVs, {len(finished)} positions: stored")
        run.say("data set", f"{run.folder} is complete, reused: {_in_words(finished)}")
        return finished
    with run.claimed(shared=False):
        sweep_leftovers(run.folder)
        run.work(run.units, workforce or Workforce(), "generation.json", progress)
        return run.complete()


def _scenes_of(units: Sequence[Unit]) -> list[str]:
    return list(dict.fromkeys(unit.scene for unit in units))


def _processor() -> str:
    """The processor's name, as far as the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _in_words(dataset: Dataset) -> str:
    shards = dataset.manifest.shards
    near, without = (sum(getattr(shard, key) for shard in shards) for key in ("near_field", "without_path"))
    return f"{len(dataset)} links in {len(shards)} shards, {near} in the near field, {without} without a path"


@contextlib.contextmanager
def _bar(total: int, shown: bool) -> Iterator[Advance]:
    """A progress bar over snapshots; yields the function that advances it."""
    columns = (
        TextColumn("  tracing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("links"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not shown) as bar:
        task = bar.add_task("links", total=total)
        yield lambda count: bar.advance(task, count)
