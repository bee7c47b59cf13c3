"""Clusters: a covariance that is learned, and the conditional mean that follows from it.

A channel of scattering clusters is Gaussian once one knows where they are, how wide and how strong: its conditional
mean is then linear, and as good as any estimator's can be. So what has to be learned is the clusters. Each is a fixed
set of rays about its centre, scattered in direction, inverse range and delay; given all of them, the gains of the rays
have a Gaussian posterior in closed form, through whatever was measured. Its moments say how each cluster should move
(which alone would be expectation maximisation); a small network, which sees them in units of the cluster's own spread,
corrects that step, the spreads and the powers. It never sees an antenna, a subcarrier or a pilot, so that the same
weights serve every array, band and operator.

Weights are shared by all clusters, which hear of each other by the mean of their features.

How wide clusters are is told, not found out: training starts from the spreads that those of
:mod:`channelfm.channels.near_field` are drawn with, which the genie and the two-step estimate are told, too, and learns
one factor each for direction, range and delay. Clusters of other widths are left to the corrections of the spreads.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from channelfm.errors import InputError
from channelfm.waves.geometry import LARGEST_SINE, coordinates, phasors, waves_at
from channelfm.waves.wideband import Wideband

# u_y, u_z; share of q; s: those of NEAR_FIELD_MODELS["clusters"], where training starts
_SPREADS = (math.radians(1.0), math.radians(1.0), 0.05, 5e-9)
_SHARED = (0, 0, 1, 2)  # one spread for both directions, which a linear array cannot tell apart
_FEATURES = 18
_LARGEST_CHANGE = (1.0, 0.5, 1.0)  # of centres in spreads, of logarithms of spreads and powers, in one step
_NARROWEST, _WIDEST = 0.1, 10.0  # spreads, relative to those learned
_JITTER = 3e-5  # of the mean diagonal: what single precision needs
_LEAST_NOISE = 1e-5  # of the channel's power: better is not told apart in single precision
_WEAKEST = 1e-6
_CHIRP_STEP = 3.5  # radians at the outermost antennas between neighbouring ranges of the search
_FINER, _DELAYS = 2, 8  # delays for each tap, and how many of them are looked at
_SHARE_OF_CELLS = 8.0  # what a cluster holds, in units of the mean energy of the cells about its peak


class Centres(NamedTuple):
    """K clusters of each of N links: ``sources`` float [N, K, 3] as (u_y, u_z, q), ``delays`` [N, K] in units of the
    inverse bandwidth, and ``power`` [N, K], the logarithm of their mean power over an antenna."""

    sources: Tensor
    delays: Tensor
    power: Tensor

    def with_one_more(self, other: Centres) -> Centres:
        """With more clusters of each link."""
        return Centres(*(torch.cat(pair, 1) for pair in zip(self, other, strict=True)))


class Posterior(NamedTuple):
    """Gains of R rays: complex ``mean`` and float ``variance`` [N, R]; the ``waves`` [N, R, antenna] and ``delays``
    [N, R] of the rays, and what they leave of the values, ``rest`` [N, Q, F]."""

    mean: Tensor
    variance: Tensor
    waves: Tensor
    delays: Tensor
    rest: Tensor


class LearnedClusters(nn.Module):
    """Channels from measurements of links whose power is about one.

    Parameters
    ----------
    clusters : how many are looked for; those that are too many lose their power.
    rays : of each, quasi-random, the same always.
    steps : corrections, each by a network of its own.
    width : of those networks.
    """

    def __init__(self, clusters: int = 6, rays: int = 48, steps: int = 4, width: int = 48) -> None:
        super().__init__()
        if min(clusters, rays, steps, width) < 1:
            raise InputError(f"clusters {clusters}, rays {rays}, steps {steps}, width {width}: give at least 1 each")
        self.clusters, self.rays = clusters, rays
        self.log_spread = nn.Parameter(torch.zeros(3))
        self.steps = nn.ModuleList(ClusterCorrection(width) for _ in range(steps))
        self.register_buffer("scatter", _scatter(rays), persistent=False)
        self.scatter: Tensor

    def forward(self, measured: Wideband, noise: Tensor, centres: Centres, detuned_hz: Tensor) -> list[Tensor]:
        """Channels complex [N, antenna, F] at ``detuned_hz`` [F] from the carrier, after every step.

        ``measured`` with values of a channel of power about one and white ``noise`` of power [N] on each, both in
        single or both in double precision, which noise far below the channel asks for; ``centres`` as :meth:`search`
        found them there. Gradients reach the weights of a step by what follows from it at once.
        """
        noise = noise.clamp_min(_LEAST_NOISE)
        relative = torch.zeros(*centres.delays.shape, 4, dtype=noise.dtype, device=noise.device)
        answers = []
        with torch.no_grad():
            posterior = self._posterior(measured, noise, centres, relative)
        for step in self.steps:
            features, moved = self._seen(measured, noise, centres, relative, posterior)
            shift, widening, strength = step(features.to(self.log_spread.dtype))
            spreads = self._spreads(measured, relative)
            power = moved.power + strength
            relative = (relative + widening[..., list(_SHARED)]).clamp(math.log(_NARROWEST), math.log(_WIDEST))
            centres = _displaced(moved, shift * spreads, power, measured)
            posterior = self._posterior(measured, noise, centres, relative)
            tones = _tones(posterior.delays, detuned_hz, measured)
            answers.append((posterior.waves * posterior.mean[..., None]).mT @ tones)
            centres = Centres(*(part.detach() for part in centres))
            relative, posterior = relative.detach(), Posterior(*(part.detach() for part in posterior))
        return answers

    @torch.no_grad()
    def search(self, measured: Wideband, noise: Tensor) -> Centres:
        """The strongest cluster of what all before it leave, again and again, all of them re-estimated each time by
        expectation maximisation, with the spreads of all clusters; the networks of the steps have no part in it."""
        noise = noise.clamp_min(_LEAST_NOISE)
        look = _Search(measured.of_type(torch.complex64))
        centres, rest = None, measured.values
        for _ in range(self.clusters):
            new = Centres(*(part.to(noise.dtype) for part in look.strongest(rest.to(torch.complex64), noise.float())))
            centres = new if centres is None else centres.with_one_more(new)
            relative = torch.zeros(*centres.delays.shape, 4, dtype=noise.dtype, device=noise.device)
            posterior = self._posterior(measured, noise, centres, relative)
            _, centres = self._seen(measured, noise, centres, relative, posterior)
            rest = posterior.rest
        assert centres is not None
        return centres

    def _spreads(self, measured: Wideband, relative: Tensor) -> Tensor:
        """Spreads [N, K, 4] in sines, share of the inverse range, and inverse bandwidths."""
        unit = torch.tensor(_SPREADS, device=relative.device)
        unit = torch.cat([unit[:3], unit[3:] * measured.bandwidth_hz])
        return unit * torch.exp(relative + self.log_spread[list(_SHARED)])

    def _posterior(self, measured: Wideband, noise: Tensor, centres: Centres, relative: Tensor) -> Posterior:
        """Of the gains of all rays."""
        sources, delays = _rays(measured, centres, self._spreads(measured, relative)[:, :, None] * self.scatter)
        prior = (centres.power.exp() / self.rays).repeat_interleave(self.rays, 1) + _WEAKEST / delays.shape[1]
        y, z = coordinates(measured.rows, measured.cols, measured.spacing, noise.device, noise.dtype)
        waves = waves_at(sources, y, z)
        place = measured.place
        there = waves if place is None else waves.gather(2, place[:, None].expand(-1, waves.shape[1], -1))
        seen = measured.measured(there)
        tones = _tones(delays, measured.detuned_hz, measured)
        gram = (seen.conj() @ seen.mT) * (tones.conj() @ tones.mT)
        inner = ((seen.conj() @ measured.values) * tones.conj()).sum(2)
        root = prior.sqrt()
        system = root[:, :, None] * gram * root[:, None]
        level = noise + _JITTER * system.diagonal(dim1=1, dim2=2).real.mean(1)
        factor = torch.linalg.cholesky(system + torch.diag_embed(level[:, None].expand_as(root)).to(system.dtype))
        mean = root * torch.cholesky_solve((root * inner)[..., None], factor)[..., 0]
        with torch.no_grad():
            whole = torch.eye(factor.shape[1], dtype=factor.dtype, device=factor.device)
            inverse = torch.linalg.solve_triangular(factor, whole.expand_as(factor), upper=False)
            variance = level[:, None] * prior * inverse.abs().square().sum(1)
            rest = measured.values - (seen * mean[..., None]).mT @ tones
        return Posterior(mean, variance, waves, delays, rest)

    @torch.no_grad()
    def _seen(
        self, measured: Wideband, noise: Tensor, centres: Centres, relative: Tensor, posterior: Posterior
    ) -> tuple[Tensor, Centres]:
        """Features [N, K, 18] of all clusters, and centres after a step of expectation maximisation."""
        count, number = centres.delays.shape
        known = posterior.mean.abs().square().reshape(count, number, self.rays)
        energy = known + posterior.variance.reshape(count, number, self.rays)
        total, weight = energy.sum(2), energy / energy.sum(2, keepdim=True)
        scatter, resolved = self.scatter.to(noise.dtype), _resolved(measured, noise)
        own, mean, square = scatter.mean(0), weight @ scatter, weight @ scatter.square()
        shift = (mean - own) * resolved
        wider = (square - mean.square()).clamp_min(_WEAKEST) / (scatter.square().mean(0) - own.square())
        spreads = self._spreads(measured, relative)
        moved = _displaced(centres, shift * spreads, total.clamp_min(_WEAKEST).log(), measured)
        measurements = measured.numbers.to(noise.dtype)
        left = posterior.rest.abs().square().sum((1, 2)) / (measurements * noise)
        plain = [
            (total / centres.power.exp()).clamp_min(_WEAKEST).log(),
            known.sum(2) / total,
            (total / total.sum(1, keepdim=True)).clamp_min(_WEAKEST).log() / 3,
            (total / noise[:, None]).clamp_min(_WEAKEST).log() / 5,
            (total * measurements[:, None] / noise[:, None]).clamp_min(_WEAKEST).log() / 10,
            _apart(moved, spreads).log1p() / 3,
            left.clamp_min(_WEAKEST).log()[:, None].expand_as(total),
        ]
        parts = [shift, wider.log() * resolved, relative[..., [0, 2, 3]], torch.stack(plain, -1)]
        return torch.cat(parts, -1), moved


class ClusterCorrection(nn.Module):
    """What a step of expectation maximisation should have done instead: changes of the centres in spreads, of the
    logarithms of the spreads (direction, range, delay) and of the powers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(_FEATURES, width)
        self.mix = nn.Linear(2 * width, width)
        self.answer = nn.Linear(width, 8)
        nn.init.zeros_(self.answer.weight)
        nn.init.zeros_(self.answer.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Changes [N, K, 4], [N, K, 3] and [N, K] from features [N, K, 18]."""
        own = F.gelu(self.embed(features.clamp(-5, 5)))
        both = torch.cat([own, own.mean(1, keepdim=True).expand_as(own)], -1)
        shift, widening, strength = self.answer(F.gelu(self.mix(both))).split([4, 3, 1], -1)
        bounded = [
            most * torch.tanh(part) for most, part in zip(_LARGEST_CHANGE, (shift, widening, strength), strict=True)
        ]
        return bounded[0], bounded[1], bounded[2][..., 0]


class _Search:
    """Where in direction, range and delay most of the values' energy comes from, over a window as wide as a cluster."""

    def __init__(self, measured: Wideband) -> None:
        self.measured, device = measured, measured.values.device
        self.sines = [_sines(size, measured.spacing).to(device) for size in (measured.rows, measured.cols)]
        half = math.hypot(measured.rows - 1, measured.cols - 1) * measured.spacing / 2
        rings = 1 + math.ceil(math.pi * measured.largest_inverse_range * half**2 / _CHIRP_STEP)
        self.ranges = torch.linspace(0, measured.largest_inverse_range, rings, device=device)
        q, u_z, u_y = (axis.flatten() for axis in torch.meshgrid(self.ranges, *self.sines, indexing="ij"))
        self.sources = torch.stack([u_y, u_z, q], -1)
        y, z = measured.antennas
        waves = waves_at(self.sources[None], y.float(), z.float()).expand(len(measured), -1, -1)
        self.atoms = measured.measured(waves.to(measured.values.dtype))
        self.norms = self.atoms.abs().square().sum(2, keepdim=True).clamp_min(_WEAKEST)
        self.hidden = (u_y**2 + u_z**2 > LARGEST_SINE**2)[:, None]
        self.steps = _FINER * measured.values.shape[2] if 3 in measured.resolved else 1

    def strongest(self, values: Tensor, noise: Tensor) -> Centres:
        """One cluster [N, 1] of values [N, Q, F], looked for at the few delays that hold most energy."""
        subcarriers = values.shape[2]
        taps = torch.fft.ifft(values, self.steps, dim=2, norm="forward")
        window = min(1 + round(2 * _SPREADS[3] * self.measured.bandwidth_hz * _FINER), self.steps)
        along = torch.arange(window, device=taps.device)
        energy = taps.abs().square().sum(1)
        energy = torch.stack([energy.roll(-int(late), 1) for late in along]).mean(0)
        begin = energy.topk(min(_DELAYS, self.steps), dim=1).indices
        chosen = ((begin[..., None] + along) % self.steps).flatten(1)
        products = self.atoms.conj() @ taps.gather(2, chosen[:, None].expand(-1, taps.shape[1], -1))
        cells = (products.abs().square() / self.norms).unflatten(2, (-1, window)).mean(3)
        most, number = self._windowed(cells.masked_fill(self.hidden, 0)).flatten(1).max(1)
        place, which = number // begin.shape[1], number % begin.shape[1]
        late = begin.gather(1, which[:, None]).float() / _FINER
        late = torch.where(late > 0.9 * subcarriers, late - subcarriers, late)  # what leaks before the first tap
        share = _SHARE_OF_CELLS * (most / subcarriers - noise) / (values.shape[1] * subcarriers)
        return Centres(self.sources[place, None], late, share.clamp_min(_WEAKEST).log()[:, None])

    def _windowed(self, cells: Tensor) -> Tensor:
        """Means over the window of directions about each of cells [N, G, delay]."""
        sides = [1 + 2 * round(_SPREADS[0] * len(axis) / 2) for axis in self.sines]
        grid = cells.reshape(len(cells), len(self.ranges), *map(len, self.sines), -1)
        return F.avg_pool3d(
            grid, (*sides, 1), stride=1, padding=(sides[0] // 2, sides[1] // 2, 0), count_include_pad=False
        ).flatten(1, 3)


def _sines(size: int, spacing: float) -> Tensor:
    """Sines of an axis's beams."""
    number = max(1, round(2 * size * spacing)) if size > 1 else 1
    return (torch.arange(number) + 0.5) / number * 2 - 1 if number > 1 else torch.zeros(1)


def _scatter(rays: int) -> Tensor:
    """Where rays are about their centre, in spreads, float32 [rays, 4]: normal, and half normal in delay."""
    sequence = torch.quasirandom.SobolEngine(4, scramble=True, seed=1)  # type: ignore[no-untyped-call]
    uniform = sequence.draw(rays).clamp(1e-4, 1 - 1e-4)
    normal = math.sqrt(2) * torch.erfinv(2 * uniform - 1)
    return torch.cat([normal[:, :3], normal[:, 3:].abs()], 1)


def _resolved(measured: Wideband, like: Tensor) -> Tensor:
    """1 for each of (u_y, u_z, q, delay) that array and band resolve, else 0."""
    return torch.tensor([float(axis in measured.resolved) for axis in range(4)], dtype=like.dtype, device=like.device)


def _rays(measured: Wideband, centres: Centres, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Sources [N, K S, 3] and delays [N, K S] of rays at ``offsets`` [N, K, S, 4] from their centres."""
    offsets = offsets * _resolved(measured, offsets)
    sines = centres.sources[:, :, None, :2] + offsets[..., :2]
    sines = sines * (LARGEST_SINE / sines.norm(dim=-1, keepdim=True).clamp_min(LARGEST_SINE))
    inverse = centres.sources[:, :, None, 2] / (1 + offsets[..., 2]).clamp_min(0.5)
    delays = centres.delays[:, :, None] + offsets[..., 3]
    return torch.cat([sines, inverse[..., None]], -1).flatten(1, 2), delays.flatten(1)


def _displaced(centres: Centres, offsets: Tensor, power: Tensor, measured: Wideband) -> Centres:
    """Centres moved by ``offsets`` [N, K, 4], of other powers."""
    sources, delays = _rays(measured, centres, offsets[:, :, None])
    nearest = 2 * measured.largest_inverse_range
    sources = torch.cat([sources[..., :2], sources[..., 2:].clamp(0, nearest)], -1)
    return Centres(sources, delays, power.clamp(math.log(_WEAKEST), -math.log(_WEAKEST)))


def _apart(centres: Centres, spreads: Tensor) -> Tensor:
    """Squared distance [N, K] in spreads to the nearest other cluster, in direction and delay."""
    place = torch.cat([centres.sources[..., :2], centres.delays[..., None]], -1)
    apart = ((place[:, :, None] - place[:, None]) / spreads[:, :, None, [0, 1, 3]]).square().sum(-1)
    alone = 1 / _WEAKEST
    return (apart + alone * torch.eye(place.shape[1], device=place.device)).amin(2).clamp_max(alone)


def _tones(delays: Tensor, detuned_hz: Tensor, measured: Wideband) -> Tensor:
    """Unit-modulus tones complex [N, R, F] of delays [N, R]."""
    return phasors(delays[..., None] * (detuned_hz / measured.bandwidth_hz).to(delays.dtype))
