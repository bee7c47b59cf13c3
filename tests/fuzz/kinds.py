"""What is fuzzed: for each kind of input, what is right, how it is spoilt, and what has to come of it.

A kind's ``prepared(folder)`` makes what is right in a folder and returns a function of a generator, which spoils it
once more, reads it, and checks the answer; what the package refuses, and what fails, it raises.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import importlib
import importlib.util
import io
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from map_inputs import map_inputs, read_hostile_map
from materials import (
    ARRAY,
    ARRAY_SETTINGS,
    a_link,
    a_scene,
    a_sequence,
    a_trajectory,
    as_yaml,
    check_channels,
    dotted,
    flow,
    hostile_channels,
    hostile_mask,
    spoilt_record,
    stored_dataset,
    the_channels,
    the_paths,
)
from mischief import PLAIN, other_array, other_bytes, other_values

from channelfm.arrays import UPA
from channelfm.baselines import BASELINES
from channelfm.benchmarking.entries import find_entries
from channelfm.benchmarking.recipe import BenchmarkRecipe
from channelfm.channels.compact import CompactPaths, compress, expand
from channelfm.checkpoints import CONFIG, WEIGHTS, load_model, save_checkpoint
from channelfm.config import Recipe, find_recipe, load_recipe, shipped_recipes
from channelfm.datasets.blocks import unlabelled
from channelfm.datasets.claim import claim_folder
from channelfm.datasets.dataset import Dataset, open_dataset
from channelfm.datasets.exchange import export_arrays, export_deepmimo, import_dataset
from channelfm.datasets.exchange.commands import read_foreign
from channelfm.datasets.exchange.sionna_paths import NEEDED
from channelfm.datasets.manifest import MANIFEST, _seal
from channelfm.datasets.recipe import DatasetRecipe
from channelfm.demo import DemoRecipe
from channelfm.diffusion import SamplerRecipe
from channelfm.estimator import ChannelEstimator, Examples, SequenceEstimator, checked_sequences
from channelfm.learned.recipe import DiffusionModel, OneShotModel
from channelfm.metrics import (
    achievable_rate,
    bootstrap_interval,
    nmse,
    polar_peaks,
    psnr,
    squared_cosine_similarity,
    ssim,
    summary,
)
from channelfm.observation import Combined, Entries, Grid, Observation, RandomlyCombined
from channelfm.pretraining.recipe import PretrainRecipe
from channelfm.records import Record
from channelfm.tasks import Extrapolation, Prediction
from channelfm.tasks.observing import Partial
from channelfm.tasks.prediction import Past
from channelfm.tokens.masks import MASKS

Attempt = Callable[[random.Random], None]


@dataclass(frozen=True)
class Kind:
    """A kind of input and its ``share`` of all."""

    share: float
    prepared: Callable[[Path], Attempt]


def recipes(folder: Path) -> Attempt:
    """Shipped recipes with other values, texts or overrides."""
    named = {name: find_recipe(name).read_text(encoding="utf-8") for name in shipped_recipes()}
    texts = [(_model_of(name), text, yaml.safe_load(text)) for name, text in named.items() if len(text) < 4000]

    def attempt(rng: random.Random) -> None:
        model, text, values = rng.choice(texts)
        overrides: list[str] = []
        if rng.random() < 0.5:
            text = as_yaml(other_values(values, rng))
        elif rng.random() < 0.8:
            text = other_bytes(text.encode(), rng).decode(errors="replace")
        else:
            keys = [*dotted(values), "a.b", "0", ".", "name.0.x"]
            overrides = [f"{rng.choice(keys)}={flow(rng)}" for _ in range(rng.choice((1, 1, 3)))]
        file = folder / "recipe.yaml"
        file.write_bytes(text.encode())
        recipe = load_recipe(model, file, overrides)
        assert json.loads(json.dumps(recipe.model_dump(mode="json"), allow_nan=False))
        assert len(recipe.content_hash()) == 64

    return attempt


def _model_of(name: str) -> type[Recipe]:
    """The model of a shipped recipe."""
    if name == "demo":
        return DemoRecipe
    if name.startswith(("pretrain-", "tune-")):
        return PretrainRecipe
    if name.startswith("bench-"):
        return BenchmarkRecipe
    return DatasetRecipe


def manifests(folder: Path) -> Attempt:
    """Manifests with other values, sealed again as a faulty writer would, or other bytes; and claims."""
    made = stored_dataset(folder / "data")
    text = (made.folder / MANIFEST).read_text(encoding="utf-8")
    plain = json.loads(text)
    plain.pop("seal")

    def attempt(rng: random.Random) -> None:
        if rng.random() < 0.6:
            values = json.loads(json.dumps(other_values(plain, rng)))
            sealed = values | {"seal": _seal(values)} if isinstance(values, dict) else values
            content = json.dumps(sealed).encode()
        else:
            content = other_bytes(text.encode(), rng)
        (made.folder / MANIFEST).write_bytes(content)
        dataset = open_dataset(made.folder)
        assert len(dataset.manifest.content_hash()) == 64
        dataset.array()
        for split in dataset.splits:
            check_channels(dataset.load(split))

    return attempt


def claims(folder: Path) -> Attempt:
    """What an unfinished data set says of itself."""
    made = stored_dataset(folder / "data")
    manifest, path = made.manifest, folder / "data" / "recipe.json"
    text = path.read_text(encoding="utf-8")

    def attempt(rng: random.Random) -> None:
        values = other_values(json.loads(text), rng)
        path.write_bytes(other_bytes(text.encode(), rng) if rng.random() < 0.5 else json.dumps(values).encode())
        claim_folder(folder / "data", manifest.recipe, manifest.identity, manifest.versions)

    return attempt


def shards(folder: Path) -> Attempt:
    """Shards in every form: bits that flipped, which must be noticed, and records of faulty writers."""
    forms = {name: stored_dataset(folder / name, name) for name in ("Channels", "HalfChannels", "PathChannels")}

    def attempt(rng: random.Random) -> None:
        dataset = forms[rng.choice(list(forms))]
        shard = rng.choice(dataset.manifest.shards)
        path = dataset.folder / shard.file
        right = path.read_bytes()
        faulty_writer = rng.random() < 0.75
        try:
            spoilt = spoilt_record(right, rng) if faulty_writer else other_bytes(right, rng)
            path.write_bytes(spoilt)
            if faulty_writer:
                entry = dataclasses.replace(shard, sha256=hashlib.sha256(spoilt).hexdigest(), size=len(spoilt))
                listed = tuple(entry if item == shard else item for item in dataset.manifest.shards)
                dataset = Dataset(dataset.folder, dataclasses.replace(dataset.manifest, shards=listed))
            channels = dataset.load(shard.split)
            check_channels(channels)
            rows = dataset.samples(shard.split).batch(range(len(channels)))
            np.testing.assert_array_equal(rows, channels.response)
            dataset.labels(shard.split)
            assert faulty_writer or spoilt == right, "bits have flipped and nobody noticed"
        finally:
            path.write_bytes(right)

    return attempt


def records(folder: Path) -> Attempt:
    """Records in files of their own."""
    paths = compress(the_paths(), ARRAY)
    made: list[Record] = [a_scene(), a_trajectory(), the_paths(), paths, the_channels(), *_observations()]
    files = [(type(record), folder / f"{number}-{type(record).__name__}") for number, record in enumerate(made)]
    for record, (_, path) in zip(made, files, strict=True):
        record.save(path)
    contents = {path: path.read_bytes() for _, path in files}

    def attempt(rng: random.Random) -> None:
        kind, path = rng.choice(files)
        right = contents[path]
        path.write_bytes(spoilt_record(right, rng) if rng.random() < 0.7 else other_bytes(right, rng))
        record = kind.load(path)
        if isinstance(record, CompactPaths):
            assert np.isfinite(expand(record, record.array).numpy()).all()
            record.select(slice(0, 1))
        if isinstance(record, Observation):
            assert np.isfinite(record.operator.adjoint(record.values)).all()
            assert len(record.select(slice(0, 1))) == min(1, len(record))

    return attempt


def _observations() -> list[Observation]:
    """What each operator measures of a link."""
    field, _ = a_link()
    channel = np.asarray(field)[:, None]
    links, _, rows, cols, frequencies = channel.shape
    grid = Grid(dataclasses.replace(ARRAY, rows=rows, cols=cols), np.zeros(1), np.full(frequencies, 7e9))
    mask = np.random.default_rng(0).random((1, 1, rows, cols, 1)) < 0.5
    operators = (
        Entries(mask),
        Combined(np.ones((1, 2, rows, cols), np.complex64)),
        RandomlyCombined(0, np.arange(links), 3, rows, cols),
    )
    return [Observation(operator.forward(channel), operator, grid, np.full(links, 0.1)) for operator in operators]


def checkpoints(folder: Path) -> Attempt:
    """Checkpoints with other settings, other weights, or other bytes; the hash fits as often as not."""
    made = []
    small: dict[str, Any] = {"model": "cddim-tiny", "model_options": {"width": 8, "depth": 1, "heads": 1}}
    for recipe in (DiffusionModel(**small, sampler=SamplerRecipe(steps=1)), OneShotModel(**small)):
        made.append(save_checkpoint(folder / recipe.method, recipe.network(), recipe, {"a": 1}))
    (past, everything), (field, seen) = a_sequence(), a_link()
    contents = {place: ((place / WEIGHTS).read_bytes(), yaml.safe_load((place / CONFIG).read_text())) for place in made}

    def attempt(rng: random.Random) -> None:
        place = rng.choice(made)
        weights, values = contents[place]
        values = copy.deepcopy(values)
        if rng.random() < 0.5:
            weights = spoilt_record(weights, rng) if rng.random() < 0.8 else other_bytes(weights, rng)
            if rng.random() < 0.9:
                values["weights_sha256"] = hashlib.sha256(weights).hexdigest()
        else:
            values = other_values(values, rng)
        text = as_yaml(values).encode()
        (place / WEIGHTS).write_bytes(weights)
        (place / CONFIG).write_bytes(other_bytes(text, rng) if rng.random() < 0.2 else text)
        model = load_model(place)
        sequences = isinstance(model, SequenceEstimator)
        answer = model.predict(past, everything, 2) if sequences else model.predict(field, seen)
        assert np.isfinite(answer).all()

    return attempt


def names(folder: Path) -> Attempt:
    """Names of predictors."""
    known = [*BASELINES, "classical", "runs/a/checkpoint", str(folder), "a=", "=b", "a=off-grid", "a=b=c", "~", "\0"]

    def attempt(rng: random.Random) -> None:
        asked = [other_bytes(rng.choice(known).encode(), rng).decode(errors="replace") for _ in range(rng.randrange(3))]
        find_entries([rng.choice(known) if rng.random() < 0.5 else name for name in asked])

    return attempt


def predictors(folder: Path) -> Attempt:
    """Observations and masks of any shape, type and content for every predictor."""
    field, _ = a_link()
    made = {name: make() for name, make in BASELINES.items()}
    ready: dict[str, Any] = {name: row for name, row in made.items() if isinstance(row, ChannelEstimator)}
    for predictor in ready.values():
        predictor.spacing_wavelengths = 0.5
        if hasattr(predictor, "learn"):
            predictor.learn(Examples.of_channels(field))
    recipe = OneShotModel(model="cddim-tiny", model_options={"width": 8, "depth": 1, "heads": 1})
    save_checkpoint(folder / "network", recipe.network(), recipe, {})
    ready["network"] = load_model(folder / "network")
    slow = {"off-grid", "off-grid-gp", "gaussian-process", "wave-frame-gp"}
    quick = [name for name in ready if name not in slow]

    def attempt(rng: random.Random) -> None:
        name = rng.choice(quick if rng.random() < 0.97 else sorted(slow))
        size = tuple(rng.choice((0, 1, 2, 3, 4, 6)) if rng.random() < 0.08 else side for side in (2, 4, 6, 1))
        observed = hostile_channels(rng, size, field)
        mask = hostile_mask(rng, np.shape(observed))
        if hasattr(ready[name], "learn") and rng.random() < 0.2:
            ready[name].learn(Examples.of_channels(observed))
        answer = ready[name].predict(observed, mask)
        assert answer.dtype == np.complex64
        assert answer.shape == np.shape(observed)
        assert np.isfinite(answer).all()

    return attempt


def sequence_predictors(folder: Path) -> Attempt:
    """Past frames, masks and horizons of any kind for every predictor of sequences."""
    past, _ = a_sequence()
    made = {name: make() for name, make in BASELINES.items()}
    ready = {name: row for name, row in made.items() if isinstance(row, SequenceEstimator)}
    quick = [name for name in ready if name != "harmonic-pursuit"]

    def attempt(rng: random.Random) -> None:
        name = rng.choice(quick) if rng.random() < 0.97 else "harmonic-pursuit"
        size = tuple(rng.choice((0, 1, 2, 3)) if rng.random() < 0.06 else side for side in past.shape)
        frames = hostile_channels(rng, size, past)
        mask = hostile_mask(rng, np.shape(frames))
        horizon = rng.choice((1, 2, 3)) if rng.random() < 0.8 else rng.choice((0, -1, 1.5, "2", None, True, 2.0))
        answer = ready[name].predict(frames, mask, horizon)
        assert answer.shape == (len(frames), horizon, *np.shape(frames)[2:])
        assert np.isfinite(answer).all()

    return attempt


def measures(folder: Path) -> Attempt:
    """Metrics, masks and tasks."""
    field, _ = a_link()
    past, _ = a_sequence()
    metrics = [nmse, psnr, ssim, squared_cosine_similarity, lambda a, b: achievable_rate(a, b, 10.0)]

    def attempt(rng: random.Random) -> None:
        kind = rng.randrange(6)
        if kind <= 1:
            first, second = (hostile_channels(rng, field.shape, field) for _ in range(2))
            if rng.random() < 0.5 and isinstance(first, np.ndarray):
                first, second = first[..., 0], np.asarray(second)[..., 0] if np.ndim(second) else second
            found = rng.choice(metrics)(first, second)
            assert np.isfinite(found).all()
            if len(found):
                values = summary(found) if kind else bootstrap_interval(found, resamples=10)
                assert np.isfinite(dataclasses.astuple(values) if kind else values).all()
        elif kind == 2:
            peaks = polar_peaks(hostile_channels(rng, field.shape, field))
            assert np.isfinite(peaks.sines).all()
            assert np.isfinite(peaks.inverse_range).all()
        elif kind == 3:
            counts = [rng.choice((0, 1, 2, 5, -1, 2.5, "3", None)) if rng.random() < 0.3 else 4 for _ in range(3)]
            ratio = rng.choice((0.5, 0.0, 1.0, *PLAIN))
            mask = rng.choice(list(MASKS.values()))(np.random.default_rng(0), *counts, ratio)
            assert mask.shape == (*counts, 1)
            assert mask.any(axis=(1, 2, 3)).all()
        elif kind == 4:
            blocks = Examples.of_channels(hostile_channels(rng, field.shape, field)).blocks
            case = Partial(rng.choice((*MASKS, "x")), rng.choice((0.5, *PLAIN)), rng.choice(PLAIN))
            drawn = Extrapolation().examples(blocks, case, rng.choice((0, 1, -1, 2**70, 1.5)))
            assert np.isfinite(drawn.observation.values).all()
        else:
            frames = checked_sequences(hostile_channels(rng, past.shape, past), "sequences")
            _, steps, rows, cols, tones = frames.shape
            grid = Grid(UPA(rows, cols, 3.5e9), np.arange(float(steps)), 3.5e9 + 1e5 * np.arange(tones))
            task = Prediction(context=2, horizons=(rng.choice((1, 2, 2, 2, 7)),))
            drawn = task.examples(
                unlabelled(frames, grid), Past(rng.choice((None, 10.0, *PLAIN)), rng.choice((1, 1, 2, 9))), 0
            )
            assert np.isfinite(drawn.observation.values).all()

    return attempt


def foreign_arrays(folder: Path) -> Attempt:
    """Plain arrays in .npz, .npy and .mat files, with settings of any kind."""
    channels = the_channels()
    files = {name: folder / f"h.{name}" for name in ("npz", "mat", "npy")}
    for name in ("npz", "mat"):
        export_arrays(channels, files[name])
    np.save(files["npy"], channels.response)
    contents = {name: path.read_bytes() for name, path in files.items()}
    stored = dict(np.load(files["npz"]))
    matlab_7_3 = _as_matlab_7_3(stored)
    axes = (
        "axes=snapshot,antenna,frequency",
        "axes=antenna,snapshot,frequency",
        "axes=snapshot,row*col,part",
        "axes=x",
    )

    def attempt(rng: random.Random) -> None:
        name = rng.choice(("npz", "npz", "mat", "npy"))
        settings = [*ARRAY_SETTINGS, rng.choice(axes[:1] * 5 + axes)] if name == "npy" or rng.random() < 0.4 else []
        if rng.random() < 0.3:
            settings.append(f"{rng.choice(('array.rows', 'axes', 'key', 'frequencies_hz', 'split', 'x'))}={flow(rng)}")
        if name == "npz" and rng.random() < 0.7:
            arrays = dict(stored)
            changed = rng.choice(sorted(arrays))
            value = arrays.pop(changed)
            if rng.random() < 0.8:
                arrays[changed] = (
                    other_array(value, rng) if value.dtype.kind != "U" else np.array(str(rng.choice(PLAIN)))
                )
            np.savez(files[name], **arrays)
        else:
            right = matlab_7_3 if name == "mat" and matlab_7_3 and rng.random() < 0.3 else contents[name]
            files[name].write_bytes(other_bytes(right, rng) if rng.random() < 0.9 else right)
        read_and_store("arrays", files[name], folder / "out", settings, rng)

    return attempt


def read_and_store(kind: str, path: Path, out: Path, settings: list[str], rng: random.Random) -> None:
    """Import a foreign file; few are stored as data sets, whose pictures take most of the time."""
    _, found = read_foreign(kind, path, settings)
    check_channels(found.channels)
    if rng.random() < 0.03:
        shutil.rmtree(out, ignore_errors=True)
        dataset = import_dataset(kind, path, out, settings)
        check_channels(dataset.load(dataset.splits[0]))


def _as_matlab_7_3(stored: dict[str, np.ndarray]) -> bytes:
    """The same as an HDF5 file behind MATLAB's header; nothing where h5py is not installed."""
    if importlib.util.find_spec("h5py") is None:
        return b""
    h5py: Any = importlib.import_module("h5py")
    content = io.BytesIO()
    with h5py.File(content, "w", userblock_size=512) as file:
        for name, values in stored.items():
            pair = np.dtype([("real", np.float32), ("imag", np.float32)])
            if values.dtype.kind != "U":
                file[name] = values.T.copy().view(pair) if values.dtype.kind == "c" else np.asarray(values.T)
    made = bytearray(content.getvalue())
    made[:128] = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    return bytes(made)


