"""The recipe of a data set: scenes, flights, array, tracing and channel, from which its bytes follow."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from channelfm.arrays import UPA, ElementPattern, Polarization
from channelfm.channels.near_field import NEAR_FIELD_MODELS, NearFieldModel
from channelfm.config import Recipe, parse_recipe

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

    def at(
        self, position: tuple[float, float, float], orientation_rad: tuple[float, float, float] | None = None
    ) -> UPA:
        """The array with its centre at ``position`` [m], and another orientation where one is given."""
        return UPA(
            rows=self.rows,
            cols=self.cols,
            carrier_hz=self.carrier_hz,
            position=position,
            spacing_wavelengths=self.spacing_wavelengths,
            orientation_rad=orientation_rad or self.orientation_rad,
            pattern=self.pattern,
            polarization=self.polarization,
        )


class StationRecipe(Recipe):
    """One of several base stations: where its array stands and looks, where that differs from the ArrayRecipe.

    ``scenes`` names the scenes it stands in, also by patterns such as "london-*"; empty = every scene.
    """

    name: Name
    position: tuple[float, float, float] | Literal["auto"] = "auto"
    orientation_rad: tuple[float, float, float] | None = None
    scenes: tuple[str, ...] = ()


class SceneRecipe(Recipe):
    """Where a scene comes from.

    ``source`` is one of

    - ``builtin:NAME``, e.g. ``builtin:munich``;
    - ``osm:PATH``: a map file (relative to the working directory);
    - ``map:NAME``, e.g. ``map:berlin``: a map that is found by its name (:mod:`channelfm.maps.source`), in a folder of
      the user's or among those that ``channelfm maps fetch`` keeps;
    - ``city:NAME``: the same for a crop of a city of the LAETwin-XL paper (``city:sydney-suburban`` of its outskirts),
      which is downloaded where it is not kept yet; ``crop`` numbers the crops, each ``crop_m`` wide;
    - ``procedural:SEED`` or ``procedural:SEED/STYLE``;
    - ``threegpp:MODEL``: no scene at all but a stochastic model of TR 38.901, e.g. ``threegpp:cdl-c``;
    - ``near-field:MODEL``: no scene but scatterers before the array (``near-field:paths``) or clusters of them
      (``near-field:clusters``); every track is a cell, and its steps are users (:mod:`channelfm.channels.near_field`).

    ``bbox`` (west, south, east, north in degrees) cuts a map; ``region_m`` (x_min, y_min, x_max, y_max) replaces the
    scene's region of interest, in which users move and on whose edge the array stands. ``terrain`` is a GeoTIFF or ASC
    height raster under a map. ``fallback`` is the procedural source that takes the place of a ``builtin`` one where no
    ray tracer runs; ``generate`` then writes the scene that it made under that name, ``instead_of`` the other.
    """

    name: Name
    source: Annotated[
        str,
        Field(
            pattern=r"^(builtin:\w+|osm:.+|map:[a-z0-9.-]+|city:[a-z-]+|procedural:\d+(/[a-z]+)?"
            r"|threegpp:(cdl-[a-e]|umi|uma)|near-field:(paths|clusters))$"
        ),
    ]
    bbox: tuple[float, float, float, float] | None = None
    region_m: tuple[float, float, float, float] | None = None
    terrain: str | None = None
    crop: int = Field(default=0, ge=0)
    crop_m: Positive = 600.0
    fallback: Annotated[str, Field(pattern=r"^procedural:\d+(/[a-z]+)?$")] | None = None
    instead_of: str | None = None

    @model_validator(mode="after")
    def _falls_back_from_packaged_scenes_only(self) -> Self:
        if self.fallback is not None and self.kind != "builtin":
            raise ValueError(f"fallback is for builtin scenes, which need the ray tracer; {self.source} does not")
        return self

    @property
    def kind(self) -> str:
        """ "builtin", "osm", "map", "city", "procedural", "threegpp" or "near-field"."""
        return self.source.partition(":")[0]

    @property
    def has_map(self) -> bool:
        """Whether it is made from a map file."""
        return self.kind in ("osm", "map", "city")

    @property
    def is_stochastic(self) -> bool:
        """Whether there is no scene, only a model that channels are drawn from."""
        return self.kind in ("threegpp", "near-field")

    @property
    def where(self) -> str:
        """What stands behind the kind: a name, a path, a seed or a model."""
        return self.source.partition(":")[2]


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

    ``scenes`` are names or patterns such as "london-*"; empty = every scene.
    ``kind`` names the mobility model: ``cruise``, ``street_guided`` and ``sumo_guided`` (real SUMO on the scene's map)
    fly; ``vehicles``, ``steady_vehicles``, which keep their speed, and ``pedestrians`` stay on the ground;
    ``recorded`` reads the first ``num_uavs`` tracks of ``num_steps`` points from the CSV ``file``.
    ``before_array`` confines the users to a rectangle before the array, else they roam the scene's region.
    ``altitude_m`` are metres above ground; ``below_array_m`` instead counts them down from the array's centre.
    ``seed: null`` derives one from the recipe's seed and the names of scene and flight.
    """

    name: Name
    split: Literal["train", "val", "test"]
    scenes: tuple[str, ...] = ()
    kind: Literal[
        "cruise", "street_guided", "sumo_guided", "vehicles", "steady_vehicles", "pedestrians", "recorded"
    ] = "cruise"
    file: str | None = None
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
        if (self.kind == "recorded") != (self.file is not None):
            raise ValueError("kind 'recorded' and a CSV file belong together: give both or neither")
        return self


