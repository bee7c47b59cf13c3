"""Predictors of sequences by name: classical ones, packaged models, folders of checkpoints or runs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from channelfm.baselines.time import SEQUENCE_BASELINES
from channelfm.benchmark.predictors import check_names, code_identity, named
from channelfm.checkpoints import (
    checkpoint_folder,
    holds_checkpoint,
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
        predictor: SequencePredictor
        if self.source in SEQUENCE_BASELINES:
            predictor = SEQUENCE_BASELINES[self.source]()
        else:
            predictor = load_sequence_model(self.source, device)
        predictor.name = self.name
        return predictor


def find_sequence_predictors(names: Sequence[str]) -> list[SequenceEntry]:
    """The predictors that names mean (:func:`channelfm.benchmark.predictors.find_predictors`), here of sequences.

    Raises InputError for a name that is none, and for two predictors of one row name.
    """
    packaged = [name for name in packaged_models() if predicts_sequences(name)]
    kinds = {"classical": list(SEQUENCE_BASELINES), "packaged": packaged}
    sources = dict.fromkeys(source for name in names for source in kinds.get(name, [name]))
    asked = [named(source) for source in sources]
    entries = [find_sequence_predictor(source, name) for name, source in asked]
    check_names([entry.name for entry in entries])
    return entries


def find_sequence_predictor(source: str, name: str | None = None) -> SequenceEntry:
    """One predictor, its rows named ``name`` instead of by itself where one is given."""
    if source in SEQUENCE_BASELINES:
        return SequenceEntry(source, name or source, 0, _digest(source + code_identity()))
    if not holds_checkpoint(source):
        models = ", ".join(filter(predicts_sequences, packaged_models())) or "none in this version"
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
