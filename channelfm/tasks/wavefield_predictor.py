"""The wavefield model as a Predictor: it finds its own waves, so that no frame is needed."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from channelfm.models.wavefield import Wavefield
from channelfm.tasks.network_predictor import NetworkPredictor, PredictorRecipe


class WavefieldPredictor(NetworkPredictor):
    """Asks the network for the field; of ``recipe.frame`` only the element spacing matters."""

    def __init__(self, network: nn.Module, recipe: PredictorRecipe, batch_size: int = 64) -> None:
        super().__init__(network, recipe, batch_size)
        cast(Wavefield, network).spacing_wavelengths = recipe.frame.spacing_wavelengths

    def reconstruct(self, partial: Tensor, seen: Tensor) -> Tensor:
        """See :meth:`NetworkPredictor.reconstruct`."""
        field: Tensor = self.network(partial, seen)
        return field
