"""From a recipe to a data set: scene, flight, paths, channels, shard; the only place where the stages meet.

A work unit is one user of one flight in one scene; its bytes follow from the recipe alone, whatever ran before it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from channelfm import mobility, scenes
from channelfm.arrays import UPA
from channelfm.channels.synthesis import observe
from channelfm.config import load_recipe, parse_recipe, set_dotted
from channelfm.datasets.claim import claim_folder, library_versions, recipe_identity
from channelfm.datasets.dataset import Dataset, open_dataset
from channelfm.datasets.manifest import MANIFEST, Manifest, SceneEntry
from channelfm.datasets.recipe import ArrayRecipe, DatasetRecipe, FieldOfView, FlightRecipe, SceneRecipe
from channelfm.datasets.shards import ShardEntry, finished_entry, store_record, sweep_leftovers, write_shard
from channelfm.errors import InputError, IntegrityError
from channelfm.records import Scene, Trajectory, write_atomically
from channelfm.scenes.surface import height_raster, require_free
from channelfm.tracing.trace import Method, trace

TIMES = "generation.json"
NEARBY_M = 30.0  # an automatically placed array clears every surface within this distance
RASTER_CELL_M = 2.0

Announce = Callable[[str, str], None]  # (stage, what it did)
Advance = Callable[[int], None]  # told the number of snapshots just done


def generate(
    recipe: str | Path | DatasetRecipe,
    out: str | Path,
    overrides: Sequence[str] = (),
    progress: bool = True,
    announce: Announce | None = None,
) -> Dataset:
    """Make, or finish, the data set of a recipe in the folder ``out``.

    ``overrides`` are dotted settings such as ``"flights.0.num_uavs=2"``. ``progress`` draws a bar on the terminal;
    ``announce(stage, text)`` hears one line per scene, flight and data set. Units whose shard is whole are kept, so
    an interrupted run continues where it stopped, and a finished one returns at once.

    Raises InputError if the recipe is not usable, or if ``out`` holds another recipe or foreign files.
    """
    settings = read_recipe(recipe, overrides)
    folder, say = Path(out), announce or (lambda stage, text: None)
    identity = recipe_identity(settings)
    finished = _finished(folder, identity)
    if finished is not None:
        say("scene", f"{', '.join(finished.scenes)}: stored in {folder}")
        say("flight", f"{len(finished.manifest.shards)} UAVs, {len(finished)} positions: stored")
        say("data set", f"{folder} is complete, reused: {_in_words(finished)}")
        return finished
    versions = library_versions()
    claim_folder(folder, settings, identity, versions)
    run = _Run(folder, settings, say, settings.tracing.method)
    total = sum(_snapshots_in(settings, scene) for scene in settings.scenes)
    with _bar(total, progress) as advance:
        try:
            for scene in settings.scenes:
                run.do_scene(scene, advance)
        finally:
            run.write_times()
    Manifest(settings, identity, versions, tuple(run.scenes), tuple(run.shards)).save(folder)
    dataset = open_dataset(folder)
    say("data set", f"{folder}: {_in_words(dataset)}")
    return dataset


def read_recipe(recipe: str | Path | DatasetRecipe, overrides: Sequence[str] = ()) -> DatasetRecipe:
    """A data set recipe from a file, a shipped name or another recipe, with overrides applied."""
    if not isinstance(recipe, DatasetRecipe):
        return load_recipe(DatasetRecipe, recipe, overrides)
    values = recipe.model_dump(mode="json")
    for override in overrides:
        set_dotted(values, override)
    return parse_recipe(DatasetRecipe, values, recipe.name)


def place_array(recipe: ArrayRecipe, scene: Scene) -> UPA:
    """The array in a scene: where the recipe puts it, or by itself (see ArrayRecipe).

    Raises InputError if its centre would be inside a building or below the ground.
    """
    if recipe.position != "auto":
        require_free(scene, recipe.position, "base station array")
        return recipe.at(recipe.position)
    x_min, y_min, _, y_max = scene.bounds
    x, y = x_min, (y_min + y_max) / 2
    nearby = (x - NEARBY_M, y - NEARBY_M, x + NEARBY_M, y + NEARBY_M)
    highest = float(height_raster(scene, RASTER_CELL_M, nearby).heights_m.max())
    return recipe.at((x, y, max(recipe.height_m, highest + recipe.clearance_m)))


def fly(recipe: FlightRecipe, scene: Scene, array: UPA, seed: int) -> Trajectory:
    """The flight of a recipe in a scene, all users; deterministic in its arguments."""
    view = recipe.before_array
    altitude = recipe.altitude_m
    if recipe.below_array_m is not None:
        altitude = (array.position[2] - recipe.below_array_m[1], array.position[2] - recipe.below_array_m[0])
    model = {"cruise": mobility.cruise, "street_guided": mobility.street_guided}[recipe.kind]
    return model(
        scene,
        num_uavs=recipe.num_uavs,
        num_steps=recipe.num_steps,
        interval_s=recipe.interval_s,
        seed=seed,
        speed_mps=recipe.speed_mps,
        altitude_m=altitude,
        altitude_mode=recipe.altitude_mode,
        margin_m=recipe.margin_m,
        bounds=None if view is None else _box_before(view, recipe.name, scene, array),
    )


def _box_before(view: FieldOfView, flight: str, scene: Scene, array: UPA) -> tuple[float, float, float, float]:
    """Bounding box of the rectangle before the array, cut to the scene's region."""
    yaw = array.orientation_rad[0]
    forward, left = np.array([np.cos(yaw), np.sin(yaw)]), np.array([-np.sin(yaw), np.cos(yaw)])
    corners = np.array([ahead * forward + aside * left for ahead in view.ahead_m for aside in view.aside_m])
    corners += np.asarray(array.position[:2])
    lowest = np.maximum(corners.min(axis=0), scene.bounds[:2])
    highest = np.minimum(corners.max(axis=0), scene.bounds[2:])
    if not (lowest < highest).all():
        raise InputError(f"flight '{flight}': before_array lies outside the region of scene '{scene.name}'; change it")
    return float(lowest[0]), float(lowest[1]), float(highest[0]), float(highest[1])


