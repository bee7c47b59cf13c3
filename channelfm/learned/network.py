"""What every Predictor around a network has in common: checks, frequencies, frame, batches, device.

A method (:mod:`channelfm.learned.methods`) adds only how a network's answer is obtained in the frame.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from channelfm.config import Recipe
from channelfm.diffusion import DiffusionRecipe, SamplerRecipe
from channelfm.errors import InputError
from channelfm.estimator import (
    SPACING_TOLERANCE,
    ChannelEstimator,
    check_answer,
    check_observation,
    checked_spacing,
    known_spacing,
)
from channelfm.learned.sequence import SequenceDomain
from channelfm.observation import Complex, Observation, fold_frequency, unfold_frequency
from channelfm.tokens.canonical import FrameRecipe, expected_channel, find_frame, to_canonical
from channelfm.waves.scale import at_unit_scale


class PredictorRecipe(Recipe):
    """All that is needed, beside weights, to use a model.

    ``method`` is how the network is asked, a key of :data:`channelfm.learned.methods.METHODS`; ``model`` and
    ``model_options`` name the network in ``models.zoo``; ``frame`` is the frame it was trained in; ``latent`` gives a
    one-shot network Gaussian noise (a generator) instead of zeros; ``noise_seed`` fixes all noise, so that prediction
    is deterministic and independent of how samples are batched. ``diffusion`` and the sampler's kind and steps concern
    the method ``diffusion`` alone; ``sampler.data_consistency`` holds for every method but ``sequence``, which predicts
    future frames in the domain ``sequence`` and needs none of the others, and ``mixture``, which needs ``candidates``
    alone: names of ``baselines.prediction.SEQUENCE_BASELINES``, in the network's order.
    """

    name: str = "cddim-canonical"
    method: Literal["diffusion", "one-shot", "wavefield", "sequence", "mixture"] = "diffusion"
    model: str = "cddim-demo"
    model_options: dict[str, int | bool] = Field(default_factory=dict)
    frame: FrameRecipe = FrameRecipe()
    diffusion: DiffusionRecipe = DiffusionRecipe()
    sampler: SamplerRecipe = SamplerRecipe()
    latent: bool = False
    noise_seed: int = Field(default=0, ge=0, lt=2**63)
    sequence: SequenceDomain = SequenceDomain()
    candidates: tuple[str, ...] = ()


@runtime_checkable
class TokenNetwork(Protocol):
    """A network with features: ``features(noisy, step, observed, mask)`` gives [N, tokens, width]."""

    def features(self, noisy: Tensor, step: Tensor, observed: Tensor, mask: Tensor) -> Tensor:
        """Arguments as the network's forward."""
        ...


