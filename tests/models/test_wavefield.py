"""The wavefield model: its physics before any training, and what it must be indifferent to."""

from __future__ import annotations

import math

import pytest
import torch

from channelfm.models.wavefield import Aperture, Wavefield
from channelfm.models.zoo import build
from channelfm.waves.geometry import wave_of


def _field(rows: int = 32, cols: int = 32) -> torch.Tensor:
    sources = torch.tensor([[0.3, -0.1, 1e-3], [-0.5, 0.2, 5e-4], [0.05, 0.6, 0.0]])
    gains = torch.tensor([1.0, 0.4j, 0.2 - 0.1j])
    return (gains[:, None, None] * wave_of(sources, rows, cols, 0.5)).sum(0, keepdim=True)


def _mask(rows: int = 32, cols: int = 32, share: float = 0.3) -> torch.Tensor:
    return torch.rand(1, rows, cols, generator=torch.Generator().manual_seed(1)) < share


def _random_model() -> Wavefield:
    torch.manual_seed(2)
    model = Wavefield(width=8, steps=2, waves=4)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return model.eval()


def test_untrained_it_is_the_sum_of_the_waves() -> None:
    """The networks answer 0 at first: a sum of three waves is found as it is."""
    truth = _field()
    estimate = Wavefield(steps=2)(torch.where(_mask(), truth, 0), _mask(), 0.5)
    error = (estimate - truth).abs().square().sum() / truth.abs().square().sum()
    assert 10 * torch.log10(error) < -40


def test_hidden_antennas_have_no_influence() -> None:
    model, truth, mask = _random_model(), _field(), _mask()
    clean = model(torch.where(mask, truth, 0), mask, 0.5)
    disturbed = model(torch.where(mask, truth, 1e3), mask, 0.5)
    torch.testing.assert_close(clean, disturbed)


@pytest.mark.parametrize("factor", [1e-6, 3.0 * complex(math.cos(1), math.sin(1))])
def test_scale_and_phase_pass_through(factor: complex) -> None:
    model, mask = _random_model(), _mask()
    field = torch.where(mask, _field(), 0)
    expected = model(field, mask, 0.5) * factor
    torch.testing.assert_close(model(field * factor, mask, 0.5), expected, rtol=2e-3, atol=2e-3 * abs(factor))


@pytest.mark.parametrize(("rows", "cols"), [(1, 16), (16, 1), (5, 7), (40, 24)])
def test_any_array_size(rows: int, cols: int) -> None:
    mask = _mask(rows, cols, 0.5)
    mask[0, 0, 0] = True
    estimate = _random_model()(torch.where(mask, _field(rows, cols), 0), mask, 0.5)
    assert estimate.shape == (1, rows, cols)
    assert torch.isfinite(torch.view_as_real(estimate)).all()


def test_silence_is_answered_with_zeros() -> None:
    estimate = _random_model()(torch.zeros(2, 8, 8, dtype=torch.complex64), torch.ones(2, 8, 8, dtype=torch.bool), 0.5)
    assert not estimate.abs().any()


def test_gains_go_to_antennas_and_back_as_adjoints() -> None:
    """<spread(g), v> = <g, gathered(v)>; constants and the slope between cell centres are kept."""
    aperture = Aperture(12, 20, 8, 0.5, torch.device("cpu"))
    generator = torch.Generator().manual_seed(6)
    gains, values = torch.randn(3, 8, 8, generator=generator), torch.randn(3, 12, 20, generator=generator)
    torch.testing.assert_close((aperture.spread(gains) * values).sum(), (gains * aperture.gathered(values)).sum())
    torch.testing.assert_close(aperture.spread(torch.ones(1, 8, 8)), torch.ones(1, 12, 20))


def test_gradients_reach_every_weight() -> None:
    model, mask = _random_model().train(), _mask()
    (model(torch.where(mask, _field(), 0), mask, 0.5) - _field()).abs().square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().any() for parameter in model.parameters())


def test_the_packaged_size() -> None:
    assert sum(parameter.numel() for parameter in build("wavefield-small").parameters()) < 200_000
