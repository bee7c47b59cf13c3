"""What pretraining minimises: batches and losses as functions of (data, recipe, step).

Every random number of a step comes from (seed, step, rank), so that a resumed run needs no generator state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from channelfm.diffusion import DiffusionRecipe, draw_steps, noise_sample
from channelfm.tokens.canonical import FrameRecipe, find_frame, to_canonical
from channelfm.tokens.masks import random_mask


@dataclass(frozen=True)
class Batch:
    """One training batch in the frame: ``clean``, ``noise`` float32 [N, rows, cols, 2]; ``mask`` bool
    [N, rows, cols]; ``step`` int64 [N] of the diffusion; ``share`` float32 [N] of the observation that the frame left.
    """

    clean: Tensor
    noise: Tensor
    mask: Tensor
    step: Tensor
    share: Tensor


def draw_batch(
    channels: NDArray[np.complex64],
    batch_size: int,
    mask_ratio: tuple[float, float],
    frame: FrameRecipe,
    diffusion: DiffusionRecipe,
    mirror: bool,
    seeds: tuple[int, ...],
) -> Batch:
    """Draw samples, masks, diffusion steps and noise for the training step that ``seeds`` identify.

    ``channels`` complex64 [S, rows, cols], none all-zero. Mask ratios are uniform in ``mask_ratio``; the frame is
    found from the observed antennas only, as in use. ``mirror`` turns the array around at random in rows and columns,
    which is again a channel of the same array (of the mirrored scene).
    """
    generator = np.random.default_rng(seeds)
    full = channels[generator.integers(len(channels), size=batch_size)]
    if mirror:
        flips = generator.random((2, batch_size, 1, 1)) < 0.5
        full = np.where(flips[0], full[:, ::-1], full)
        full = np.where(flips[1], full[:, :, ::-1], full)
    ratios = generator.uniform(*mask_ratio, size=batch_size)
    mask = torch.from_numpy(random_mask(generator, batch_size, channels.shape[1], channels.shape[2], ratios)[..., 0])
    step = draw_steps(diffusion, torch.from_numpy(generator.random(batch_size)))
    channel = torch.from_numpy(full)
    found = find_frame(channel, mask, frame)
    clean = torch.view_as_real(to_canonical(channel, found))
    noise = torch.from_numpy(generator.standard_normal(clean.shape, dtype=np.float32))
    return Batch(clean.contiguous(), noise, mask, step, found.share)


def diffusion_loss(network: nn.Module, diffusion: DiffusionRecipe, batch: Batch) -> Tensor:
    """Mean squared error of the prediction (eq. 12 for noise prediction), a scalar.

    Samples count by the share of their amplitude that the frame left to the network (all alike in the raw frame and
    in that of one wave): half way between equal relative errors and equal errors of the whole channel.
    """
    noisy, target = noise_sample(diffusion, batch.clean, batch.noise, batch.step)
    prediction = network(noisy, batch.step, batch.clean, batch.mask)
    error = (prediction - target).square().mean((1, 2, 3))
    weighted: Tensor = (error * batch.share).sum() / batch.share.sum()
    return weighted
