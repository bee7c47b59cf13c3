"""Line-of-sight detection: whether a user is seen directly, from a few noisy antennas (seed 003, sensing tasks)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from channelfm.datasets.blocks import Blocks
from channelfm.errors import InputError
from channelfm.estimator import CLASSES, Examples
from channelfm.metrics import polar_peaks
from channelfm.observation import Complex, Float, Observation
from channelfm.tasks.base import Measure, Task, mean
from channelfm.tasks.observing import Decibels, MaskRecipe, Partial, partial
from channelfm.waves.geometry import wave_of

# Of the logarithm of the power in the strongest spherical wave over all other power, where both classes are as likely,
# and its slope: fitted to true channels of the training cities of laetwin-dev and laetwin-hard together.
_EVEN, _SLOPE = 3.26, 0.91


class LineOfSight(Task):
    """Is there a direct path? Kinds and ratios of ``masks``, crossed with ``snr_db`` (null: clean).

    The answer is float64 [N, 2]: probabilities that there is none, and that there is one.
    """

    kind: Literal["line-of-sight"] = "line-of-sight"
    masks: tuple[MaskRecipe, ...] = Field(default=(MaskRecipe(ratios=(0.75,)),), min_length=1)
    snr_db: tuple[Decibels | None, ...] = Field(default=(10.0,), min_length=1)

    gives: ClassVar[str] = CLASSES
    trivial: ClassVar[str] = "majority"
    beside: ClassVar[tuple[str, ...]] = ("masks", "snr_db")

    @property
    def measures(self) -> Sequence[Measure]:
        """See :class:`Task`; of the balanced accuracy, every answer counts by the inverse share of its true class."""
        return (
            Measure("balanced_accuracy", "balanced accuracy", "balanced", mean, more=True),
            Measure("accuracy", "accuracy", "accuracy", mean, more=True),
            Measure("log_loss", "mean logarithmic loss", "log_loss", mean, "nat"),
        )

    def cases(self) -> Sequence[Partial]:
        """See :class:`Task`."""
        return [
            Partial(mask.kind, ratio, snr_db) for snr_db in self.snr_db for mask in self.masks for ratio in mask.ratios
        ]

    def examples(self, blocks: Blocks, case: Partial, seed: int) -> Examples:
        """See :class:`Task`; InputError where all links are of one class, which asks for nothing."""
        target = blocks.labels.line_of_sight.astype(np.int64)
        if len(target) and target.min() == target.max():
            raise InputError("line-of-sight: all links are of one class; take a data set with both")
        return Examples(partial(blocks, case, seed), target, blocks)

    def from_channel(self, channel: Complex, observation: Observation) -> Float:
        """See :class:`Task`: a direct path is far stronger than all others together, reflected ones seldom are."""
        return _probabilities(_SLOPE * (_dominance(channel, observation) - _EVEN))

    def score(self, answer: Float, examples: Examples) -> Mapping[str, Float]:
        """See :class:`Task`."""
        if answer.shape != (len(examples), 2):
            raise InputError(f"answers of shape {answer.shape}: give two probabilities for each of {len(examples)}")
        truth = examples.target
        right = (answer.argmax(axis=1) == truth).astype(np.float64)
        share = np.bincount(truth, minlength=2) / len(truth)
        chosen = answer[np.arange(len(truth)), truth]
        return {
            "accuracy": right,
            "balanced": right / (2 * share[truth]),
            "log_loss": -np.log(np.clip(chosen, 1e-6, 1.0)),
        }


def _dominance(channel: Complex, observation: Observation) -> Float:
    """Natural logarithm [N] of the power in the strongest spherical wave over all other power, first frame; frequencies
    count by their power."""
    spacing, (_, rows, cols, _) = observation.grid.array.spacing_wavelengths, channel.shape[1:]
    field = channel[:, 0].astype(np.complex128)
    peaks = polar_peaks(channel[:, 0], spacing)
    sources = np.concatenate([peaks.sines, peaks.inverse_range[:, None]], axis=1)
    wave = wave_of(torch.from_numpy(sources), rows, cols, spacing).numpy().reshape(-1, rows, cols, 1)
    caught = np.sum(np.abs(np.sum(field * wave.conj(), axis=(1, 2))) ** 2, axis=1) / (rows * cols)
    power = np.sum(np.abs(field) ** 2, axis=(1, 2, 3))
    return np.asarray(np.log((caught + 1e-300) / np.maximum(power - caught, 1e-6 * power + 1e-300)))


def _probabilities(logit: Float) -> NDArray[np.float64]:
    direct = 1 / (1 + np.exp(-np.clip(logit, -30, 30)))
    return np.stack([1 - direct, direct], axis=1)
