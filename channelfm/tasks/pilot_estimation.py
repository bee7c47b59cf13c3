"""Channel estimation from noisy pilots at a part of the antennas (seed 000, V-A2, eq. 14 and 15)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from channelfm.datasets.blocks import Blocks
from channelfm.estimator import Examples
from channelfm.observation import Entries, Observation, check_draw, observe
from channelfm.tasks.base import ChannelTask
from channelfm.tasks.observing import Decibels, Partial, heard, partial

Selection = Annotated[float, Field(gt=0, le=1)]


class Selected(NamedTuple):
    """Pilots received at the share ``selection`` of the antennas, chosen at random, with an SNR."""

    selection: float = 0.2
    snr_db: float = 10.0

    def __str__(self) -> str:
        return f"{100 * self.selection:g} % of the antennas, {self.snr_db:g} dB"


class PilotEstimation(ChannelTask):
    """The channel of every antenna from pilots at the shares ``selection`` of them, crossed with ``snr_db``.

    The trivial answer is least squares: pilots as they are received, and nothing at the other antennas.
    """

    kind: Literal["estimation"] = "estimation"
    selection: tuple[Selection, ...] = Field(default=(0.2, 1.0), min_length=1)
    snr_db: tuple[Decibels, ...] = Field(default=(10.0,), min_length=1)

    trivial: ClassVar[str] = "zero-filling"
    question: ClassVar[str] = (
        "A base station hears a user's pilots in noise, at some of its antennas or at all. Each method below says what "
        "the channel of every antenna is."
    )
    beside: ClassVar[tuple[str, ...]] = ("selection", "snr_db")

    def cases(self) -> Sequence[Selected]:
        """See :class:`Task`."""
        return [Selected(share, decibels) for decibels in self.snr_db for share in self.selection]

    def examples(self, blocks: Blocks, case: Selected, seed: int) -> Examples:
        """See :class:`Task`."""
        return Examples(_pilots(blocks, case, seed), blocks.channel, blocks)


def _pilots(blocks: Blocks, case: Selected, seed: int) -> Observation:
    """The noise is the same whatever is selected."""
    if case.selection < 1:
        return partial(blocks, Partial("random", 1 - case.selection, case.snr_db), seed)
    check_draw(seed, case.snr_db)
    everything = Entries(np.ones((1, 1, *blocks.grid.shape[1:3], 1), np.bool_))
    return observe(
        heard(blocks.channel), everything, blocks.grid, case.snr_db, np.random.default_rng((seed, *b"noise"))
    )
