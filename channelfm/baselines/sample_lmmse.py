"""LMMSE over antennas and subcarriers with sample covariances, through any weights of RF chains."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channelfm.baselines.simultaneous import SimultaneousEstimator
from channelfm.errors import InputError
from channelfm.estimator import Examples, same_spacing
from channelfm.observation import Complex, Grid, Observation, usable_snapshots
from channelfm.waves.received import Received, energy

_MOST_SAMPLES = 1 << 22  # numbers of the training channels that a covariance is taken of
_NEGLECTED = 1e-6  # share of the energy that the factor of a covariance may leave out
_LARGEST_RANK = 1024
_BAND_TOLERANCE = 1e-2  # of bandwidths that count as the same
_NOISE_SHARES = torch.logspace(1, -7, 49, dtype=torch.float64)  # of the channels' mean power, which are tried


class SampleLMMSE(SimultaneousEstimator):
    """LMMSE whose covariance is that of training channels: of antennas times that of subcarriers (Kronecker).

    Channels count with unit mean power, and none of their means is subtracted, since phases are random. The noise is
    that under which a link's measurements are likeliest (complex normal, with a covariance proportional to that of
    channels and noise). It :class:`learns <channelfm.estimator.Learns>`, and answers arrays and bands as it learned.
    """

    name = "sample-lmmse"

    def __init__(self, spacing_wavelengths: float | None = None) -> None:
        super().__init__(spacing_wavelengths)
        self._learned: Grid | None = None
        self._antennas, self._tones = torch.zeros(0, 0), torch.zeros(0, 0)  # factors of the two covariances

    def learn(self, examples: Examples) -> None:
        """See :class:`channelfm.estimator.Learns`; every frame counts as a channel of its own."""
        grid = examples.observation.grid
        channels = usable_snapshots(examples.channel.reshape(-1, *grid.shape[1:]))
        if not len(channels):
            raise InputError("none of the training channels has a path: give the channels of another split")
        flat = channels.reshape(len(channels), -1, grid.shape[3]).astype(np.complex128)
        flat /= np.sqrt(np.mean(np.abs(flat) ** 2, axis=(1, 2), keepdims=True))
        self._antennas = covariance_factor(np.moveaxis(flat, 1, 2).reshape(-1, flat.shape[1]))
        self._tones = covariance_factor(flat.reshape(-1, flat.shape[2]))
        self._learned = grid

    def estimate(self, observation: Observation) -> Complex:
        """See :class:`channelfm.estimator.Estimator`; InputError where nothing, or something else, was learned."""
        grid, learned = observation.grid, self._learned
        if learned is None:
            raise InputError(f"'{self.name}' knows no statistics yet: first call learn(examples of a training split)")
        spacings = [part.array.spacing_wavelengths for part in (grid, learned)]
        bands = [float(np.ptp(part.frequencies_hz)) for part in (grid, learned)]
        same_band = math.isclose(*bands, rel_tol=_BAND_TOLERANCE)
        if grid.shape[1:] != learned.shape[1:] or not (same_spacing(*spacings) and same_band):
            raise InputError(
                f"'{self.name}' learned {_described(learned)}, and these are {_described(grid)}: learn from channels "
                "like these"
            )
        return super().estimate(observation)

    def channels(self, received: Received) -> Tensor:
        """See :class:`SimultaneousEstimator`.

        In the singular vectors of what the weights see of the antennas' factor, and in the eigenvectors of the
        subcarriers' covariance, all numbers are independent.
        """
        left, seen, right = torch.linalg.svd(received.weights @ self._antennas, full_matrices=False)
        size = torch.linalg.vector_norm(self._tones, dim=0)
        numbers = left.mH @ received.values @ (self._tones / size).conj()
        power = (seen[:, None] * size).square()
        noise = _likeliest(numbers, power, energy(received.values), received.values[0].numel())
        weighted = numbers * (seen[:, None] * size) / (power + noise[:, None, None])
        answer: Tensor = (self._antennas @ right.mH) @ weighted @ self._tones.mT
        return answer


def covariance_factor(samples: NDArray[np.complex128]) -> Tensor:
    """F complex128 [m, rank], of orthogonal columns, with F F^H close to the mean of x x^H over rows x of [n, m].

    Those columns are left out that hold 1e-6 of the energy together, and all beyond 1024. Of many samples evenly
    spaced ones are taken.
    """
    most = max(_MOST_SAMPLES // samples.shape[1], 1)
    chosen = np.unique(np.linspace(0, len(samples) - 1, most).round().astype(int))
    rows = torch.from_numpy(samples[chosen]).to(torch.complex128) / len(chosen) ** 0.5
    if len(rows) < rows.shape[1]:
        power, turn = torch.linalg.eigh(rows.conj() @ rows.mT)
        columns = rows.mT @ turn
    else:
        power, turn = torch.linalg.eigh(rows.mT @ rows.conj())
        columns = turn * power.clamp_min(0).sqrt()
    beyond = power.clamp_min(0).cumsum(0)  # ascending order: energy of each column and all weaker ones
    rank = min(max(1, int((beyond > _NEGLECTED * beyond[-1]).sum())), _LARGEST_RANK)
    strongest: Tensor = columns[:, -rank:].flip(1)
    return strongest


def _likeliest(numbers: Tensor, power: Tensor, total: Tensor, count: int) -> Tensor:
    """Noise float64 [n] under which independent ``numbers`` complex128 [n, k, l] of variances proportional to ``power``
    + noise are likeliest, together with the others of ``count`` numbers of energy ``total`` [n], which are noise alone.
    """
    squares = numbers.abs().square()
    rest = (total - squares.sum((1, 2))).clamp_min(0)
    best, chosen = torch.full_like(total, torch.inf), torch.ones_like(total)
    for noise in _NOISE_SHARES.tolist():
        variance = power + noise
        misfit = (squares / variance).sum((1, 2)) + rest / noise
        score = variance.log().sum() + (count - power.numel()) * math.log(noise) + count * misfit.log()
        chosen = torch.where(score < best, noise, chosen)
        best = torch.minimum(score, best)
    return chosen


def _described(grid: Grid) -> str:
    rows, cols, frequencies = grid.shape[1:]
    return f"{rows} x {cols} antennas and {frequencies} subcarriers over {np.ptp(grid.frequencies_hz) / 1e6:g} MHz"
