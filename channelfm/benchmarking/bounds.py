"""What no unbiased estimator can beat on a set: the task's bound for the waves that its channels consist of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from channelfm.baselines import off_grid
from channelfm.datasets.blocks import Blocks
from channelfm.estimator import Examples
from channelfm.tasks import Task
from channelfm.waves.bounds import SphericalWaves
from channelfm.waves.spherical import wave_of

MOST_WAVES = 30  # that a clean channel is taken apart into

Float = NDArray[np.float64]
_FIT = getattr(off_grid, "fitted_waves", None)  # waves of clean channels [N, row, col], where this version finds them


class FittedWaves:
    """The waves of clean channels, fitted when they are first asked for."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks

    @cached_property
    def waves(self) -> SphericalWaves:
        """Waves of every link."""
        assert _FIT is not None
        waves: SphericalWaves = _FIT(self._field, self._spacing, MOST_WAVES)
        return waves

    @cached_property
    def misfit(self) -> Float:
        """What the waves leave of every link's channel, relative to its energy, float64 [N]."""
        left = np.empty(len(self._field))
        _, rows, cols = self._field.shape
        for link, field in enumerate(self._field.astype(np.complex128)):
            wave = wave_of(torch.from_numpy(self.waves.sources[link]), rows, cols, self._spacing).numpy()
            rest = field.ravel() - self.waves.gains[link] @ wave.reshape(len(wave), -1)
            left[link] = np.sum(np.abs(rest) ** 2) / np.sum(np.abs(field) ** 2)
        return left

    def bound(self, task: Task, drawn: Sequence[Examples]) -> Float | None:
        """The task's bound float64 [seed, unit], NaN where the waves leave more of a channel than the bound; None where
        there is none: of clean observations, several frames or frequencies, or units of several links."""
        frames, _, _, frequencies = self.blocks.grid.shape
        noise = drawn[0].observation.noise
        clean = noise is None or not noise.all()
        if _FIT is None or clean or frames * frequencies * drawn[0].unit != 1 or type(task).bound is Task.bound:
            return None
        found = [task.bound(examples, self.waves) for examples in drawn]
        told = [np.where(self.misfit < bound, bound, np.nan) for bound in found if bound is not None]
        return np.array(told) if len(told) == len(drawn) else None

    @property
    def _field(self) -> NDArray[np.complex64]:
        return self.blocks.channel[:, 0, :, :, 0]

    @property
    def _spacing(self) -> float:
        return self.blocks.grid.array.spacing_wavelengths
