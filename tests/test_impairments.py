"""Each impairment against its formula; what observations tell of it; what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm import impairments
from channelfm.arrays import UPA
from channelfm.errors import InputError
from channelfm.hardware import (
    KINDS,
    Amplifier,
    AntennaGains,
    ChainGains,
    DeadAntennas,
    Hardware,
    IQImbalance,
    PhaseNoise,
    Quantisation,
    impairments_of,
)
from channelfm.impairments import (
    Slots,
    best_step,
    bussgang_gain,
    draw,
    impair,
    mirrored,
    of_samples,
    pilot_response,
    pilot_symbols,
    quantise,
    to_samples,
    without_image,
)
from channelfm.observation import Entries, Grid, Observation, RandomlyCombined, observe

RNG = np.random.default_rng
ALL = (
    DeadAntennas(share=0.05),
    AntennaGains(share=0.1),
    Amplifier(back_off_db=3.0),
    ChainGains(share=0.1),
    PhaseNoise(step_deg=5.0),
    IQImbalance(),
    Quantisation(bits=3),
)


def white(generator, *shape):
    return (generator.normal(size=(*shape, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)


def grid_of(rows=4, cols=8, frequencies=16, frames=1):
    return Grid(UPA(rows, cols, 28e9), np.arange(float(frames)), 28e9 + 1e6 * (np.arange(frequencies) - 7.5))


def received(*models, links=40, snr_db=None, seed=0, chains=4, slots=12, frames=1):
    """Channels, what ideal chains receive of them, and what imperfect ones do."""
    grid = grid_of(frames=frames)
    channel = white(RNG(seed), links, *grid.shape)
    operator = RandomlyCombined(seed, np.arange(links), chains * slots, *grid.shape[1:3])
    ideal = observe(channel, operator, grid, snr_db, RNG(seed + 1))
    return channel, ideal, impair(ideal, channel, Hardware(models, chains), seed + 2)


def by_slot(observation, chains=4):
    slots = Slots.of(Hardware((), chains), observation.operator, observation.grid)
    return slots.split(observation.values)


def test_ideal_hardware_changes_nothing():
    _, ideal, imperfect = received(snr_db=10.0)
    np.testing.assert_allclose(imperfect.values, ideal.values, atol=1e-5)
    none = [DeadAntennas(share=0), AntennaGains(share=0), ChainGains(share=0), PhaseNoise(step_deg=0)]
    none += [IQImbalance(gain_db=0, phase_deg=0), Amplifier(back_off_db=60)]
    _, ideal, imperfect = received(*none, snr_db=10.0)
    np.testing.assert_allclose(imperfect.values, ideal.values, atol=1e-4)


def test_dead_antennas_hear_nothing_of_the_channel():
    grid, channel = grid_of(), white(RNG(0), 500, *grid_of().shape)
    seen = observe(channel, Entries(np.ones((1,) * 5, bool)), grid, None, RNG(0))
    imperfect = impair(seen, channel, Hardware((DeadAntennas(share=0.2),)), 0)
    alive = imperfect.values != 0
    np.testing.assert_array_equal(alive, alive[:, :, :, :, :1] & np.ones(16, bool))
    assert np.mean(~alive) == pytest.approx(0.2, abs=0.01)
    np.testing.assert_allclose(imperfect.values[alive], channel[alive], rtol=1e-5)


@pytest.mark.parametrize("model", [AntennaGains(share=0.1), ChainGains(share=0.1)])
def test_gain_errors_have_their_size_and_no_mean(model):
    drawn = draw(Hardware((model,), 4), Slots(12, 4, 16), grid_of(), 4000, 0)
    error = (drawn.antennas - 1 if isinstance(model, AntennaGains) else drawn.chains[:, 0, :, 0] - 1).reshape(4000, -1)
    assert np.abs(error.mean(1)).max() < 1e-6
    assert np.sqrt(np.mean(np.abs(error) ** 2)) == pytest.approx(0.1, rel=0.02)
    assert abs(np.mean(error**2)) < 0.1**2 * 0.05


def test_phases_are_a_wiener_process_that_all_chains_share():
    _, ideal, imperfect = received(PhaseNoise(step_deg=4.0), links=2000)
    ratio = by_slot(imperfect) / by_slot(ideal)
    np.testing.assert_allclose(np.abs(ratio), 1, rtol=1e-3)
    phase = np.angle(ratio[:, :, 0, 0])
    np.testing.assert_allclose(np.angle(ratio * np.exp(-1j * phase)[:, :, None, None]), 0, atol=1e-3)
    assert np.abs(phase.mean(1)).max() < 1e-4
    for lag in (1, 4, 9):  # the variance of a Wiener process grows with the lag
        moved = phase[:, lag:] - phase[:, :-lag]
        assert np.rad2deg(np.std(moved)) == pytest.approx(4.0 * np.sqrt(lag), rel=0.05)


def test_oscillators_of_their_own_differ():
    _, ideal, imperfect = received(PhaseNoise(step_deg=4.0, own=True), links=500)
    phase = np.angle((by_slot(imperfect) / by_slot(ideal))[..., 0])
    moved = np.diff(phase, axis=1)
    assert np.rad2deg(np.std(moved)) == pytest.approx(4.0, rel=0.03)
    assert abs(np.corrcoef(moved[:, :, 0].ravel(), moved[:, :, 1].ravel())[0, 1]) < 0.05


def test_one_subcarrier_appears_mirrored_at_the_image_rejection_ratio():
    hardware, slots = Hardware((IQImbalance(gain_db=1.0, phase_deg=5.0),), 4), Slots(2, 4, 16)
    drawn = draw(hardware, slots, grid_of(), 3, 0)
    tone = np.zeros((3, *slots), np.complex64)
    tone[..., 3] = 1
    out = impairments.through_chains(tone, drawn, hardware, slots)
    beta = drawn.image[:, 0, :, 0]
    alpha = 1 - beta.conj()
    np.testing.assert_allclose(np.abs(out[..., 3]), np.broadcast_to(np.abs(alpha)[:, None], (3, 2, 4)), rtol=1e-5)
    np.testing.assert_allclose(np.abs(out[..., 12]), np.broadcast_to(np.abs(beta)[:, None], (3, 2, 4)), rtol=1e-5)
    # Rejection in closed form: (1 + g^2 + 2 g cos phi) / (1 + g^2 - 2 g cos phi).
    gain, phase = np.abs(1 - 2 * beta), np.angle(1 - 2 * beta)
    ratio = (1 + gain**2 + 2 * gain * np.cos(phase)) / (1 + gain**2 - 2 * gain * np.cos(phase))
    np.testing.assert_allclose(np.abs(alpha) ** 2 / np.abs(beta) ** 2, ratio, rtol=1e-2)


def test_mixers_act_on_samples():
    """alpha y + beta conj(y), sample by sample; and they can be undone where beta is known."""
    hardware, slots = Hardware((IQImbalance(gain_db=2.0, phase_deg=10.0),), 4), Slots(3, 4, 16)
    drawn, values = draw(hardware, slots, grid_of(), 5, 0), white(RNG(1), 5, *slots)
    pilots = pilot_symbols(hardware, slots)
    samples = to_samples(values, pilots)
    expected = (1 - drawn.image.conj()) * samples + drawn.image * samples.conj()
    out = impairments.through_chains(values, drawn, hardware, slots)
    np.testing.assert_allclose(to_samples(out, pilots), expected, atol=1e-5)
    np.testing.assert_allclose(without_image(out, drawn.image, pilots), values, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 9))
def test_samples_and_subcarriers_are_inverse_and_conjugates_are_mirrored(seed, count):
    slots = Slots(2, 3, count)
    values, pilots = white(RNG(seed), 2, *slots), pilot_symbols(Hardware(pilot_seed=seed), slots)
    samples = to_samples(values, pilots)
    assert np.sum(np.abs(samples) ** 2) == pytest.approx(np.sum(np.abs(values) ** 2), rel=1e-5)
    np.testing.assert_allclose(of_samples(samples, pilots), values, atol=1e-5)
    np.testing.assert_allclose(of_samples(samples.conj(), pilots), mirrored(values, pilots), atol=1e-5)


@pytest.mark.parametrize(
    ("bits", "distortion"), [(1, 0.3634), (2, 0.1188), (3, 0.03744), (4, 0.01154), (5, 0.003495), (6, 0.001040)]
)
def test_distortion_of_the_best_uniform_quantiser(bits, distortion):
    """Max 1960, table II; its output is uncorrelated with its error, so that the Bussgang gain is 1 - distortion."""
    amplitudes = RNG(0).standard_normal(2_000_000)
    step = best_step(bits)
    out = quantise(amplitudes, step, bits)
    assert len(np.unique(out)) == 2**bits
    assert np.mean((out - amplitudes) ** 2) == pytest.approx(distortion, rel=0.01)
    gain = float(bussgang_gain(np.array(1.0), np.array(step), bits))
    assert gain == pytest.approx(1 - distortion, rel=0.002)
    assert np.mean(out * amplitudes) == pytest.approx(gain, rel=0.003)
    assert bussgang_gain(np.array(2.0), np.array(2 * step), bits) == pytest.approx(gain)


def test_one_bit_keeps_signs_alone():
    """Gain sqrt(2 / pi) over the deviation times the level, which the deviation of all samples sets."""
    _, ideal, imperfect = received(Quantisation(bits=1), links=20)
    slots = Slots(12, 4, 16)
    pilots = pilot_symbols(imperfect.hardware, slots)
    before, after = (to_samples(by_slot(one), pilots) for one in (ideal, imperfect))
    np.testing.assert_array_equal(np.sign(after.real), np.sign(before.real))
    level = np.abs(after.real).reshape(20, -1)
    np.testing.assert_allclose(level, level[:, :1] * np.ones(slots.slots * 64), rtol=1e-4)
    deviation = np.sqrt(np.mean(np.abs(before) ** 2, axis=(1, 2, 3)) / 2)
    np.testing.assert_allclose(level[:, 0], 1.596 / 2 * deviation, rtol=1e-4)
    assert bussgang_gain(np.array(3.0), np.array(1.0), 1) == pytest.approx(np.sqrt(2 / np.pi) / 2 / 3)


@pytest.mark.parametrize("factor", [2.0**-30, 2.0**17])
def test_the_gain_control_knows_no_units(factor):
    channel, ideal, imperfect = received(Quantisation(bits=2), links=4, snr_db=10.0)
    scaled = replace(ideal, values=np.float32(factor) * ideal.values, noise=factor**2 * ideal.noise)
    again = impair(scaled, np.float32(factor) * channel, imperfect.hardware, 2)
    np.testing.assert_allclose(again.values, factor * imperfect.values, rtol=1e-5)


def test_the_amplifier_saturates():
    """As it is for small amplitudes, compressed for large ones; constant pilots are scaled by Rapp's formula."""
    slots = Slots(400, 1, 64)
    spread = {}
    for back_off in (-10.0, 0.0, 10.0, 40.0):
        response = pilot_response(Hardware((Amplifier(back_off_db=back_off),), 1), slots)
        spread[back_off] = np.mean(np.abs(response) ** 2)
    assert spread[40.0] == pytest.approx(1, abs=1e-3)
    assert spread[-10.0] < spread[0.0] < spread[10.0] < 1
    # Far beyond saturation every sample has the amplitude a.
    deep = pilot_response(Hardware((Amplifier(back_off_db=-20.0, smoothness=10.0),), 1), slots)
    assert np.mean(np.abs(deep) ** 2) == pytest.approx(0.01, rel=0.02)
    single = pilot_response(Hardware((Amplifier(back_off_db=3.0, smoothness=2.0),), 1), Slots(5, 1, 1))
    np.testing.assert_allclose(single, 1 / (1 + 10 ** (-0.3 * 2)) ** 0.25, rtol=1e-5)


