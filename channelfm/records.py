"""The nouns of the package: frozen dataclasses of arrays, saved and loaded without loss.

Every record has ``save(path)`` and ``load(path)``: one safetensors file, arrays as they are, everything else
as JSON in its header. Lengths are in metres, times in seconds, angles in radians, frequencies in hertz.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize

from channelfm.arrays import UPA
from channelfm.checks import all_finite, check_axes, check_plain
from channelfm.errors import InputError, IntegrityError
from channelfm.files import write_atomically
from channelfm.plain import from_json

HIGHEST_HZ = 1e15  # near light

Float = NDArray[np.float64]
Int = NDArray[np.int32]
Bool = NDArray[np.bool_]
Complex = NDArray[np.complex64]


class Record:
    """Saving and loading shared by all records: array fields as tensors, records within records likewise (their names
    joined by dots), all else as JSON. ``nested`` names the fields that are records (or None), with their classes;
    ``axes`` kind and shape of the arrays (:func:`channelfm.checks.check_axes`), which every record that is loaded must
    have."""

    nested: ClassVar[dict[str, type[Record]]] = {}
    axes: ClassVar[dict[str, str]] = {}

    def save(self, path: str | Path) -> None:
        """Write this record to one safetensors file, atomically."""
        arrays, plain = self._parts()
        content = json.dumps({"record": type(self).__name__, "fields": plain}, default=_to_plain, sort_keys=True)
        # one metadata key only: safetensors writes several in random order, and equal records must have equal bytes
        write_atomically(Path(path), serialize(arrays, metadata={"channelfm": content}))

    def _parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Arrays and plain values by field."""
        arrays: dict[str, NDArray[Any]] = {}
        plain: dict[str, Any] = {}
        for item in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray):
                arrays[item.name] = np.ascontiguousarray(value)
            elif isinstance(value, Record):
                inner, plain[item.name] = value._parts()
                arrays |= {f"{item.name}.{name}": array for name, array in inner.items()}
            else:
                plain[item.name] = value
        return arrays, plain

    @classmethod
    def _of_parts(cls, arrays: dict[str, NDArray[Any]], plain: dict[str, Any]) -> Self:
        values = dict(plain)
        for field_name, kind in cls.nested.items():
            told = values.pop(field_name, None)
            if told is not None:  # else the field has to have a default
                inner = {name.removeprefix(f"{field_name}."): array for name, array in arrays.items() if "." in name}
                values[field_name] = kind._of_parts(inner, told)
        own = {name: array for name, array in arrays.items() if "." not in name}
        decoded = cls._decode({key: value for key, value in values.items() if key not in cls.nested})
        return cls(**own, **decoded, **{key: values[key] for key in cls.nested if key in values})

    @classmethod
    def load(cls, path: str | Path, unread: Collection[str] = ()) -> Self:
        """Read a record back; arrays named in ``unread`` stay on disk and come with a second axis of length 0.

        Raises InputError (no file) or IntegrityError (not this record, broken, or with arrays that do not fit).
        """
        if not Path(path).is_file():
            raise InputError(f"{path}: no such file; give the path of a saved {cls.__name__}")
        try:
            with safe_open(str(path), framework="numpy") as file:
                header = from_json((file.metadata() or {}).get("channelfm", "{}"))
                arrays = {name: _read(file, name, name in unread) for name in file.keys()}  # noqa: SIM118 (no mapping)
        except (SafetensorError, OSError, ValueError, TypeError) as error:
            raise IntegrityError(f"{path}: not a whole safetensors file ({error}); write it again") from error
        kind = header.get("record", "foreign file") if isinstance(header, dict) else "foreign file"
        if kind != cls.__name__:
            raise IntegrityError(f"{path}: holds a {str(kind)[:40]}, not a {cls.__name__}")
        try:
            record = cls._of_parts(arrays, header["fields"])
            record.check()
        except (TypeError, KeyError, ValueError, AttributeError, IndexError, InputError) as error:
            told = str(error)[:200]
            raise IntegrityError(f"{path}: not a {cls.__name__} of this version ({told}); write it again") from error
        return record

    def check(self) -> None:
        """Raise ValueError, which says why, where this can be no such record: cheap, done to all that are loaded."""
        check_axes(vars(self), self.axes)
        check_plain(self)
        for name in self.nested:
            inner = getattr(self, name)
            if inner is not None:
                inner.check()

    @classmethod
    def _decode(cls, plain: dict[str, Any]) -> dict[str, Any]:
        """Turn JSON values back into the types of the fields; records with nested records override it."""
        return plain