class TracingRecipe(Recipe):
    """How paths are found; the fields are those of :class:`channelfm.tracing.Tracer`. With ``diffraction``, paths pass
    over up to ``max_depth`` edges.

    ``lattice_m`` traces only points this far apart along each track and interpolates path by path between them: for
    sequences of milliseconds (see :func:`channelfm.tracing.sequences.trace_sequence`).

    ``method: auto`` takes the ray tracer, or without an LLVM the NumPy image method, said aloud; the manifest keeps
    for every shard which one it was.
    """

    method: Literal["auto", "near-field", "images"] = "auto"
    max_depth: int = Field(default=3, ge=0)
    refraction: bool = True
    diffraction: bool = False
    diffuse: bool = False
    rays: int = Field(default=2_000_000, ge=1)
    user_pattern: ElementPattern = "tr38901"
    user_polarization: Literal["V", "H"] = "V"
    plane_wave_beyond: Positive | None = None
    lattice_m: Positive | None = None


class ChannelRecipe(Recipe):
    """The frequencies of the response, and the form in which it is stored.

    ``num_subcarriers`` are centred on the carrier; one means the carrier itself. ``duplex_hz`` adds a second band
    that far above: the downlink of a frequency-division duplex, by reciprocity the same paths at other frequencies.
    ``storage``: "complex64"; "float16" (real and imaginary part, scaled per snapshot: half the size, about -65 dB
    away); "paths": the compact path form, from which channels of any frequency are made when they are read.
    """

    num_subcarriers: int = Field(default=1, ge=1)
    subcarrier_spacing_hz: Positive = 30e3  # LAETwin-XL's
    duplex_hz: Positive | None = None
    storage: Literal["complex64", "float16", "paths"] = "complex64"

    def frequencies_hz(self, carrier_hz: float) -> NDArray[np.float64]:
        """Absolute frequencies [F] in Hz, symmetric about the carrier; with ``duplex_hz`` [2 F], uplink first."""
        index = np.arange(self.num_subcarriers) - (self.num_subcarriers - 1) / 2
        uplink = np.asarray(carrier_hz + index * self.subcarrier_spacing_hz)
        return uplink if self.duplex_hz is None else np.concatenate([uplink, uplink + self.duplex_hz])


class StochasticRecipe(Recipe):
    """Settings of the scenes whose source is ``threegpp:MODEL``; see :func:`channelfm.channels.stochastic_channels`."""

    delay_spread_s: Positive | None = None
    distance_m: Interval | None = None
    path_loss: bool | None = None


