"""Networks of priors: the clusters' posterior is the textbook's, filters turn with the phase, gradients reach all."""

import numpy as np
import pytest
import torch

from channelfm.errors import InputError
from channelfm.models.clusters import Centres, LearnedClusters
from channelfm.models.filters import AdaptedFilters
from channelfm.waves.geometry import coordinates, waves_at
from channelfm.waves.wideband import Wideband

ANTENNAS, TONES, MEASUREMENTS = 24, 8, 12


def measured(links=2, seed=0, rows=1):
    generator = torch.Generator().manual_seed(seed)
    projection = torch.randn(links, ANTENNAS, MEASUREMENTS, dtype=torch.complex64, generator=generator) / ANTENNAS**0.5
    values = torch.randn(links, MEASUREMENTS, TONES, dtype=torch.complex64, generator=generator)
    detuned = (torch.arange(TONES, dtype=torch.float64) - 3.5) * 1e7
    return Wideband(values, projection, None, None, rows, ANTENNAS // rows, 0.5, detuned, 28e9)


def test_the_answer_is_the_conditional_mean_of_the_clusters_covariance():
    network, wide, noise = LearnedClusters(clusters=2, rays=10, steps=1, width=4), measured(), torch.tensor([0.1, 0.4])
    centres = network.search(wide, noise)
    (answer,) = network(wide, noise, centres, wide.detuned_hz)
    zero = torch.zeros(2, 2, 4)
    posterior = network._posterior(wide, noise, centres, zero)
    _, moved = network._seen(wide, noise, centres, zero, posterior)
    from channelfm.models.clusters import _rays

    sources, delays = _rays(wide, moved, network._spreads(wide, zero)[:, :, None] * network.scatter)
    y, z = coordinates(1, ANTENNAS, 0.5, dtype=torch.float64)
    waves = waves_at(sources.double(), y, z)
    tones = torch.exp(-2j * np.pi * delays[..., None].double() * wide.detuned_hz / wide.bandwidth_hz)
    columns = (waves[..., None] * tones[:, :, None]).flatten(2)  # [N, R, antenna * F]
    power = (moved.power.exp() / 10).repeat_interleave(10, 1).double()
    covariance = columns.mT @ (power[..., None] * columns.conj())
    sensing = torch.stack(
        [torch.kron(link.mT.contiguous(), torch.eye(TONES)) for link in wide.projection.to(torch.complex128)]
    )
    own = sensing @ covariance @ sensing.mH + noise[:, None, None] * torch.eye(MEASUREMENTS * TONES)
    exact = covariance @ sensing.mH @ torch.linalg.solve(own, wide.values.flatten(1)[..., None].to(torch.complex128))
    error = (answer.flatten(1) - exact[..., 0]).abs().square().sum() / exact.abs().square().sum()
    assert error < 1e-4


def test_one_cluster_is_found_where_it_is():
    network, wide = LearnedClusters(clusters=1, rays=48, steps=1, width=4), measured(1)
    y, z = coordinates(1, ANTENNAS, 0.5, dtype=torch.float32)
    wave = waves_at(torch.tensor([[[0.4, 0.0, 0.0]]]), y, z)[0]
    tone = torch.exp(-2j * torch.pi * 2.5 * wide.detuned_hz / wide.bandwidth_hz).to(torch.complex64)
    values = wide.measured(wave[None, :, :] * 1.0).mT * tone
    one = Wideband(values, wide.projection, None, None, 1, ANTENNAS, 0.5, wide.detuned_hz, 28e9)
    found = network.search(one, torch.full((1,), 1e-3))
    assert abs(float(found.sources[0, 0, 0]) - 0.4) < 0.06
    assert abs(float(found.delays[0, 0]) - 2.5) < 0.6


def test_gradients_reach_every_weight():
    network, wide, noise = (
        LearnedClusters(clusters=2, rays=8, steps=2, width=4),
        measured(rows=4),
        torch.tensor([0.1, 0.4]),
    )
    for step in network.steps:  # which start as expectation maximisation, and so hide the layers before the last
        torch.nn.init.normal_(step.answer.weight, std=0.1)
    answers = network(wide, noise, network.search(wide, noise), wide.detuned_hz)
    sum(answer.abs().square().sum() for answer in answers).backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().sum() > 0, name


def test_clusters_that_coincide_or_have_no_power_have_finite_answers():
    network, wide = LearnedClusters(clusters=2, rays=8, steps=2, width=4), measured()
    same = Centres(torch.zeros(2, 2, 3), torch.zeros(2, 2), torch.tensor([[0.0, 0.0], [-30.0, -30.0]]))
    for answer in network(wide, torch.zeros(2), same, wide.detuned_hz):
        assert answer.isfinite().all()


def filters():
    torch.manual_seed(0)
    network = AdaptedFilters(width=6, depth=1)
    torch.nn.init.normal_(network.answer.weight, std=0.3)
    return network


def test_filters_turn_with_the_phase_and_reach_every_weight():
    network, sigma = filters(), torch.tensor([0.1, 1.0])
    noisy = torch.randn(2, 6, 5, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    turn = torch.polar(torch.ones(()), torch.tensor(1.1))
    answer, turned = (network(torch.view_as_real(some), sigma, sigma) for some in (noisy, noisy * turn))
    torch.testing.assert_close(
        torch.view_as_complex(turned), torch.view_as_complex(answer) * turn, rtol=1e-4, atol=1e-5
    )
    answer.square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


def test_untrained_filters_are_the_conditional_mean_of_white_samples():
    noisy = torch.randn(2, 6, 5, 2, generator=torch.Generator().manual_seed(1))
    sigma = torch.tensor([0.5, 2.0])
    expected = noisy / (1 + sigma.square())[:, None, None, None]
    torch.testing.assert_close(AdaptedFilters(width=4, depth=1)(noisy, sigma, sigma), expected)


@pytest.mark.parametrize("build", [lambda: LearnedClusters(clusters=0), lambda: AdaptedFilters(width=0)])
def test_sizes_of_nothing_are_refused(build):
    with pytest.raises(InputError, match="at least 1"):
        build()
