"""What tasks have in common that ask which of two classes a user is of, from a few noisy antennas."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from channelfm.datasets.blocks import Blocks
from channelfm.errors import InputError
from channelfm.estimator import CLASSES, Examples
from channelfm.observation import Bool, Complex, Float, Observation
from channelfm.records import Channels
from channelfm.tasks.base import Measure, Task, mean
from channelfm.tasks.observing import Decibels, MaskRecipe, Partial, partial, partial_cases


class Detection(Task):
    """Yes or no? Kinds and ratios of ``masks``, crossed with ``snr_db`` (null: clean).

    The answer is float64 [N, 2]: probabilities of no and yes. Subclasses say what is asked (:meth:`truth`), and how a
    channel tells it (:meth:`logit`).
    """

    masks: tuple[MaskRecipe, ...] = Field(default=(MaskRecipe(ratios=(0.75,)),), min_length=1)
    snr_db: tuple[Decibels | None, ...] = Field(default=(10.0,), min_length=1)

    gives: ClassVar[str] = CLASSES
    trivial: ClassVar[str] = "majority"
    beside: ClassVar[tuple[str, ...]] = ("masks", "snr_db")

    @abstractmethod
    def truth(self, labels: Channels) -> Bool:
        """The right answers, bool [N]."""

    @abstractmethod
    def logit(self, channel: Complex, observation: Observation) -> Float:
        """Logarithm [N] of how much likelier yes is than no, of channels [N, T, row, col, F]."""

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
        return partial_cases(self.masks, self.snr_db)

    def examples(self, blocks: Blocks, case: Partial, seed: int) -> Examples:
        """See :class:`Task`; InputError where all links are of one class, which asks for nothing."""
        target = self.truth(blocks.labels).astype(np.int64)
        if len(target) and target.min() == target.max():
            raise InputError(f"{self.kind}: all links are of one class; take a data set with both")
        return Examples(partial(blocks, case, seed), target, blocks)

    def from_channel(self, channel: Complex, observation: Observation) -> NDArray[np.float64]:
        """See :class:`Task`."""
        yes = 1 / (1 + np.exp(-np.clip(self.logit(channel, observation), -30, 30)))
        return np.stack([1 - yes, yes], axis=1)

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
