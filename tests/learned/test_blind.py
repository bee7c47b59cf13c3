"""Hardware that is recognised, not told."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from channelfm.arrays import UPA
from channelfm.baselines.calibrated import OffGridCalibrated
from channelfm.baselines.off_grid_delay import OffGridDelay
from channelfm.channels.near_field import NearFieldModel, draw_near_field
from channelfm.errors import InputError, IntegrityError
from channelfm.estimator import Estimator
from channelfm.hardware import ChainGains, DeadAntennas, Hardware, PhaseNoise, Quantisation
from channelfm.impairments import impair
from channelfm.learned import blind
from channelfm.learned.blind import (
    BlindCalibration,
    features,
    lessons_of,
    packaged_recogniser,
    train_recogniser,
    write_recogniser,
)
from channelfm.metrics import nmse
from channelfm.models.recogniser import Recogniser
from channelfm.observation import Entries, Grid, RandomlyCombined, observe

RNG = np.random.default_rng
ARRAY = UPA(1, 256, 28e9)
GRID = Grid(ARRAY, np.zeros(1), 28e9 + 1.5625e6 * (np.arange(64) - 31.5))
MODEL = NearFieldModel(range_m=(3.0, 30.0), squint=False)
CHANNEL = draw_near_field(MODEL, ARRAY, GRID.frequencies_hz, 4, 123).response.reshape(4, *GRID.shape)


def received(*models, snr_db=20.0, links=4):
    channel = CHANNEL[:links]
    ideal = observe(channel, RandomlyCombined(5, np.arange(links), 4 * 32, 1, 256), GRID, snr_db, RNG(0))
    return impair(ideal, channel, Hardware(models, 4), 0)


def error_db(row, observation):
    """In the median: of few links one may be taken for another."""
    return 10 * np.log10(np.median(nmse(row.estimate(observation), CHANNEL[: len(observation)])))


@pytest.mark.parametrize("model", [ChainGains(share=0.1), PhaseNoise(step_deg=5.0), Quantisation(bits=1)])
def test_what_is_recognised_is_corrected_nearly_as_if_it_were_told(model):
    observation, row = received(model), BlindCalibration()
    assert isinstance(row, Estimator)
    assert any(isinstance(found, type(model)) for found in row.recognised(observation)[0])
    blindly = error_db(row, observation)
    assert blindly < error_db(OffGridCalibrated(), observation) + 3
    assert blindly < error_db(OffGridDelay(), observation) - 10


def test_nothing_is_read_of_the_hardware_but_chains_and_pilots():
    observation, row = received(PhaseNoise(step_deg=5.0), links=2), BlindCalibration()
    other = replace(observation, hardware=Hardware((DeadAntennas(share=0.5),), 4))
    np.testing.assert_array_equal(row.estimate(other), row.estimate(observation))


@pytest.mark.parametrize("exponent", [-40, 17])
def test_a_power_of_two_passes_to_the_bit(exponent):
    observation, row, factor = received(ChainGains(share=0.1), links=2), BlindCalibration(), 2.0**exponent
    values = np.float32(factor) * observation.values
    scaled = replace(observation, values=values, noise=factor**2 * observation.noise)
    np.testing.assert_array_equal(row.estimate(scaled), np.float32(factor) * row.estimate(observation))


def test_odd_observations_get_finite_answers():
    observation = received(Quantisation(bits=1), links=2)
    values = observation.values.copy()
    values[0] = 0
    values[1] = (RNG(1).normal(size=(*values.shape[1:], 2)) @ [1, 1j]).astype(np.complex64)
    for noise in (None, observation.noise, 0 * observation.noise):
        answer = BlindCalibration().estimate(replace(observation, values=values, noise=noise))
        assert np.isfinite(answer).all()
        assert not answer[0].any()


def test_a_network_is_taught_by_draws_alike_for_alike_seeds():
    grid = Grid(UPA(1, 32, 28e9), np.zeros(1), 28e9 + 6e6 * (np.arange(8) - 3.5))
    channel = draw_near_field(MODEL, grid.array, grid.frequencies_hz, 4, 0).response.reshape(4, *grid.shape)
    lessons = lessons_of(channel, grid, 4, 8, 24, seed=3)
    assert lessons.tokens.shape == (24, 8, 4, 4)
    assert torch.isfinite(lessons.tokens).all()
    assert torch.isfinite(lessons.summary).all()
    assert 0.05 < lessons.present.mean() < 0.5
    networks = [train_recogniser(lessons, 60, seed) for seed in (0, 0, 1)]
    first, again, other = (network(lessons.tokens, lessons.summary) for network in networks)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    there = first[:, :7].sigmoid() > 0.5
    assert (there == (lessons.present > 0)).float().mean() > 0.75


def test_the_network_takes_any_number_of_slots_and_does_not_mind_the_order_of_chains():
    torch.manual_seed(0)
    network = Recogniser(5, 3)
    tokens, summary = torch.randn(2, 9, 4, 4), torch.randn(2, 5)
    answer = network(tokens, summary)
    torch.testing.assert_close(network(tokens[:, :, [2, 0, 3, 1]], summary), answer)
    assert network(tokens[:, :1], summary).shape == (2, 3)
    answer.sum().backward()
    assert all(isinstance(one, nn.Parameter) and one.grad is not None for one in network.parameters())


def test_features_see_dead_antennas():
    _, few = features(received())
    _, dead = features(received(DeadAntennas(share=0.1)))
    start = 4 + 2 * 6 + 3
    assert (dead[:, start + 1] < -0.5).all()
    assert (few[:, start + 1] > -0.5).all()


def test_what_cannot_be_recognised_is_refused():
    row, observation = BlindCalibration(), received(links=2)
    with pytest.raises(InputError, match="tells of none"):
        row.estimate(replace(observation, hardware=None))
    seen = observe(CHANNEL, Entries(np.ones((1,) * 5, bool)), GRID, 10.0, RNG(0))
    with pytest.raises(InputError, match="RF chains"):
        row.check(impair(seen, CHANNEL, Hardware(), 0))
    # Whatever will be recognised, what could not be corrected is refused before.
    with pytest.raises(InputError, match="does not divide"):
        row.check(replace(observation, hardware=Hardware((), 5)))
    two = Grid(UPA(1, 256, 28e9, polarization="VH"), np.zeros(1), np.tile(GRID.frequencies_hz, 2))
    with pytest.raises(InputError, match="one polarisation"):
        row.check(replace(observation, grid=two, values=np.tile(observation.values, 2)))


def test_weights_are_read_as_they_were_written_or_refused(monkeypatch, tmp_path):
    network = packaged_recogniser()
    write_recogniser(network, tmp_path)
    monkeypatch.setattr(blind, "_WEIGHTS", tmp_path)
    for name, tensor in packaged_recogniser().state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name])
    content = (tmp_path / "model.safetensors").read_bytes()
    for damaged in (b"none", content[:-1] + bytes([content[-1] ^ 1])):
        (tmp_path / "model.safetensors").write_bytes(damaged)
        with pytest.raises(IntegrityError, match="install the package again"):
            BlindCalibration()
    write_recogniser(Recogniser(3, 3), tmp_path)
    with pytest.raises(IntegrityError, match="install the package again"):
        BlindCalibration()