def test_noise_is_added_behind_antennas_and_before_chains():
    """Dead antennas do not change it, gains of chains do."""
    channel, ideal, imperfect = received(*ALL[:2], snr_db=0.0)
    noise = ideal.values - ideal.operator.forward(channel)
    antennas = draw(imperfect.hardware, Slots(12, 4, 16), ideal.grid, 40, 2).antennas
    heard = ideal.operator.forward(channel * antennas[:, None, ..., None])
    np.testing.assert_allclose(imperfect.values - heard, noise, atol=1e-4)
    np.testing.assert_array_equal(imperfect.noise, ideal.noise)
    _, ideal, imperfect = received(ChainGains(share=0.3), snr_db=0.0)
    ratio = by_slot(imperfect) / by_slot(ideal)
    np.testing.assert_allclose(ratio, ratio[:, :1, :, :1] * np.ones((12, 1, 16)), rtol=1e-2)


def test_what_is_drawn_does_not_depend_on_what_follows_or_stands_beside():
    grid, slots = grid_of(), Slots(12, 4, 16)
    few, many = (draw(Hardware(ALL, 4), slots, grid, links, 7) for links in (3, 9))
    for mine, others in zip(few, many, strict=True):
        np.testing.assert_array_equal(mine, others[:3])
    alone = draw(Hardware((PhaseNoise(step_deg=5.0),), 4), slots, grid, 3, 7)
    np.testing.assert_array_equal(alone.phasors, few.phasors)
    assert (draw(Hardware(ALL, 4), slots, grid, 3, 8).phasors != few.phasors).any()


