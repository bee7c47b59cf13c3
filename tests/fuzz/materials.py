"""What is right, before it is spoilt: a small scene, its channels, paths and data sets; and channels that are not."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from mischief import NUMBERS, PLAIN, other_array, other_values
from safetensors.numpy import load as deserialize
from safetensors.numpy import save as serialize

from channelfm.arrays import UPA, spherical_wave
from channelfm.channels.compact import compress
from channelfm.channels.synthesis import observe
from channelfm.datasets.dataset import Dataset
from channelfm.datasets.foreign import Part, store_foreign
from channelfm.datasets.recipe import ForeignRecipe
from channelfm.datasets.storage import halved, with_paths
from channelfm.records import Channels, Paths, Scene, SceneObject, Trajectory
from channelfm.tracing import trace

ARRAY = UPA(2, 3, 7e9, position=(0.0, 0.0, 12.0))
ARRAY_SETTINGS = ["array.rows=2", "array.cols=3", "array.carrier_hz=7e9"]


@functools.cache
def a_scene() -> Scene:
    """Ground of 100 m x 100 m and one wall."""
    ground = [(0, -50, 0), (100, -50, 0), (100, 50, 0), (0, 50, 0)]
    wall = [(60, -20, 0), (60, 20, 0), (60, 20, 15), (60, -20, 15)]
    return Scene(
        name="small",
        vertices=np.array(ground + wall, np.float64),
        faces=np.array([(0, 1, 2), (0, 2, 3), (4, 5, 6), (4, 6, 7)], np.int32),
        face_object=np.array([0, 0, 1, 1], np.int32),
        objects=(SceneObject("ground", "medium_dry_ground", "ground"), SceneObject("wall", "concrete", "building")),
        bounds=(0.0, -50.0, 100.0, 50.0),
    )


@functools.cache
def a_trajectory() -> Trajectory:
    """Three places before the wall."""
    positions = np.array([[40.0, -5.0, 1.5], [41.0, 0.0, 1.5], [42.0, 5.0, 1.5]])
    return Trajectory(np.arange(3.0), positions, np.ones((3, 3)), np.zeros(3, np.int32), "cruise", 1)


@functools.cache
def the_paths() -> Paths:
    """Line of sight and single reflections."""
    return trace(a_scene(), a_trajectory(), ARRAY, max_depth=1, method="images")


@functools.cache
def the_channels() -> Channels:
    """Their channels at two frequencies."""
    return observe(a_trajectory(), the_paths(), ARRAY, ARRAY.carrier_hz + np.array([0.0, 1e6]))


def stored_dataset(folder: Path, form: str = "Channels") -> Dataset:
    """A data set of them, stored in one of the forms."""
    stored: Channels = the_channels()
    if form == "HalfChannels":
        stored = halved(stored)
    elif form == "PathChannels":
        stored = with_paths(stored, compress(the_paths(), ARRAY))
    part = Part("train", "small", "f", stored, a_scene())
    recipe = ForeignRecipe(name="small", imported_from="nowhere")
    if form == "PathChannels":  # whose response is empty
        return _stored_paths(folder, recipe, part)
    return store_foreign(folder, recipe, [part], ARRAY)


def _stored_paths(folder: Path, recipe: ForeignRecipe, part: Part) -> Dataset:
    import dataclasses

    from channelfm.datasets.dataset import open_dataset
    from channelfm.datasets.manifest import Manifest
    from channelfm.datasets.shards import write_shard

    made = store_foreign(folder, recipe, [dataclasses.replace(part, channels=the_channels())], ARRAY)
    old = made.manifest.shards[0]
    where = {"split": "train", "scene": "small", "flight": "f", "method": "images"}
    shard = write_shard(folder, part.channels, unit=old.unit, **where)
    manifest = made.manifest
    Manifest(recipe, manifest.identity, manifest.versions, manifest.scenes, (shard,)).save(folder)
    return open_dataset(folder)


def check_channels(channels: Channels) -> None:
    """An answer is finite; labels may be unknown."""
    assert channels.response.dtype == np.complex64
    assert np.isfinite(channels.response).all()
    assert np.isfinite(channels.grid).all()
    assert len(channels.response) == len(channels.times_s) == len(channels.has_path)


@functools.cache
def a_link() -> tuple[np.ndarray, np.ndarray]:
    """Two channels complex64 [2, 4, 6, 1] and a mask of them."""
    sources = np.array([[90.0, 20.0, -10.0], [60.0, -5.0, 9.0]])
    mask = np.random.default_rng(0).random((2, 4, 6, 1)) < 0.5
    return 1e-4 * spherical_wave(4, 6, sources)[..., None].astype(np.complex64), mask


@functools.cache
def a_sequence() -> tuple[np.ndarray, np.ndarray]:
    """Two sequences complex64 [2, 5, 1, 4, 4] of two paths each, and a mask that shows all."""
    frames, cols, frequencies = np.arange(5), np.arange(4), np.arange(4)
    past = np.zeros((2, 5, 1, 4, 4), np.complex128)
    for gain, doppler, sine, delay in ((1.0, 0.3, 0.4, 0.5), (0.4j, -0.2, -0.7, 1.1)):
        phase = doppler * frames[:, None, None, None] + sine * cols[:, None] - delay * frequencies
        past += gain * np.exp(1j * phase)
    return (1e-4 * past).astype(np.complex64), np.ones((1, 1, 1, 1, 1), np.bool_)


def hostile_channels(rng: random.Random, size: tuple[int, ...], like: np.ndarray) -> Any:
    """Channels of a size that may be right, with values, a type and a container that may be."""
    generator = np.random.default_rng(rng.getrandbits(32))
    values: Any = (generator.normal(size=size) + 1j * generator.normal(size=size)).astype(np.complex64)
    if size == like.shape and rng.random() < 0.6:
        values = like + rng.choice((0, 0, 1e-6)) * values
    kind = rng.randrange(14)
    with np.errstate(all="ignore"):
        if kind == 0:
            values = values * np.float32(rng.choice((1e-30, 1e-43, 1e30, 1e38, 0.0)))
        elif kind == 1 and values.size:
            values.reshape(-1)[rng.randrange(values.size)] = rng.choice(NUMBERS)
        elif kind == 2:
            values = values.astype(rng.choice((np.complex128, np.float64, np.int64, np.bool_)))
        elif kind == 3:
            values = rng.choice((values.tolist(), values[:1], values[None], values.T, rng.choice(PLAIN)))
        elif kind == 4:
            values = torch.from_numpy(values) * rng.choice((1, 1j))
        elif kind == 5:
            values = values.astype(np.complex128) * rng.choice((1e200, 1e-200, 1e40, 1e-60))
        elif kind == 6 and values.size:
            values[rng.randrange(len(values))] = 0
    return values


def hostile_mask(rng: random.Random, shape: tuple[int, ...]) -> Any:
    """A mask for channels of a shape, more often right than not."""
    generator = np.random.default_rng(rng.getrandbits(32))
    if not shape:
        return rng.choice((True, "x", None, 0.5))
    mask = generator.random(shape) < rng.choice((0.2, 0.5, 0.9, 1.0))
    kind = rng.randrange(12)
    if kind == 0:
        return rng.choice(("x", None, 0.5, 1, True, [], "1", b"1"))
    if kind == 1:
        return rng.choice((mask[:1], mask[..., :0], mask[None], np.zeros_like(mask), mask.astype(float) * 2))
    if kind == 2:
        return rng.choice((torch.from_numpy(mask), mask.astype(int), mask.tolist(), torch.from_numpy(mask).half()))
    if mask.size and len(shape) > 1:
        mask[(slice(None), *([0] * (len(shape) - 2)))] = True
    return mask


def spoilt_record(content: bytes, rng: random.Random) -> bytes:
    """A safetensors file with other arrays, or other plain values in its header, as a faulty writer leaves it."""
    arrays = {name: np.array(values) for name, values in deserialize(content).items()}
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
    for _ in range(rng.choice((1, 1, 2))):
        if "channelfm" in header and rng.random() < 0.3:
            header["channelfm"] = json.dumps(other_values(json.loads(header["channelfm"]), rng))
            continue
        name = rng.choice(sorted(arrays)) if arrays else "a"
        values = arrays.pop(name, np.zeros(1))
        if rng.random() < 0.9:
            arrays[rng.choice((name,) * 9 + ("other",))] = np.ascontiguousarray(other_array(values, rng))
    return serialize(arrays, metadata=header or None)


def dotted(tree: Any, above: str = "") -> Iterator[str]:
    """Dotted keys of a recipe's values, and wrong ones beside them."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield f"{above}{key}"
        yield f"{above}{key}.x"
        yield from dotted(value, f"{above}{key}.")


def flow(rng: random.Random) -> str:
    """A value as an override has it."""
    return rng.choice(
        (str(rng.choice(PLAIN))[:200], "[", "[1, 2]", "{a: 1}", "*a", "&a [*a]", "2023-02-30", "null", "1e3")
    )


def as_yaml(values: Any) -> str:
    """Values as a YAML text, fast where libyaml is there."""
    return str(yaml.dump(values, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), allow_unicode=True))
