"""LMMSE of channels that are clusters of rays: a covariance from rays that are sampled about the clusters' centres.

Within a cluster, places and delays are independent, so that its covariance is a product of one over antennas and one
over subcarriers. Both are kept as their strongest modes, which are mixtures of sampled rays, and of all products of
these the strongest are kept. Only Gram matrices of modes are formed: never anything of the size of measurements times
subcarriers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from channelfm.waves.geometry import phasors
from channelfm.waves.received import Received, energy

_LEAST_NOISE = 1e-8  # relative to what was measured: keeps the systems of clean measurements solvable
_WAVE_MODES, _TONE_MODES = 48, 12  # of which products are taken


class ClusterPrior(NamedTuple):
    """R modes of the channels of n links, uncorrelated and of unit variance.

    ``sources`` float64 [n, C, S, 3]: S rays sampled in each of C clusters, as (u_y, u_z, q); ``mixture`` complex128
    [n, C, W, S]: what mixes their waves to W modes over the array; ``wave`` int64 [n, R]: which of these C W a mode
    has; ``tones`` complex128 [n, R, F]: what it has over subcarriers. Whether beams ``squint``.
    """

    sources: Tensor
    mixture: Tensor
    wave: Tensor
    tones: Tensor
    squint: bool

    def fields(self, band: Received) -> Tensor:
        """The modes complex128 [n, C W, antenna] over the array, on subcarriers of one stretch."""
        waves = band.waves(self.sources.flatten(1, 2))
        return (self.mixture @ waves.reshape(*self.sources.shape[:3], -1)).flatten(1, 2)

    def along(self, values: Tensor) -> Tensor:
        """Values [n, C W, ...] of the modes over the array -> of all modes, [n, R, ...]."""
        return values[torch.arange(len(values))[:, None], self.wave]


class ModeSystem(NamedTuple):
    """What decides on the modes: their ``gram`` complex128 [n, R, R] as measured; ``right`` [n, R], their inner
    products with the measurements; ``total`` float64 [n], the energy of these ``numbers``."""

    gram: Tensor
    right: Tensor
    total: Tensor
    numbers: int


def cluster_prior(
    received: Received, sources: Tensor, delays_s: Tensor, powers: Tensor, squint: bool, most: int
) -> ClusterPrior:
    """The prior of C clusters of sampled rays: ``sources`` float64 [n, C, S, 3], ``delays_s`` [n, C, S], mean
    ``powers`` [n, C] (0: no cluster); each has at most ``most`` modes."""
    count, clusters, samples, _ = sources.shape
    waves = received.waves(sources.flatten(1, 2)).reshape(count, clusters, samples, -1)
    tones = phasors(delays_s[..., None] * received.detuned_hz)
    wave_mix, wave_power = _modes(waves, _WAVE_MODES)
    tone_mix, tone_power = _modes(tones, _TONE_MODES)
    product = (wave_power[..., :, None] * tone_power[..., None, :]).flatten(2)
    chosen = product.topk(min(most, product.shape[2]), dim=2).indices
    which, other = chosen // tone_power.shape[2], chosen % tone_power.shape[2]
    first = torch.arange(clusters)[:, None] * wave_power.shape[2]
    modes = (tone_mix @ tones).gather(2, other[..., None].expand(-1, -1, -1, tones.shape[3]))
    mixture = wave_mix * powers.sqrt()[..., None, None]
    return ClusterPrior(sources, mixture, (which + first).flatten(1), modes.flatten(1, 2), squint)


def mode_system(received: Received, prior: ClusterPrior) -> ModeSystem:
    """The system of some modes for what links measured."""
    count, modes, _ = prior.tones.shape
    gram, right = (torch.zeros(count, *size, dtype=torch.complex128) for size in ((modes, modes), (modes,)))
    for place, band in received.bands(prior.squint):
        columns, tones = band.measured(prior.fields(band)), prior.tones[..., place]
        products = prior.along(prior.along(columns.mH @ columns).mT).mT
        gram = gram + products * (tones.conj() @ tones.mT)
        right = right + (prior.along(columns.mH @ band.values) * tones.conj()).sum(2)
    return ModeSystem(gram, right, energy(received.values), received.values[0].numel())


def expected_channel(received: Received, prior: ClusterPrior, system: ModeSystem, noise: Tensor) -> Tensor:
    """Channels complex128 [n, antenna, F] that are expected with white ``noise`` of a power float64 [n] on each
    number."""
    gains = torch.cholesky_solve(system.right[..., None], _factor(system, noise))
    count, clusters, waves, _ = prior.mixture.shape
    tones = torch.zeros(count, clusters * waves, prior.tones.shape[2], dtype=gains.dtype)
    tones.scatter_add_(1, prior.wave[..., None].expand(prior.tones.shape), gains * prior.tones)
    bands = [prior.fields(band).mT @ tones[..., place] for place, band in received.bands(prior.squint)]
    return torch.cat(bands, dim=2)


def likeliest_noise(system: ModeSystem, shares: Tensor) -> tuple[Tensor, Tensor]:
    """The noise float64 [n] under which measurements are likeliest, and -2 ln of that likelihood, up to a constant.

    Candidates are ``shares`` [S] of the measurements' mean power. Measurements are complex normal with a covariance
    proportional to that of modes and noise together, whose factor is the likeliest, too: N ln(y^H K^-1 y) + ln |K|, by
    Woodbury's and Sylvester's identities.
    """
    best = torch.full_like(system.total, torch.inf)
    chosen, power = torch.zeros_like(best), system.total / system.numbers
    for share in shares.tolist():
        noise = share * power
        factor = _factor(system, noise)
        solution = torch.linalg.solve_triangular(factor, system.right[..., None], upper=False)[..., 0]
        left = (system.total - energy(solution)).clamp_min(1e-12 * system.total) / noise
        determinant = 2 * factor.diagonal(dim1=1, dim2=2).real.log().sum(1)
        score = determinant + (system.numbers - factor.shape[1]) * noise.log() + system.numbers * left.log()
        chosen, best = torch.where(score < best, noise, chosen), torch.minimum(score, best)
    return chosen, best


def _modes(samples: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """What mixes samples complex [..., S, m] to the modes of the mean of x x^H over them, complex128 [..., R, S], the
    strongest first, and these modes' energies [..., R]."""
    scaled = samples / math.sqrt(samples.shape[-2])
    power, turn = torch.linalg.eigh(scaled @ scaled.mH)
    rank = min(most, *samples.shape[-2:])
    mixture = turn.flip(-1)[..., :rank].mH / math.sqrt(samples.shape[-2])
    return mixture, power.flip(-1)[..., :rank].clamp_min(0)


def _factor(system: ModeSystem, noise: Tensor) -> Tensor:
    """Cholesky factors of the Gram matrices with noise."""
    least = noise.maximum(_LEAST_NOISE * system.total / system.numbers).clamp_min(torch.finfo(torch.float64).tiny)
    loaded = system.gram + torch.diag_embed(least[:, None].expand(system.right.shape)).to(system.gram.dtype)
    factor: Tensor = torch.linalg.cholesky_ex(loaded)[0]
    return factor
