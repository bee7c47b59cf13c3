"""What estimators that know of a channel what none can know make of measurements: rows of reference, not rivals."""

from __future__ import annotations

import numpy as np
import torch

from channelfm.channels.near_field import Clusters, SphericalRays
from channelfm.observation import Complex, Observation
from channelfm.waves.cluster_lmmse import cluster_prior, expected_channel, mode_system
from channelfm.waves.received import free_gains, received_by_cell, superposition

_RAYS, _MODES = 256, 128  # of every cluster, that stand for its covariance


@torch.inference_mode()
def oracle_least_squares(rays: SphericalRays, squint: bool, observation: Observation) -> Complex:
    """Channels complex64 [N, 1, row, col, F] of rays whose places are known, with a free gain on every subcarrier.

    The literature's oracle (Cui & Dai 2022): it ignores that a path's delay ties its gains together.
    """
    answer = np.empty((len(observation), *observation.grid.shape), np.complex64)
    for links, received, _ in received_by_cell(observation):
        sources = torch.from_numpy(rays.sources[links])
        parts = [superposition(band, sources, free_gains(band, sources).gains) for _, band in received.bands(squint)]
        answer[links] = torch.cat(parts, dim=2).numpy().reshape(-1, *answer.shape[1:])
    return answer


@torch.inference_mode()
def genie_lmmse(clusters: Clusters, observation: Observation) -> Complex:
    """Channels complex64 [N, 1, row, col, F]: LMMSE that knows centres, spreads and powers of the clusters, and the
    noise, with covariances from 256 sampled rays of every cluster."""
    array = observation.grid.array
    answer = np.empty((len(observation), *observation.grid.shape), np.complex64)
    for links, received, noise in received_by_cell(observation):
        own = clusters.select(links)
        rays = own.rays(array, _RAYS, np.random.default_rng((0, *b"genie")))
        shape = (*own.power.shape, _RAYS)
        places, delays, powers = (
            torch.from_numpy(part)
            for part in (rays.sources.reshape(*shape, 3), rays.delays_s.reshape(shape), own.power)
        )
        prior = cluster_prior(received, places, delays, powers, own.model.squint, _MODES)
        found = expected_channel(received, prior, mode_system(received, prior), noise)
        answer[links] = found.numpy().reshape(-1, *answer.shape[1:])
    return answer
