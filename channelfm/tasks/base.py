"""A task: what is observed and asked for, the rule from a channel to the answer, and how answers are scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from channelfm.config import Recipe
from channelfm.datasets.blocks import Blocks
from channelfm.estimator import CHANNEL, Examples
from channelfm.metrics import bounded_db, nmse
from channelfm.observation import Bool, Complex, Float, Observation
from channelfm.waves.bounds import SphericalWaves, best_order_bound

MANY_PATHS = 6  # a link with more of them counts as rich


class Measure(NamedTuple):
    """A column of the tables: ``key`` in results, ``title`` for people, ``of`` which of the values that a task scores,
    ``reduce`` from the values of many units to one number, ``unit`` of it, ``more``: whether more is better, ``at``:
    its place on the axis of a curve (frames ahead), where a task has one."""

    key: str
    title: str
    of: str
    reduce: Callable[[Float], float]
    unit: str = ""
    more: bool = False
    at: float | None = None


class Task(Recipe, ABC):
    """Subclasses are recipes of their settings, so that their content names all that numbers depend on.

    ``kind`` names the task in recipes and results; ``gives`` what an estimator has to answer
    (:class:`channelfm.estimator.Estimator`); ``trivial`` the row that everybody has to beat;
    ``question`` what is asked, a sentence or two for reports.
    ``beside``: settings that no case's numbers depend on, since they only list the cases, each of which names its own,
    or group the units.
    """

    kind: str
    gives: ClassVar[str] = CHANNEL
    trivial: ClassVar[str]
    question: ClassVar[str]
    beside: ClassVar[tuple[str, ...]] = ()

    @property
    @abstractmethod
    def measures(self) -> Sequence[Measure]:
        """The columns; the first is the one that rows are ranked by."""

    @abstractmethod
    def cases(self) -> Sequence[Any]:
        """The cases that are measured: NamedTuples of plain values, whose ``str`` is for people."""

    @abstractmethod
    def examples(self, blocks: Blocks, case: Any, seed: int) -> Examples:
        """Observations of channels and what is asked of them; the same for the same arguments.

        Raises InputError for blocks without the labels or the size that the task needs.
        """

    def from_channel(self, channel: Complex, observation: Observation) -> NDArray[Any]:
        """The answer that follows from channels [N, T, row, col, F], so that any estimator of channels has a row."""
        return channel

    @abstractmethod
    def score(self, answer: NDArray[Any], examples: Examples) -> Mapping[str, Float]:
        """Values float64 [unit] by name; InputError for an answer of another shape."""

    def groups(self, examples: Examples) -> dict[str, Bool]:
        """Which units belong to which group of the tables, bool [unit] each; empty ones are left out."""
        return {"all": np.ones(len(examples), np.bool_)}

    def bound(self, examples: Examples, waves: SphericalWaves) -> Float | None:
        """What an estimator can hope for, in the unit of the first measure's values, float64 [unit]; ``waves`` are
        those that the channels consist of. None where the task, or this case of it, has no bound."""
        return None

    def references(self, examples: Examples) -> Mapping[str, Float]:
        """Values of the first measure float64 [unit], by name, of what knows that which no estimator can know: how good
        an answer could be. They stand beside the estimators, and win nothing."""
        return {}

    def repeats(self, case: Any) -> bool:
        """Whether another seed draws other examples."""
        return True


def decibels(values: Float) -> float:
    """The mean in dB."""
    return bounded_db(np.mean(values))


def median_decibels(values: Float) -> float:
    """The median in dB."""
    return bounded_db(np.median(values))


def decile_decibels(values: Float) -> float:
    """The 90th percentile in dB."""
    return bounded_db(np.quantile(values, 0.9))


def mean(values: Float) -> float:
    """The mean."""
    return float(np.mean(values))


def median(values: Float) -> float:
    """The median."""
    return float(np.median(values))


def link_groups(blocks: Blocks) -> dict[str, Bool]:
    """Links by range, sight and number of paths: "few" and "rich" have up to and more than ``MANY_PATHS`` of them, and
    are missing where paths are not known."""
    sight = {"los": blocks.labels.line_of_sight, "nlos": ~blocks.labels.line_of_sight}
    found = {"near": blocks.labels.near_field, "far": ~blocks.labels.near_field, **sight}
    counts = blocks.labels.path_count
    if counts is not None:
        richness = {"few": counts <= MANY_PATHS, "rich": counts > MANY_PATHS}
        found |= richness
        found |= {f"{a}-{b}": sight[a] & richness[b] for a in sight for b in richness}
    return {name: members for name, members in found.items() if members.any()}


def single_paths(blocks: Blocks) -> SphericalWaves | None:
    """The paths that channels were drawn as; None of other data, and of clusters, whose rays none tells apart."""
    rays, clusters = blocks.rays, blocks.clusters
    if rays is None or clusters is None or clusters.model.rays > 1:
        return None
    return SphericalWaves(rays.sources, rays.gains, rays.delays_s, clusters.model.squint)


class ChannelTask(Task):
    """What is the channel? Scored by the NMSE; unless a subclass has other measures, its mean ranks the rows, as the
    literature counts.

    Links are grouped as :func:`link_groups` does. The bound is that of Cramer and Rao for as many of the strongest
    waves, all together, as are worth it; none where the noise is not told or some link has none.
    """

    @property
    def measures(self) -> Sequence[Measure]:
        """See :class:`Task`."""
        return (
            Measure("nmse_db", "mean NMSE", "nmse", decibels, "dB"),
            Measure("nmse_median_db", "median NMSE", "nmse", median_decibels, "dB"),
        )

    def score(self, answer: NDArray[np.complex64], examples: Examples) -> Mapping[str, Float]:
        """See :class:`Task`."""
        return {"nmse": nmse(answer, examples.target)}

    def groups(self, examples: Examples) -> dict[str, Bool]:
        """See :class:`Task`."""
        return super().groups(examples) | link_groups(examples.blocks)

    def bound(self, examples: Examples, waves: SphericalWaves) -> Float | None:
        """See :class:`Task`."""
        noise = examples.observation.noise
        return None if noise is None or not noise.all() else best_order_bound(waves, examples.observation)
