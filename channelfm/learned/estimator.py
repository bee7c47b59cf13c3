"""Networks as estimators: what was received enters the network's domain, the network is asked, its answer leaves it.

Estimators work on a network of their own that shares the weights of the one they are given (:func:`sharing_weights`):
nothing that they do changes what another holds. Move or cast ``estimator.network``; answers are worked out where it
lies and in its precision.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from channelfm.baselines.time.completion import complete_frames
from channelfm.baselines.time.noise import estimate_noise
from channelfm.diffusion import sample
from channelfm.errors import InputError
from channelfm.estimator import (
    SPACING_TOLERANCE,
    ChannelEstimator,
    SequenceEstimator,
    check_answer,
    check_observation,
    check_past,
    checked_spacing,
    known_spacing,
)
from channelfm.learned.domains import InFrame, enter_frame
from channelfm.learned.networks import batches, device_of, sharing_weights
from channelfm.learned.prior import ClusterEstimator, PriorEstimator
from channelfm.learned.recipe import (
    ClusterModel,
    DiffusionModel,
    MixtureModel,
    ModelRecipe,
    NetworkRecipe,
    OneShotModel,
    PriorModel,
    SequenceModel,
    WavefieldModel,
)
from channelfm.observation import Bool, Complex, Observation, fold_frequency, unfold_frequency
from channelfm.tokens.angle_delay import angle_delay_frames, from_angle_delay_frames
from channelfm.waves.scale import at_unit_scale

Features = tuple[NDArray[np.float32], NDArray[np.float32]]

# Features are taken at this share of the forward process, where the channel is still plainly visible.
_FEATURE_STEP_SHARE = 0.1


@runtime_checkable
class TokenNetwork(Protocol):
    """A network with features: ``features(...)``, arguments as the network's forward, gives [N, tokens, width]."""

    def features(self, *arguments: Tensor) -> Tensor:
        """Tokens of the last layer."""
        ...


class NetworkEstimator(ChannelEstimator):
    """Channels by a network, which takes every time and frequency as a narrow-band sample of its own.

    Waves are found at the spacing of the data's array, and the network sees what they leave, as in training: any
    spacing works, although far from that of training the ripples that are left are faster or slower than those it has
    met. ``spacing_wavelengths`` holds where ``predict`` is not told any. Observed antennas keep their values exactly
    (unless ``sampler.data_consistency`` is off), and a sample whose observed antennas are all zero, a link without any
    path, is answered with zeros.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: DiffusionModel | OneShotModel | WavefieldModel,
        spacing_wavelengths: float | None = None,
        batch_size: int = 64,
    ) -> None:
        self.name, self.recipe, self.batch_size = recipe.name, recipe, batch_size
        self.network = sharing_weights(network)
        self.spacing_wavelengths = spacing_wavelengths
        if spacing_wavelengths is not None:
            self.check_spacing(checked_spacing(spacing_wavelengths))

    @torch.no_grad()
    def estimate(self, observation: Observation) -> Complex:
        """See :class:`channelfm.estimator.Estimator`."""
        spacing = observation.grid.array.spacing_wavelengths
        partial, seen = self.samples(observation)
        result: Complex = np.zeros(partial.shape, np.complex64)
        keeps = self.recipe.sampler.data_consistency
        asked = np.flatnonzero(partial.any(axis=(1, 2)) & ~(keeps & seen.all(axis=(1, 2))))
        for batch in batches(asked, self.batch_size):
            given, where = (torch.from_numpy(array[batch]).to(device_of(self.network)) for array in (partial, seen))
            result[batch] = at_unit_scale(self.reconstruct, given, where, spacing).cpu().numpy()
        check_answer(result, self.name)
        if keeps:
            result[seen] = partial[seen]
        frames, *size = observation.grid.shape
        return np.ascontiguousarray(unfold_frequency(result, size[2]).reshape(-1, frames, *size))

    def samples(self, observation: Observation) -> tuple[Complex, Bool]:
        """What the network is asked of an observation: partial channels [sample, row, col], each link's by time and
        frequency, and their mask. Raises InputError where it cannot work with the observation."""
        observation.check()
        self.check_spacing(observation.grid.array.spacing_wavelengths)
        _, *size = observation.grid.shape
        seen = fold_frequency(observation.mask.reshape(-1, *size))  # refuses what are no single entries
        partial = fold_frequency(observation.values.reshape(-1, *size))
        if not seen.any(axis=(1, 2)).all():
            raise InputError("the mask hides every antenna at some frequency: observe at least one at each")
        return partial, seen

    def embed(self, channel: Complex, spacing_wavelengths: float | None = None) -> Features:
        """Features of full channels complex64 [snapshot, row, column, frequency], for one's own head.

        Returns float32 [snapshot, frequency * token, width] and its mean over tokens [snapshot, width].
        Raises InputError for a network without tokens and for no channel at all.
        """
        raise _without_tokens(self.recipe)

    def check_spacing(self, spacing_wavelengths: float) -> None:
        """InputError for an array of an element spacing that the network cannot work with."""

    def known_spacing(self, told: float | None) -> float:
        """See :class:`channelfm.estimator.ChannelEstimator`; a guess is the spacing of training."""
        trained = self.recipe.frame.spacing_wavelengths
        return known_spacing(self.name, told, self.spacing_wavelengths, otherwise=trained)

    @abstractmethod
    def reconstruct(self, partial: Tensor, seen: Tensor, spacing_wavelengths: float) -> Tensor:
        """Channels complex64 [N, rows, cols] from partial ones and their bool mask, all on the network's device."""


