"""The state of an unfinished run in one safetensors file: networks, moving average, optimizer moments, step.

Tensors may be spread over processes (FSDP): gathering and scattering them is done by all processes together.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from channelfm.errors import IntegrityError
from channelfm.files import write_atomically
from channelfm.plain import from_json
from channelfm.pretraining.identity import Identity

_MOMENTS = ("exp_avg", "exp_avg_sq")  # of AdamW
_AVERAGE = "average"


@dataclass
class Trained:
    """A network in training and its optimizer."""

    network: nn.Module
    optimizer: torch.optim.AdamW


@dataclass
class TrainingState:
    """What changes from step to step: networks by name, the moving average of the one that is kept, and ``step``, the
    number of finished steps."""

    trained: dict[str, Trained]
    average: nn.Module
    step: int = 0


def averaged(network: nn.Module) -> nn.Module:
    """A copy to hold the moving average of a network."""
    return copy.deepcopy(network).eval()


def whole_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors on the CPU, gathered from all processes where they are spread."""
    gathered = {name: t.full_tensor() if isinstance(t, DTensor) else t for name, t in tensors.items()}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in gathered.items()}


def state_tensors(state: TrainingState) -> dict[str, Tensor]:
    """All tensors of the state, by name."""
    tensors = {f"{_AVERAGE}.{name}": tensor for name, tensor in state.average.state_dict().items()}
    for key, trained in state.trained.items():
        tensors |= {f"{key}.{name}": tensor for name, tensor in trained.network.state_dict().items()}
        for name, parameter in trained.network.named_parameters():
            moments = trained.optimizer.state[parameter]
            tensors |= {f"{key}/{moment}.{name}": moments[moment] for moment in _MOMENTS}
    return tensors


def save_state(path: Path, state: TrainingState, identity: Identity, writes: bool = True) -> None:
    """Write the state atomically, in the process that ``writes``; ``identity`` says which run it belongs to."""
    tensors = whole_tensors(state_tensors(state))
    if writes:
        header = {"step": str(state.step), "settings": json.dumps(identity.settings)}
        write_atomically(path, serialize(tensors, metadata=identity.hashes | header))


def load_state(path: Path, state: TrainingState, identity: Identity) -> None:
    """Fill ``state`` from the file, if there is one in which a step was done; else it begins.

    Raises IntegrityError for a damaged file, InputError for the state of another run.
    """
    header, stored = _stored(path)
    state.step = int(header.get("step", 0))
    for trained in state.trained.values():
        for parameter in trained.network.parameters():
            moments = {moment: torch.zeros_like(parameter) for moment in _MOMENTS}
            step = torch.tensor(float(state.step), device=parameter.device)
            trained.optimizer.state[parameter] = {"step": step, **moments}
    if not state.step:
        return
    identity.refuse_another(f"{path.parent}: holds an unfinished run that", header, from_json(header["settings"]))
    tensors = state_tensors(state)
    if {name: tensor.shape for name, tensor in tensors.items()} != {name: t.shape for name, t in stored.items()}:
        raise IntegrityError(f"{path}: its tensors do not fit the recipe's networks; delete it to start afresh")
    with torch.no_grad():
        for name, tensor in tensors.items():
            _fill(tensor, stored[name])


def _stored(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Header and tensors of a state's file; nothing where there is none."""
    if not path.is_file():
        return {}, {}
    try:
        with safe_open(str(path), framework="pt") as file:
            header = dict(file.metadata() or {})
            if int(header["step"]) < 0 or not isinstance(from_json(header["settings"]), dict):
                raise ValueError("its header tells nothing")
            return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise IntegrityError(f"{path}: damaged training state ({error}); delete it to start afresh") from error


def _fill(tensor: Tensor, values: Tensor) -> None:
    if isinstance(tensor, DTensor):
        tensor.copy_(distribute_tensor(values.to(tensor.device), tensor.device_mesh, tensor.placements))
    else:
        tensor.copy_(values)
