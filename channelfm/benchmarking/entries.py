"""What a name of a row means: a classical estimator, a packaged model, a checkpoint, a model adapted to the task."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from channelfm.baselines import BASELINES
from channelfm.benchmarking.identity import identity, networks_of
from channelfm.checkpoints import holds_checkpoint, load_model, packaged_models
from channelfm.config import brief, shipped_recipes
from channelfm.errors import InputError
from channelfm.estimator import Estimator, Learns
from channelfm.learned.adapters import ADAPTERS, RIVALS

CLASSICAL, PACKAGED = "classical", "packaged"  # words for all of a kind


@dataclass(frozen=True)
class Entry:
    """An estimator that is there: the ``source`` it was asked for by, the ``name`` of its rows, its number of trained
    ``parameters``, the ``identity`` of its source code, settings and weights, whether it ``learns``, and the ``word``
    that it came by, if it was not named itself. ``tuned``: the set that a network was tuned on, and the percentage.
    """

    source: str
    name: str
    parameters: int
    identity: str
    learns: bool = False
    word: str | None = None
    tuned: tuple[str, float] | None = None

    def load(self, device: str = "cpu") -> Estimator:
        """The estimator, on a device where it is a network."""
        estimator: Estimator = _load(self.source, self.name, device)
        estimator.name = self.name
        return estimator


def find_entries(names: Sequence[str]) -> list[Entry]:
    """The estimators that names mean: rows of ``BASELINES`` and of ``RIVALS``, packaged models, folders of checkpoints
    or runs, each with another row name as "NAME=FOLDER" and adapted to a task as "MODEL+WAY", a key of ``ADAPTERS``,
    and the words "classical" and "packaged" for all of a kind. Networks are loaded once, which checks their weights,
    and let go.

    Raises InputError for a name that is none of these, a folder without a checkpoint (naming how to train it), two
    rows of one name, and no estimator at all.
    """
    asked: dict[str, str | None] = {}
    for name in names:
        for source in {CLASSICAL: list(BASELINES), PACKAGED: packaged_models()}.get(name, [name]):
            word = name if name in (CLASSICAL, PACKAGED) else None
            asked[source] = word if asked.get(source, word) is not None else None  # named itself wins
    entries = [find_entry(source, word) for source, word in asked.items()]
    if not entries:
        raise InputError(f"predictors {list(names)}: this version packages no model; name a classical one or a folder")
    check_names([entry.name for entry in entries])
    return entries


def find_entry(asked: str, word: str | None = None) -> Entry:
    """One estimator; raises as :func:`find_entries` does."""
    name, source = named(asked)
    estimator = _load(source, name or source)
    parameters = sum(parameter.numel() for network in networks_of(estimator) for parameter in network.parameters())
    own = source if source in BASELINES or source in RIVALS else estimator.name
    return Entry(source, name or own, parameters, identity(estimator), isinstance(estimator, Learns), word)


def check_names(rows: Sequence[str]) -> None:
    """InputError where two estimators would have one row name."""
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


def _load(source: str, name: str, device: str = "cpu") -> Any:
    if source in BASELINES:
        return BASELINES[source]()
    if source in RIVALS:
        return RIVALS[source]()
    model, plus, mode = source.rpartition("+")
    if plus and mode in ADAPTERS and not os.path.exists(source):
        return ADAPTERS[mode](load_model(model, device), name)
    if not holds_checkpoint(source):
        raise InputError(f"predictor '{brief(source)}': {_remedy(source, Path(source))}")
    return load_model(source, device)


def _remedy(source: str, folder: Path) -> str:
    """What is wrong with a source that is neither an estimator nor a checkpoint, and how to mend it."""
    if len(folder.parts) < 2 and not os.path.exists(folder):
        packaged = ", ".join(packaged_models()) or "none in this version"
        known = ", ".join([*BASELINES, *RIVALS])
        return f"no such one; classical: {known}; packaged: {packaged}; or give a checkpoint's folder"
    run = folder.parent if folder.name == "checkpoint" else folder
    recipe = f"pretrain-{run.name}" if f"pretrain-{run.name}" in shipped_recipes() else "RECIPE"
    return f"no checkpoint there; train it: channelfm pretrain {recipe} --data DATASET --out {brief(str(run))}"
