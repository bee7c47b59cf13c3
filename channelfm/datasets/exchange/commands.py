"""What the command line does with other programs' files: settings by kind, one table of readers, one of writers."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from channelfm.arrays import UPA, ElementPattern, Polarization
from channelfm.channels.synthesis import observe
from channelfm.config import Recipe, parse_recipe, set_dotted
from channelfm.datasets.dataset import Dataset, open_dataset
from channelfm.datasets.exchange.arrays import export_arrays, import_arrays
from channelfm.datasets.exchange.deepmimo_format import PhaseConvention
from channelfm.datasets.exchange.deepmimo_import import import_deepmimo
from channelfm.datasets.exchange.sionna_paths import End, from_sionna
from channelfm.datasets.foreign import Part, store_foreign
from channelfm.datasets.recipe import ChannelRecipe, ForeignRecipe
from channelfm.errors import InputError
from channelfm.records import Channels, Scene, Trajectory

Positive = Annotated[float, Field(gt=0)]
Triple = tuple[float, float, float]
Split = Literal["train", "val", "test"]


class PlacedArray(Recipe):
    """The array that imported channels belong to; see :class:`channelfm.arrays.UPA` for the fields."""

    rows: int = Field(ge=1)
    cols: int = Field(ge=1)
    carrier_hz: Positive
    position: Triple = (0.0, 0.0, 0.0)
    spacing_wavelengths: Positive = 0.5
    orientation_rad: Triple = (0.0, 0.0, 0.0)
    pattern: ElementPattern = "isotropic"
    polarization: Polarization = "V"

    def built(self) -> UPA:
        """The array."""
        return UPA(**self.model_dump())


class _Import(Recipe):
    """What every import may say: the split that its snapshots go to, and whom to thank."""

    split: Split = "train"
    attribution: str = ""


class ArraysImport(_Import):
    """Settings of ``channelfm import arrays``; see :func:`import_arrays`."""

    array: PlacedArray | None = None
    axes: str | None = None
    key: str | tuple[str, str] | None = None
    labels: dict[str, str] = Field(default={})
    frequencies_hz: tuple[Positive, ...] | None = None


class DeepMIMOImport(_Import):
    """Settings of ``channelfm import deepmimo``; see :func:`import_deepmimo`.

    The array stands at the transmitter; ``rows`` and ``cols`` of null keep the exported array of our own files, and a
    single element for others. ``channel`` says at which frequencies the response is wanted.
    """

    phase_convention: PhaseConvention | None = None
    link: tuple[int, int, int] | None = None
    rows: int | None = Field(default=None, ge=1)
    cols: int | None = Field(default=None, ge=1)
    spacing_wavelengths: Positive | None = None
    orientation_rad: Triple | None = None
    channel: ChannelRecipe = ChannelRecipe()


class SionnaImport(_Import):
    """Settings of ``channelfm import sionna``, of a file that :func:`save_sionna` wrote; see :func:`from_sionna`."""

    array: PlacedArray
    array_end: End
    station: int = Field(default=0, ge=0)
    channel: ChannelRecipe = ChannelRecipe()


@dataclass(frozen=True)
class Imported:
    """What a reader found: channels, the array they belong to, and a scene if the files have one."""

    channels: Channels
    array: UPA
    scene: Scene | None = None


def read_arrays_file(path: Path, settings: ArraysImport) -> Imported:
    """Channels of a plain array."""
    array = None if settings.array is None else settings.array.built()
    channels = import_arrays(
        path,
        array,
        settings.axes,
        key=settings.key,
        labels=settings.labels,
        frequencies_hz=settings.frequencies_hz,
    )
    return Imported(channels, array or _array_of(channels))


def read_deepmimo(path: Path, settings: DeepMIMOImport) -> Imported:
    """Channels of a DeepMIMO scenario."""
    scenario = import_deepmimo(path, settings.phase_convention, link=settings.link)
    wanted = ("rows", "cols", "spacing_wavelengths", "orientation_rad")
    changes = {name: getattr(settings, name) for name in wanted if getattr(settings, name) is not None}
    array = dataclasses.replace(scenario.array, **changes)
    frequencies = settings.channel.frequencies_hz(array.carrier_hz)
    return Imported(scenario.channels(array, frequencies), array, scenario.scene)


def read_sionna(path: Path, settings: SionnaImport) -> Imported:
    """Channels of a stored Sionna ``Paths`` object; velocities are not in it, hence NaN."""
    array = settings.array.built()
    paths = from_sionna(path, array, array_end=settings.array_end, station=settings.station)
    unknown = np.full_like(paths.positions_m, np.nan)
    users = Trajectory(paths.times_s, paths.positions_m, unknown, np.zeros(len(paths), np.int32), "recorded")
    return Imported(observe(users, paths, array, settings.channel.frequencies_hz(array.carrier_hz)), array)


# kind -> (settings, reader)
READERS: dict[str, tuple[type[_Import], Callable[[Path, Any], Imported]]] = {
    "arrays": (ArraysImport, read_arrays_file),
    "deepmimo": (DeepMIMOImport, read_deepmimo),
    "sionna": (SionnaImport, read_sionna),
}
# kind -> writer of one split of one scene
WRITERS: dict[str, Callable[[Channels, Path], None]] = {"mat": export_arrays, "npz": export_arrays}


def import_dataset(kind: str, path: str | Path, out: str | Path, settings: Sequence[str] = ()) -> Dataset:
    """Read a foreign file or folder and store it as a data set in a new folder.

    ``settings`` are overrides such as ``"array.rows=8"`` of the kind's settings (:data:`READERS`). Raises InputError
    for an unknown kind or setting, and whatever the kind's reader raises.
    """
    chosen, found = read_foreign(kind, path, settings)
    source = Path(path)
    name = re.sub(r"[^A-Za-z0-9]+", "-", source.stem if source.is_file() else source.name).strip("-") or "imported"
    recipe = ForeignRecipe(
        name=name,
        imported_from=f"{kind}:{source.name}",
        settings={key: _flat(value) for key, value in chosen.model_dump(mode="json").items()},
        attribution=chosen.attribution,
    )
    return store_foreign(out, recipe, [Part(chosen.split, name, kind, found.channels, found.scene)], found.array)


def read_foreign(kind: str, path: str | Path, settings: Sequence[str] = ()) -> tuple[_Import, Imported]:
    """The settings of an import, and what its reader found; raises as :func:`import_dataset` does."""
    if kind not in READERS:
        raise InputError(f"cannot import '{kind}'; give one of: {', '.join(READERS)}")
    model, read = READERS[kind]
    values: dict[str, Any] = {}
    for setting in settings:
        set_dotted(values, setting)
    chosen = parse_recipe(model, values, f"import {kind}")
    return chosen, read(Path(path), chosen)


def export_dataset(path: str | Path, to: str, out: str | Path) -> list[Path]:
    """Write a data set to ``out``, one file ``SPLIT--SCENE.npz`` (or ``.mat``) for each split of each scene.

    Raises InputError for an unknown format. DeepMIMO's files need the directions of paths at the user, which no data
    set keeps: :func:`export_deepmimo` writes them from the paths of :func:`channelfm.trace`.
    """
    if to == "deepmimo":
        raise InputError(
            "DeepMIMO's files need directions at the user, which data sets do not keep: trace, and call "
            "channelfm.datasets.exchange.export_deepmimo(paths, array, folder)"
        )
    if to not in WRITERS:
        raise InputError(f"cannot export to '{to}'; give one of: {', '.join(WRITERS)}")
    dataset = open_dataset(path)
    places = dict.fromkeys((shard.split, shard.scene) for shard in dataset.manifest.shards)
    written = []
    for split, scene in places:
        file = Path(out) / f"{split}--{scene}.{to}"
        WRITERS[to](dataset.load(split, scene), file)
        written.append(file)
    return written


def _array_of(channels: Channels) -> UPA:
    """The array that channels tell of, at the origin."""
    both = channels.response.shape[1] == 2 * channels.rows * channels.cols
    return UPA(
        channels.rows,
        channels.cols,
        channels.carrier_hz,
        spacing_wavelengths=channels.spacing_wavelengths,
        pattern="isotropic",
        polarization="VH" if both else "V",
    )


def _flat(value: Any) -> str | float | int | bool | None:
    return json.dumps(value) if isinstance(value, dict | list) else value
