"""A network asked once as a Predictor: masked modelling (LWM's MCM), regression, or the generator of a CGAN."""

from __future__ import annotations

import torch
from torch import Tensor

from channelfm.learned.network import FramePredictor


class OneShotPredictor(FramePredictor):
    """The network's answer at step 0 is the clean channel; its ``noisy`` input is zeros, or noise if ``latent``."""

    def fill(self, known: Tensor, seen: Tensor) -> Tensor:
        """See :meth:`FramePredictor.fill`."""
        clean: Tensor = self.network(*self.feature_input(known), known, seen)
        return clean

    def feature_input(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """What stands in for the noisy channel, and step 0: the network knows a channel only as an observation."""
        step = torch.zeros(len(clean), dtype=torch.int64, device=clean.device)
        return self.noise(clean) if self.recipe.latent else torch.zeros_like(clean), step
