"""Checkpoints that a run builds on: the one it starts from, and the teacher that a distillation learns from."""

from __future__ import annotations

import hashlib

import torch
from safetensors.torch import save as serialize
from torch import nn

from channelfm.checkpoints import load_model
from channelfm.errors import InputError
from channelfm.learned.estimator import DiffusionEstimator
from channelfm.learned.recipe import DiffusionModel
from channelfm.pretraining.recipe import PretrainRecipe

START, TEACHER = "start", "teacher"
HEADS = ("feedback.",)  # parts of networks that are put on a pretrained one


def origins(recipe: PretrainRecipe) -> dict[str, str]:
    """Names or paths of the checkpoints, by the part they play."""
    named = {START: recipe.start_from, TEACHER: getattr(recipe.objective, TEACHER, None)}
    return {part: checkpoint for part, checkpoint in named.items() if checkpoint is not None}


def origin_hashes(recipe: PretrainRecipe) -> dict[str, str]:
    """``start_sha256`` and ``teacher_sha256``, over names, shapes and values of the weights, where there are any.

    Raises what :func:`channelfm.checkpoints.load_model` does.
    """
    networks = {part: load_model(checkpoint).network for part, checkpoint in origins(recipe).items()}
    return {f"{part}_sha256": hashlib.sha256(serialize(net.state_dict())).hexdigest() for part, net in networks.items()}


def start_from(network: nn.Module, checkpoint: str) -> None:
    """Give a network the weights of a checkpoint, but for a head that this has not; InputError if they do not fit."""
    try:
        missing, unexpected = network.load_state_dict(load_model(checkpoint).network.state_dict(), strict=False)
        if unexpected or any(not name.startswith(HEADS) for name in missing):
            raise RuntimeError(f"missing {missing}, unexpected {unexpected}")
    except RuntimeError as error:
        raise InputError(
            f"start_from = {checkpoint}: its weights do not fit predictor.model with predictor.model_options; "
            "give those of the checkpoint"
        ) from error


def teacher_of(recipe: PretrainRecipe, device: torch.device) -> DiffusionEstimator | None:
    """The objective's ``teacher``, whose network does not learn; None where it names none.

    Raises InputError for one that works in another frame or is no diffusion model.
    """
    if TEACHER not in origins(recipe):
        return None
    teacher, own = load_model(origins(recipe)[TEACHER], str(device)), recipe.predictor
    if not isinstance(teacher, DiffusionEstimator) or not isinstance(own, DiffusionModel):
        raise InputError(f"objective.teacher: its method is {teacher.recipe.method}; give one of diffusion")
    if teacher.recipe.frame != own.frame:
        raise InputError(
            f"objective.teacher: its frame is {teacher.recipe.frame}, predictor.frame {own.frame}; make them alike"
        )
    teacher.network.requires_grad_(False)
    return teacher
