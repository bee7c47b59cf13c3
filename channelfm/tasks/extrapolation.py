"""Channel extrapolation: the whole array's channel from observations of a few antennas (seed 000, V-A1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from channelfm.datasets.blocks import Blocks
from channelfm.estimator import Examples
from channelfm.metrics import polar_peak_errors, polar_peaks, psnr, ssim
from channelfm.observation import Float
from channelfm.tasks.base import ChannelTask, Measure, decibels, decile_decibels, mean, median, median_decibels
from channelfm.tasks.observing import Decibels, MaskRecipe, Partial, partial, partial_cases


class Extrapolation(ChannelTask):
    """Kinds and ratios of ``masks``, crossed with ``snr_db`` (null: clean). Targets are clean."""

    kind: Literal["extrapolation"] = "extrapolation"
    masks: tuple[MaskRecipe, ...] = Field(default=(MaskRecipe(ratios=(0.5, 0.75, 0.9)),), min_length=1)
    snr_db: tuple[Decibels | None, ...] = Field(default=(None,), min_length=1)

    trivial: ClassVar[str] = "zero-filling"
    question: ClassVar[str] = (
        "A base station hears a user with only a part of its antennas. Each method below reconstructs the "
        "channel at all the others, on positions that no training ever saw."
    )
    beside: ClassVar[tuple[str, ...]] = ("masks", "snr_db")

    @property
    def measures(self) -> Sequence[Measure]:
        """See :class:`Task`."""
        return (
            Measure("nmse_median_db", "median NMSE", "nmse", median_decibels, "dB"),
            Measure("nmse_db", "mean NMSE", "nmse", decibels, "dB"),
            Measure("p90_db", "90th percentile of the NMSE", "nmse", decile_decibels, "dB"),
            Measure("psnr_db", "PSNR of the amplitude, mean", "psnr_db", mean, "dB", more=True),
            Measure("ssim", "SSIM of the amplitude, mean", "ssim", mean, more=True),
            Measure("peak_direction", "error of the polar peak's direction, median", "direction", median, "beams"),
            Measure("peak_range", "error of its 1 / range, median", "range", median, "1 / Rayleigh"),
        )

    def cases(self) -> Sequence[Partial]:
        """See :class:`Task`."""
        return partial_cases(self.masks, self.snr_db)

    def examples(self, blocks: Blocks, case: Partial, seed: int) -> Examples:
        """See :class:`Task`."""
        return Examples(partial(blocks, case, seed), blocks.channel, blocks)

    def score(self, answer: NDArray[np.complex64], examples: Examples) -> Mapping[str, Float]:
        """See :class:`Task`; of several frames, those of the first."""
        spacing, (_, rows, cols, _) = examples.observation.grid.array.spacing_wavelengths, answer.shape[1:]
        estimate, target = answer[:, 0], examples.target[:, 0]
        peaks = polar_peaks(estimate, spacing), polar_peaks(target, spacing)
        direction, inverse_range = polar_peak_errors(*peaks, rows, cols, spacing)
        return {
            **super().score(answer, examples),
            "psnr_db": psnr(estimate, target),
            "ssim": ssim(estimate, target),
            "direction": direction,
            "range": inverse_range,
        }
