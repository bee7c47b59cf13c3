"""Checkpoints: a folder with weights, configuration and provenance, whole or not at all.

``model.safetensors``   weights, as the network's state dict
``config.yaml``         format version, the model's recipe, SHA-256 of the weights, provenance (recipe, data, versions)
``README.md``           the card, for people; checkpoints that ship with the package have one

Nothing in the first two depends on the clock or on the machine's paths, so that the same run writes the same bytes.
A checkpoint of another package version loads if its format is the same or format 1, in which recipes had the fields
of all methods.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load as deserialize
from safetensors.torch import save as serialize
from torch import nn

from channelfm import __version__
from channelfm.config import Recipe, brief, parse_recipe
from channelfm.errors import InputError, IntegrityError
from channelfm.files import write_atomically
from channelfm.learned.estimator import Model, estimator_of
from channelfm.learned.recipe import ModelRecipe, from_format_1
from channelfm.plain import read_yaml

FORMAT = 2
WEIGHTS = "model.safetensors"
CONFIG = "config.yaml"
CARD = "README.md"
CHECKPOINT, STATE = "checkpoint", "state.safetensors"  # what a run's folder holds in the end, and on the way there
_PACKAGED = Path(__file__).resolve().parent / "weights"


class CheckpointConfig(Recipe):
    """What ``config.yaml`` holds. ``provenance`` is free text about where the weights come from."""

    format: int
    predictor: ModelRecipe
    weights_sha256: str
    provenance: dict[str, Any] = Field(default_factory=dict)


def save_checkpoint(
    folder: str | Path,
    network: nn.Module,
    predictor: ModelRecipe,
    provenance: dict[str, Any],
    dtype: torch.dtype | None = None,
) -> Path:
    """Write a checkpoint folder and return it. The configuration, which vouches for the weights, is written last.

    ``dtype`` is that of floating-point weights on disk: None keeps the network's, ``torch.bfloat16`` halves the file
    of a model that is passed on. ``provenance`` is completed by the package versions where it names none.
    Raises InputError for weights that are not finite: the training they come from has diverged.
    """
    folder = Path(folder)
    state = {name: _as_stored(tensor, dtype) for name, tensor in network.state_dict().items()}
    broken = _not_finite(state)
    if broken:
        raise InputError(f"tensor '{broken}' holds NaN or infinity: training has diverged, lower the learning rate")
    weights = serialize(state)
    config = CheckpointConfig(
        format=FORMAT,
        predictor=predictor,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        provenance={"versions": versions()} | provenance,
    )
    write_atomically(folder / WEIGHTS, weights)
    write_atomically(folder / CONFIG, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False).encode())
    return folder


def load_checkpoint(folder: str | Path) -> tuple[nn.Module, CheckpointConfig]:
    """The network with its weights in float32, in evaluation mode on the CPU, and the configuration.

    Raises InputError for a folder that is no checkpoint or is of another format, and IntegrityError for weights
    that are damaged, not finite, or do not fit the configured network.
    """
    folder = Path(folder)
    config = read_config(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        raise IntegrityError(f"{path}: missing although {CONFIG} is there; write the checkpoint again")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != config.weights_sha256:
        raise IntegrityError(f"{path}: its SHA-256 is not the one in {CONFIG}; the file is damaged, write it again")
    try:
        state = deserialize(content)
    except SafetensorError as error:
        raise IntegrityError(f"{path}: not a whole safetensors file ({error}); write it again") from error
    with torch.device("meta"):  # so that a wrong size costs no memory
        _check_tensors(path, state, config.predictor.network().state_dict())
    network = config.predictor.network()
    network.load_state_dict(state)
    return network.eval(), config


def read_config(folder: str | Path) -> CheckpointConfig:
    """The configuration of a checkpoint folder; InputError if there is none or its format is unknown."""
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise InputError(f"{folder}: no checkpoint there ({CONFIG} is missing); give a folder that 'pretrain' wrote")
    try:
        values = read_yaml(path)
    except ValueError as error:
        raise IntegrityError(f"{path}: not valid YAML ({error}); write the checkpoint again") from error
    found = values.get("format") if isinstance(values, dict) else None
    if found not in (1, FORMAT):
        raise InputError(
            f"{path}: checkpoint format {brief(found)}, this version reads 1 and {FORMAT}; pretrain again or update"
        )
    if found == 1 and isinstance(values.get("predictor"), dict):
        try:
            values |= {"predictor": from_format_1(values["predictor"]), "format": FORMAT}
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    return parse_recipe(CheckpointConfig, values, str(path))


def packaged_models() -> list[str]:
    """Names of the checkpoints that ship with the package."""
    return sorted(folder.parent.name for folder in _PACKAGED.glob(f"*/{CONFIG}"))


def load_model(name_or_path: str | Path, device: str = "cpu", spacing_wavelengths: float | None = None) -> Model:
    """A ready estimator from a packaged checkpoint's name, or the path of a checkpoint or a run.

    ``spacing_wavelengths`` is the element spacing where ``predict`` is not told any, in wavelengths of the array's own
    carrier. A model is given no carrier and needs none: spherical waves depend on lengths in wavelengths only, so that
    the spacing is all that can be wrong. Models that predict sequences do without. Those are
    :class:`channelfm.estimator.SequenceEstimator`; ``read_config(checkpoint_folder(name)).predictor.of_sequences``
    tells so without the weights.

    Raises InputError that lists what is available for a name that is neither, and for a raw-frame checkpoint at a
    spacing that differs from training's by more than 1 %.
    """
    network, config = load_checkpoint(checkpoint_folder(name_or_path))
    return estimator_of(network.to(device), config.predictor, spacing_wavelengths)


def write_card(
    folder: str | Path,
    *,
    data: str,
    budget: str,
    hardware: str,
    results: Sequence[Mapping[str, object]],
    limits: str,
) -> Path:
    """Write a checkpoint's ``README.md``: what people should know who meet the folder without us; returns its path.

    ``data``, ``budget``, ``hardware``, ``limits`` are Markdown. ``results`` are rows of one table, which all have the
    columns of the first; an empty sequence leaves the table out. Recipe, versions, sizes and hash are taken from the
    checkpoint itself. Raises what :func:`load_checkpoint` does.
    """
    folder = Path(folder)
    network, config = load_checkpoint(folder)
    sections = {
        "Data": data,
        "Training": f"{budget}\n\n{_recipe_block(config)}",
        "Hardware": hardware,
        "Results": _table(results),
        "Limits": limits,
        "Use": f'```python\nimport channelfm as cfm\n\nmodel = cfm.load_model("{folder.name}")\n{_use(config)}\n```',
    }
    parts = [_heading(folder, network, config), *(f"## {title}\n\n{text}" for title, text in sections.items() if text)]
    write_atomically(folder / CARD, "\n\n".join(parts).encode() + b"\n")
    return folder / CARD


def versions() -> dict[str, str]:
    """Versions of the packages that a checkpoint's numbers depend on."""
    return {"channelfm": __version__} | {name: metadata.version(name) for name in ("torch", "diffusers", "numpy")}


