"""A pretrained network behind a CE head, both taught to estimate channels from noisy pilots (seed 000, V-A2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from channelfm.diffusion import draw_steps, noise_sample
from channelfm.errors import InputError
from channelfm.estimator import CHANNEL, Examples
from channelfm.learned.adaptation import Mode, adapted
from channelfm.learned.descent import Descent, random_window
from channelfm.learned.estimator import FrameNetwork, Model, estimator_of
from channelfm.learned.networks import batches, device_of
from channelfm.learned.recipe import DiffusionModel, OneShotModel
from channelfm.learned.redrawn import redrawn
from channelfm.models.ce_head import CEHead
from channelfm.observation import Complex, Observation, fold_frequency


class DenoisedPilots(nn.Module):
    """A denoiser that sees what a CE head makes of the observation; arguments as the denoiser's."""

    def __init__(self, backbone: nn.Module, head: CEHead) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, noisy: Tensor, step: Tensor, observed: Tensor, mask: Tensor) -> Tensor:
        """Prediction float32 [N, rows, cols, 2]."""
        prediction: Tensor = self.backbone(noisy, step, self.head(observed, mask), mask)
        return prediction


class _InFrame(NamedTuple):
    """Samples in their frames: ``known`` and ``clean`` float32 [S, rows, cols, 2], ``seen`` bool [S, rows, cols]."""

    known: Tensor
    seen: Tensor
    clean: Tensor

    def within(self, numbers: NDArray[np.int64], down: slice, across: slice) -> _InFrame:
        """Some samples, seen through one window."""
        return _InFrame(*(part[numbers][:, down, across] for part in self))


@dataclass
class PilotHead:
    """A model with a CE head: :meth:`learn` trains the head and the ``last`` blocks of a copy of the model's network
    jointly (eq. 17): what the network is trained for (the error of its diffusion or of its answer) plus ``weight``
    times the error of the denoised pilots (eq. 18). The gradient of the first reaches the head through the network.

    Pilots enter the model's frame, in which head and network work; observed antennas get what the network says.
    ``draws`` times the examples' channels are observed anew, with masks and noises of one another, and ``passes`` are
    made over each. Learning rates, of the head and of the blocks, fall along half a cosine.

    By default it is smaller than the paper's: a head of ``width`` 8, 0.5 million parameters in place of 3.13 (a width
    of 20), and one block in place of three.
    """

    model: Model
    name: str = ""
    gives: str = CHANNEL
    draws: int = 2
    passes: int = 4
    batch_size: int = 16
    learning_rate: float = 2e-3
    block_learning_rate: float = 3e-4
    weight: float = 1.0
    width: int = 8
    last: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.model, FrameNetwork):
            raise InputError(f"model '{self.model.name}' takes no denoised pilots: use a 'cddim' or one-shot one")
        self.name = self.name or f"{self.model.name}-ce"
        free = self.model.recipe.sampler.model_copy(update={"data_consistency": False})
        self._recipe: DiffusionModel | OneShotModel = self.model.recipe.model_copy(update={"sampler": free})
        self._estimator: FrameNetwork | None = None

    def learn(self, examples: Examples) -> None:
        """See :class:`channelfm.estimator.Learns`; the same from the same examples and seed."""
        assert isinstance(self.model, FrameNetwork)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            mode: Mode = "partial" if hasattr(self.model.network, "blocks") else "full"
            network = DenoisedPilots(adapted(self.model.network, mode, last=self.last), CEHead(self.width))
            network.to(device_of(self.model.network))
            self._descend(network, examples)
        estimator = estimator_of(network, self._recipe)
        assert isinstance(estimator, FrameNetwork)
        self._estimator = estimator

    def estimate(self, observation: Observation) -> Complex:
        """See :class:`channelfm.estimator.Estimator`; InputError before anything was learned."""
        if self._estimator is None:
            raise InputError(f"'{self.name}' has learned nothing yet: call learn first")
        return self._estimator.estimate(observation)

    def _descend(self, network: DenoisedPilots, examples: Examples) -> None:
        generator = np.random.default_rng(self.seed)
        blocks = [weight for weight in network.backbone.parameters() if weight.requires_grad]
        groups = [(network.head.parameters(), self.learning_rate), (blocks, self.block_learning_rate)]
        samples = len(examples.channel) * examples.observation.grid.shape[0] * examples.observation.grid.shape[3]
        descent = Descent(self.name, groups, self.draws * self.passes * math.ceil(samples / self.batch_size))
        for _ in range(self.draws):
            inputs = self._enter(redrawn(examples, generator), examples.channel)
            for _ in range(self.passes):
                for some in batches(generator.permutation(samples), self.batch_size):
                    window = random_window(inputs.seen, generator)
                    descent.step(self._loss(network, inputs.within(some, *window)))

    def _loss(self, network: DenoisedPilots, batch: _InFrame) -> Tensor:
        """Joint loss (eq. 17), a scalar; of the pilots' error every observed antenna counts alike."""
        recipe, (known, seen, clean) = self._recipe, batch
        denoised = network.head(known, seen)
        if isinstance(recipe, DiffusionModel):
            step = draw_steps(recipe.diffusion, torch.rand(len(known), device=known.device))
            noisy, target = noise_sample(recipe.diffusion, clean, torch.randn_like(clean), step)
        else:
            step = torch.zeros(len(known), dtype=torch.int64, device=known.device)
            noisy, target = torch.randn_like(clean) if recipe.latent else torch.zeros_like(clean), clean
        error = (network.backbone(noisy, step, denoised, seen) - target).square().mean()
        pilots = ((denoised - clean).square().mean(-1) * seen).sum() / seen.sum().clamp_min(1)
        loss: Tensor = error + self.weight * pilots
        return loss

    @torch.no_grad()
    def _enter(self, observation: Observation, channel: Complex) -> _InFrame:
        """Observations and the clean channels in the frames that are found from the observations."""
        assert isinstance(self.model, FrameNetwork)
        model, spacing = self.model, observation.grid.array.spacing_wavelengths
        partial, seen = (torch.from_numpy(part) for part in model.samples(observation))
        _, *size = observation.grid.shape
        clean = torch.from_numpy(fold_frequency(channel.reshape(-1, *size)))
        parts, device = [], device_of(model.network)
        for some in batches(np.arange(len(partial)), model.batch_size):
            inside = model.enter(partial[some].to(device), seen[some].to(device), spacing)
            parts.append(_InFrame(inside.known, inside.seen, inside.place(clean[some].to(device))))
        return _InFrame(*(torch.cat(column) for column in zip(*parts, strict=True)))
