"""The waves that an estimator found, for whoever asks for more than a channel: places, gains and their covariances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from channelfm.observation import Bool, Complex, Float, Grid
from channelfm.records import Record
from channelfm.waves.geometry import coordinates, path_difference


@dataclass(frozen=True)
class Waves(Record):
    """Spherical waves of N links, L slots each, the strongest first.

    ``sources`` float64 [N, L, 3] as (u_y, u_z, q): two direction sines along the array's columns and rows, and the
    inverse range per carrier wavelength (0: a plane wave); ``delays_s`` [N, L] at the array's centre, up to what all
    links share; ``gains`` complex64 [N, L] there at the carrier, times the probability that there is such a wave.
    ``present`` bool [N, L]; empty slots hold 0. ``covariance`` float64 [N, L, 6, 6] of (u_y, u_z, q, delay, real and
    imaginary part of the gain), all waves together, in white noise (inverse Fisher information; Kay 1993, 15.7); the
    variance of what array and band do not resolve is infinite. ``squint`` bool [N]: whether steering follows
    frequency. ``noise`` [N]: its power per measurement, told or left over.
    """

    sources: Float
    delays_s: Float
    gains: Complex
    covariance: Float
    present: Bool
    squint: Bool
    noise: Float

    axes: ClassVar[dict[str, str]] = {
        "sources": "float N L 3",
        "delays_s": "float N L",
        "gains": "complex N L",
        "covariance": "float N L C C",
        "present": "bool N L",
        "squint": "bool N",
        "noise": "float N",
    }

    def __len__(self) -> int:
        return len(self.gains)

    def select(self, index: Any) -> Waves:
        """The links that a NumPy index picks."""
        return Waves(**{name: getattr(self, name)[index] for name in self.axes})

    def channel(self, grid: Grid) -> Complex:
        """Their sum on a grid, complex64 [N, T, row, col, F], the same at all times."""
        frames, rows, cols, frequencies = grid.shape
        y, z = coordinates(rows, cols, grid.array.spacing_wavelengths)
        detuned = grid.frequencies_hz - grid.array.carrier_hz
        answer = np.empty((len(self), rows * cols, frequencies), np.complex64)
        for link, (source, delay, gain, squints) in enumerate(
            zip(self.sources, self.delays_s, self.gains, self.squint, strict=True)
        ):
            path = path_difference(torch.from_numpy(source)[None], y, z)[0].numpy().T
            tones = gain[:, None] * np.exp(-2j * np.pi * np.multiply.outer(delay, detuned))
            if squints:
                turned = np.multiply.outer(path, 1 + detuned / grid.array.carrier_hz)
                answer[link] = np.einsum("alf,lf->af", np.exp(-2j * np.pi * turned), tones)
            else:
                answer[link] = np.exp(-2j * np.pi * path) @ tones
        whole = answer.reshape(len(self), 1, rows, cols, frequencies)
        return np.broadcast_to(whole, (len(self), frames, rows, cols, frequencies)).copy()
