"""Wavefield: image sources from the observation, then a network that says how strong each wave is, and where.

The observation is explained by a few spherical waves (``waves.greedy``): exact phases from image sources, gains that
slope at most. What that misses is mostly a gain that changes over the array in other ways: a roof's shadow across it, a
diffracted edge, waves too close to be told apart, and in noise or with few antennas the scatter of the gains
themselves. So each wave gets a map of gains on a coarse grid of cells, between which it is interpolated, and a network
corrects all maps by what the waves leave at the observed antennas, projected on each wave and cell. A few such steps
with weights of their own are unrolled; every one passes through the exact wave model, so that the network only ever
sees slow quantities, whatever the carrier, the array's size or the mask.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from channelfm.waves.geometry import element_coordinates, waves_at
from channelfm.waves.greedy import FoundWaves, gain_functions
from channelfm.waves.search import search_waves

_FEATURES = 9


class Wavefield(nn.Module):
    """Field of an array from a partial observation.

    Parameters
    ----------
    width : channels of the gain networks.
    steps : corrections of the gain maps, each by a network of its own.
    waves : largest number of waves.
    cells : side of the grid of gains, in cells over the aperture (fewer where the array has fewer rows or columns).
    """

    def __init__(self, width: int = 32, steps: int = 3, waves: int = 16, cells: int = 8) -> None:
        super().__init__()
        self.waves, self.cells = waves, cells
        self.steps = nn.ModuleList(GainCorrection(width) for _ in range(steps))
        self.keep = nn.Linear(width, 1)

    def forward(
        self, field: Tensor, mask: Tensor, spacing_wavelengths: float, found: FoundWaves | None = None
    ) -> Tensor:
        """Field complex64 [N, rows, cols] from ``field`` of that shape, of which bool ``mask`` says what is observed.

        ``spacing_wavelengths`` is that of the array's elements. ``found`` are the waves of the observation, from
        :meth:`search`, which is called if they are not given.
        """
        scale = observed_rms(field, mask)
        if found is None:
            found = self.search(field, mask, spacing_wavelengths)
        return self._refined(torch.where(mask, field / scale, 0), mask, found, spacing_wavelengths) * scale

    @torch.no_grad()
    def search(self, field: Tensor, mask: Tensor, spacing_wavelengths: float) -> FoundWaves:
        """The waves of an observation; arguments as for :meth:`forward`. The network's weights have no part in it."""
        return normalized_waves(field, mask, self.waves, spacing_wavelengths)

    def _refined(self, seen: Tensor, mask: Tensor, found: FoundWaves, spacing_wavelengths: float) -> Tensor:
        """Field [N, rows, cols] of the found waves with corrected gains; ``seen`` is 0 at hidden antennas."""
        rows, cols = seen.shape[1:]
        sample = torch.nonzero(found.present)[:, 0]
        found = found.together()
        aperture = Aperture(rows, cols, self.cells, spacing_wavelengths, seen.device)
        # Of a wave that may come from several directions, each counts as much as it is likely.
        wave = aperture.waves(found.sources[0]) * found.probability[0][:, None, None]
        deviation = aperture.as_cells(found.phase_deviation(*aperture.centres)[0])
        # An uncertain phase makes the expected field smaller: the network starts from there.
        gains = aperture.smooth_gains(found.gains[0]) * torch.exp(-deviation.square() / 2)
        weight = mask.to(torch.float32)
        count = aperture.gathered(weight)
        summary = torch.zeros(len(seen), self.keep.in_features, device=seen.device)
        for step in self.steps:
            rest = seen - weight * _summed(wave * aperture.spread(gains), sample, len(seen))
            projected = aperture.gathered(wave.conj() * rest[sample]) / count[sample].clamp_min(0.5)
            level = (rest.abs().square().sum((1, 2)) / weight.sum((1, 2)).clamp_min(1)).sqrt()
            change, summary = step(gains, projected, deviation, count, level, sample)
            gains = gains + change
        fit = _summed(wave * aperture.spread(gains), sample, len(seen))
        # The share of what the waves leave at observed antennas that belongs to the channel and not to noise.
        kept = torch.sigmoid(self.keep(summary))[..., None]
        return fit + kept * weight * (seen - fit)


