"""Views of whole channels, all antennas and subcarriers at once: what pilots tell of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from channelfm.estimator import NOMINAL_HZ
from channelfm.learned.prior import in_angle_and_delay
from channelfm.models.clusters import Centres, LearnedClusters
from channelfm.pretraining.recipe import ClusterObjective, MeanFlowObjective, PretrainRecipe, PriorObjective
from channelfm.pretraining.source import WholeSource
from channelfm.pretraining.views import Batch
from channelfm.waves.wideband import Wideband

_BATCH, _SAMPLE, _NOISY = 8, 9, 10  # what a generator is for; other than those of ``views`` and ``sequence_views``


@dataclass(frozen=True)
class ClusterBatch(Batch):
    """``clean`` float32 [N, rows, cols, F, 2]; ``values`` [N, Q, F, 2] are what the conjugate of ``weights``
    [N, Q, antenna, 2] made of it, with ``noise`` [N]; ``sources``, ``delays``, ``power``: the centres of the clusters
    that were found in them. ``detuned_hz`` [F] and ``spacing`` [1] of the elements are shared."""

    clean: Tensor
    values: Tensor
    weights: Tensor
    noise: Tensor
    sources: Tensor
    delays: Tensor
    power: Tensor
    detuned_hz: Tensor
    spacing: Tensor

    shared: ClassVar[tuple[str, ...]] = ("detuned_hz", "spacing")

    def measured(self) -> Wideband:
        """What was received, as the network takes it."""
        return wideband(self.values, self.weights, self.clean.shape[1:3], self.detuned_hz, float(self.spacing))

    @property
    def centres(self) -> Centres:
        """The centres of the clusters."""
        return Centres(self.sources, self.delays, self.power)


@dataclass(frozen=True)
class PriorBatch(Batch):
    """``clean`` and ``noisy`` float32 [N, H, W, 2] in angle and delay, the latter with noise of amplitude ``sigma``
    [N]; ``until`` [N]: down to which the velocity is averaged, or ``sigma`` itself."""

    clean: Tensor
    noisy: Tensor
    sigma: Tensor
    until: Tensor


def wideband(
    values: Tensor, weights: Tensor, size: tuple[int, ...], detuned_hz: Tensor, spacing_wavelengths: float
) -> Wideband:
    """Measurements float [N, Q, F, 2] through weights [N, Q, antenna, 2] of an array of ``size`` without squint."""
    projection = torch.view_as_complex(weights.contiguous()).mH.contiguous()
    whole = torch.view_as_complex(values.contiguous())
    return Wideband(whole, projection, None, None, size[0], size[1], spacing_wavelengths, detuned_hz, NOMINAL_HZ)


def cluster_views(
    source: WholeSource, recipe: PretrainRecipe, step: int, numbers: range, device: torch.device
) -> ClusterBatch:
    """Samples ``numbers`` of the batch of a step, with the clusters found in them, which no weights have a part in."""
    objective, network = recipe.objective, recipe.predictor.network()
    assert isinstance(objective, ClusterObjective)
    assert isinstance(network, LearnedClusters)
    shared = np.random.default_rng((recipe.seed, step, _BATCH))
    generators = [np.random.default_rng((recipe.seed, step, _SAMPLE, number)) for number in numbers]
    clean = source.channels[[g.integers(len(source)) for g in generators]]
    count, rows, cols, subcarriers = clean.shape
    shape = (int(shared.choice(objective.measurements)), rows * cols)
    weights = np.stack([1j ** g.integers(4, size=shape) for g in generators]) / np.sqrt(rows * cols)
    noise = np.array([10 ** (-g.uniform(*objective.snr_db) / 10) for g in generators])
    values = weights.conj() @ clean.reshape(count, rows * cols, subcarriers)
    drawn = np.stack([g.standard_normal((*values.shape[1:], 2)) for g in generators]) @ np.array([1, 1j])
    values = values + np.sqrt(noise / 2)[:, None, None] * drawn
    parts = (clean, values, weights)
    shown = [torch.view_as_real(torch.from_numpy(part.astype(np.complex64))).to(device) for part in parts]
    level = torch.from_numpy(noise).float().to(device)
    detuned = torch.from_numpy(source.detuned_hz).to(device)
    measured = wideband(shown[1], shown[2], (rows, cols), detuned, source.spacing_wavelengths)
    centres = network.to(device).search(measured, level)
    return ClusterBatch(
        mask=torch.ones((count, rows, cols), dtype=torch.bool, device=device),
        weight=torch.ones(count, device=device),
        clean=shown[0],
        values=shown[1],
        weights=shown[2],
        noise=level,
        **centres._asdict(),
        detuned_hz=detuned,
        spacing=torch.tensor([source.spacing_wavelengths], device=device),
    )


def prior_views(
    source: WholeSource, recipe: PretrainRecipe, step: int, numbers: range, device: torch.device
) -> PriorBatch:
    """Samples ``numbers`` of the batch of a step, white noise upon them."""
    objective = recipe.objective
    assert isinstance(objective, PriorObjective | MeanFlowObjective)
    averaged = objective.averaged if isinstance(objective, MeanFlowObjective) else 0.0
    generators = [np.random.default_rng((recipe.seed, step, _NOISY, number)) for number in numbers]
    clean = torch.from_numpy(source.channels[[g.integers(len(source)) for g in generators]])
    shown = torch.view_as_real(in_angle_and_delay(clean)).contiguous()
    sigma = np.array([10 ** (-g.uniform(*objective.snr_db) / 20) for g in generators], np.float32)
    share = np.array([g.random() * g.integers(2) if g.random() < averaged else 1.0 for g in generators], np.float32)
    noise = np.stack([g.standard_normal(shown.shape[1:], dtype=np.float32) for g in generators]) / np.sqrt(2)
    level = torch.from_numpy(sigma)
    return PriorBatch(
        mask=torch.ones(shown.shape[:3], dtype=torch.bool, device=device),
        weight=torch.ones(len(shown), device=device),
        clean=shown.to(device),
        noisy=(shown + level[:, None, None, None] * torch.from_numpy(noise.astype(np.float32))).to(device),
        sigma=level.to(device),
        until=(level * torch.from_numpy(share)).to(device),
    )
