"""A denoising network as a Predictor: observation -> frame -> reverse diffusion -> channel (SPEC 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from channelfm.diffusion import sample
from channelfm.learned.network import FramePredictor, PredictorRecipe

__all__ = ["DiffusionPredictor", "PredictorRecipe"]

# Features are taken at this share of the forward process, where the channel is still plainly visible.
_FEATURE_STEP_SHARE = 0.1


class DiffusionPredictor(FramePredictor):
    """Asks the network at every step of the sampler, from noise that is the same for every sample."""

    def fill(self, known: Tensor, seen: Tensor) -> Tensor:
        """See :meth:`FramePredictor.fill`; with data consistency every clean estimate keeps the observed values."""
        return sample(
            lambda noisy, step: self.network(noisy, step, known, seen),
            self.recipe.diffusion,
            self.recipe.sampler,
            self.noise(known),
            known,
            seen[..., None],
        )

    def feature_input(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """The clean channel itself, declared slightly noisy."""
        step = int(_FEATURE_STEP_SHARE * self.recipe.diffusion.steps)
        return clean, torch.full((len(clean),), step, device=clean.device)
