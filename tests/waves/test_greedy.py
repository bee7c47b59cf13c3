"""The greedy search on sums of spherical waves that are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from channelfm.waves.gathered import Gathered
from channelfm.waves.geometry import coordinates, wave_of, waves_at
from channelfm.waves.greedy import FoundWaves, find_waves, gain_functions
from channelfm.waves.several import fit_waves


def _waves(count: int, rows: int, cols: int, seed: int) -> tuple[Tensor, Tensor]:
    """Sources [1, count, 3], well apart, and a field [1, rows, cols] of waves that grow weaker by 3 dB each."""
    generator = torch.Generator().manual_seed(seed)
    angle = torch.arange(count) * 2.4 + torch.rand(1, generator=generator)
    radius = 0.15 + 0.6 * torch.arange(count) / max(count, 2)
    inverse_range = 1e-3 * torch.rand(count, generator=generator)
    sources = torch.stack([radius * angle.cos(), radius * angle.sin(), inverse_range], dim=1)
    phase = 2 * math.pi * torch.rand(count, generator=generator)
    gains = torch.polar(10 ** (-0.15 * torch.arange(count)), phase)
    return sources[None], (gains[:, None, None] * wave_of(sources, rows, cols, 0.5)).sum(0, keepdim=True)


def _mask(rows: int, cols: int, share: float, seed: int = 0) -> Tensor:
    return torch.rand(1, rows, cols, generator=torch.Generator().manual_seed(seed)) < share


def _estimate(found: FoundWaves, rows: int, cols: int) -> Tensor:
    y, z = coordinates(rows, cols, 0.5, dtype=torch.float32)
    gains = found.gains @ gain_functions(y, z, rows, cols, 0.5).to(torch.complex64)
    return (waves_at(found.sources, y, z) * gains).sum(1).reshape(-1, rows, cols)


def _nmse_db(estimate: Tensor, truth: Tensor) -> float:
    return float(10 * torch.log10((estimate - truth).abs().square().sum() / truth.abs().square().sum()))


@pytest.mark.parametrize("count", [1, 3, 8])
def test_finds_every_wave_of_a_clean_sum(count: int) -> None:
    sources, field = _waves(count, 32, 32, seed=count)
    antennas = Gathered.entries(field, _mask(32, 32, 0.3), 0.5, 512, torch.float32)
    found = find_waves(antennas, 16, explained_db=-80.0)
    assert _nmse_db(_estimate(found, 32, 32), field) < -50
    away = torch.cdist(sources[..., :2], found.sources[found.present][None, :, :2]).amin(2)
    assert away.max() < 2e-3  # a thirtieth of a beam


def test_finds_waves_on_the_horizon() -> None:
    """The peak of a wave along the array falls on a bin of the FFT that no wave has."""
    field = wave_of(torch.tensor([[-0.985, -0.06, 0.0]]), 64, 64, 0.5)
    found = find_waves(Gathered.entries(field, _mask(64, 64, 0.1), 0.5, 512, torch.float32), 4)
    assert _nmse_db(_estimate(found, 64, 64), field) < -40


def test_stops_at_noise() -> None:
    """Of noise alone nothing is a wave but the first, which is always taken; a wave 20 dB above it stays alone."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.view_as_complex(torch.randn(8, 32, 32, 2, generator=generator)) * math.sqrt(0.5)
    mask = _mask(32, 32, 0.4).expand(8, -1, -1)
    alone = find_waves(Gathered.entries(noise, mask, 0.5, 512, torch.float32), 8)
    assert alone.present.sum(1).float().mean() <= 2
    wave = 10 * wave_of(torch.tensor([[0.2, -0.3, 5e-4]]), 32, 32, 0.5)
    heard = find_waves(Gathered.entries(wave + noise, mask, 0.5, 512, torch.float32), 8)
    assert heard.present.sum(1).float().mean() <= 2


def test_covariance_bounds_the_scatter_of_estimates() -> None:
    """Over many draws of noise, sources scatter no more than their covariance says, and not much less: the covariance
    lets gains slope, which these do not."""
    generator = torch.Generator().manual_seed(4)
    draws, rows, cols, sigma = 300, 16, 16, 0.2
    source = torch.tensor([[0.25, -0.1, 4e-3]])
    field = wave_of(source, rows, cols, 0.5).expand(draws, -1, -1)
    noise = torch.view_as_complex(torch.randn(draws, rows, cols, 2, generator=generator)) * sigma * math.sqrt(0.5)
    mask = _mask(rows, cols, 0.6).expand(draws, -1, -1)
    found = find_waves(Gathered.entries(field + noise, mask, 0.5, 512, torch.float32), 1, last_steps=6)
    scatter = (found.sources[:, 0, :2] - source[:, :2]).square().mean(0)
    told = found.covariance[:, 0].diagonal(dim1=1, dim2=2)[:, :2].mean(0)
    assert torch.all((scatter / told > 0.25) & (scatter / told < 1.2))


def test_samples_do_not_depend_on_their_neighbours() -> None:
    fields = torch.cat([_waves(count, 24, 20, seed=count)[1] for count in (1, 5, 2)])
    mask = torch.cat([_mask(24, 20, share, seed=7) for share in (0.2, 0.5, 0.9)])
    together = find_waves(Gathered.entries(fields, mask, 0.5, 200, torch.float32), 6)
    for number in range(3):
        alone = find_waves(Gathered.entries(fields[[number]], mask[[number]], 0.5, 200, torch.float32), 6)
        assert torch.equal(alone.present[0], together.present[number])
        torch.testing.assert_close(alone.sources[0], together.sources[number], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("rows", "cols"), [(1, 32), (32, 1), (1, 1), (2, 3)])
def test_any_array(rows: int, cols: int) -> None:
    field = wave_of(torch.tensor([[0.3 * (cols > 1), 0.2 * (rows > 1), 0.0]]), rows, cols, 0.5)
    found = fit_waves(field, torch.ones(1, rows, cols, dtype=torch.bool), 3, 0.5)
    assert torch.isfinite(torch.view_as_real(found.total)).all()
    assert _nmse_db(found.total, field) < (-20 if rows * cols > 8 else 0.1)
    assert found.total.shape == found.strongest.shape == (1, rows, cols)


def test_silence_has_no_wave() -> None:
    mask = torch.ones(2, 8, 8, dtype=torch.bool)
    assert not any(part.abs().any() for part in fit_waves(torch.zeros(2, 8, 8, dtype=torch.complex64), mask, 4, 0.5))


def test_expected_fields_fade_where_a_small_sub_array_says_little() -> None:
    """Behind a noisy 6 x 6 corner of a 48 x 48 array, the far corner's phase is a guess: its field is made smaller."""
    generator = torch.Generator().manual_seed(5)
    field = wave_of(torch.tensor([[0.1, 0.05, 0.0]]), 48, 48, 0.5)
    noisy = field + 0.1 * torch.view_as_complex(torch.randn(1, 48, 48, 2, generator=generator))
    mask = torch.zeros(1, 48, 48, dtype=torch.bool)
    mask[:, :6, :6] = True
    size = fit_waves(noisy, mask, 1, 0.5).total.abs()[0]
    assert 0.8 < size[3, 3] < 1.2
    assert size[-1, -1] < 0.7 * size[3, 3]
