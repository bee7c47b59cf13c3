"""The work units of a recipe: known from the recipe alone, so that any number of workers can share them out."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from channelfm.datasets.recipe import DatasetRecipe


@dataclass(frozen=True)
class Unit:
    """One user of one flight in one scene, seen by one base station; its shard is named after it.

    ``number`` counts the units of a recipe and becomes the track number of its snapshots.
    """

    name: str
    number: int
    scene: str
    station: str
    flight: str
    user: int
    snapshots: int


def derived_seed(seed: int, *names: str) -> int:
    """A seed of its own for every named part, independent of the order of the others."""
    words = [seed, *(zlib.crc32(name.encode()) for name in names)]
    return int(np.random.SeedSequence(words).generate_state(1)[0])


def stochastic_seed(recipe: DatasetRecipe, unit: Unit) -> int:
    """The seed that the channels of a unit are drawn with where no scene stands behind them."""
    flight = next(flight for flight in recipe.flights if flight.name == unit.flight)
    seed = flight.seed if flight.seed is not None else derived_seed(recipe.seed, unit.scene, unit.flight)
    return derived_seed(seed, str(unit.user))


def plan_units(recipe: DatasetRecipe) -> tuple[Unit, ...]:
    """All units of a recipe, in its order: scene, station, flight, user."""
    units: list[Unit] = []
    for scene in recipe.scenes:
        for station in recipe.stations_in(scene.name):
            for flight in recipe.flights_in(scene.name):
                for user in range(flight.num_uavs):
                    places = (scene.name, *([station.name] if recipe.stations else []), flight.name, f"{user:04d}")
                    name = "--".join(places)
                    number = len(units)
                    units.append(Unit(name, number, scene.name, station.name, flight.name, user, flight.num_steps))
    return tuple(units)


def share_of(units: tuple[Unit, ...], part: int, parts: int) -> tuple[Unit, ...]:
    """Every ``parts``-th unit from number ``part`` (counted from 1) on."""
    return tuple(unit for unit in units if unit.number % parts == part - 1)


def first_users(units: tuple[Unit, ...], recipe: DatasetRecipe, most: Mapping[str, int]) -> tuple[Unit, ...]:
    """The units of the first so many users of each flight, by the flight's split; splits not named are whole."""
    allowed = {flight.name: most.get(flight.split, flight.num_uavs) for flight in recipe.flights}
    return tuple(unit for unit in units if unit.user < allowed[unit.flight])