def _read(file: Any, name: str, unread: bool) -> NDArray[Any]:
    if unread and (kept := file.get_slice(name)).get_shape()[1]:
        return np.asarray(kept[:, :0])
    return np.asarray(file.get_tensor(name))


def _check_finite(record: Record, *names: str) -> None:
    for name in names:
        if not all_finite(getattr(record, name)):
            raise ValueError(f"'{name}' holds NaN or infinity")


def _to_plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"cannot store a {type(value).__name__} in a record's header")


@dataclass(frozen=True)
class Origin:
    """Where a scene's (0, 0) lies on Earth, and the metric projection that took it there."""

    latitude_deg: float
    longitude_deg: float
    crs: str  # PROJ string of the local projection, metres, x east, y north
    height_m: float = 0.0  # of z = 0 in the height raster of the terrain; 0 on flat ground


@dataclass(frozen=True)
class Building:
    """One building of a scene, as it came from the map."""

    osm_id: str  # e.g. "way/42", "relation/7", or the name of a procedural building
    height_m: float  # roof above ground
    min_height_m: float  # underside above ground
    height_source: str  # "height", "levels", "default", "mesh", "procedural"
    footprint_area_m2: float  # without holes
    hole_area_m2: float
    volume_m3: float  # of its own solid
    material: str
    watertight: bool
    roof_shape: str = "flat"  # "flat", "gabled", "hipped", "pyramidal", "mesh" (as a scene file has it)
    mesh: str = ""  # name of the scene object that it is part of; touching buildings of one material share one


@dataclass(frozen=True)
class Road:
    """Centre line of a road: points ((x, y), ...) in m, and its OSM ``highway`` class."""

    kind: str
    points: tuple[tuple[float, float], ...]
    oneway: bool = False


@dataclass(frozen=True)
class SceneObject:
    """One mesh of a scene: its name, ITU material and kind ("building", "ground", "other")."""

    name: str
    material: str
    kind: str


@dataclass(frozen=True)
class Scene(Record):
    """A 3-D scene: triangle meshes with materials, in one local metric frame (x east, y north, z up).

    ``vertices`` float64 [V, 3] m; ``faces`` int32 [F, 3] indices into vertices, outward orientation;
    ``face_object`` int32 [F] indices into ``objects``. ``bounds`` is (x_min, y_min, x_max, y_max) of the
    region of interest in m. ``skipped`` counts what was left out of the map, by reason.
    """

    name: str
    vertices: Float
    faces: Int
    face_object: Int
    objects: tuple[SceneObject, ...]
    bounds: tuple[float, float, float, float]
    buildings: tuple[Building, ...] = ()
    roads: tuple[Road, ...] = ()
    origin: Origin | None = None
    skipped: dict[str, int] = field(default_factory=dict)
    attribution: str = ""

    axes: ClassVar[dict[str, str]] = {"vertices": "float V 3", "faces": "int F 3", "face_object": "int F"}

    def check(self) -> None:
        """See :meth:`Record.check`."""
        super().check()
        _check_finite(self, "vertices")
        for name, count in (("faces", len(self.vertices)), ("face_object", len(self.objects))):
            index = getattr(self, name)
            if index.size and not 0 <= index.min() <= index.max() < count:
                raise ValueError(f"'{name}' points beyond {count} entries")

    @classmethod
    def _decode(cls, plain: dict[str, Any]) -> dict[str, Any]:
        roads = (
            Road(road["kind"], tuple((float(x), float(y)) for x, y in road["points"]), road["oneway"])
            for road in plain["roads"]
        )
        return plain | {
            "objects": tuple(SceneObject(**item) for item in plain["objects"]),
            "buildings": tuple(Building(**item) for item in plain["buildings"]),
            "roads": tuple(roads),
            "origin": Origin(**plain["origin"]) if plain["origin"] else None,
            "bounds": tuple(plain["bounds"]),
        }

    def object_mesh(self, index: int) -> tuple[Float, Int]:
        """Vertices [v, 3] and faces [f, 3] of one object, with its own vertex numbering."""
        faces = self.faces[self.face_object == index]
        used, renumbered = np.unique(faces, return_inverse=True)
        return self.vertices[used], renumbered.reshape(faces.shape).astype(np.int32)


