"""CE heads and ChannelNet: they learn to denoise pilots, the same from the same, and leave networks as they are."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from channelfm.arrays import UPA, spherical_wave
from channelfm.checkpoints import load_model
from channelfm.datasets.blocks import unlabelled
from channelfm.errors import InputError
from channelfm.estimator import Examples, Learns
from channelfm.hardware import Hardware, Quantisation
from channelfm.impairments import impair
from channelfm.learned.adapters import ADAPTERS, RIVALS
from channelfm.learned.channelnet import ChannelNetEstimator
from channelfm.learned.pilot_head import DenoisedPilots, PilotHead
from channelfm.learned.redrawn import redrawn
from channelfm.metrics import nmse
from channelfm.models.ce_head import CEHead
from channelfm.models.denoiser import Denoiser
from channelfm.observation import Entries, Grid, observe

RNG = np.random.default_rng


@pytest.fixture(scope="module")
def model():
    return load_model("cddim-tiny", spacing_wavelengths=0.5)


def examples(count, seed, size=16, snr_db=5.0):
    """Two waves, at a half to all of the antennas."""
    generator = RNG(seed)
    places = generator.uniform((60, -40, -40), (200, 40, 40), (2, count, 3))
    turn = np.exp(2j * np.pi * generator.random((count, 1, 1)))
    field = spherical_wave(size, size, places[0]) + 0.5 * turn * spherical_wave(size, size, places[1])
    channel = 1e-4 * field[:, None, :, :, None].astype(np.complex64)
    grid = Grid(UPA(size, size, 7e9), np.zeros(1), np.array([7e9]))
    mask = generator.random((count, 1, size, size, 1)) < np.linspace(0.5, 1, count)[:, None, None, None, None]
    return Examples(observe(channel, Entries(mask), grid, snr_db, generator), channel, unlabelled(channel, grid))


def error(estimator, test):
    return nmse(estimator.estimate(test.observation), test.channel).mean()


def test_redrawn_observations_have_the_masks_and_the_noise_of_the_examples():
    given = examples(30, 0, snr_db=0.0)
    drawn = redrawn(given, RNG(1))
    drawn.check()
    counts = [sorted(part.mask.sum(axis=(1, 2, 3, 4))) for part in (drawn, given.observation)]
    assert counts[0] == counts[1]
    noise = np.where(drawn.mask, drawn.values - given.channel, 0)
    measured = (np.abs(noise) ** 2).sum(axis=(1, 2, 3, 4)) / drawn.mask.sum(axis=(1, 2, 3, 4))
    np.testing.assert_allclose(measured / drawn.noise, 1, atol=0.4)
    power = np.mean(np.abs(given.channel) ** 2, axis=(1, 2, 3, 4))
    np.testing.assert_allclose(drawn.noise / power, 1, rtol=1e-5)
    again = redrawn(given, RNG(1))
    np.testing.assert_array_equal(again.values, drawn.values)


def test_what_came_through_imperfect_hardware_is_not_redrawn_as_if_it_were_ideal():
    given = examples(3, 0)
    clipped = impair(given.observation, given.channel, Hardware([Quantisation(bits=1)]), seed=0)
    assert redrawn(replace(given, observation=clipped), RNG(1)) is clipped


def test_the_gradient_reaches_the_head_through_the_network():
    torch.manual_seed(0)
    backbone = Denoiser(width=16, depth=1, heads=2)
    torch.nn.init.normal_(backbone.project.weight)
    network = DenoisedPilots(backbone.requires_grad_(False), CEHead(4))
    known, seen = torch.randn(2, 16, 16, 2), torch.rand(2, 16, 16) < 0.5
    network(torch.randn_like(known), torch.zeros(2, dtype=torch.int64), known, seen).square().sum().backward()
    assert network.head.last.weight.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in backbone.parameters())


@pytest.mark.slow
def test_a_ce_head_beats_the_network_alone_on_noisy_pilots(model):
    before = {name: weight.clone() for name, weight in model.network.state_dict().items()}
    train, test = examples(64, 0), examples(16, 1)
    learner = PilotHead(model, draws=1, passes=4)
    assert isinstance(learner, Learns)
    assert learner.name == "cddim-tiny-ce"
    learner.learn(train)
    assert error(learner, test) < 0.5 * error(model, test)
    answer = learner.estimate(test.observation)
    again = PilotHead(model, draws=1, passes=4)
    torch.rand(7)
    again.learn(train)
    np.testing.assert_array_equal(again.estimate(test.observation), answer)
    assert all(torch.equal(weight, before[name]) for name, weight in model.network.state_dict().items())
    assert model.recipe.sampler.data_consistency


@pytest.mark.slow
def test_one_shot_networks_take_a_ce_head():
    train = examples(8, 0)
    learner = PilotHead(load_model("mcm-tiny"), draws=1, passes=1)
    learner.learn(train)
    assert np.isfinite(learner.estimate(train.observation)).all()


@pytest.mark.slow
def test_channelnet_beats_pilots_as_they_are():
    train, test = examples(64, 0), examples(16, 1)
    learner = ChannelNetEstimator(width=16, depth=4, draws=1, passes=20)
    learner.learn(train)
    unseen = (1 - test.observation.mask.mean(axis=(1, 2, 3, 4)) * (1 - 10**-0.5)).mean()
    assert error(learner, test) < 0.5 * unseen
    again = ChannelNetEstimator(width=16, depth=4, draws=1, passes=20)
    again.learn(train)
    np.testing.assert_array_equal(again.estimate(test.observation), learner.estimate(test.observation))


def test_what_has_learned_nothing_is_refused(model):
    test = examples(2, 0)
    for row in (PilotHead(model), ChannelNetEstimator(), ADAPTERS["ce"](model, "row"), RIVALS["channelnet"]()):
        with pytest.raises(InputError, match="call learn first"):
            row.estimate(test.observation)
    for name in ("gru-small", "wavefield-small"):
        with pytest.raises(InputError, match="takes no denoised pilots"):
            PilotHead(load_model(name))
