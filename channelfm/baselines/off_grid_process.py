"""The off-grid estimate, and a Gaussian process for what its waves leave: the strongest classical answer here."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from channelfm.baselines.gaussian_process import GaussianProcess
from channelfm.baselines.off_grid import OffGrid
from channelfm.baselines.samples import FieldEstimator
from channelfm.observation import Observation
from channelfm.waves.gathered import Gathered
from channelfm.waves.scale import at_unit_scale


class OffGridProcess(FieldEstimator):
    """First the waves that the observation supports, then smoothness for diffuse paths and edges that they miss.

    The rest at the observed antennas is treated as an observation of its own: its strongest wave is divided out, and a
    Gaussian process with hyperparameters of its own interpolates it. In strong white noise the off-grid estimate
    alone is better, since the strongest wave of pure noise is noise.
    """

    name = "off-grid-gp"
    takes_combined = True
    samples_at_once = min(OffGrid.samples_at_once, GaussianProcess.samples_at_once)

    def __init__(self, spacing_wavelengths: float | None = None) -> None:
        super().__init__(spacing_wavelengths)
        self.waves, self.rest = OffGrid(), GaussianProcess()

    def fields(self, field: Tensor, seen: Tensor, spacing_wavelengths: float) -> Tensor:
        """See :class:`FieldEstimator`."""
        estimate = self.waves.fields(field, seen, spacing_wavelengths).to(torch.complex64)
        rest = torch.where(seen, field - estimate, 0)
        left = torch.nonzero((rest != 0).any(2).any(1))[:, 0]
        if len(left):
            estimate[left] += at_unit_scale(self.rest.fields, rest[left], seen[left], spacing_wavelengths)
        return estimate

    def check(self, observation: Observation) -> None:
        """See :class:`channelfm.estimator.ChannelEstimator`: what the process cannot solve is refused."""
        self.rest.check(observation)

    @torch.inference_mode()
    def combined(self, measured: Gathered) -> Tensor:
        """See :class:`FieldEstimator`."""
        estimate = self.waves.combined(measured)
        rest = measured.field - measured.measured(estimate.flatten(1)[:, None])[:, 0]
        left = torch.nonzero((rest != 0).any(1))[:, 0]
        if len(left):
            estimate[left] += self.rest.combined(replace(measured.select(left), field=rest[left]))
        return estimate
