"""The work itself: one scene, or one unit, from the recipe to its file; what any worker on any machine runs.

The bytes of a unit follow from the recipe alone, whoever makes it and whatever was made before. What a worker keeps
from unit to unit - the scene, its tracer, the movement of a flight - saves time only.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from channelfm.arrays import UPA
from channelfm.channels.compact import compress
from channelfm.channels.near_field import near_field_channels
from channelfm.channels.stochastic import stochastic_channels
from channelfm.channels.synthesis import observe
from channelfm.datasets.generate.maps import SceneMap
from channelfm.datasets.generate.sites import build_scene, place_array, plan_flight
from channelfm.datasets.manifest import SCENE_FOLDER, MapEntry, SceneEntry, decode_scene
from channelfm.datasets.plan import Unit, derived_seed, stochastic_seed
from channelfm.datasets.recipe import DatasetRecipe, SceneRecipe
from channelfm.datasets.shards import ShardEntry, store_record, write_shard
from channelfm.datasets.storage import halved, with_paths
from channelfm.errors import ChannelfmError
from channelfm.files import write_atomically
from channelfm.maps.files import map_date
from channelfm.plain import from_json
from channelfm.records import Channels, Paths, Scene, Trajectory
from channelfm.tracing.sequences import birth_death_statistics, follow, trace_sequence
from channelfm.tracing.trace import Method, Tracer

Advance = Callable[[int], None]  # told the number of snapshots just done


@dataclass(frozen=True)
class Job:
    """What every worker must know: the folder, the recipe, the tracing method that "auto" came to, and the maps."""

    folder: Path
    recipe: DatasetRecipe
    method: Method
    maps: tuple[SceneMap, ...]

    def map_of(self, scene: str) -> SceneMap | None:
        """The map that a scene is made from, if any."""
        return next((item for item in self.maps if item.scene == scene), None)


@dataclass(frozen=True)
class Done:
    """A finished unit, and how many seconds it took."""

    entry: ShardEntry
    seconds: float


def finished_scene(folder: Path, name: str) -> SceneEntry | None:
    """The journal entry of a scene whose record is whole, or None: then it is to be built."""
    try:
        entry = decode_scene(from_json(_scene_journal(folder, name).read_text(encoding="utf-8")))
        if entry.record is not None:
            entry.record.check(folder)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ChannelfmError):
        return None
    return entry


def do_scene(job: Job, name: str) -> SceneEntry:
    """Build and store a scene with its arrays, unless that is done already; its journal entry."""
    finished = finished_scene(job.folder, name)
    if finished is not None:
        return finished
    recipe = _scene_recipe(job.recipe, name)
    stations = job.recipe.stations_in(name)
    if recipe.is_stochastic:
        standing = (0.0, 0.0, job.recipe.array.height_m)
        positions = {s.name: standing if s.position == "auto" else s.position for s in stations}
        arrays = {s.name: job.recipe.array.at(positions[s.name], s.orientation_rad) for s in stations}
        entry = SceneEntry(name, None, arrays, "")
    else:
        made_from = job.map_of(name)
        scene = build_scene(recipe, derived_seed(job.recipe.seed, name), made_from)
        arrays = {station.name: place_array(job.recipe.array, scene, station) for station in stations}
        stored = store_record(job.folder, f"{SCENE_FOLDER}/{name}.safetensors", scene)
        known = None if made_from is None else MapEntry(made_from.sha256, map_date(made_from.path))
        entry = SceneEntry(name, stored, arrays, scene.attribution, known)
    content = json.dumps(entry.plain(), sort_keys=True, indent=1)
    write_atomically(_scene_journal(job.folder, name), content.encode())
    return entry


def do_unit(job: Job, unit: Unit, advance: Advance | None = None) -> Done:
    """Make one unit and write its shard; ``advance`` hears of its snapshots as they are done."""
    start = time.perf_counter()
    flight = next(flight for flight in job.recipe.flights if flight.name == unit.flight)
    scene = _scene_recipe(job.recipe, unit.scene)
    with threadpool_limits(1):  # how a matrix product is cut among threads changes its last bits
        if scene.is_stochastic:
            stored, method, lives = _stochastic(job, unit), scene.where, None
        else:
            stored, method, lives = _traced(job, unit, advance)
    where = {"split": flight.split, "scene": unit.scene, "station": unit.station, "flight": unit.flight}
    entry = write_shard(job.folder, _numbered(stored, unit), unit=unit.name, **where, method=method, lives=lives)
    return Done(entry, round(time.perf_counter() - start, 3))


def _traced(job: Job, unit: Unit, advance: Advance | None) -> tuple[Channels, str, dict[str, float] | None]:
    """Channels of a unit in the recipe's storage form, how they were traced, and the lives of followed paths."""
    array = _scene_entry(job, unit.scene).arrays[unit.station]
    whole = _movement(job, unit.scene, unit.station, unit.flight)
    movement = whole.select(whole.track == unit.user)
    tracer, channel = _tracer(job, unit.scene, unit.station), job.recipe.channel
    lives = None
    if job.recipe.tracing.lattice_m is None:
        paths = tracer.trace(movement, progress=advance)
    else:
        paths = trace_sequence(tracer, movement, job.recipe.tracing.lattice_m, progress=advance)
        lives = _lives(paths, movement)
    frequencies = channel.frequencies_hz(array.carrier_hz)
    if channel.storage == "paths":
        # the labels need no response; one frequency is the cheapest way to them
        labels = dataclasses.replace(observe(movement, paths, array), frequencies_hz=frequencies)
        return with_paths(labels, compress(paths, array)), paths.method, lives
    channels = observe(movement, paths, array, frequencies)
    return halved(channels) if channel.storage == "float16" else channels, paths.method, lives


