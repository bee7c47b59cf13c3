"""The forms in which channels lie on disk: as they are, in half precision, or as the paths they follow from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from channelfm.arrays import UPA
from channelfm.channels.compact import CompactPaths, expand
from channelfm.datasets.shards import ShardEntry
from channelfm.errors import IntegrityError
from channelfm.records import Channels, Record

LARGEST_SCALE = 1e30  # of a snapshot in half precision
Storage = Literal["complex64", "float16", "paths"]


@dataclass(frozen=True)
class HalfChannels(Channels):
    """Channels in half precision: ``response`` is float16 [S, antenna, F, 2], real and imaginary part divided by
    ``scale`` float32 [S], the largest modulus of each snapshot (1 where there is no path)."""

    scale: NDArray[np.float32] = field(kw_only=True)

    axes: ClassVar[dict[str, str]] = Channels.axes | {"response": "float16 S A F 2", "scale": "float32 S"}

    def check(self) -> None:
        """See :meth:`Channels.check`."""
        super().check()
        check_scale(self.scale)


@dataclass(frozen=True)
class PathChannels(Channels):
    """Labels with an empty ``response`` [S, 0, F], and the compact paths that the response follows from, ``path_count``
    too: files hold it once."""

    paths: CompactPaths = field(kw_only=True)

    nested: ClassVar[dict[str, type[Record]]] = {"paths": CompactPaths}

    def check(self) -> None:
        """See :meth:`Channels.check`."""
        super().check()
        if len(self.paths) != len(self):
            raise ValueError(f"paths of {len(self.paths)} snapshots beside labels of {len(self)}")

    def _parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        arrays, plain = super()._parts()
        return {name: values for name, values in arrays.items() if name != "path_count"}, plain

    @classmethod
    def _of_parts(cls, arrays: dict[str, NDArray[Any]], plain: dict[str, Any]) -> Self:
        stored = super()._of_parts(arrays, plain)
        return dataclasses.replace(stored, path_count=stored.paths.path_count.astype(np.int32))

    def select(self, index: Any) -> PathChannels:
        """The snapshots that a NumPy index (slice, integers, mask) picks."""
        labels = _fields(super().select(index))
        return PathChannels(**labels, paths=self.paths.select(index))


FORMS: dict[str, type[Channels]] = {"Channels": Channels, "HalfChannels": HalfChannels, "PathChannels": PathChannels}


def halved(channels: Channels) -> HalfChannels:
    """Channels in half precision; the error is about -65 dB of each snapshot's power."""
    modulus = np.abs(channels.response).max(axis=(1, 2), initial=0.0)
    scale = np.where(modulus > 0, modulus, 1.0).astype(np.float32)
    scaled = channels.response / scale[:, None, None]
    return HalfChannels(
        **_fields(channels) | {"response": np.stack([scaled.real, scaled.imag], axis=-1).astype(np.float16)},
        scale=scale,
    )


def check_scale(scale: NDArray[np.float32]) -> None:
    """Raise ValueError for scales that no snapshot has."""
    if not ((scale > 0) & (scale <= LARGEST_SCALE)).all():  # nor NaN
        raise ValueError(f"'scale' holds values that are not between 0 and {LARGEST_SCALE:g}")


def with_paths(channels: Channels, paths: CompactPaths) -> PathChannels:
    """The labels of channels (their response is dropped) with the paths they follow from."""
    labels = _fields(labels_only(channels)) | {"path_count": paths.path_count.astype(np.int32)}
    return PathChannels(**labels, paths=paths)


def restored(stored: Channels, array: UPA) -> Channels:
    """Channels with a complex64 response, whatever form they were stored in; ``array`` is the one they belong to."""
    if isinstance(stored, HalfChannels):
        return Channels(**_fields(stored) | {"response": in_full(stored.response, stored.scale)})
    if isinstance(stored, PathChannels):
        response = expand(stored.paths, array, stored.frequencies_hz).numpy()
        return Channels(**_fields(stored) | {"response": response})
    return stored


def in_full(half: NDArray[Any], scale: NDArray[np.float32]) -> NDArray[np.complex64]:
    """complex64 [S, antenna, F] of scaled float16 [S, antenna, F, 2]."""
    parts = half.astype(np.float32) * scale[:, None, None, None]
    return np.asarray(parts[..., 0] + 1j * parts[..., 1], dtype=np.complex64)


def labels_only(stored: Channels) -> Channels:
    """The labels of channels in any form, with an empty response [S, 0, F]."""
    empty = np.zeros((len(stored), 0, len(stored.frequencies_hz)), np.complex64)
    return Channels(**_fields(stored) | {"response": empty})


def load_shard(folder: Path, shard: ShardEntry, array: UPA, labels: bool = False) -> Channels:
    """The record of a shard, its hash compared once; ``array`` is its own. With ``labels`` alone the response is empty.

    Raises IntegrityError for a file that is broken or holds other channels than the shard's entry says.
    """
    shard.check_once(folder)
    path = folder / shard.file
    if shard.form not in FORMS:
        raise IntegrityError(f"{path}: form '{shard.form}' is none of {', '.join(FORMS)}; generate the data set anew")
    stored = FORMS[shard.form].load(path, ("response",) if labels else ())
    if len(stored) != shard.snapshots:
        raise IntegrityError(f"{path}: holds {len(stored)} snapshots, the manifest says {shard.snapshots}")
    if (stored.rows, stored.cols) != (array.rows, array.cols):
        raise IntegrityError(
            f"{path}: of {stored.rows} x {stored.cols} elements, the manifest says {array.rows} x {array.cols}"
        )
    return stored


def _fields(channels: Channels) -> dict[str, Any]:
    return {item.name: getattr(channels, item.name) for item in dataclasses.fields(Channels)}