def observed_rms(field: Tensor, mask: Tensor) -> Tensor:
    """RMS [N, 1, 1] of the observed antennas; 1 where nothing was heard."""
    energy = torch.where(mask, field.abs().square(), 0).sum((1, 2), keepdim=True)
    rms = (energy / mask.sum((1, 2), keepdim=True).clamp_min(1)).sqrt()
    return torch.where(rms > 0, rms, torch.ones_like(rms))


def normalized_waves(field: Tensor, mask: Tensor, waves: int, spacing_wavelengths: float) -> FoundWaves:
    """At most ``waves`` waves of each sample, their gains relative to the RMS of the observed antennas."""
    return search_waves(field / observed_rms(field, mask), mask, spacing_wavelengths, waves)


class Aperture:
    """The array's antennas and the cells over them: gains go from cells to antennas by bilinear interpolation."""

    def __init__(self, rows: int, cols: int, cells: int, spacing: float, device: torch.device) -> None:
        self.rows, self.cols, self.spacing = rows, cols, spacing
        self.down, self.across = (_interpolation(n, min(cells, n)).to(device) for n in (rows, cols))
        y, z = element_coordinates(rows, cols, spacing, device)
        self.y, self.z = (axis.expand(rows, cols).reshape(1, -1) for axis in (y, z))
        self.centres = self.at_cells(self.y).flatten(1), self.at_cells(self.z).flatten(1)

    def waves(self, sources: Tensor) -> Tensor:
        """Unit-modulus waves complex64 [M, rows, cols] of sources [M, 3]."""
        return waves_at(sources[None], self.y, self.z)[0].reshape(-1, self.rows, self.cols)

    def smooth_gains(self, coefficients: Tensor) -> Tensor:
        """Gains at the cells complex64 [M, down, across] of coefficients of the gain functions [M, P]."""
        functions = gain_functions(*self.centres, self.rows, self.cols, self.spacing)[0]
        return self.as_cells(coefficients @ functions.to(coefficients.dtype))

    def as_cells(self, values: Tensor) -> Tensor:
        """Values at the cells, flat [M, down * across], as [M, down, across]."""
        return values.reshape(-1, self.down.shape[1], self.across.shape[1])

    def at_cells(self, values: Tensor) -> Tensor:
        """Means around the cells [M, down, across] of values at the antennas, flat [M, rows * cols]."""
        grid = values.reshape(-1, self.rows, self.cols)
        return self.gathered(grid) / self.gathered(torch.ones_like(grid[:1]))

    def spread(self, gains: Tensor) -> Tensor:
        """Gains at the antennas [M, rows, cols] of gains at the cells [M, down, across]."""
        down, across = self.down.to(gains.dtype), self.across.to(gains.dtype)
        return down @ gains @ across.mT

    def gathered(self, values: Tensor) -> Tensor:
        """Sums of values at the antennas [M, rows, cols] over the cells [M, down, across]: the adjoint of spread."""
        down, across = self.down.to(values.dtype), self.across.to(values.dtype)
        return down.mT @ values @ across


