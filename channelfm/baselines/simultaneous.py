"""What estimators have in common that see all subcarriers at once through RF chains: users of a cell, scale, waves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channelfm.errors import InputError
from channelfm.estimator import ChannelEstimator
from channelfm.observation import Combined, Combining, Complex, Observation, RandomlyCombined
from channelfm.waves.geometry import coordinates, waves_at
from channelfm.waves.scale import at_unit_scale

_RIDGE = 1e-9  # relative, on the Gram matrix of waves that may coincide


@dataclass(frozen=True)
class Received:
    """What n links measured through the same weights: ``values`` complex128 [n, Q, F] = weights @ channel + noise.

    ``weights`` complex128 [Q, rows * cols] have rows of unit norm on average, so that noise and the gains of waves are
    as at antennas. Q is at most the number of antennas: of more measurements only what antennas can cause is kept.
    ``detuned_hz`` float64 [F]: subcarriers relative to the carrier.
    """

    values: Tensor
    weights: Tensor
    detuned_hz: Tensor
    rows: int
    cols: int
    spacing: float

    def __len__(self) -> int:
        return len(self.values)

    def select(self, index: Tensor) -> Received:
        """The links that ``index`` (numbers or a mask) picks."""
        return replace(self, values=self.values[index])

    def waves(self, sources: Tensor) -> Tensor:
        """Waves complex128 [n, L, rows * cols] of sources [n, L, 3] over the array."""
        y, z = coordinates(self.rows, self.cols, self.spacing)
        return waves_at(sources, y, z)

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


class SimultaneousEstimator(ChannelEstimator):
    """Estimates all subcarriers of a link together from what RF chains measured; every frame is a link of its own.

    Links through the same weights, the users of a cell, are answered together, since what takes time depends on the
    weights. Subclasses give ``name`` and :meth:`channels`, which meets measurements at unit scale.
    ``links_at_once`` bounds the memory.
    """

    links_at_once = 16

    def __init__(self, spacing_wavelengths: float | None = None) -> None:
        self.spacing_wavelengths = spacing_wavelengths

    def check(self, observation: Observation) -> None:
        """See :class:`channelfm.estimator.ChannelEstimator`."""
        super().check(observation)
        if not isinstance(observation.operator, Combining):
            raise InputError(f"'{self.name}' is for RF chains, not for single entries of the channel")

    @torch.inference_mode()
    def estimate(self, observation: Observation) -> Complex:
        """See :class:`channelfm.estimator.Estimator`; where nothing but zeros was measured the answer is zero."""
        self.check(observation)
        operator, (frames, rows, cols, frequencies) = observation.operator, observation.grid.shape
        assert isinstance(operator, Combining)  # checked
        answer = torch.zeros(len(observation) * frames, rows * cols, frequencies, dtype=torch.complex64)
        array = observation.grid.array
        detuned = torch.from_numpy(observation.grid.frequencies_hz - array.carrier_hz)
        for links, weights in same_weights(operator, len(observation)):
            samples = torch.from_numpy((links[:, None] * frames + np.arange(frames)).reshape(-1))
            values = torch.from_numpy(observation.values[links]).flatten(0, 1)
            heard = (values != 0).flatten(1).any(1)
            unit, brought = brought_to_unit_norm(weights)

            def channels(values: Tensor, unit: Tensor = unit, brought: Tensor = brought) -> Tensor:
                received = brought @ values.to(brought.dtype)
                return self.channels(Received(received, unit, detuned, rows, cols, array.spacing_wavelengths))

            for part in torch.split(torch.nonzero(heard)[:, 0], self.links_at_once):
                if len(part):
                    answer[samples[part]] = at_unit_scale(channels, values[part])
        shaped = answer.numpy().reshape(len(observation), frames, rows, cols, frequencies)
        return np.ascontiguousarray(shaped)

    @abstractmethod
    def channels(self, received: Received) -> Tensor:
        """Channels complex [n, rows * cols, F] of links of which something was measured that is not zero."""


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
