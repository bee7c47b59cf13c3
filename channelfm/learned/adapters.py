"""Rows that learn before they answer: ways to adapt a model, "MODEL+WAY"; and those of networks of their own."""

from __future__ import annotations

from collections.abc import Callable

from channelfm.estimator import Estimator, Learns
from channelfm.learned.adaptation import Adapted
from channelfm.learned.blind import BlindCalibration
from channelfm.learned.channelnet import ChannelNetEstimator
from channelfm.learned.estimator import Model
from channelfm.learned.pilot_head import PilotHead

# From a model and the name of the row: heads that see a model of which nothing learns, the last block, a change of low
# rank, or all; a head that fuses several diffusion steps; a CE head before the model.
ADAPTERS: dict[str, Callable[[Model, str], Learns]] = {
    "probe": lambda model, name: Adapted(model, "probe", name=name),
    "partial": lambda model, name: Adapted(model, "partial", name=name),
    "lora": lambda model, name: Adapted(model, "lora", name=name),
    "full": lambda model, name: Adapted(model, "full", name=name),
    "fusion": lambda model, name: Adapted(model, "probe", name=name, fused=True, learning_rate=5e-4),
    "ce": lambda model, name: PilotHead(model, name),
}
RIVALS: dict[str, Callable[[], Estimator]] = {"channelnet": ChannelNetEstimator, "blind-calibrated": BlindCalibration}
