"""Waves first, then LMMSE with clusters of rays about them: what to do where no path is a single ray (SPEC 12)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from channelfm.arrays import UPA
from channelfm.baselines.off_grid_delay import OffGridDelay
from channelfm.baselines.simultaneous import SimultaneousEstimator
from channelfm.errors import InputError
from channelfm.observation import Combined, Grid, Observation
from channelfm.waves.cluster_lmmse import cluster_prior, expected_channel, likeliest_noise, mode_system
from channelfm.waves.received import Received

_RAYS, _MODES = 96, 64  # sampled about every wave, and kept of them
_SEED = 12
_NOISE_SHARES = torch.logspace(0, -5, 11, dtype=torch.float64)  # of the measurements' power, which are tried


class Spreads(NamedTuple):
    """Standard deviations of rays about a wave: in both angles [degrees], in range (a share of it), in delay [s].

    The nominal ones are those that clusters are drawn with (``channels.near_field.NEAR_FIELD_MODELS``), whose genie
    knows them, too: of other channels they are a guess.
    """

    angle_deg: float = 1.0
    range_share: float = 0.05
    delay_s: float = 5e-9

    def times(self, factor: float) -> Spreads:
        """All of them larger or smaller."""
        return Spreads(*(factor * part for part in self))


class TwoStep(SimultaneousEstimator):
    """The waves of :class:`OffGridDelay` as centres of clusters of nominal ``spreads``, whose powers are those of the
    waves; then LMMSE with that covariance.

    Of the ``scales`` of the spreads, and of the noise, it takes those under which a link's measurements are likeliest,
    so that channels of single paths stay single. ``max_waves``: the most that stand for clusters.
    """

    name = "two-step"
    scales = (1.0, 0.3, 0.0)

    def __init__(
        self, spacing_wavelengths: float | None = None, max_waves: int = 6, spreads: Spreads | None = None
    ) -> None:
        super().__init__(spacing_wavelengths)
        self.waves, self.spreads = OffGridDelay(max_waves=max_waves), spreads or Spreads()

    def check(self, observation: Observation) -> None:
        """See :class:`channelfm.estimator.ChannelEstimator`; of one polarisation."""
        super().check(observation)
        if len(np.unique(observation.grid.frequencies_hz)) < observation.grid.shape[3]:
            raise InputError(f"'{self.name}' takes one polarisation: observe each by itself")

    def channels(self, received: Received) -> Tensor:
        """See :class:`SimultaneousEstimator`."""
        found = torch.zeros(len(received), received.weights.shape[1], received.values.shape[2], dtype=torch.complex128)
        if not bool(received.weights.any()):
            return found
        waves = self.waves.estimate_waves(_as_observation(received))
        best = torch.full((len(received),), torch.inf, dtype=torch.float64)
        for squint in np.unique(waves.squint):
            links = torch.from_numpy(np.flatnonzero(waves.squint == squint))
            part, own = received.select(links), waves.select(links.numpy())
            centres, delays, powers = (
                torch.from_numpy(values) for values in (own.sources, own.delays_s, np.abs(own.gains) ** 2)
            )
            for scale in self.scales:
                sources, late = scattered(part, centres, delays, self.spreads.times(scale))
                prior = cluster_prior(part, sources, late, powers, bool(squint), _MODES)
                system = mode_system(part, prior)
                noise, score = likeliest_noise(system, _NOISE_SHARES)
                better = score < best[links]
                channel = expected_channel(part, prior, system, noise)
                found[links[better]], best[links[better]] = channel[better], score[better]
        return found


def scattered(received: Received, centres: Tensor, delays_s: Tensor, spreads: Spreads) -> tuple[Tensor, Tensor]:
    """Rays about waves at ``centres`` float64 [n, L, 3] and ``delays_s`` [n, L]: their sources [n, L, S, 3] and delays
    [n, L, S]; of no spread, the wave itself. A cluster's rays are late by a half-normal delay, and its wave by the mean
    of that."""
    if not any(spreads):
        return centres[:, :, None], delays_s[..., None]
    normal = torch.from_numpy(np.random.default_rng(_SEED).standard_normal((4, _RAYS)))
    azimuth, elevation = normal[:2] * math.radians(spreads.angle_deg)
    sine_z = centres[..., 1, None].clamp(-1, 1)
    cosine = (1 - sine_z.square()).sqrt().clamp_min(1e-6)
    sine = (centres[..., 0, None] / cosine).clamp(-1, 1)
    up = torch.asin(sine_z) + elevation * (received.rows > 1)
    aside = torch.asin(sine) + azimuth * (received.cols > 1)
    inverse = centres[..., 2, None] / (1 + spreads.range_share * normal[2]).clamp_min(0.5)
    sources = torch.stack([aside.sin() * up.cos(), up.sin(), inverse], dim=-1)
    late = delays_s[..., None] + spreads.delay_s * (normal[3].abs() - math.sqrt(2 / math.pi))
    return sources, late


def _as_observation(received: Received) -> Observation:
    """What was received as the first step takes it."""
    array = UPA(received.rows, received.cols, received.carrier_hz, spacing_wavelengths=received.spacing)
    grid = Grid(array, np.zeros(1), received.detuned_hz.numpy() + received.carrier_hz)
    weights = received.weights.conj().to(torch.complex64).resolve_conj().numpy()
    values = received.values.to(torch.complex64).numpy()[:, None]
    return Observation(values, Combined(weights.reshape(1, -1, received.rows, received.cols)), grid)
