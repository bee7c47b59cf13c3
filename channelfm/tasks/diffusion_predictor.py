"""The network as a Predictor: observation -> frame -> reverse diffusion -> channel."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from channelfm.config import Recipe
from channelfm.diffusion import DiffusionRecipe, SamplerRecipe, sample
from channelfm.errors import InputError
from channelfm.models.denoiser import Denoiser
from channelfm.tasks.predictor import check_observation, fold_frequency, unfold_frequency
from channelfm.tokens.canonical import FrameRecipe, find_frame, from_canonical, to_canonical

# Features are taken at this share of the forward process, where the channel is still plainly visible.
_FEATURE_STEP_SHARE = 0.1


class PredictorRecipe(Recipe):
    """All that is needed, beside weights, to use a model.

    ``model`` and ``model_options`` name the network in ``models.zoo``; ``frame`` is the frame it was trained in;
    ``noise_seed`` fixes the initial noise, so that prediction is deterministic and independent of how samples are
    batched.
    """

    name: str = "cddim-canonical"
    model: str = "cddim-demo"
    model_options: dict[str, int | bool] = Field(default_factory=dict)
    frame: FrameRecipe = FrameRecipe()
    diffusion: DiffusionRecipe = DiffusionRecipe()
    sampler: SamplerRecipe = SamplerRecipe()
    noise_seed: int = 0


class DiffusionPredictor:
    """Predictor around a denoising network (SPEC 2); frequencies are treated as separate narrow-band samples."""

    def __init__(self, network: nn.Module, recipe: PredictorRecipe, batch_size: int = 64) -> None:
        self.name = recipe.name
        self.network = network.eval()
        self.recipe = recipe
        self.batch_size = batch_size

    def predict(self, observed: NDArray[np.complex64], mask: NDArray[np.bool_]) -> NDArray[np.complex64]:
        """Full channels from partial ones; see :class:`channelfm.tasks.predictor.Predictor`."""
        observed, mask = check_observation(observed, mask)
        partial, seen = fold_frequency(observed), fold_frequency(mask)
        if not seen.any(axis=(1, 2)).all():
            raise InputError("the mask hides every antenna at some frequency: observe at least one at each")
        result = np.zeros_like(partial)
        for start in range(0, len(partial), self.batch_size):
            batch = slice(start, start + self.batch_size)
            result[batch] = self._reconstruct(torch.from_numpy(partial[batch]), torch.from_numpy(seen[batch]))
        return unfold_frequency(result, observed.shape[3])

    @torch.inference_mode()
    def embed(self, channel: NDArray[np.complex64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features of full channels complex64 [snapshot, row, column, frequency], for one's own head.

        Returns float32 [snapshot, frequency * token, width] and its mean over tokens [snapshot, width].
        """
        channel, everything = check_observation(channel, np.ones((1, 1, 1, 1), dtype=bool))
        folded = torch.from_numpy(fold_frequency(channel))
        seen = torch.from_numpy(fold_frequency(everything))
        step = int(_FEATURE_STEP_SHARE * self.recipe.diffusion.steps)
        parts = []
        for start in range(0, len(folded), self.batch_size):
            batch = slice(start, start + self.batch_size)
            frame = find_frame(folded[batch], seen[batch], self.recipe.frame)
            clean = torch.view_as_real(to_canonical(folded[batch], frame)).to(self._device)
            steps = torch.full((len(clean),), step, device=self._device)
            network = cast(Denoiser, self.network)
            parts.append(network.features(clean, steps, clean, seen[batch].to(self._device)).float().cpu())
        tokens = torch.cat(parts).reshape(len(channel), -1, parts[0].shape[2]).numpy()
        return tokens, tokens.mean(axis=1)

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    @torch.inference_mode()
    def _reconstruct(self, partial: Tensor, seen: Tensor) -> NDArray[np.complex64]:
        """Channels [N, rows, cols] from partial ones and their mask."""
        partial, seen = partial.to(self._device), seen.to(self._device)
        frame = find_frame(partial, seen, self.recipe.frame)
        known = torch.view_as_real(torch.where(seen, to_canonical(partial, frame), 0))
        generator = torch.Generator().manual_seed(self.recipe.noise_seed)
        noise = torch.randn(known.shape[1:], generator=generator).to(self._device).expand_as(known)
        clean = sample(
            lambda noisy, step: self.network(noisy, step, known, seen),
            self.recipe.diffusion,
            self.recipe.sampler,
            noise,
            known,
            seen[..., None],
        )
        return from_canonical(torch.view_as_complex(clean.contiguous()), frame).cpu().numpy()
