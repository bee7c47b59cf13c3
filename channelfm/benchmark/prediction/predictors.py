"""Predictors of sequences by name: classical ones, packaged models, checkpoint folders."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from channelfm.baselines.prediction import SEQUENCE_BASELINES
from channelfm.benchmark.predictors import check_names, code_identity
from channelfm.checkpoints import (
    CONFIG,
    checkpoint_folder,
    load_sequence_model,
    packaged_models,
    predicts_sequences,
    read_config,
)
from channelfm.errors import InputError
from channelfm.tasks.prediction import SequencePredictor


@dataclass(frozen=True)
class SequenceEntry:
    """A predictor that is there: the ``source`` it was asked for by, the ``name`` of its rows, its number of trained
    ``parameters``, and the ``identity`` of its weights, its configuration and the code."""

    source: str
    name: str
    parameters: int
    identity: str

    def load(self, device: str = "cpu") -> SequencePredictor:
        """The predictor, on a device where it is a network."""
        if self.source in SEQUENCE_BASELINES:
            return SEQUENCE_BASELINES[self.source]()
        return load_sequence_model(self.source, device)


def find_sequence_predictors(names: Sequence[str]) -> list[SequenceEntry]:
    """The predictors that names mean, "classical" and "packaged" being all of a kind.

    Raises InputError for a name that is none, and for two predictors of one row name.
    """
    packaged = [name for name in packaged_models() if predicts_sequences(name)]
    kinds = {"classical": list(SEQUENCE_BASELINES), "packaged": packaged}
    sources = dict.fromkeys(source for name in names for source in kinds.get(name, [name]))
    entries = [find_sequence_predictor(source) for source in sources]
    check_names([entry.name for entry in entries])
    return entries


def find_sequence_predictor(source: str, name: str | None = None) -> SequenceEntry:
    """One predictor, its rows named ``name`` instead of by itself where one is given."""
    if source in SEQUENCE_BASELINES:
        return SequenceEntry(source, name or source, 0, _digest(source + code_identity()))
    packaged = packaged_models()
    if source not in packaged and not (Path(source) / CONFIG).is_file():
        models = ", ".join(model for model in packaged if predicts_sequences(model)) or "none in this version"
        raise InputError(
            f"predictor '{source}': no such one; classical: {', '.join(SEQUENCE_BASELINES)}; packaged: {models}; or "
            "give a checkpoint's folder"
        )
    predictor, config = load_sequence_model(source), read_config(checkpoint_folder(source))
    parameters = sum(parameter.numel() for parameter in predictor.network.parameters())
    known = code_identity() + config.predictor.content_hash() + config.weights_sha256
    return SequenceEntry(source, name or predictor.name, parameters, _digest(known))


def _digest(known: str) -> str:
    return hashlib.sha256(known.encode()).hexdigest()
