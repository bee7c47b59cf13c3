"""The state of an unfinished run in one safetensors file: network, moving average, optimizer moments, step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from channelfm.errors import InputError, IntegrityError
from channelfm.records import write_atomically

_MOMENTS = ("exp_avg", "exp_avg_sq")  # of AdamW


@dataclass
class TrainingState:
    """What changes from step to step; ``step`` counts finished steps."""

    network: nn.Module
    average: nn.Module
    optimizer: torch.optim.AdamW
    step: int = 0


def save_state(path: Path, state: TrainingState, identity: dict[str, str]) -> None:
    """Write the state atomically; ``identity`` (hashes of recipe and data) says which run it belongs to."""
    tensors = {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in state.average.state_dict().items()}
    for name, parameter in state.network.named_parameters():
        tensors |= {f"{moment}.{name}": state.optimizer.state[parameter][moment] for moment in _MOMENTS}
    content = serialize(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        metadata=identity | {"step": str(state.step)},
    )
    write_atomically(path, content)


def load_state(path: Path, state: TrainingState, identity: dict[str, str]) -> None:
    """Fill ``state`` from the file; leave it as it is if there is none.

    Raises IntegrityError for a damaged file, InputError for the state of another recipe or other data.
    """
    if not path.is_file():
        return
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise IntegrityError(f"{path}: damaged training state ({error}); delete it to start afresh") from error
    if any(header.get(key) != value for key, value in identity.items()):
        raise InputError(
            f"{path}: belongs to an unfinished run of another recipe or other data; delete it or choose another folder"
        )
    state.step = int(header["step"])
    state.network.load_state_dict(_part(tensors, "network"))
    state.average.load_state_dict(_part(tensors, "average"))
    moments = {moment: _part(tensors, moment) for moment in _MOMENTS}
    for name, parameter in state.network.named_parameters():
        state.optimizer.state[parameter] = {
            "step": torch.tensor(float(state.step), device=parameter.device),
            **{moment: moments[moment][name].to(parameter.device) for moment in _MOMENTS},
        }


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with ``prefix.``, without it."""
    return {
        name.removeprefix(f"{prefix}."): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")
    }