@dataclass(frozen=True)
class Trajectory(Record):
    """Movement of one or several users, flat over snapshots (ordered by track, then by time).

    ``times_s`` float64 [S]; ``positions_m`` float64 [S, 3]; ``velocities_mps`` float64 [S, 3];
    ``track`` int32 [S]: which user a snapshot belongs to; ``kind`` names the mobility model.
    """

    times_s: Float
    positions_m: Float
    velocities_mps: Float
    track: Int
    kind: str
    seed: int | None = None

    axes: ClassVar[dict[str, str]] = {
        "times_s": "float S",
        "positions_m": "float S 3",
        "velocities_mps": "float S 3",
        "track": "int S",
    }

    def __len__(self) -> int:
        return len(self.times_s)

    def select(self, index: Any) -> Trajectory:
        """The snapshots that a NumPy index (slice, integers, mask) picks."""
        return dataclasses.replace(
            self,
            times_s=self.times_s[index],
            positions_m=self.positions_m[index],
            velocities_mps=self.velocities_mps[index],
            track=self.track[index],
        )


@dataclass(frozen=True)
class Paths(Record):
    """Propagation paths between one array and S user positions, P path slots each, A antennas.

    ``gain`` complex64 [S, P, A]: a_{m,l} of SPEC 1, without the carrier phase exp(-j 2 pi f tau); 0 where invalid.
    ``delay_s`` float64 [S, P, A]: absolute delay; 0 where invalid. ``valid`` bool [S, P, A].
    ``doppler_hz`` float32 [S, P, A]; 0 where invalid.
    ``interactions`` int32 [S, P, D]: 0 none, 1 specular reflection, 2 diffuse, 4 refraction, 8 diffraction
    (Sionna's codes), from the user to the array; a valid path of zeros is the line of sight.
    ``points_m`` float64 [S, P, D, 3]: interaction points seen from the array centre; 0 where no interaction.
    ``departure``, ``arrival`` float64 [S, P, 3]: unit vectors at the user towards its first, and at the
    array centre towards its last interaction point; 0 where the slot is empty.
    ``times_s`` [S], ``positions_m`` [S, 3] are the snapshots'. An antenna axis of length 1 holds plane-wave paths,
    given at the array centre (``arrival`` steers them over the array).
    ``materials`` records every material evaluated outside its ITU-R P.2040 range. ``array`` is the one that the paths
    were traced for; None where that is not known: some paths of other tracers, and files from before it was kept.
    """

    gain: Complex
    delay_s: Float
    valid: Bool
    doppler_hz: NDArray[np.float32]
    interactions: Int
    points_m: Float
    departure: Float
    arrival: Float
    times_s: Float
    positions_m: Float
    carrier_hz: float
    method: str
    materials: dict[str, str] = field(default_factory=dict)
    array: UPA | None = None

    axes: ClassVar[dict[str, str]] = {
        "gain": "complex S P A",
        "delay_s": "float S P A",
        "valid": "bool S P A",
        "doppler_hz": "float S P A",
        "interactions": "int S P D",
        "points_m": "float S P D 3",
        "departure": "float S P 3",
        "arrival": "float S P 3",
        "times_s": "float S",
        "positions_m": "float S 3",
    }

    def check(self) -> None:
        """See :meth:`Record.check`."""
        super().check()
        _check_finite(self, "gain", "delay_s", "doppler_hz")
        antennas, array = self.gain.shape[2], self.array
        if array and (antennas not in (1, array.num_antennas) or array.carrier_hz != self.carrier_hz):
            raise ValueError(
                f"{antennas} antennas at {self.carrier_hz:g} Hz do not fit 'array': "
                f"{array.num_antennas} at {array.carrier_hz:g} Hz"
            )

    @classmethod
    def _decode(cls, plain: dict[str, Any]) -> dict[str, Any]:
        return plain | {"array": UPA.of_plain(plain["array"])} if plain.get("array") else plain

    def __len__(self) -> int:
        return len(self.times_s)

    @property
    def has_path(self) -> Bool:
        """bool [S]: whether any antenna of a snapshot has any path."""
        return np.asarray(self.valid.any(axis=(1, 2)))

    @property
    def line_of_sight(self) -> Bool:
        """bool [S]: whether any antenna sees the user directly."""
        direct = ~self.interactions.any(axis=2)
        return np.asarray(np.any(self.valid.any(axis=2) & direct, axis=1))


