"""Every way to use a network as a Predictor: one visible dict."""

from __future__ import annotations

from torch import nn

from channelfm.errors import InputError
from channelfm.learned.diffusion import DiffusionPredictor
from channelfm.learned.network import NetworkPredictor, PredictorRecipe
from channelfm.learned.one_shot import OneShotPredictor
from channelfm.learned.sequence import SequenceNetwork
from channelfm.learned.wavefield import WavefieldPredictor

# PredictorRecipe.method -> the class that asks the network so
METHODS: dict[str, type[NetworkPredictor]] = {
    "diffusion": DiffusionPredictor,
    "one-shot": OneShotPredictor,
    "wavefield": WavefieldPredictor,
}


SEQUENCE, MIXTURE = "sequence", "mixture"


def sequence_predictor_of(network: nn.Module, recipe: PredictorRecipe) -> SequenceNetwork:
    """The SequencePredictor of a network and its recipe; it works where the network lies and in its precision."""
    if recipe.method != SEQUENCE:
        raise InputError(
            f"model '{recipe.name}' reconstructs channels and predicts none: give one of method '{SEQUENCE}'"
        )
    return SequenceNetwork(recipe.name, network, recipe.sequence)


def predictor_of(
    network: nn.Module, recipe: PredictorRecipe, batch_size: int = 64, spacing_wavelengths: float | None = None
) -> NetworkPredictor:
    """The Predictor of a network and its recipe; it works where the network lies and in its precision."""
    if recipe.method in (SEQUENCE, MIXTURE):
        raise InputError(f"model '{recipe.name}' predicts sequences and reconstructs no channels: give another one")
    if recipe.method not in METHODS:
        raise InputError(f"method '{recipe.method}': no such way to use a network; use one of: {', '.join(METHODS)}")
    return METHODS[recipe.method](network, recipe, batch_size, spacing_wavelengths)