def holds_checkpoint(name_or_path: str | Path) -> bool:
    """Whether a name or path leads to a checkpoint, whole or not."""
    try:
        checkpoint_folder(name_or_path)
    except InputError:
        return False
    return True


def checkpoint_folder(name_or_path: str | Path) -> Path:
    """The folder of a packaged checkpoint's name, of a checkpoint's path or of a run's, which holds its checkpoint.

    Raises InputError, listing what there is, for none of these, and for a run that is not finished.
    """
    if str(name_or_path) in packaged_models():
        return _PACKAGED / name_or_path
    folder = Path(name_or_path)
    for place in (folder, folder / CHECKPOINT):
        if os.path.isfile(place / CONFIG):  # which asks no question of a name that no file can have
            return place
    if os.path.isfile(folder / STATE):
        raise InputError(f"{folder}: a run that is not finished; 'channelfm pretrain' with its recipe goes on with it")
    if os.path.isdir(folder):
        raise InputError(f"{folder}: no checkpoint there ({CONFIG} is missing); give a folder that 'pretrain' wrote")
    names = ", ".join(packaged_models()) or "none in this version"
    raise InputError(
        f"model '{brief(str(name_or_path))}': neither a checkpoint folder nor a packaged model "
        f"(packaged: {names}); 'channelfm pretrain' writes a folder"
    )


def _as_stored(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """A tensor as it goes to disk: on the CPU, contiguous, floating point as ``dtype``."""
    kept = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", kept).contiguous()


def _not_finite(state: dict[str, torch.Tensor]) -> str | None:
    """Name of the first tensor that holds NaN or infinity."""
    return next((name for name, tensor in state.items() if not tensor.isfinite().all()), None)


def _check_tensors(path: Path, state: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """IntegrityError that names the first tensor which is missing, foreign, of another shape or not finite."""
    for name in sorted(wanted.keys() | state.keys()):
        found, expected = (tuple(side[name].shape) if name in side else None for side in (state, wanted))
        if found != expected:
            raise IntegrityError(
                f"{path}: tensor '{name}' has shape {found}, the configured network expects {expected}; "
                f"the weights belong to another model than {CONFIG} names"
            )
        if state[name].is_floating_point() != wanted[name].is_floating_point():
            raise IntegrityError(f"{path}: tensor '{name}' holds {state[name].dtype}, not {wanted[name].dtype}")
    broken = _not_finite(state)
    if broken:
        raise IntegrityError(f"{path}: tensor '{broken}' holds NaN or infinity; get or train the model again")


def _heading(folder: Path, network: nn.Module, config: CheckpointConfig) -> str:
    count = sum(weight.numel() for weight in network.parameters())
    megabytes = (folder / WEIGHTS).stat().st_size / 1e6
    recipe = config.predictor
    purpose = "Reconstructs the channel of a whole antenna array from the antennas that were observed."
    if recipe.of_sequences:
        purpose = "Predicts the frames that follow a sequence of channel frames."
    return (
        f"# {folder.name}\n\nNetwork `{recipe.model}`, method `{recipe.method}`, {recipe.sees}; "
        f"{count:,} parameters, {megabytes:.1f} MB. {purpose}\nSHA-256 of the weights: `{config.weights_sha256}`"
    )


def _use(config: CheckpointConfig) -> str:
    """How a model is asked, a line of Python."""
    if config.predictor.of_sequences:
        return "future = model.predict(past, mask, horizon=8)  # complex64 [sequence, frame, row, column, frequency]"
    if config.predictor.method in ("clusters", "prior"):
        return "channels = model.estimate(observation)  # complex64 [N, time, row, column, frequency]; tell its noise"
    return "channels = model.predict(observed, mask)  # complex64 [snapshot, row, column, frequency]"


def _recipe_block(config: CheckpointConfig) -> str:
    """The pretraining recipe, if the provenance has one, else the predictor's; and the versions."""
    plain = config.provenance.get("recipe") or {"predictor": config.predictor.model_dump(mode="json")}
    made_with = ", ".join(f"{name} {number}" for name, number in config.provenance.get("versions", {}).items())
    text = yaml.safe_dump(plain, sort_keys=False, default_flow_style=None, width=110)
    return f"With {made_with}:\n\n```yaml\n{text}```"


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as a Markdown table; nothing where there are none."""
    if not rows:
        return ""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([str(row[column]) for column in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