class WavefieldEstimator(NetworkEstimator):
    """A network that finds its own waves, so that no frame is needed."""

    def reconstruct(self, partial: Tensor, seen: Tensor, spacing_wavelengths: float) -> Tensor:
        """See :class:`NetworkEstimator`."""
        field: Tensor = self.network(partial, seen, spacing_wavelengths)
        return field


class FrameNetwork(NetworkEstimator):
    """A network that works in a frame. One of the raw frame knows the phase steps of its own spacing alone, and refuses
    others than that of its training by more than 1 %."""

    recipe: DiffusionModel | OneShotModel

    def reconstruct(self, partial: Tensor, seen: Tensor, spacing_wavelengths: float) -> Tensor:
        """See :class:`NetworkEstimator`."""
        inside = self.enter(partial, seen, spacing_wavelengths)
        return inside.leave(self.fill(inside.known, seen))

    def enter(self, received: Tensor, seen: Tensor, spacing_wavelengths: float) -> InFrame:
        """The network's domain."""
        return enter_frame(received, seen, self.recipe.frame.at_spacing(spacing_wavelengths))

    def tokens(self, known: Tensor, seen: Tensor) -> Tensor:
        """Features [N, tokens, width] of what is known in the frame; gradients reach the network. InputError for one
        without tokens."""
        if not isinstance(self.network, TokenNetwork):
            raise _without_tokens(self.recipe)
        return self.network.features(*self.feature_input(known), known, seen)

    @torch.no_grad()
    def embed(self, channel: Complex, spacing_wavelengths: float | None = None) -> Features:
        """See :class:`NetworkEstimator`."""
        channel, everything = check_observation(channel, np.ones((1, 1, 1, 1), dtype=bool))
        if not len(channel):
            raise InputError("no channel to take features of: give at least one snapshot")
        spacing = self.known_spacing(spacing_wavelengths)
        self.check_spacing(spacing)
        folded, seen = (torch.from_numpy(fold_frequency(part)) for part in (channel, everything))
        parts = []
        for batch in batches(np.arange(len(folded)), self.batch_size):
            some, all_seen = (part[batch].to(device_of(self.network)) for part in (folded, seen))
            parts.append(self.tokens(self.enter(some, all_seen, spacing).known, all_seen).float().cpu())
        tokens = torch.cat(parts).reshape(len(channel), -1, parts[0].shape[2]).numpy()
        check_answer(tokens, self.name)
        return tokens, tokens.mean(axis=1)

    def check_spacing(self, spacing_wavelengths: float) -> None:
        """See :class:`NetworkEstimator`."""
        trained = self.recipe.frame.spacing_wavelengths
        near = math.isclose(spacing_wavelengths, trained, rel_tol=SPACING_TOLERANCE)
        if self.recipe.frame.kind == "raw" and not near:
            raise InputError(
                f"model '{self.name}' works in the raw frame, for arrays spaced {trained:g} wavelengths, not "
                f"{spacing_wavelengths:g}: use a model of the canonical frame"
            )

    def noise(self, like: Tensor) -> Tensor:
        """Gaussian noise shaped as ``like`` [N, ...], the same for every sample: fixed by ``recipe.noise_seed``."""
        generator = torch.Generator().manual_seed(self.recipe.noise_seed)
        return torch.randn(like.shape[1:], generator=generator).to(like.device).expand_as(like)

    @abstractmethod
    def fill(self, known: Tensor, seen: Tensor) -> Tensor:
        """Channels float [N, rows, cols, 2] in the frame from ``known`` (0 where hidden) and bool ``seen``."""

    @abstractmethod
    def feature_input(self, known: Tensor) -> tuple[Tensor, Tensor]:
        """The network's arguments ``noisy`` and ``step`` from which features of channels are taken."""


