"""What RF chains measured of all subcarriers, link by link or for the users of a cell, who share weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channelfm.observation import Combined, Combining, Complex, Observation, RandomlyCombined
from channelfm.waves.geometry import coordinates, path_difference, phasors

_RIDGE = 1e-9  # relative, on the Gram matrix of waves that may coincide


@dataclass(frozen=True)
class Received:
    """What n links measured through the same weights: ``values`` complex128 [n, Q, F] = weights @ channel + noise.

    ``weights`` complex128 [Q, rows * cols] have rows of unit norm on average, so that noise and the gains of waves are
    as at antennas. Q is at most the number of antennas: of more measurements only what antennas can cause is kept.
    ``detuned_hz`` float64 [F]: subcarriers relative to the carrier. Waves are those of the carrier, their paths
    ``stretch`` times as long.
    """

    values: Tensor
    weights: Tensor
    detuned_hz: Tensor
    rows: int
    cols: int
    spacing: float
    carrier_hz: float
    stretch: float = 1.0

    def __len__(self) -> int:
        return len(self.values)

    def select(self, index: Tensor) -> Received:
        """The links that ``index`` (numbers or a mask) picks."""
        return replace(self, values=self.values[index])

    def bands(self, squint: bool) -> list[tuple[slice, Received]]:
        """Subcarriers over which waves are the same: all, or, where beams squint, each by itself."""
        if not squint:
            return [(slice(None), self)]
        stretches = (1 + self.detuned_hz / self.carrier_hz).tolist()
        places = [slice(number, number + 1) for number in range(len(stretches))]
        return [
            (place, replace(self, values=self.values[..., place], detuned_hz=self.detuned_hz[place], stretch=stretch))
            for place, stretch in zip(places, stretches, strict=True)
        ]

    def waves(self, sources: Tensor) -> Tensor:
        """Waves complex128 [n, L, rows * cols] of sources [n, L, 3] over the array."""
        return phasors(self.stretch * path_difference(sources, *coordinates(self.rows, self.cols, self.spacing)))

    def measured(self, fields: Tensor) -> Tensor:
        """What is measured of fields [..., L, rows * cols], complex128 [..., Q, L]."""
        return self.weights @ fields.mT


@dataclass(frozen=True)
class FreeGains:
    """Least-squares gains of waves that have one on every subcarrier: ``gains`` complex128 [n, L, F], ``residual`` of
    the measurements [n, Q, F], ``columns`` of the waves [n, Q, L] and their inverse Gram matrices ``inverse``."""

    gains: Tensor
    residual: Tensor
    columns: Tensor
    inverse: Tensor

    @property
    def cost(self) -> Tensor:
        """Residual energy float64 [n]."""
        return energy(self.residual)


def received_by_cell(observation: Observation) -> Iterator[tuple[NDArray[np.int64], Received, Tensor]]:
    """Numbers of links with the same weights, what they measured in their first frames, and the noise float64 [n] on
    it (0 where it is not told)."""
    operator, grid = observation.operator, observation.grid
    assert isinstance(operator, Combining)  # of anything else nobody asks
    detuned, array = torch.from_numpy(grid.frequencies_hz - grid.array.carrier_hz), grid.array
    told = np.zeros(len(observation)) if observation.noise is None else observation.noise
    for links, weights in same_weights(operator, len(observation)):
        unit, brought = brought_to_unit_norm(weights)
        values = brought @ torch.from_numpy(observation.values[links, 0]).to(brought.dtype)
        about = (array.rows, array.cols, array.spacing_wavelengths, array.carrier_hz)
        noise = torch.from_numpy(told[links]) * brought[0].abs().square().sum()
        yield links, Received(values, unit, detuned, *about), noise


def same_weights(operator: Combining, count: int) -> Iterator[tuple[NDArray[np.int64], Complex]]:
    """Numbers of the links that are measured through the same weights, and these weights complex64 [Q, rows * cols]."""
    if isinstance(operator, RandomlyCombined):
        kinds = operator.links
    elif isinstance(operator, Combined) and len(operator.weights) == 1:
        kinds = np.zeros(count, np.int64)
    else:
        kinds = np.arange(count)
    for kind in np.unique(kinds):
        links = np.flatnonzero(kinds == kind)
        weights = operator.weights_of(int(links[0]))
        yield links, weights.reshape(len(weights), -1)


def brought_to_unit_norm(weights: Complex) -> tuple[Tensor, Tensor]:
    """For measurements y = W^H h of weights [Q, M]: the matrix complex128 [Q', M] that :class:`Received` has, whose
    rows have unit norm on average, and the one [Q', Q] that brings y to it. Q' is the smaller of Q and M; noise stays
    white.
    """
    forward = torch.from_numpy(weights.astype(np.complex128).conj())
    measurements, antennas = forward.shape
    norm = float(forward.abs().square().sum() / measurements) ** 0.5
    if norm == 0:
        norm = 1.0
    if measurements <= antennas:
        return forward / norm, torch.eye(measurements, dtype=forward.dtype) / norm
    directions, reduced = torch.linalg.qr(forward)
    return reduced / norm, directions.mH.contiguous() / norm


def free_gains(received: Received, sources: Tensor, there: Tensor | None = None) -> FreeGains:
    """Least squares over the gains of waves [n, L, 3]; those that bool ``there`` [n, L] denies have none."""
    columns = received.measured(received.waves(sources))
    if there is not None:
        columns = columns * there[:, None]
    gram = columns.mH @ columns
    size = gram.diagonal(dim1=1, dim2=2).real
    floor = _RIDGE * size.sum(1, keepdim=True) + torch.finfo(torch.float64).tiny
    loaded = gram + torch.diag_embed(torch.where(size > 0, floor, 1.0)).to(gram.dtype)
    inverse = torch.linalg.inv(loaded)
    gains = inverse @ (columns.mH @ received.values)
    return FreeGains(gains, received.values - columns @ gains, columns, inverse)


def superposition(received: Received, sources: Tensor, gains: Tensor) -> Tensor:
    """Channels complex128 [n, rows * cols, F] of waves [n, L, 3] with gains [n, L, F]."""
    return received.waves(sources).mT @ gains


def energy(values: Tensor) -> Tensor:
    """Energy float64 [n] of complex [n, ...]."""
    return torch.view_as_real(values.to(torch.complex128)).square().flatten(1).sum(1)
