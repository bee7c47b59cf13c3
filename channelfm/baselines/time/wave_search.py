"""Where waves may be: the axes of frames, and the strongest peaks of a residual in angle, delay and Doppler."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channelfm.baselines.time.wave_fit import Axes
from channelfm.datasets.sequences import FIRST_ARRIVAL

Int = NDArray[np.int64]

_FINER = 2  # bins of the search for each bin of the DFT
_RELATIVE = 0.3  # least power of a further peak: above the sidelobes of the strongest
_APART = 4  # bins of the search, on some axis, between peaks of one spectrum
# Standard deviation of the wavefronts' curvature in cycles per squared element, spacing^2 / (2 wavelength distance),
# whatever the spacing is: 1250 wavelengths of distance at half a wavelength, 5000 at a whole one.
_CURVATURE = 1e-4


def wave_axes(size: tuple[int, ...], frames: Int, frequencies: Int) -> Axes:
    """Axes of waves at some ``frames``, future ones too, and ``frequencies`` of pasts of ``size`` (T, row, col, F).

    Parameters, those of axes longer than 1 alone: Doppler in cycles per frame; angle along columns and rows in cycles
    per element, and curvature where there are 3 elements; minus the delay in cycles per subcarrier.
    """
    steps, rows, cols, band = size
    row = (torch.arange(rows, dtype=torch.float64) - (rows - 1) / 2).repeat_interleave(cols)
    col = (torch.arange(cols, dtype=torch.float64) - (cols - 1) / 2).repeat(rows)
    time = [torch.from_numpy(frames - (steps - 1) / 2)] if steps > 1 else []
    antenna = [col] * (cols > 1) + [row] * (rows > 1)
    frequency = [torch.from_numpy(frequencies - (band - 1) / 2)] if band > 1 else []
    curvature = [row**2 + col**2] * (rows * cols > 2)
    free, bent = len(time + antenna), len(curvature)
    return Axes(
        (
            _columns(time, len(frames)),
            _columns(antenna + curvature, rows * cols),
            _columns(frequency, len(frequencies)),
        ),
        torch.tensor([0.0] * free + [_CURVATURE**-2] * bent + [0.0] * len(frequency), dtype=torch.float64),
    )


def _columns(columns: list[Tensor], rows: int) -> Tensor:
    return torch.stack(columns, 1) if columns else torch.zeros(rows, 0, dtype=torch.float64)


@dataclass(frozen=True)
class PeakSearch:
    """Search for waves in samples at some frames and frequencies of pasts of ``size`` (T, row, col, F).

    Delays are searched in [-1/32, 1/S - 1/32) of the delay axis, where pilots spaced S do not confuse them.
    """

    size: tuple[int, ...]
    frames: Int
    frequencies: Int

    @property
    def step(self) -> int:
        """S: all frequencies lie on a comb of that spacing."""
        return int(np.gcd.reduce(np.diff(self.frequencies))) if len(self.frequencies) > 1 else 1

    @property
    def spans(self) -> tuple[int, int, int, int]:
        """Sizes of the grid of frames, rows, columns and teeth of the comb that holds the samples."""
        times = int(self.frames[-1] - self.frames[0]) + 1
        return times, self.size[1], self.size[2], int(self.frequencies[-1] - self.frequencies[0]) // self.step + 1

    @property
    def cells(self) -> int:
        """Bins of the DFT over that grid: where independent noise peaks may be."""
        return math.prod(self.spans)

    def peaks(self, residual: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """The strongest wave in each ``residual`` complex64 [B, T, M, F], and up to ``number`` in all.

        Returns parameters float64 [B, number, P] (see :func:`wave_axes`), and the power float64 [B, number] that the
        DFT of n samples finds there over n (noise has its own power), 0 for peaks below 0.3 of the strongest.
        """
        lengths = tuple(_FINER * span if span > 1 else 1 for span in self.spans)
        power = torch.fft.fftn(self._on_grid(residual), lengths, dim=(1, 2, 3, 4)).abs().square()
        places, found = [], []
        for _ in range(number):
            best, at = power.flatten(1).max(1)
            places.append(torch.stack(torch.unravel_index(at, lengths), 1))
            found.append(best / residual[0].numel())
            power = power.masked_fill_(_near(places[-1], lengths), 0)
        strength = torch.stack(found, 1).double()
        strength = torch.where(strength > _RELATIVE * strength[:, :1], strength, 0)
        cycles = torch.stack(places, 1).double() / torch.tensor(lengths)
        return self._parameters(cycles), strength

    def _on_grid(self, residual: Tensor) -> Tensor:
        grid = residual.new_zeros(len(residual), *self.spans)
        times = torch.from_numpy(self.frames - self.frames[0])
        teeth = torch.from_numpy((self.frequencies - self.frequencies[0]) // self.step)
        samples = residual.reshape(len(residual), len(times), *self.size[1:3], len(teeth))
        grid[:, times[:, None], :, :, teeth] = samples.permute(1, 4, 0, 2, 3)
        return grid

    def _parameters(self, cycles: Tensor) -> Tensor:
        """Parameters [B, number, P] of cycles [B, number, 4] per frame, row, column and tooth, all in [0, 1)."""
        signed = torch.where(cycles < 0.5, cycles, cycles - 1)
        latest = FIRST_ARRIVAL * self.step
        delay = torch.where(cycles[..., 3] > latest, cycles[..., 3] - 1, cycles[..., 3]) / self.step
        columns = [signed[..., 0]] * (self.size[0] > 1)
        columns += [signed[..., 2]] * (self.size[2] > 1) + [signed[..., 1]] * (self.size[1] > 1)
        columns += [torch.zeros_like(delay)] * (self.size[1] * self.size[2] > 2)
        columns += [delay] * (self.size[3] > 1)
        return torch.stack(columns, -1) if columns else delay.new_zeros(*delay.shape, 0)


def _near(places: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Bins bool [B, *lengths] within 4 bins of ``places`` [B, 4] on every axis, which are circles."""
    near = torch.ones(1, dtype=torch.bool)
    for axis, length in enumerate(lengths):
        apart = (torch.arange(length) - places[:, axis, None]).abs()
        shape = [len(places), *(length if axis == other else 1 for other in range(len(lengths)))]
        near = near & (torch.minimum(apart, length - apart) < _APART).reshape(shape)
    return near