class NetworkPredictor(ChannelEstimator):
    """Predictor around a network; frequencies are treated as separate narrow-band samples.

    Works on the device and in the precision of the network's parameters: move or cast the network, not the predictor.
    In the canonical frame the waves are found at the spacing of the data's array, and the network sees what they leave,
    as in training: any spacing works, although far from that of training the ripples that are left are faster or
    slower than those it has met. A raw-frame network knows the phase steps of its own spacing alone, and refuses
    others. ``spacing_wavelengths`` holds where ``predict`` is not told any.
    Observed antennas keep their values exactly (unless ``sampler.data_consistency`` is off), and a sample whose
    observed antennas are all zero, a link without any path, is answered with zeros.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: PredictorRecipe,
        batch_size: int = 64,
        spacing_wavelengths: float | None = None,
    ) -> None:
        self.name = recipe.name
        self.network = network.eval()
        self.recipe = recipe
        self.batch_size = batch_size
        self.spacing_wavelengths = spacing_wavelengths
        if spacing_wavelengths is not None:
            self.frame_at(checked_spacing(spacing_wavelengths))

    @torch.no_grad()
    def estimate(self, observation: Observation) -> Complex:
        """See :class:`channelfm.estimator.Estimator`."""
        observation.check()
        frame = self.frame_at(observation.grid.array.spacing_wavelengths)
        frames, *size = observation.grid.shape
        partial, seen = (fold_frequency(part.reshape(-1, *size)) for part in (observation.values, observation.mask))
        if not seen.any(axis=(1, 2)).all():
            raise InputError("the mask hides every antenna at some frequency: observe at least one at each")
        result: Complex = np.zeros(partial.shape, np.complex64)
        keeps = self.recipe.sampler.data_consistency
        asked = np.flatnonzero(partial.any(axis=(1, 2)) & ~(keeps & seen.all(axis=(1, 2))))
        for start in range(0, len(asked), self.batch_size):
            batch = asked[start : start + self.batch_size]
            given, where = (torch.from_numpy(array[batch]).to(self.device) for array in (partial, seen))
            answer = at_unit_scale(self.reconstruct, given, where, frame)
            result[batch] = answer.cpu().numpy()
        check_answer(result, self.name)
        if keeps:
            result[seen] = partial[seen]
        return np.ascontiguousarray(unfold_frequency(result, size[2]).reshape(-1, frames, *size))

    def embed(
        self, channel: NDArray[np.complex64], spacing_wavelengths: float | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features of full channels, where the network has any (see :meth:`FramePredictor.embed`); else InputError."""
        raise InputError(f"model '{self.recipe.model}' has no tokens to give as features: use a 'cddim' one")

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return next(self.network.parameters()).device

    def frame_at(self, spacing_wavelengths: float) -> FrameRecipe:
        """The network's frame for an array of some element spacing.

        Raises InputError for a raw frame whose spacing in training differs by more than 1 %.
        """
        trained = self.recipe.frame.spacing_wavelengths
        near = math.isclose(spacing_wavelengths, trained, rel_tol=SPACING_TOLERANCE)
        if self.recipe.frame.kind == "raw" and not near:
            raise InputError(
                f"model '{self.name}' works in the raw frame, for arrays spaced {trained:g} wavelengths, not "
                f"{spacing_wavelengths:g}: use a model of the canonical frame"
            )
        return self.recipe.frame.at_spacing(spacing_wavelengths)

    def known_spacing(self, told: float | None) -> float:
        """See :class:`channelfm.estimator.ChannelEstimator`; a guess is the spacing of training."""
        trained = self.recipe.frame.spacing_wavelengths
        return known_spacing(self.name, told, self.spacing_wavelengths, otherwise=trained)

    @abstractmethod
    def reconstruct(self, partial: Tensor, seen: Tensor, frame: FrameRecipe) -> Tensor:
        """Channels complex64 [N, rows, cols] from partial ones and their bool mask, all on the network's device.

        ``frame`` is the network's, at the spacing of the array.
        """


class FramePredictor(NetworkPredictor):
    """A Predictor whose network works in a frame (``recipe.frame``)."""

    @torch.no_grad()
    def embed(
        self, channel: NDArray[np.complex64], spacing_wavelengths: float | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features of full channels complex64 [snapshot, row, column, frequency], for one's own head.

        Returns float32 [snapshot, frequency * token, width] and its mean over tokens [snapshot, width].
        Raises InputError for a network without tokens and for no channel at all.
        """
        if not isinstance(self.network, TokenNetwork):
            return super().embed(channel, spacing_wavelengths)
        channel, everything = check_observation(channel, np.ones((1, 1, 1, 1), dtype=bool))
        if not len(channel):
            raise InputError("no channel to take features of: give at least one snapshot")
        recipe = self.frame_at(self.known_spacing(spacing_wavelengths))
        folded = torch.from_numpy(fold_frequency(channel))
        seen = torch.from_numpy(fold_frequency(everything))
        parts = []
        for start in range(0, len(folded), self.batch_size):
            some, all_seen = (part[start : start + self.batch_size].to(self.device) for part in (folded, seen))
            clean = torch.view_as_real(to_canonical(some, find_frame(some, all_seen, recipe)))
            noisy, step = self.feature_input(clean)
            parts.append(self.network.features(noisy, step, clean, all_seen).float().cpu())
        tokens = torch.cat(parts).reshape(len(channel), -1, parts[0].shape[2]).numpy()
        check_answer(tokens, self.name)
        return tokens, tokens.mean(axis=1)

    def reconstruct(self, partial: Tensor, seen: Tensor, frame: FrameRecipe) -> Tensor:
        """See :meth:`NetworkPredictor.reconstruct`."""
        found = find_frame(partial, seen, frame)
        known = torch.view_as_real(torch.where(seen, to_canonical(partial, found), 0))
        return expected_channel(torch.view_as_complex(self.fill(known, seen).float().contiguous()), found)

    @abstractmethod
    def fill(self, known: Tensor, seen: Tensor) -> Tensor:
        """Channels float [N, rows, cols, 2] in the frame from ``known`` (0 where hidden) and bool ``seen``."""

    @abstractmethod
    def feature_input(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """The network's arguments ``noisy`` and ``step`` from which features of ``clean`` channels are taken."""

    def noise(self, like: Tensor) -> Tensor:
        """Gaussian noise shaped as ``like`` [N, ...], the same for every sample: fixed by ``recipe.noise_seed``."""
        generator = torch.Generator().manual_seed(self.recipe.noise_seed)
        return torch.randn(like.shape[1:], generator=generator).to(like.device).expand_as(like)
