"""Predictors by name: what a name means, whether it is there, what makes its numbers change."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import nn

from channelfm.baselines import BASELINES
from channelfm.checkpoints import holds_checkpoint, load_reconstructor, packaged_models, predicts_sequences
from channelfm.config import brief, shipped_recipes
from channelfm.errors import InputError
from channelfm.tasks.predictor import Predictor

# What estimates are made with: a change in any of these files makes kept measurements stale.
_ESTIMATING = ("baselines", "diffusion.py", "metrics.py", "models", "tasks", "tokens", "waves")


@dataclass(frozen=True)
class Entry:
    """A predictor that is there: the ``source`` it was asked for by, the ``name`` of its rows, its number of trained
    ``parameters``, and the ``identity`` of its weights, its configuration and the code."""

    source: str
    name: str
    parameters: int
    identity: str

    def load(self, spacing_wavelengths: float | None = None, device: str = "cpu") -> Predictor:
        """A classical predictor for arrays of this spacing, or a network from its checkpoint, on a device."""
        predictor: Predictor
        if self.source in BASELINES:
            predictor = BASELINES[self.source](spacing_wavelengths=spacing_wavelengths)
        else:
            predictor = load_reconstructor(self.source, device, spacing_wavelengths)
        predictor.name = self.name
        return predictor


def find_predictors(names: Sequence[str]) -> list[Entry]:
    """The predictors that names mean: rows of ``BASELINES``, packaged models, folders of checkpoints or runs, each with
    another row name as "NAME=FOLDER", and the words "classical" and "packaged" for all of a kind. Networks are loaded
    once, which checks their weights, and let go.

    Raises InputError for a name that is none of these, a folder without a checkpoint (naming how to train it), two
    predictors of one row name, and no predictor at all.
    """
    kinds: dict[str, Callable[[], list[str]]] = {
        "classical": lambda: list(BASELINES),
        "packaged": lambda: [name for name in packaged_models() if not predicts_sequences(name)],
    }
    sources = dict.fromkeys(source for name in names for source in (kinds[name]() if name in kinds else [name]))
    entries = [_find(source) for source in sources]
    if not entries:
        raise InputError(f"predictors {list(names)}: this version packages no model; name a classical one or a folder")
    rows = [entry.name for entry in entries]
    check_names(rows)
    return entries


def check_names(rows: Sequence[str]) -> None:
    """InputError where two predictors would have one row name."""
    if len(set(rows)) < len(rows):
        raise InputError(f"predictors {list(rows)}: two rows would have the same name; write one as NAME=FOLDER")


def named(asked: str) -> tuple[str | None, str]:
    """Row name and source of "NAME=SOURCE"; no name where none is given, as in the path of a folder with a = in it."""
    name, equals, source = asked.partition("=")
    if not equals or "/" in name or os.path.exists(asked):
        return None, asked
    if not (name.strip() and source.strip()):
        raise InputError(f"predictor '{brief(asked)}': write it as NAME=FOLDER")
    return name.strip(), source.strip()


def load_predictor(name: str, spacing_wavelengths: float | None = None, device: str = "cpu") -> Predictor:
    """A classical predictor by its row name, or else a checkpoint by name or path."""
    return _find(name).load(spacing_wavelengths, device)


def parameters_of(predictor: Predictor) -> int:
    """Number of trained parameters: those of the networks that a predictor holds, 0 for a classical one."""
    return sum(parameter.numel() for network in _networks(predictor) for parameter in network.parameters())


def _networks(predictor: Predictor) -> list[nn.Module]:
    return [value for value in vars(predictor).values() if isinstance(value, nn.Module)]


def _find(asked: str) -> Entry:
    name, source = named(asked)
    if source in BASELINES:
        return Entry(source, name or source, 0, code_identity())
    if not holds_checkpoint(source):
        raise InputError(f"predictor '{brief(source)}': {_remedy(source, Path(source))}")
    predictor = load_reconstructor(source)
    digest = hashlib.sha256((code_identity() + predictor.recipe.content_hash()).encode())
    for part in _networks(predictor):
        for tensor_name, tensor in part.state_dict().items():
            digest.update(tensor_name.encode() + tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return Entry(source, name or predictor.name, parameters_of(predictor), digest.hexdigest())


def _remedy(source: str, folder: Path) -> str:
    """What is wrong with a source that is neither a predictor nor a checkpoint, and how to mend it."""
    if len(folder.parts) < 2 and not os.path.exists(folder):
        packaged = ", ".join(packaged_models()) or "none in this version"
        return f"no such one; classical: {', '.join(BASELINES)}; packaged: {packaged}; or give a checkpoint's folder"
    run = folder.parent if folder.name == "checkpoint" else folder
    recipe = f"pretrain-{run.name}" if f"pretrain-{run.name}" in shipped_recipes() else "RECIPE"
    return f"no checkpoint there; train it: channelfm pretrain {recipe} --data DATASET --out {brief(str(run))}"


@cache
def code_identity() -> str:
    """SHA-256 over the source of all that makes and measures estimates."""
    package = Path(__file__).resolve().parent.parent
    files = [file for name in _ESTIMATING for file in [package / name, *sorted((package / name).rglob("*.py"))]]
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            digest.update(file.relative_to(package).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()
