"""Where channels come from: a scene, the arrays that stand in it, and what moves through it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from channelfm import mobility, scenes
from channelfm.arrays import UPA
from channelfm.datasets.generate.maps import SceneMap
from channelfm.datasets.plan import derived_seed
from channelfm.datasets.recipe import ArrayRecipe, DatasetRecipe, FieldOfView, FlightRecipe, SceneRecipe, StationRecipe
from channelfm.errors import InputError
from channelfm.records import Scene, Trajectory
from channelfm.scenes.surface import ground_height, height_raster, require_free

NEARBY_M = 30.0  # an automatically placed array clears every surface within this distance
RASTER_CELL_M = 2.0

_FLYING: dict[str, Callable[..., Trajectory]] = {
    "cruise": mobility.cruise,
    "street_guided": mobility.street_guided,
    "sumo_guided": mobility.sumo_guided,
}
_ON_THE_GROUND: dict[str, Callable[..., Trajectory]] = {
    "vehicles": mobility.vehicles,
    "steady_vehicles": partial(mobility.vehicles, steady=True),
    "pedestrians": mobility.pedestrians,
}


def build_scene(recipe: SceneRecipe, seed: int, made_from: SceneMap | None) -> Scene:
    """The scene that a recipe names, with its region of interest; ``made_from`` is its map, where it has one.

    A scene of a map that was found by name is called by that name, wherever it was found.
    """
    if made_from is not None:
        terrain = None if recipe.terrain is None else Path(recipe.terrain)
        scene = scenes.from_osm(made_from.path, bbox=recipe.bbox, seed=seed, terrain=terrain)
        if recipe.kind != "osm":
            scene = dataclasses.replace(scene, name=recipe.where)
    elif recipe.kind == "builtin":
        scene = scenes.builtin(recipe.where)
    else:
        number, _, style = recipe.where.partition("/")
        chosen: dict[str, Any] = {"style": style} if style else {}
        scene = scenes.procedural(seed=int(number), **chosen)
    return scene if recipe.region_m is None else dataclasses.replace(scene, bounds=recipe.region_m)


def place_array(recipe: ArrayRecipe, scene: Scene, station: StationRecipe | None = None) -> UPA:
    """The array in a scene: where the recipe or the station puts it, or by itself (see ArrayRecipe).

    Raises InputError if its centre would be inside a building or below the ground.
    """
    position, orientation = recipe.position, None
    if station is not None:
        position, orientation = station.position, station.orientation_rad
    if position != "auto":
        require_free(scene, position, "base station array")
        return recipe.at(position, orientation)
    x_min, y_min, _, y_max = scene.bounds
    x, y = x_min, (y_min + y_max) / 2
    nearby = (x - NEARBY_M, y - NEARBY_M, x + NEARBY_M, y + NEARBY_M)
    highest = float(height_raster(scene, RASTER_CELL_M, nearby).heights_m.max())
    above_ground = recipe.height_m + float(ground_height(scene, np.array([[x, y]]))[0])
    return recipe.at((x, y, max(above_ground, highest + recipe.clearance_m)), orientation)


def fly(recipe: FlightRecipe, scene: Scene, array: UPA, seed: int, file: Path | None = None) -> Trajectory:
    """The movement of a recipe in a scene, all users; deterministic in its arguments. ``file`` is the scene's map."""
    if recipe.kind == "recorded":
        return _recorded(recipe, scene)
    view = recipe.before_array
    settings: dict[str, Any] = {
        "num_steps": recipe.num_steps,
        "interval_s": recipe.interval_s,
        "seed": seed,
        "speed_mps": recipe.speed_mps,
        "bounds": None if view is None else _box_before(view, recipe.name, scene, array),
    }
    if recipe.kind in _ON_THE_GROUND:
        return _ON_THE_GROUND[recipe.kind](scene, num_users=recipe.num_uavs, **settings)
    altitude = recipe.altitude_m
    if recipe.below_array_m is not None:
        altitude = (array.position[2] - recipe.below_array_m[1], array.position[2] - recipe.below_array_m[0])
    if recipe.kind == "sumo_guided":
        if file is None:
            raise InputError(f"flight '{recipe.name}': sumo_guided needs a scene made from a map, not '{scene.name}'")
        settings["map_path"] = file
    return _FLYING[recipe.kind](
        scene,
        num_uavs=recipe.num_uavs,
        altitude_m=altitude,
        altitude_mode=recipe.altitude_mode,
        margin_m=recipe.margin_m,
        **settings,
    )


def _recorded(recipe: FlightRecipe, scene: Scene) -> Trajectory:
    """The first ``num_uavs`` tracks of ``num_steps`` points of a CSV, numbered from 0."""
    whole = mobility.recorded(str(recipe.file), scene, interval_s=recipe.interval_s)
    numbers, counts = np.unique(whole.track, return_counts=True)
    long_enough = numbers[counts >= recipe.num_steps][: recipe.num_uavs]
    if len(long_enough) < recipe.num_uavs:
        raise InputError(
            f"flight '{recipe.name}': {recipe.file}: {len(long_enough)} tracks have {recipe.num_steps} usable points "
            f"in scene '{scene.name}', not {recipe.num_uavs}; lower num_uavs or num_steps"
        )
    rows = [np.flatnonzero(whole.track == number)[: recipe.num_steps] for number in long_enough]
    tracks = np.repeat(np.arange(recipe.num_uavs, dtype=np.int32), recipe.num_steps)
    return dataclasses.replace(whole.select(np.concatenate(rows)), track=tracks)


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


def plan_flight(
    recipe: DatasetRecipe, flight: FlightRecipe, where: str, scene: Scene, array: UPA, made_from: SceneMap | None
) -> Trajectory:
    """The movement of one flight of a recipe in the scene that the recipe calls ``where``."""
    seed = flight.seed if flight.seed is not None else derived_seed(recipe.seed, where, flight.name)
    return fly(flight, scene, array, seed, None if made_from is None else made_from.path)
