"""What makes a run the run that it is, so that a folder never holds parts of two; and the checkpoints that it builds
on: the one it starts from, and the teacher that a distillation learns from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from safetensors.torch import save as serialize
from torch import nn

from channelfm.checkpoints import load_model
from channelfm.errors import InputError
from channelfm.learned.estimator import DiffusionEstimator
from channelfm.learned.recipe import DiffusionModel
from channelfm.pretraining.recipe import PretrainRecipe
from channelfm.pretraining.source import TrainingSource

_RECIPE, _DATA = "recipe_sha256", "data_sha256"
_NAMED = 3  # settings that a message names
START, TEACHER = "start", "teacher"
HEADS = ("feedback.",)  # parts of networks that are put on a pretrained one


@dataclass(frozen=True)
class Identity:
    """``hashes`` of recipe, data and the checkpoints that a run builds on; ``settings``: the recipe in plain words."""

    hashes: dict[str, str]
    settings: dict[str, Any]

    @classmethod
    def of(cls, recipe: PretrainRecipe, source: TrainingSource) -> Self:
        """The identity of a recipe's run on some data; raises what :func:`origin_hashes` does."""
        own = {_RECIPE: recipe.identity(), _DATA: source.fingerprint()}
        return cls(own | origin_hashes(recipe), recipe.what())

    def is_of(self, hashes: Mapping[str, Any]) -> bool:
        """Whether these hashes, of a stored run, are this one's."""
        return all(hashes.get(name) == value for name, value in self.hashes.items())

    def refuse_another(self, where: str, hashes: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """InputError that says what differs, unless the hashes of the run that ``where`` speaks of are this one's."""
        if self.is_of(hashes):
            return
        there, here = _flat(settings), _flat(self.settings)
        found = [
            f"{key} {there.get(key, 'unset')} there, {here.get(key, 'unset')} here"
            for key in {**there, **here}
            if there.get(key) != here.get(key)
        ]
        named = [*found[:_NAMED], *([f"{len(found) - _NAMED} more settings"] if len(found) > _NAMED else [])]
        origins = sorted(self.hashes.keys() - {_RECIPE, _DATA})
        for name, what in ((_DATA, "the training data"), *((name, f"the {name[:-7]} checkpoint") for name in origins)):
            if hashes.get(name) != self.hashes[name]:
                named.append(what)
        raise InputError(
            f"{where} differs: {'; '.join(named) or 'it is of another version'}; take the same settings and data to go "
            "on with it, or give another --out"
        )


def _flat(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return flat


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
