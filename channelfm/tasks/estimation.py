"""Channel estimation by a hybrid array, which receives pilots through a few RF chains (seed 001, III-B; SPEC 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from channelfm.datasets.blocks import Blocks
from channelfm.estimator import Examples
from channelfm.metrics import nmse
from channelfm.observation import Bool, Float
from channelfm.tasks.base import Measure, Task, channel_bound, decibels, link_groups, median_decibels
from channelfm.tasks.observing import Count, Decibels, Pilots, pilots
from channelfm.waves.bounds import SphericalWaves


class HybridEstimation(Task):
    """NMSE against the number of pilot ``slots``, each received through ``chains`` RF chains, with ``snr_db``."""

    kind: Literal["hybrid-estimation"] = "hybrid-estimation"
    chains: Count = 4
    slots: tuple[Count, ...] = Field(default=(16, 64), min_length=1)
    snr_db: tuple[Decibels | None, ...] = Field(default=(10.0,), min_length=1)

    trivial: ClassVar[str] = "least-squares"
    question: ClassVar[str] = (
        "A base station with many antennas and a few radio chains hears pilots as mixtures. Each method below "
        "says what the channel of every antenna is."
    )
    beside: ClassVar[tuple[str, ...]] = ("chains", "slots", "snr_db")

    @property
    def measures(self) -> Sequence[Measure]:
        """See :class:`Task`."""
        return (
            Measure("nmse_median_db", "median NMSE", "nmse", median_decibels, "dB"),
            Measure("nmse_db", "mean NMSE", "nmse", decibels, "dB"),
        )

    def cases(self) -> Sequence[Pilots]:
        """See :class:`Task`."""
        return [Pilots(self.chains, slots, snr_db) for snr_db in self.snr_db for slots in self.slots]

    def examples(self, blocks: Blocks, case: Pilots, seed: int) -> Examples:
        """See :class:`Task`."""
        return Examples(pilots(blocks, case, seed), blocks.channel, blocks)

    def score(self, answer: NDArray[np.complex64], examples: Examples) -> Mapping[str, Float]:
        """See :class:`Task`."""
        return {"nmse": nmse(answer, examples.target)}

    def groups(self, examples: Examples) -> dict[str, Bool]:
        """See :class:`Task`."""
        return super().groups(examples) | link_groups(examples.blocks)

    def bound(self, examples: Examples, waves: SphericalWaves) -> Float | None:
        """See :class:`Task`."""
        return channel_bound(waves, examples.observation)