class NearFieldRecipe(Recipe):
    """What differs from the model that a scene's source ``near-field:MODEL`` names; null: nothing. The fields are those
    of :class:`channelfm.channels.near_field.NearFieldModel`."""

    clusters: int | None = Field(default=None, ge=1)
    rays: int | None = Field(default=None, ge=1)
    range_m: Interval | None = None
    azimuth_deg: float | None = Field(default=None, ge=0, lt=90)
    elevation_deg: float | None = Field(default=None, ge=0, lt=90)
    latest_s: float | None = Field(default=None, ge=0)
    decay_db: float | None = Field(default=None, ge=0)
    azimuth_spread_deg: float | None = Field(default=None, ge=0)
    range_spread: float | None = Field(default=None, ge=0)
    delay_spread_s: float | None = Field(default=None, ge=0)
    squint: bool | None = None

    def model(self, name: str) -> NearFieldModel:
        """The model of that name with these settings."""
        changed = {field: value for field, value in self.model_dump().items() if value is not None}
        return dataclasses.replace(NEAR_FIELD_MODELS[name], **changed)


class DatasetRecipe(Recipe):
    """Everything a data set follows from: equal recipes (and library versions) give equal bytes."""

    name: Name
    seed: int = Field(default=0, ge=0)
    array: ArrayRecipe = ArrayRecipe()
    stations: tuple[StationRecipe, ...] = ()
    scenes: tuple[SceneRecipe, ...] = Field(min_length=1)
    flights: tuple[FlightRecipe, ...] = Field(min_length=1)
    tracing: TracingRecipe = TracingRecipe()
    channel: ChannelRecipe = ChannelRecipe()
    stochastic: StochasticRecipe = StochasticRecipe()
    near_field: NearFieldRecipe = NearFieldRecipe()

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        scenes = [scene.name for scene in self.scenes]
        flights = [flight.name for flight in self.flights]
        stations = [station.name for station in self.stations]
        for kind, names in (("scene", scenes), ("flight", flights), ("station", stations)):
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise ValueError(f"{kind} name '{repeated[0]}' is used twice; rename one")
        for kind, items in (("flight", self.flights), ("station", self.stations)):
            for item in items:
                for pattern in item.scenes:
                    if not fnmatch.filter(scenes, pattern):
                        raise ValueError(f"{kind} '{item.name}' names scene '{pattern}', which is not among {scenes}")
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Recipes that say nothing of ``near_field`` have the hashes that they had before there was such a field."""
        values: dict[str, Any] = plain(self)
        if self.near_field == NearFieldRecipe():
            values.pop("near_field", None)
        return values

    def with_fallbacks(self) -> DatasetRecipe:
        """The recipe with the image method, and the fallback of every scene that has one in its place.

        Such a scene has the fallback's name ("procedural-3"), so that no invented city goes by a real one's; flights
        and stations follow. Raises InputError if another scene has that name.
        """
        names = {scene.name: re.sub("[:/]", "-", scene.fallback or scene.name) for scene in self.scenes}
        values = self.model_dump(mode="json")
        values["tracing"]["method"] = "images"
        values["scenes"] = [
            {"name": names[scene.name], "source": scene.fallback, "instead_of": scene.source}
            if scene.fallback
            else plain
            for scene, plain in zip(self.scenes, values["scenes"], strict=True)
        ]
        for item in (*values["flights"], *values["stations"]):
            if item["scenes"]:
                item["scenes"] = [name for old, name in names.items() if _is_among(old, item["scenes"])]
        return parse_recipe(DatasetRecipe, values, self.name)

    def stations_in(self, scene: str) -> tuple[StationRecipe, ...]:
        """The base stations of a scene; a recipe without ``stations`` has one, "bs", as its ``array`` says."""
        if not self.stations:
            return (StationRecipe(name="bs", position=self.array.position),)
        return tuple(station for station in self.stations if _is_among(scene, station.scenes))

    def flights_in(self, scene: str) -> tuple[FlightRecipe, ...]:
        """The flights through a scene."""
        return tuple(flight for flight in self.flights if _is_among(scene, flight.scenes))


def _is_among(scene: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatch.fnmatchcase(scene, pattern) for pattern in patterns)


class ForeignRecipe(Recipe):
    """What is known of a data set that was imported: the file or folder and the settings it was read with."""

    name: Name
    imported_from: str
    settings: dict[str, str | float | int | bool | None] = Field(default_factory=dict)
    attribution: str = ""