def deepmimo(folder: Path) -> Attempt:
    """DeepMIMO scenarios with a file spoilt or lost."""
    export_deepmimo(the_paths(), ARRAY, folder / "right")
    files = sorted(path for path in (folder / "right").rglob("*") if path.is_file())
    contents = {path: path.read_bytes() for path in files}

    def attempt(rng: random.Random) -> None:
        path = rng.choice(files)
        try:
            if path.suffix == ".json" and rng.random() < 0.7:
                path.write_text(json.dumps(other_values(json.loads(contents[path]), rng)))
            elif path.suffix == ".npz" and rng.random() < 0.8:
                arrays = dict(np.load(path))
                name = rng.choice(sorted(arrays))
                arrays[name] = other_array(arrays[name], rng)
                np.savez(path, **arrays)
            elif rng.random() < 0.9:
                path.write_bytes(other_bytes(contents[path], rng))
            else:
                path.unlink()
            read_and_store("deepmimo", folder / "right", folder / "out", [], rng)
        finally:
            path.write_bytes(contents[path])

    return attempt


def sionna(folder: Path) -> Attempt:
    """Stored paths of Sionna with an array spoilt or lost."""
    shape, depth = (1, 6, 2, 1, 3), 2
    generator = np.random.default_rng(0)
    tensors: dict[str, Any] = {name: generator.random(shape) for name in NEEDED}
    tensors["a"] = (generator.normal(size=shape) + 1j).astype(np.complex64)
    tensors["tau"] = 1e-7 * (1 + tensors["tau"])
    tensors["valid"] = np.ones(shape, np.bool_)
    tensors["interactions"] = np.ones((depth, *shape), np.int32)
    tensors["objects"] = generator.integers(0, 3, (depth, *shape))
    tensors["vertices"] = generator.normal(size=(depth, *shape, 3))
    tensors["positions_m"] = np.array([[40.0, 0.0, 1.5], [50.0, 3.0, 1.5]])
    file = folder / "paths.npz"
    np.savez(file, **tensors)
    right = file.read_bytes()

    def attempt(rng: random.Random) -> None:
        if rng.random() < 0.8:
            arrays = dict(tensors)
            name = rng.choice(sorted(arrays))
            value = arrays.pop(name)
            if rng.random() < 0.9:
                arrays[name] = other_array(value, rng)
            np.savez(file, **arrays)
        else:
            file.write_bytes(other_bytes(right, rng))
        settings = [*ARRAY_SETTINGS, f"array_end={rng.choice(('rx', 'rx', 'rx', 'tx', 'x'))}"]
        if rng.random() < 0.2:
            settings.append(f"station={flow(rng)}")
        read_and_store("sionna", file, folder / "out", settings, rng)

    return attempt


def maps(folder: Path) -> Attempt:
    """Street maps of every format."""

    def attempt(rng: random.Random) -> None:
        name, content = next(map_inputs(rng))
        path = folder / name
        path.write_bytes(content)
        refusal = read_hostile_map(path)
        if isinstance(refusal, Exception):
            raise refusal

    return attempt


KINDS: dict[str, Kind] = {
    "maps": Kind(0.10, maps),
    "recipes": Kind(0.15, recipes),
    "manifests": Kind(0.12, manifests),
    "claims": Kind(0.04, claims),
    "shards": Kind(0.13, shards),
    "records": Kind(0.10, records),
    "checkpoints": Kind(0.06, checkpoints),
    "names": Kind(0.02, names),
    "predictors": Kind(0.10, predictors),
    "sequence-predictors": Kind(0.05, sequence_predictors),
    "measures": Kind(0.07, measures),
    "foreign-arrays": Kind(0.04, foreign_arrays),
    "deepmimo": Kind(0.01, deepmimo),
    "sionna": Kind(0.01, sionna),
}
