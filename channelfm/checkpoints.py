"""Checkpoints: a folder with weights, configuration and provenance, whole or not at all.

``model.safetensors``   weights, as the network's state dict
``config.yaml``         format version, predictor recipe, SHA-256 of the weights, provenance (recipe, data, versions)

Nothing in it depends on the clock or on the machine's paths, so that the same run writes the same bytes.
"""

from __future__ import annotations

import hashlib
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
from channelfm.config import Recipe, parse_recipe
from channelfm.errors import InputError, IntegrityError
from channelfm.models.zoo import build
from channelfm.records import write_atomically
from channelfm.tasks.diffusion_predictor import DiffusionPredictor, PredictorRecipe

FORMAT = 1
WEIGHTS = "model.safetensors"
CONFIG = "config.yaml"
_PACKAGED = Path(__file__).resolve().parent / "weights"


class CheckpointConfig(Recipe):
    """What ``config.yaml`` holds. ``provenance`` is free text about where the weights come from."""

    format: int
    predictor: PredictorRecipe
    weights_sha256: str
    provenance: dict[str, Any] = Field(default_factory=dict)


def save_checkpoint(
    folder: str | Path, network: nn.Module, predictor: PredictorRecipe, provenance: dict[str, Any]
) -> Path:
    """Write a checkpoint folder and return it. The configuration, which vouches for the weights, is written last."""
    folder = Path(folder)
    weights = serialize({name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()})
    config = CheckpointConfig(
        format=FORMAT,
        predictor=predictor,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        provenance=provenance | {"versions": versions()},
    )
    write_atomically(folder / WEIGHTS, weights)
    write_atomically(folder / CONFIG, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False).encode())
    return folder


def load_checkpoint(folder: str | Path) -> tuple[nn.Module, CheckpointConfig]:
    """The network with its weights, in evaluation mode on the CPU, and the configuration.

    Raises InputError for a folder that is no checkpoint or is of another format, and IntegrityError for weights
    that are damaged or do not fit the configured network.
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
    network = build(config.predictor.model, **config.predictor.model_options)
    _check_shapes(path, state, network.state_dict())
    network.load_state_dict(state)
    return network.eval(), config


def read_config(folder: str | Path) -> CheckpointConfig:
    """The configuration of a checkpoint folder; InputError if there is none or its format is unknown."""
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise InputError(f"{folder}: no checkpoint there ({CONFIG} is missing); give a folder that 'pretrain' wrote")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{path}: not valid YAML; write the checkpoint again") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        found = values.get("format") if isinstance(values, dict) else None
        raise InputError(f"{path}: checkpoint format {found}, this version reads {FORMAT}; pretrain again or update")
    return parse_recipe(CheckpointConfig, values, str(path))


def is_checkpoint_of(folder: str | Path, provenance: dict[str, str]) -> bool:
    """Whether a whole checkpoint with these provenance entries is in the folder."""
    if not (Path(folder) / CONFIG).is_file():
        return False
    network_config = load_checkpoint(folder)[1]
    return all(network_config.provenance.get(key) == value for key, value in provenance.items())


def packaged_models() -> list[str]:
    """Names of the checkpoints that ship with the package."""
    return sorted(folder.parent.name for folder in _PACKAGED.glob(f"*/{CONFIG}"))


def load_model(name_or_path: str | Path, device: str = "cpu") -> DiffusionPredictor:
    """A ready Predictor from a packaged checkpoint's name or a checkpoint folder's path.

    Raises InputError that lists what is available for a name that is neither.
    """
    packaged = _PACKAGED / str(name_or_path)
    folder = packaged if str(name_or_path) in packaged_models() else Path(name_or_path)
    if not folder.is_dir():
        names = ", ".join(packaged_models()) or "none in this version"
        raise InputError(
            f"model '{name_or_path}': neither a checkpoint folder nor a packaged model "
            f"(packaged: {names}); 'channelfm pretrain' writes a folder"
        )
    network, config = load_checkpoint(folder)
    return DiffusionPredictor(network.to(device), config.predictor)


def versions() -> dict[str, str]:
    """Versions of the packages that a checkpoint's numbers depend on."""
    return {"channelfm": __version__} | {name: metadata.version(name) for name in ("torch", "diffusers", "numpy")}


def _check_shapes(path: Path, state: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """IntegrityError that names the first tensor which is missing, foreign or of another shape."""
    for name in sorted(wanted.keys() | state.keys()):
        found, expected = (tuple(side[name].shape) if name in side else None for side in (state, wanted))
        if found != expected:
            raise IntegrityError(
                f"{path}: tensor '{name}' has shape {found}, the configured network expects {expected}; "
                f"the weights belong to another model than {CONFIG} names"
            )
