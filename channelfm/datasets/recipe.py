"""The recipe of a data set: scenes, flights, array, tracing and channel, from which its bytes follow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from channelfm.arrays import UPA, ElementPattern, Polarization
from channelfm.config import Recipe

Positive = Annotated[float, Field(gt=0)]
# names become parts of file names, joined by "--"
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9]+([_.-][A-Za-z0-9]+)*$")]
Interval = tuple[float, float]


class ArrayRecipe(Recipe):
    """The base station's array; see :class:`channelfm.arrays.UPA` for the fields.

    ``position: auto`` puts the centre at the middle of the region's west edge, facing inwards (+x), at ``height_m`` or
    ``clearance_m`` above the highest surface nearby, whichever is higher.
    """

    rows: int = Field(default=32, ge=1)
    cols: int = Field(default=32, ge=1)
    carrier_hz: Positive = 7e9
    position: tuple[float, float, float] | Literal["auto"] = "auto"
    height_m: Positive = 65.0
    clearance_m: Positive = 10.0
    spacing_wavelengths: Positive = 0.5
    orientation_rad: tuple[float, float, float] = (0.0, 0.0, 0.0)
    pattern: ElementPattern = "tr38901"
    polarization: Polarization = "V"

    def at(self, position: tuple[float, float, float]) -> UPA:
        """The array with its centre at ``position`` [m]."""
        return UPA(
            rows=self.rows,
            cols=self.cols,
            carrier_hz=self.carrier_hz,
            position=position,
            spacing_wavelengths=self.spacing_wavelengths,
            orientation_rad=self.orientation_rad,
            pattern=self.pattern,
            polarization=self.polarization,
        )


class SceneRecipe(Recipe):
    """Where a scene comes from.

    ``source`` is ``builtin:NAME`` (e.g. ``builtin:munich``), ``osm:PATH`` (relative to the working directory) or
    ``procedural:SEED``. ``bbox`` (west, south, east, north in degrees) cuts a map; ``region_m`` (x_min, y_min, x_max,
    y_max) replaces the scene's region of interest, in which users move and on whose edge the array stands.
    """

    name: Name
    source: Annotated[str, Field(pattern=r"^(builtin:\w+|osm:.+|procedural:\d+)$")]
    bbox: tuple[float, float, float, float] | None = None
    region_m: tuple[float, float, float, float] | None = None

    @property
    def map_file(self) -> Path | None:
        """The map that the scene is read from, or None."""
        kind, _, where = self.source.partition(":")
        return Path(where) if kind == "osm" else None


class FieldOfView(Recipe):
    """A rectangle on the ground before the array: distance along its boresight, and to the left of it [m]."""

    ahead_m: Interval
    aside_m: Interval

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not (self.ahead_m[0] < self.ahead_m[1] and self.aside_m[0] < self.aside_m[1]):
            raise ValueError("the rectangle is empty: give the smaller value first")
        return self


class FlightRecipe(Recipe):
    """Several users that move through one scene; one user is one work unit, hence one shard.

    ``before_array`` confines the users to a rectangle before the array, else they roam the scene's region.
    ``altitude_m`` are metres above ground; ``below_array_m`` instead counts them down from the array's centre.
    ``seed: null`` derives one from the recipe's seed and the names of scene and flight.
    """

    name: Name
    split: Literal["train", "val", "test"]
    scenes: tuple[str, ...] = ()  # names; empty = every scene
    kind: Literal["cruise", "street_guided"] = "cruise"
    num_uavs: int = Field(default=4, ge=1)
    num_steps: int = Field(default=25, ge=1)
    interval_s: Positive = 1.0
    speed_mps: Interval = (5.0, 20.0)
    altitude_m: Interval | None = None
    below_array_m: Interval | None = None
    altitude_mode: Literal["walk", "sinusoid"] = "walk"
    margin_m: Positive = 5.0
    before_array: FieldOfView | None = None
    seed: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for field in ("speed_mps", "altitude_m", "below_array_m"):
            interval = getattr(self, field)
            if interval is not None and not interval[0] <= interval[1]:
                raise ValueError(f"{field} = {list(interval)}: give the smaller value first")
        if self.altitude_m is not None and self.below_array_m is not None:
            raise ValueError("give altitude_m or below_array_m, not both")
        return self


class TracingRecipe(Recipe):
    """How paths are found; the fields are those of :func:`channelfm.trace`.

    ``method: auto`` takes the ray tracer, or without an LLVM the NumPy image method, said aloud; the manifest keeps
    for every shard which one it was.
    """

    method: Literal["auto", "near-field", "images"] = "auto"
    max_depth: int = Field(default=3, ge=0)
    refraction: bool = True
    diffraction: bool = False
    rays_per_user: int = Field(default=25_000, ge=1)


class ChannelRecipe(Recipe):
    """The frequencies of the response: ``num_subcarriers`` centred on the carrier; one means the carrier itself."""

    num_subcarriers: int = Field(default=1, ge=1)
    subcarrier_spacing_hz: Positive = 30e3  # LAETwin-XL's

    def frequencies_hz(self, carrier_hz: float) -> NDArray[np.float64]:
        """Absolute frequencies [F] in Hz, symmetric about the carrier."""
        index = np.arange(self.num_subcarriers) - (self.num_subcarriers - 1) / 2
        return np.asarray(carrier_hz + index * self.subcarrier_spacing_hz)


class DatasetRecipe(Recipe):
    """Everything a data set follows from: equal recipes (and library versions) give equal bytes."""

    name: Name
    seed: int = Field(default=0, ge=0)
    array: ArrayRecipe = ArrayRecipe()
    scenes: tuple[SceneRecipe, ...] = Field(min_length=1)
    flights: tuple[FlightRecipe, ...] = Field(min_length=1)
    tracing: TracingRecipe = TracingRecipe()
    channel: ChannelRecipe = ChannelRecipe()

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        scenes = [scene.name for scene in self.scenes]
        flights = [flight.name for flight in self.flights]
        for kind, names in (("scene", scenes), ("flight", flights)):
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise ValueError(f"{kind} name '{repeated[0]}' is used twice; rename one")
        for flight in self.flights:
            unknown = sorted(set(flight.scenes) - set(scenes))
            if unknown:
                raise ValueError(f"flight '{flight.name}' flies in scene '{unknown[0]}', which is not among {scenes}")
        return self
