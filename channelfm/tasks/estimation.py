"""Channel estimation by a hybrid array, which receives pilots through a few RF chains (seed 001, III-B; SPEC 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from channelfm.datasets.blocks import Blocks
from channelfm.estimator import Examples
from channelfm.metrics import nmse
from channelfm.observation import Combining, Float
from channelfm.tasks.base import ChannelTask
from channelfm.tasks.observing import Count, Decibels, Pilots, pilots
from channelfm.waves.oracles import genie_lmmse, oracle_least_squares


def _several(value: Any) -> Any:
    """Recipes had one number of chains."""
    return (value,) if isinstance(value, int) else value


Chains = Annotated[tuple[Count, ...], BeforeValidator(_several), Field(min_length=1)]


class HybridEstimation(ChannelTask):
    """NMSE against the number of pilot ``slots``, each received through ``chains`` RF chains, with ``snr_db``: all of
    them crossed. Each ``users`` links in turn share a cell's phase shifters.

    Of channels that were drawn from a model, two references know the truth: "oracle-ls" where the rays lie, but not
    that a delay ties a path's gains together, and "genie-lmmse" the clusters and the noise.
    """

    kind: Literal["hybrid-estimation"] = "hybrid-estimation"
    chains: Chains = (4,)
    slots: tuple[Count, ...] = Field(default=(16, 64), min_length=1)
    snr_db: tuple[Decibels | None, ...] = Field(default=(10.0,), min_length=1)
    users: Count = 1

    trivial: ClassVar[str] = "least-squares"
    question: ClassVar[str] = (
        "A base station with many antennas and a few radio chains hears pilots as mixtures. Each method below "
        "says what the channel of every antenna is."
    )
    beside: ClassVar[tuple[str, ...]] = ("chains", "slots", "snr_db")

    def cases(self) -> Sequence[Pilots]:
        """See :class:`Task`."""
        crossed = [(chains, snr_db, slots) for chains in self.chains for snr_db in self.snr_db for slots in self.slots]
        return [Pilots(chains, slots, snr_db) for chains, snr_db, slots in crossed]

    def examples(self, blocks: Blocks, case: Pilots, seed: int) -> Examples:
        """See :class:`Task`."""
        return Examples(pilots(blocks, case, seed, self.users), blocks.channel, blocks)

    def references(self, examples: Examples) -> Mapping[str, Float]:
        """See :class:`Task`: the oracle of single paths, the genie of clusters of many rays."""
        clusters, rays, observation = examples.blocks.clusters, examples.blocks.rays, examples.observation
        if clusters is None or rays is None or not isinstance(observation.operator, Combining):
            return {}
        if clusters.model.rays > 1:
            return {"genie-lmmse": nmse(genie_lmmse(clusters, observation), examples.target)}
        return {"oracle-ls": nmse(oracle_least_squares(rays, clusters.model.squint, observation), examples.target)}
