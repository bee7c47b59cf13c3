"""The likelihood of samples of which only the step of a converter is known, noise being normal.

A real sample is p + noise of a deviation s, and what is seen is the step [lower, upper) that it fell into. For one bit
this is probit regression (Ivrlac & Nossek 2007; Choi, Mo & Heath 2016 for channels); more bits are alike.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from channelfm.impairments import borders

_FAR = 1e6  # deviations, beyond which densities leave double precision


def expected_error(expected: Tensor, deviation: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Mean of the noise float64 [...], given that the sample ``expected`` + noise lies between ``lower`` and ``upper``:
    the score of the expected value times the noise's variance. Holds in the tails, too."""
    below, above = ((border - expected) / deviation for border in (lower, upper))
    # The normal distribution is evaluated on its lower side, where nothing cancels.
    turned = below + above > 0
    low = torch.where(turned, -above, below)
    high = torch.where(turned, -below, above).clamp_min(-_FAR)
    share = torch.special.log_ndtr(high)
    inside = share + torch.log1p(-torch.exp((torch.special.log_ndtr(low) - share).clamp_max(-1e-12)))
    mean = torch.exp(_log_density(low) - inside) - torch.exp(_log_density(high) - inside)
    return torch.where(turned, -mean, mean) * deviation


def information_share(expected: Tensor, deviation: Tensor, step: Tensor, bits: int) -> Tensor:
    """Fisher information [...] of what is seen about an ``expected`` sample, over that of the sample itself: the sum of
    (change of probability)^2 / probability over the steps; phi^2 / (Phi (1 - Phi)) for one bit."""
    edges = torch.from_numpy(borders(bits)) * step[..., None] - expected[..., None]
    edges = edges / deviation[..., None]
    density = torch.exp(_log_density(edges))
    upper_side = edges[..., :-1] > 0  # nothing cancels where probabilities are taken from the nearer tail
    tail = _tail(torch.where(upper_side, edges[..., :-1], -edges[..., 1:]))
    probability = tail - _tail(torch.where(upper_side, edges[..., 1:], -edges[..., :-1]))
    return ((density[..., :-1] - density[..., 1:]) ** 2 / probability.clamp_min(1e-300)).sum(-1)


def _tail(value: Tensor) -> Tensor:
    """Probability of more than a value."""
    return torch.erfc(value / math.sqrt(2)) / 2


def _log_density(value: Tensor) -> Tensor:
    return -value.square() / 2 - math.log(2 * math.pi) / 2