def build_scene(recipe: SceneRecipe, seed: int) -> Scene:
    """The scene that a recipe names, with its region of interest."""
    kind, _, where = recipe.source.partition(":")
    if kind == "osm":
        scene = scenes.from_osm(where, bbox=recipe.bbox, seed=seed)
    elif kind == "builtin":
        scene = scenes.builtin(where)
    else:
        scene = scenes.procedural(seed=int(where))
    return scene if recipe.region_m is None else dataclasses.replace(scene, bounds=recipe.region_m)


def _derived_seed(seed: int, *names: str) -> int:
    """A seed of its own for every named part, independent of the order of the others."""
    words = [seed, *(zlib.crc32(name.encode()) for name in names)]
    return int(np.random.SeedSequence(words).generate_state(1)[0])


@dataclass(frozen=True)
class _Site:
    """A scene with the array that stands in it."""

    name: str
    scene: Scene
    array: UPA


@dataclass
class _Run:
    """One call of generate: what is done so far, in the recipe's order."""

    folder: Path
    recipe: DatasetRecipe
    say: Announce
    method: Method
    scenes: list[SceneEntry] = field(default_factory=list)
    shards: list[ShardEntry] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def do_scene(self, recipe: SceneRecipe, advance: Advance) -> None:
        """Build and store a scene, then do all flights in it."""
        with self._timed(recipe.name):
            scene = build_scene(recipe, _derived_seed(self.recipe.seed, recipe.name))
            site = _Site(recipe.name, scene, place_array(self.recipe.array, scene))
            stored = store_record(self.folder, f"scenes/{site.name}.safetensors", scene)
        self.scenes.append(SceneEntry(site.name, stored, site.array, scene.attribution))
        array = f"{site.array.rows} x {site.array.cols} array at {site.array.position[2]:.0f} m"
        self.say("scene", f"{site.name}: {len(scene.buildings)} buildings, {array}")
        flights = [(flight, self._plan(flight, site)) for flight in _flights_in(self.recipe, recipe)]
        for flight, movement in flights:
            self._do_flight(flight, movement, site, advance)

    def _plan(self, flight: FlightRecipe, site: _Site) -> Trajectory:
        seed = flight.seed if flight.seed is not None else _derived_seed(self.recipe.seed, site.name, flight.name)
        movement = fly(flight, site.scene, site.array, seed)
        self.say("flight", f"{flight.name} ({flight.split}): {flight.num_uavs} UAVs, {len(movement)} positions")
        return movement

    def _do_flight(self, flight: FlightRecipe, movement: Trajectory, site: _Site, advance: Advance) -> None:
        for user in range(flight.num_uavs):
            unit = f"{site.name}--{flight.name}--{user:04d}"
            entry = finished_entry(self.folder, unit)
            if entry is None:
                with self._timed(unit):
                    entry = self._do_unit(unit, flight, site, movement.select(movement.track == user), advance)
            else:
                advance(entry.snapshots)
            self.shards.append(entry)

    def _do_unit(
        self, unit: str, flight: FlightRecipe, site: _Site, movement: Trajectory, advance: Advance
    ) -> ShardEntry:
        tracing = self.recipe.tracing
        paths = trace(
            site.scene,
            movement,
            site.array,
            tracing.max_depth,
            refraction=tracing.refraction,
            diffraction=tracing.diffraction,
            method=self.method,
            rays_per_user=tracing.rays_per_user,
            seed=self.recipe.seed,
            progress=advance,
        )
        # "auto" looks for a ray tracer, and warns if there is none, once a run
        self.method = "images" if paths.method == "images" else "near-field"
        frequencies = self.recipe.channel.frequencies_hz(site.array.carrier_hz)
        channels = observe(movement, paths, site.array, frequencies)
        number = len(self.shards)  # of the work unit: a track that is unique in the data set
        channels = dataclasses.replace(channels, track=np.full(len(channels), number, np.int32))
        where = {"split": flight.split, "scene": site.name, "flight": flight.name}
        return write_shard(self.folder, channels, unit=unit, **where, method=paths.method)

    @contextlib.contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)

    def write_times(self) -> None:
        """Add this run's wall times to generation.json, the one file that differs between equal data sets."""
        if not self.seconds:
            return
        path = self.folder / TIMES
        try:
            runs = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            runs = []
        machine = {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
        runs.append({"seconds": self.seconds, "machine": machine})
        sweep_leftovers(path)
        write_atomically(path, json.dumps(runs, indent=1).encode())


def _flights_in(recipe: DatasetRecipe, scene: SceneRecipe) -> list[FlightRecipe]:
    return [flight for flight in recipe.flights if not flight.scenes or scene.name in flight.scenes]


def _snapshots_in(recipe: DatasetRecipe, scene: SceneRecipe) -> int:
    return sum(flight.num_uavs * flight.num_steps for flight in _flights_in(recipe, scene))


def _in_words(dataset: Dataset) -> str:
    shards = dataset.manifest.shards
    near, without = (sum(getattr(shard, key) for shard in shards) for key in ("near_field", "without_path"))
    return f"{len(dataset)} links in {len(shards)} shards, {near} in the near field, {without} without a path"


def _finished(folder: Path, identity: str) -> Dataset | None:
    """The data set, if this very recipe is complete and whole in the folder."""
    if not (folder / MANIFEST).is_file():
        return None
    try:
        dataset = open_dataset(folder)
        if dataset.manifest.identity != identity:
            return None  # claim_folder says what to do about another recipe
        dataset.verify()
    except IntegrityError:
        return None  # the units that are whole are kept, the others done again
    return dataset


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
