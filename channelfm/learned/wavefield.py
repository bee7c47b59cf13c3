"""The wavefield model as a Predictor: it finds its own waves, so that no frame is needed."""

from __future__ import annotations

from torch import Tensor

from channelfm.learned.network import NetworkPredictor
from channelfm.tokens.canonical import FrameRecipe


class WavefieldPredictor(NetworkPredictor):
    """Asks the network for the field; of the frame only the element spacing matters."""

    def reconstruct(self, partial: Tensor, seen: Tensor, frame: FrameRecipe) -> Tensor:
        """See :meth:`NetworkPredictor.reconstruct`."""
        field: Tensor = self.network(partial, seen, frame.spacing_wavelengths)
        return field