@dataclass(frozen=True)
class Channels(Record):
    """Channels of one array with the labels that tasks need; one entry per snapshot.

    ``response`` complex64 [S, antenna, F], zero where ``has_path`` is False; ``frequencies_hz`` float64 [F].
    Labels: ``positions_m``, ``velocities_mps`` float64 [S, 3]; ``times_s`` [S]; ``track`` int32 [S];
    ``line_of_sight``, ``near_field``, ``has_path`` bool [S]; ``distance_m``, ``azimuth_rad``, ``elevation_rad``
    float64 [S], of the user in the array's frame. ``path_count`` int32 [S]: paths of each snapshot, without the weakest
    (:func:`channelfm.channels.strongest.count_paths`); None where it is not known: stochastic and imported channels,
    and files from before it was kept.
    """

    response: Complex
    frequencies_hz: Float
    positions_m: Float
    velocities_mps: Float
    times_s: Float
    track: Int
    line_of_sight: Bool
    near_field: Bool
    has_path: Bool
    distance_m: Float
    azimuth_rad: Float
    elevation_rad: Float
    rows: int
    cols: int
    carrier_hz: float
    spacing_wavelengths: float = 0.5
    path_count: Int | None = None

    axes: ClassVar[dict[str, str]] = {
        "response": "complex S A F",
        "frequencies_hz": "float F",
        "positions_m": "float S 3",
        "velocities_mps": "float S 3",
        "times_s": "float S",
        "track": "int S",
        "line_of_sight": "bool S",
        "near_field": "bool S",
        "has_path": "bool S",
        "distance_m": "float S",
        "azimuth_rad": "float S",
        "elevation_rad": "float S",
    }

    def check(self) -> None:
        """See :meth:`Record.check`; labels may be unknown (NaN)."""
        super().check()
        _check_finite(self, "response")
        if self.path_count is not None:
            check_axes(vars(self), {"times_s": "float S", "path_count": "int S"})
        if not ((self.frequencies_hz > 0) & (self.frequencies_hz <= HIGHEST_HZ)).all():  # nor NaN
            raise ValueError(f"'frequencies_hz' holds values that are not between 0 and {HIGHEST_HZ:g}")
        elements, antennas = self.rows * self.cols, self.response.shape[1]
        if min(self.rows, self.cols) < 1 or antennas not in (0, elements, 2 * elements):
            raise ValueError(f"{antennas} antennas do not fit {self.rows} x {self.cols} elements")

    def _parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        arrays, plain = super()._parts()
        if self.path_count is None:  # such records have the bytes that they had before it was kept
            del plain["path_count"]
        return arrays, plain

    def __len__(self) -> int:
        return len(self.times_s)

    @property
    def grid(self) -> Complex:
        """The response as [S, rows, cols, F]; of dual-polarised antennas as [S, rows, cols, polarisation x F]."""
        samples, antennas, frequencies = self.response.shape
        polarizations = antennas // (self.rows * self.cols)
        split = self.response.reshape(samples, polarizations, self.rows, self.cols, frequencies)
        return np.moveaxis(split, 1, 3).reshape(samples, self.rows, self.cols, polarizations * frequencies)

    def select(self, index: Any) -> Channels:
        """The snapshots that a NumPy index (slice, integers, mask) picks."""
        per_snapshot = {
            item.name: getattr(self, item.name)[index]
            for item in dataclasses.fields(self)
            if isinstance(getattr(self, item.name), np.ndarray) and item.name != "frequencies_hz"
        }
        return dataclasses.replace(self, **per_snapshot)