def test_files_hold_the_hardware_and_are_as_before_without(tmp_path):
    _, ideal, imperfect = received(*ALL, links=2, snr_db=10.0)
    imperfect.save(tmp_path / "imperfect")
    loaded = Observation.load(tmp_path / "imperfect")
    assert loaded.hardware == imperfect.hardware
    assert loaded.select(slice(1, 2)).hardware == imperfect.hardware
    assert loaded.hardware.find(Quantisation) == Quantisation(bits=3)
    assert str(loaded.hardware).startswith("dead-antennas (share 0.05), ")
    ideal.save(tmp_path / "ideal")
    assert b"hardware" not in (tmp_path / "ideal").read_bytes()
    assert Observation.load(tmp_path / "ideal").hardware is None
    loaded.hardware.save(tmp_path / "hardware")
    assert Hardware.load(tmp_path / "hardware") == imperfect.hardware


def test_impairments_are_read_in_the_order_in_which_they_act():
    found = impairments_of([{"kind": "quantisation", "bits": 2}, {"kind": "dead-antennas", "share": 0.1}])
    assert found == (DeadAntennas(share=0.1), Quantisation(bits=2))
    assert {type(model) for model in ALL} == set(KINDS)
    assert Hardware(ALL[::-1]) == Hardware(ALL)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([{"kind": "quantisation", "bits": 9}], "bits"),
        ([{"kind": "quantisation", "bits": 0}], "bits"),
        ([{"kind": "quantisation", "bits": 1.5}], "bits"),
        ([{"kind": "dead-antennas", "share": 1.0}], "share"),
        ([{"kind": "phase-noise", "step_deg": float("nan")}], "step_deg"),
        ([{"kind": "rust"}], "kind"),
        ([{"kind": "chain-gains", "share": 0.1, "std": 3}], "std"),
    ],
)
def test_values_out_of_range_are_refused(values, words):
    with pytest.raises(InputError, match=words):
        impairments_of(values)