class GainCorrection(nn.Module):
    """One correction of the gain maps: a small convolutional network over cells, shared by all waves.

    It sees each wave's map and what the observation would change about it, relative to the wave's mean gain, so that
    it answers in the same units: turning the phase of a wave or the scale of the channel changes nothing. Waves of a
    sample hear of each other by the mean of their features.
    """

    def __init__(self, width: int, blocks: int = 3) -> None:
        super().__init__()
        self.embed = nn.Conv2d(_FEATURES, width, 1)
        self.blocks = nn.ModuleList(ConvolutionBlock(width) for _ in range(blocks))
        self.project = nn.Conv2d(width, 4, 1)
        nn.init.zeros_(self.project.weight)
        assert self.project.bias is not None
        nn.init.zeros_(self.project.bias)

    def forward(
        self, gains: Tensor, projected: Tensor, deviation: Tensor, count: Tensor, level: Tensor, sample: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Change of the gains complex64 [M, down, across], and mean features of the samples [N, width].

        ``gains``, ``projected`` complex64 and ``deviation`` of the phase [rad] [M, down, across]; ``count`` float32
        [N, down, across] of observed antennas; ``level`` float32 [N], RMS of what is left; ``sample`` int64 [M], to
        which each wave belongs.
        """
        mean = gains.mean((1, 2))
        size = (mean.abs() + 0.1 * level[sample] + 1e-6)[:, None, None]
        unit = size * torch.polar(torch.ones_like(size), mean.angle()[:, None, None])
        own, new = torch.view_as_real(gains / unit), torch.view_as_real(projected / unit)
        error = (level[:, None, None] / count.clamp_min(0.25).sqrt())[sample]
        plain = [
            (count + 1e-2).log()[sample] / 3,
            (deviation + 1e-4).log() / 3,
            (error / size).log() / 3,
            (size.log() / 3).expand_as(error),
            ((level[sample] + 1e-6).log()[:, None, None] / 3).expand_as(error),
        ]
        features = torch.stack([*_bounded(own), *_bounded(new), *plain], dim=1)
        hidden = self.embed(features)
        for block in self.blocks:
            hidden = block(hidden, sample, len(count))
        own_share, new_share, *free = self.project(hidden).unbind(1)
        # What is certain stays: gains change by no more than their errors and their phases' deviation ask for.
        doubt = error / (error + size) + deviation / (1 + deviation)
        change = own_share * doubt * gains + new_share * projected + torch.complex(*free) * doubt * unit
        summary = _mean_of_waves(hidden, sample, len(count)).mean((2, 3))
        return change, summary


class ConvolutionBlock(nn.Module):
    """Residual block: 3 x 3 convolution over cells, mean over a sample's waves, two pointwise layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.near = nn.Conv2d(width, width, 3, padding=1)
        self.others = nn.Conv2d(width, width, 1)
        self.out = nn.Conv2d(width, width, 1)
        self.activate = nn.GELU()

    def forward(self, hidden: Tensor, sample: Tensor, samples: int) -> Tensor:
        """Features [M, width, down, across] of waves that belong to samples ``sample`` [M]."""
        normed = self.norm(hidden)
        others = self.others(_mean_of_waves(normed, sample, samples))[sample]
        mixed = self.activate(self.near(normed) + others)
        result: Tensor = hidden + self.out(mixed)
        return result


def _bounded(parts: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary parts [..., 2], of values pulled towards the unit circle where they are larger."""
    size = parts.square().sum(-1, keepdim=True)
    real, imaginary = (parts * torch.rsqrt(1 + size / 16)).unbind(-1)
    return real, imaginary


def _summed(fields: Tensor, sample: Tensor, samples: int) -> Tensor:
    """Fields [M, ...] of waves added up by sample [N, ...]."""
    return fields.new_zeros(samples, *fields.shape[1:]).index_add(0, sample, fields)


def _mean_of_waves(features: Tensor, sample: Tensor, samples: int) -> Tensor:
    """Means [N, ...] of features [M, ...] over the waves of each sample; 0 where it has none."""
    number = torch.bincount(sample, minlength=samples).clamp_min(1)[:, None, None, None]
    return _summed(features, sample, samples) / number


def _interpolation(elements: int, cells: int) -> Tensor:
    """Linear interpolation [elements, cells] from the centres of equal cells, constant beyond the outermost ones."""
    place = ((torch.arange(elements) + 0.5) * cells / elements - 0.5).clamp(0, cells - 1)
    return (1 - (place[:, None] - torch.arange(cells)).abs()).clamp_min(0)