class DiffusionEstimator(FrameNetwork):
    """Asks the network at every step of the sampler, from noise that is the same for every sample."""

    recipe: DiffusionModel

    def fill(self, known: Tensor, seen: Tensor) -> Tensor:
        """See :class:`FrameNetwork`; with data consistency every clean estimate keeps the observed values."""
        return sample(
            lambda noisy, step: self.network(noisy, step, known, seen),
            self.recipe.diffusion,
            self.recipe.sampler,
            self.noise(known),
            known,
            seen[..., None],
        )

    def feature_input(self, known: Tensor) -> tuple[Tensor, Tensor]:
        """The known channel itself, declared slightly noisy."""
        step = int(_FEATURE_STEP_SHARE * self.recipe.diffusion.steps)
        return known, torch.full((len(known),), step, device=known.device)


class OneShotEstimator(FrameNetwork):
    """The network's answer at step 0 is the clean channel; its ``noisy`` input is zeros, or noise if ``latent``."""

    recipe: OneShotModel

    def fill(self, known: Tensor, seen: Tensor) -> Tensor:
        """See :class:`FrameNetwork`."""
        clean: Tensor = self.network(*self.feature_input(known), known, seen)
        return clean

    def feature_input(self, known: Tensor) -> tuple[Tensor, Tensor]:
        """What stands in for the noisy channel, and step 0: the network knows a channel only as an observation."""
        step = torch.zeros(len(known), dtype=torch.int64, device=known.device)
        return self.noise(known) if self.recipe.latent else torch.zeros_like(known), step


class SequenceNetwork(SequenceEstimator):
    """Frames to come by a network ``(frames, seen) -> frames``, as ``models.lwm_temporal.LWMTemporal`` is.

    Frames observed in part are completed over frequency first
    (:func:`channelfm.baselines.time.completion.complete_frames`), as for classical predictors.
    """

    def __init__(self, network: nn.Module, recipe: SequenceModel, batch_size: int = 16) -> None:
        self.name, self.recipe, self.batch_size = recipe.name, recipe, batch_size
        self.network = sharing_weights(network)

    @torch.no_grad()
    def future(self, past: Complex, mask: Bool, horizon: int) -> Complex:
        """See :class:`channelfm.estimator.SequenceEstimator`."""
        complete, domain = torch.from_numpy(complete_frames(past, mask)), self.recipe.sequence
        parts = []
        for batch in batches(np.arange(len(past)), self.batch_size):
            frames = domain.frames(complete[batch].to(device_of(self.network)))
            frames = nn.functional.pad(frames, (0, 0, 0, 0, 0, horizon))
            seen = torch.zeros(frames.shape, dtype=torch.bool, device=frames.device)
            seen[:, : past.shape[1]] = True
            known, reference = domain.enter(frames, seen)
            answer = domain.ask(self.network, known, seen)[:, past.shape[1] :]
            parts.append(domain.leave(answer, reference, past.shape[2:]).cpu())
        return torch.cat(parts).numpy()

    @torch.no_grad()
    def embed(self, sequences: Complex) -> Features:
        """Features of whole sequences complex64 [N, T, row, col, frequency], for one's own head.

        Returns float32 [N, tokens, width] without [CLS] and, [N, width], [CLS] or, without one, the mean. Raises
        InputError for a network without tokens.
        """
        if not isinstance(self.network, TokenNetwork):
            raise _without_tokens(self.recipe)
        sequences, _ = check_past(sequences, np.ones((1, 1, 1, 1, 1), np.bool_), 1)
        if not len(sequences):
            raise InputError("no sequence to take features of: give at least one")
        parts = []
        for batch in batches(np.arange(len(sequences)), self.batch_size):
            frames = self.recipe.sequence.frames(torch.from_numpy(sequences[batch]).to(device_of(self.network)))
            seen = torch.ones(frames.shape, dtype=torch.bool, device=frames.device)
            known, _ = self.recipe.sequence.enter(frames, seen)
            parts.append(self.network.features(known, seen).float().cpu())
        tokens = torch.cat(parts).numpy()
        check_answer(tokens, self.name)
        return (tokens[:, 1:], tokens[:, 0]) if hasattr(self.network, "cls_token") else (tokens, tokens.mean(axis=1))