def test_what_cannot_be_impaired_is_refused():
    channel, ideal, imperfect = received(links=2)
    with pytest.raises(InputError, match="impairments: 0"):
        Hardware(("dead-antennas",))
    with pytest.raises(InputError, match="twice"):
        Hardware((ChainGains(share=0.1), ChainGains(share=0.2)))
    with pytest.raises(InputError, match="does not divide"):
        impair(ideal, channel, Hardware((), 5), 0)
    with pytest.raises(InputError, match="hardware already"):
        impair(imperfect, channel, Hardware(), 0)
    with pytest.raises(InputError, match="chains = 0"):
        Hardware((), 0)
    with pytest.raises(InputError, match="seed"):
        impair(ideal, channel, Hardware(), -1)
    seen = observe(channel, Entries(np.ones((1,) * 5, bool)), ideal.grid, None, RNG(0))
    with pytest.raises(InputError, match="32 single antennas"):
        impair(seen, channel, Hardware((), 4), 0)
    tiny = Grid(UPA(1, 1, 28e9), np.zeros(1), np.array([28e9]))
    lone = observe(white(RNG(0), 9, 1, 1, 1, 1), Entries(np.ones((1,) * 5, bool)), tiny, None, RNG(0))
    with pytest.raises(InputError, match="kills all antennas"):
        impair(lone, lone.values, Hardware((DeadAntennas(share=0.9),)), 0)


@pytest.mark.parametrize("frames", [1, 3])
def test_single_antennas_are_chains_of_their_own(frames):
    grid = grid_of(frames=frames)
    channel = white(RNG(0), 6, *grid.shape)
    mask = RNG(1).random((6, 1, 4, 8, 1)) < 0.5
    seen = observe(channel, Entries(mask), grid, 20.0, RNG(2))
    imperfect = impair(seen, channel, Hardware(ALL), 0)
    imperfect.check()
    assert not imperfect.values[~imperfect.mask].any()
    assert np.isfinite(imperfect.values).all()
    gains = impair(seen, channel, Hardware((ChainGains(share=0.1),)), 0)
    ratio = (gains.values / np.where(seen.values == 0, 1, seen.values))[imperfect.mask]
    assert np.std(ratio) == pytest.approx(0.1, rel=0.3)


@pytest.mark.parametrize("axis", ["frames", "antennas"])
def test_the_gain_control_hears_only_what_is_measured(axis):
    """The quarter that is measured is quantised as if nothing else were there."""
    grid = grid_of(frames=8)
    mask = np.zeros((1, 8, 4, 8, 1), bool)
    mask[(slice(None), slice(0, 2)) if axis == "frames" else (slice(None), slice(None), slice(0, 1))] = True
    channel = white(RNG(0), 5, *grid.shape)
    seen = observe(channel, Entries(mask), grid, None, RNG(0))
    imperfect = impair(seen, channel, Hardware((Quantisation(bits=2),)), 0)
    error = np.sum(np.abs(imperfect.values - seen.values) ** 2) / np.sum(np.abs(seen.values) ** 2)
    assert error == pytest.approx(0.1188, rel=0.05)
