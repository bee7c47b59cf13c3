"""Corrections of imperfect hardware: each alone on channels whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest

from channelfm.arrays import UPA
from channelfm.baselines.calibrated import OffGridCalibrated
from channelfm.baselines.calibration import Correction, Received, antenna_gains
from channelfm.baselines.off_grid_delay import OffGridDelay
from channelfm.channels.near_field import NearFieldModel, draw_near_field
from channelfm.errors import InputError
from channelfm.hardware import (
    Amplifier,
    AntennaGains,
    ChainGains,
    DeadAntennas,
    Hardware,
    IQImbalance,
    PhaseNoise,
    Quantisation,
)
from channelfm.impairments import Slots, draw, impair
from channelfm.metrics import nmse
from channelfm.observation import Entries, Grid, RandomlyCombined, observe

RNG = np.random.default_rng
ARRAY = UPA(1, 64, 28e9)
GRID = Grid(ARRAY, np.zeros(1), 28e9 + 6.25e6 * (np.arange(16) - 7.5))
MODEL = NearFieldModel(clusters=2, range_m=(3.0, 30.0), squint=False)
CHANNEL = draw_near_field(MODEL, ARRAY, GRID.frequencies_hz, 6, 0).response.reshape(6, *GRID.shape)
OPERATOR = RandomlyCombined(0, np.arange(6), 4 * 24, 1, 64)


def received(*models, snr_db=20.0, seed=0, channel=CHANNEL, grid=GRID):
    ideal = observe(channel, replace(OPERATOR, links=np.arange(len(channel))), grid, snr_db, RNG(seed))
    return impair(ideal, channel, Hardware(models, 4), seed)


def error_db(observation, estimator=OffGridCalibrated):
    return 10 * np.log10(np.mean(nmse(estimator().estimate(observation), CHANNEL)))


IDEAL_DB = error_db(received(), OffGridDelay)


@pytest.mark.parametrize(
    ("model", "plain_db", "loss_db"),
    [
        (PhaseNoise(step_deg=5.0), 15, 3),
        (ChainGains(share=0.1), 10, 2),
        (DeadAntennas(share=0.05), 15, 3),
        (IQImbalance(gain_db=1.0, phase_deg=5.0), 10, 3),
        (Amplifier(back_off_db=3.0), 20, 4),
        (PhaseNoise(step_deg=2.0, own=True), 8, 5),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_a_known_kind_of_error_is_undone(model, plain_db, loss_db):
    """Nearly as good as ideal hardware, where who ignores it is far worse."""
    observation = received(model)
    assert error_db(observation, OffGridDelay) > IDEAL_DB + plain_db
    assert error_db(observation) < IDEAL_DB + loss_db


@pytest.mark.parametrize(("bits", "snr_db", "lead_db"), [(1, 0.0, 12), (1, 20.0, 15), (2, 20.0, 15), (4, 20.0, 10)])
def test_few_bits_are_used_as_the_likelihood_says(bits, snr_db, lead_db):
    observation = received(Quantisation(bits=bits), snr_db=snr_db)
    assert error_db(observation) < error_db(observation, OffGridDelay) - lead_db


def test_the_power_of_one_bit_samples_is_that_of_the_gain_control():
    observation = received(Quantisation(bits=1))
    power = np.linalg.norm(OffGridCalibrated().estimate(observation)) / np.linalg.norm(CHANNEL)
    assert power == pytest.approx(1, abs=0.01)


def test_uneven_antennas_are_corrected_as_far_as_they_can_be_told_from_the_waves():
    """Errors that look like another place of the waves stay."""
    observation = received(AntennaGains(share=0.1))
    assert error_db(observation) < error_db(observation, OffGridDelay) - 7


def test_all_at_once():
    everything = (
        DeadAntennas(share=0.03),
        ChainGains(share=0.1),
        PhaseNoise(step_deg=3.0),
        IQImbalance(gain_db=0.5, phase_deg=3.0),
        Quantisation(bits=5),
    )
    observation = received(*everything)
    assert error_db(observation) < error_db(observation, OffGridDelay) - 12


def test_ideal_hardware_is_estimated_as_without():
    observation = received()
    plain = OffGridDelay().estimate(replace(observation, hardware=None))
    np.testing.assert_array_equal(OffGridCalibrated().estimate(observation), plain)


@pytest.mark.parametrize("model", [Quantisation(bits=2), DeadAntennas(share=0.05), IQImbalance()])
@pytest.mark.parametrize("exponent", [-40, 17])
def test_a_power_of_two_passes_to_the_bit(model, exponent):
    observation, factor = received(model).select(slice(0, 2)), np.float32(2.0**exponent)
    scaled = replace(observation, values=factor * observation.values, noise=float(factor) ** 2 * observation.noise)
    answers = [OffGridCalibrated().estimate(part) for part in (observation, scaled)]
    np.testing.assert_array_equal(answers[1], factor * answers[0])


def test_frames_are_corrected_each_by_its_own_pilots():
    grid = Grid(ARRAY, np.arange(2.0), GRID.frequencies_hz)
    channel = np.repeat(CHANNEL[:2], 2, axis=1)
    observation = received(IQImbalance(gain_db=2.0), PhaseNoise(step_deg=3.0), channel=channel, grid=grid)
    answer = OffGridCalibrated().estimate(observation)
    assert answer.shape == channel.shape
    # Of the phase of both frames together only the mean is the channel's; that between them is the oscillator's.
    turned = answer * np.exp(-1j * np.angle(np.sum(answer * channel.conj(), axis=(2, 3, 4), keepdims=True)))
    assert 10 * np.log10(np.mean(nmse(turned, channel))) < -25


def test_corrections_find_what_was_drawn():
    models = (ChainGains(share=0.1), PhaseNoise(step_deg=5.0), IQImbalance(gain_db=1.0, phase_deg=5.0))
    observation = received(*models, snr_db=40.0)
    slots = Slots.of(observation.hardware, OPERATOR, GRID)
    drawn = draw(observation.hardware, slots, GRID, 6, 0)
    seen = Received.of(observation, observation.values[:, 0])
    ideal = slots.split(OPERATOR.forward(CHANNEL)).astype(np.complex128)
    state = Correction.none(seen, 64)
    for _ in range(6):
        state = state.improved(seen, ideal)
    np.testing.assert_allclose(state.chains, drawn.chains, atol=1e-2)
    np.testing.assert_allclose(np.exp(1j * state.phases), drawn.phasors, atol=1e-2)
    np.testing.assert_allclose(state.image, drawn.image, atol=1e-2)
    np.testing.assert_allclose(state.undone(seen, ideal), ideal, atol=0.2)


def test_dead_antennas_are_told_from_weak_ones():
    generator = RNG(0)
    fields = generator.normal(size=(3, 40, 8, 2)) @ [1, 1j]
    projection = generator.normal(size=(1, 40, 30, 2)) @ [1, 1j] / 9
    truth = np.where(generator.random((3, 40)) < 0.1, 0, 1 + 0.1 * (generator.normal(size=(3, 40, 2)) @ [1, 1j]))
    values = np.swapaxes(projection, 1, 2) @ (truth[..., None] * fields)
    values = values + 0.02 * (generator.normal(size=(*values.shape, 2)) @ [1, 1j])
    hardware = Hardware((DeadAntennas(share=0.1), AntennaGains(share=0.14)))
    found = antenna_gains(hardware, projection, fields, values, np.full(3, 8e-4))
    np.testing.assert_array_equal(np.abs(found) < 0.5, truth == 0)
    assert np.sqrt(np.mean(np.abs(found - truth) ** 2)) < 0.05


@pytest.mark.parametrize("noise", ["told", "not told", "none"])
def test_odd_observations_get_finite_answers(noise):
    generator = RNG(3)
    models = (DeadAntennas(share=0.05), PhaseNoise(step_deg=5.0), IQImbalance(), Quantisation(bits=1))
    observation = received(*models, snr_db=None if noise == "none" else 0.0).select(slice(0, 3))
    observation = observation if noise != "not told" else replace(observation, noise=None)
    values = observation.values.copy()
    values[0] = 0
    values[1] = (generator.normal(size=(*values.shape[1:], 2)) @ [1, 1j]).astype(np.complex64)
    answer = OffGridCalibrated().estimate(replace(observation, values=values))
    assert np.isfinite(answer).all()
    assert not answer[0].any()


def test_what_cannot_be_corrected_is_refused():
    observation = received(ChainGains(share=0.1))
    row = OffGridCalibrated()
    with pytest.raises(InputError, match="tells of none"):
        row.estimate(replace(observation, hardware=None))
    with pytest.raises(InputError, match="does not divide"):
        row.estimate(replace(observation, hardware=Hardware((ChainGains(share=0.1),), 5)))
    seen = observe(CHANNEL, Entries(np.ones((1,) * 5, bool)), GRID, 10.0, RNG(0))
    with pytest.raises(InputError, match="not of single antennas"):
        row.estimate(impair(seen, CHANNEL, Hardware((ChainGains(share=0.1),)), 0))
    large = Grid(UPA(40, 40, 28e9), np.zeros(1), np.array([28e9]))
    through = observe(
        np.ones((1, *large.shape), np.complex64), RandomlyCombined(0, np.zeros(1, int), 4, 40, 40), large, 9.0, RNG(0)
    )
    with pytest.raises(InputError, match="up to 1024 antennas"):
        row.check(replace(through, hardware=Hardware((DeadAntennas(share=0.1),), 4)))
