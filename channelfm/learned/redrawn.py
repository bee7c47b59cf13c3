"""More observations of the channels in some examples, so that a few links teach many masks and noises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from channelfm.estimator import Examples
from channelfm.observation import Entries, Observation


def redrawn(examples: Examples, generator: np.random.Generator) -> Observation:
    """The examples' channels with the masks and signal-to-noise ratios of one another, at random, and noise anew.

    Where measurements are no single entries, came through hardware of which something is known, or their noise is not
    told, the observation as it is.
    """
    observation, channel = examples.observation, examples.channel
    if not isinstance(observation.operator, Entries) or observation.noise is None or observation.hardware is not None:
        return observation
    power = np.mean(np.abs(channel).astype(np.float64) ** 2, axis=(1, 2, 3, 4))
    order = generator.permutation(len(channel))
    noise = np.divide(observation.noise, power, out=np.zeros(len(power)), where=power > 0)[order] * power
    parts = generator.standard_normal((*channel.shape, 2), dtype=np.float32)
    scale = np.sqrt(noise / 2).astype(np.float32).reshape(-1, 1, 1, 1, 1)
    operator = observation.operator.select(order)
    values = operator.forward(channel + scale * (parts[..., 0] + 1j * parts[..., 1]))
    return replace(observation, values=values, operator=operator, noise=noise)