def _lives(paths: Paths, movement: Trajectory) -> dict[str, float]:
    """How paths come and go along a track (:class:`channelfm.tracing.sequences.PathLives`)."""
    found = birth_death_statistics(follow(paths, movement.track), movement.positions_m, movement.track)
    return {name: float(getattr(found, name)) for name in ("length_m", "mean_paths", "births", "deaths")}


def _stochastic(job: Job, unit: Unit) -> Channels:
    """Channels of a unit from a model without a scene."""
    flight = next(flight for flight in job.recipe.flights if flight.name == unit.flight)
    array, seed = _scene_entry(job, unit.scene).arrays[unit.station], stochastic_seed(job.recipe, unit)
    frequencies = job.recipe.channel.frequencies_hz(array.carrier_hz)
    source = _scene_recipe(job.recipe, unit.scene)
    if source.kind == "near-field":
        near_field = job.recipe.near_field.model(source.where)
        channels = near_field_channels(near_field, array, frequencies, flight.num_steps, seed)
    else:
        model: Any = source.where
        channels = stochastic_channels(
            model,
            array,
            num_tracks=1,
            num_steps=flight.num_steps,
            interval_s=flight.interval_s,
            frequencies_hz=frequencies,
            speed_mps=flight.speed_mps,
            seed=seed,
            **job.recipe.stochastic.model_dump(),
        )
    return halved(channels) if job.recipe.channel.storage == "float16" else channels


def _numbered(stored: Channels, unit: Unit) -> Channels:
    """The unit's number as track: unique in the data set."""
    return dataclasses.replace(stored, track=np.full(len(stored), unit.number, np.int32))


def _scene_recipe(recipe: DatasetRecipe, name: str) -> SceneRecipe:
    return next(scene for scene in recipe.scenes if scene.name == name)


def _scene_journal(folder: Path, name: str) -> Path:
    return folder / SCENE_FOLDER / f"{name}.json"


@lru_cache(maxsize=4)
def _scene_entry(job: Job, name: str) -> SceneEntry:
    return do_scene(job, name)


@lru_cache(maxsize=1)
def _scene(job: Job, name: str) -> Scene:
    entry = _scene_entry(job, name)
    assert entry.record is not None  # units of stochastic scenes never ask
    return Scene.load(job.folder / entry.record.file)


@lru_cache(maxsize=1)
def _movement(job: Job, scene: str, station: str, flight: str) -> Trajectory:
    array: UPA = _scene_entry(job, scene).arrays[station]
    recipe = next(item for item in job.recipe.flights if item.name == flight)
    return plan_flight(job.recipe, recipe, scene, _scene(job, scene), array, job.map_of(scene))


@lru_cache(maxsize=1)
def _tracer(job: Job, scene: str, station: str) -> Tracer:
    tracing = job.recipe.tracing
    return Tracer(
        _scene(job, scene),
        _scene_entry(job, scene).arrays[station],
        tracing.max_depth,
        refraction=tracing.refraction,
        diffraction=tracing.diffraction,
        diffuse=tracing.diffuse,
        user_pattern=tracing.user_pattern,
        user_polarization=tracing.user_polarization,
        method=job.method,
        rays=tracing.rays,
        plane_wave_beyond=tracing.plane_wave_beyond,
        seed=job.recipe.seed,
    )
