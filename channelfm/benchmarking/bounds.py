"""What no unbiased estimator can beat on a set: the task's bound for the waves that its channels consist of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from channelfm.baselines.off_grid import fitted_waves
from channelfm.datasets.blocks import Blocks
from channelfm.estimator import CHANNEL, Examples
from channelfm.tasks import Task
from channelfm.tasks.base import single_paths
from channelfm.waves.bounds import SphericalWaves

MOST_WAVES = 30  # that a clean channel is taken apart into

Float = NDArray[np.float64]


class FittedWaves:
    """The waves of clean channels, fitted when they are first asked for; of channels that were drawn as single paths,
    these paths."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks

    @cached_property
    def found(self) -> tuple[SphericalWaves, Float]:
        """Waves of every link, and what they leave of its channel, relative to its energy, float64 [N]."""
        paths = single_paths(self.blocks)
        if paths is not None:
            return paths, np.zeros(len(self.blocks))
        spacing = self.blocks.grid.array.spacing_wavelengths
        return fitted_waves(self.blocks.channel[:, 0, :, :, 0], spacing, MOST_WAVES)

    def bound(self, task: Task, drawn: Sequence[Examples]) -> Float | None:
        """The task's bound float64 [seed, unit], NaN where the waves leave more of a channel than the bound on its
        error; None where there is none: of clean observations, several frames, several frequencies of channels whose
        paths are not known, units of several links."""
        frames, _, _, frequencies = self.blocks.grid.shape
        noise = drawn[0].observation.noise
        clean = noise is None or not noise.all()
        fitted = frequencies if single_paths(self.blocks) is None else 1
        if clean or frames * fitted * drawn[0].unit != 1 or type(task).bound is Task.bound:
            return None
        waves, _ = self.found
        bounds = [task.bound(examples, waves) for examples in drawn]
        told = [self._told(task, bound) for bound in bounds if bound is not None]
        return np.array(told) if len(told) == len(drawn) else None

    def _told(self, task: Task, bound: Float) -> Float:
        """The bound, as far as the waves stand for the channel: what they leave of it is part of an error of channels
        alone, and not in the unit of other bounds."""
        return np.where(self.found[1] < bound, bound, np.nan) if task.gives == CHANNEL else bound