class MixtureEstimator(SequenceEstimator):
    """Asks the candidates, on the processor, and then the network (:class:`channelfm.models.mixture.LinearMixture`)
    whom to believe."""

    def __init__(self, network: nn.Module, recipe: MixtureModel, batch_size: int = 16) -> None:
        self.name, self.recipe, self.batch_size = recipe.name, recipe, batch_size
        self.network, self.candidates = sharing_weights(network), recipe.predictors()

    @torch.no_grad()
    def future(self, past: Complex, mask: Bool, horizon: int) -> Complex:
        """See :class:`channelfm.estimator.SequenceEstimator`."""
        parts, device = [], device_of(self.network)
        ahead = torch.arange(1, horizon + 1, device=device)
        for batch in batches(np.arange(len(past)), self.batch_size):
            guesses, noise = mixture_input(self.candidates, past[batch], mask[batch], horizon)
            answer = self.network(torch.view_as_real(guesses).to(device), noise.to(device), ahead)
            frames = torch.view_as_complex(answer.contiguous().cpu())
            parts.append(from_angle_delay_frames(frames, *past.shape[2:]).numpy())
        return np.concatenate(parts)

    def embed(self, sequences: Complex) -> Features:
        """InputError: a mixture has no tokens."""
        raise _without_tokens(self.recipe)


def mixture_input(
    candidates: Sequence[SequenceEstimator], past: Complex, mask: Bool, horizon: int
) -> tuple[Tensor, Tensor]:
    """What a mixture is given: predictions of all candidates in angle and delay, complex64
    [N, candidate, horizon, angle, delay], and the noise relative to the power of the past, float32 [N]."""
    guesses = [torch.from_numpy(candidate.predict(past, mask, horizon)) for candidate in candidates]
    frames = torch.stack([angle_delay_frames(guess, guess.shape[4]) for guess in guesses], dim=1)
    power = np.sum(np.abs(past) ** 2, axis=(1, 2, 3, 4)) / mask.sum(axis=(1, 2, 3, 4))
    noise = estimate_noise(past, mask) / np.where(power > 0, power, 1.0)
    return frames, torch.from_numpy(noise.astype(np.float32))


Model = NetworkEstimator | SequenceNetwork | MixtureEstimator | ClusterEstimator | PriorEstimator


def estimator_of(network: nn.Module, recipe: ModelRecipe, spacing_wavelengths: float | None = None) -> Model:
    """The estimator of a network and its recipe; ``spacing_wavelengths`` as :class:`NetworkEstimator` takes it, which
    predictors of sequences do without."""
    match recipe:
        case DiffusionModel():
            return DiffusionEstimator(network, recipe, spacing_wavelengths)
        case OneShotModel():
            return OneShotEstimator(network, recipe, spacing_wavelengths)
        case WavefieldModel():
            return WavefieldEstimator(network, recipe, spacing_wavelengths)
        case SequenceModel():
            return SequenceNetwork(network, recipe)
        case MixtureModel():
            return MixtureEstimator(network, recipe)
        case ClusterModel():
            return ClusterEstimator(network, recipe, spacing_wavelengths)
        case PriorModel():
            return PriorEstimator(network, recipe, spacing_wavelengths)


def _without_tokens(recipe: NetworkRecipe) -> InputError:
    better = "an 'lwm-temporal'" if recipe.of_sequences else "a 'cddim'"
    return InputError(f"model '{recipe.model}' has no tokens to give as features: use {better} one")
