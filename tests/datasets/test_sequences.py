"""Sequences cut from tracks, aligned in delay."""

import dataclasses

import numpy as np
import pytest

from channelfm.datasets.generate import generate
from channelfm.datasets.recipe import DatasetRecipe
from channelfm.datasets.sequences import (
    FIRST_ARRIVAL,
    advanced,
    aligned,
    delay_advance_s,
    sequence_blocks,
)
from channelfm.errors import InputError
from channelfm.records import Channels

STEPS = 6


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Five users of a stochastic model, six frames each."""
    flight = {"speed_mps": [10, 20], "interval_s": 1e-3, "num_steps": STEPS, "scenes": ["cdl"]}
    values = {
        "name": "moving",
        "array": {"rows": 1, "cols": 4, "carrier_hz": 3.5e9, "height_m": 25.0},
        "channel": {"num_subcarriers": 8, "subcarrier_spacing_hz": 1e6},
        "scenes": [{"name": "cdl", "source": "threegpp:cdl-a"}],
        "flights": [
            flight | {"name": "train", "split": "train", "num_uavs": 3},
            flight | {"name": "test", "split": "test", "num_uavs": 2},
        ],
    }
    folder = tmp_path_factory.mktemp("moving") / "data"
    return generate(DatasetRecipe.model_validate(values), folder, progress=False)


def test_tracks_become_sequences(dataset):
    whole, left_out = sequence_blocks(dataset, "train", STEPS)
    assert whole.channel.shape == (3, STEPS, 1, 4, 8)
    assert left_out == 0
    assert whole.grid.times_s == pytest.approx(1e-3 * np.arange(STEPS))
    speed = np.linalg.norm(whole.labels.velocities_mps, axis=1)
    assert ((speed >= 10) & (speed <= 20)).all()
    assert set(whole.scene.tolist()) == {"cdl"}
    halves, _ = sequence_blocks(dataset, "train", STEPS // 2)
    assert len(halves) == 6
    power = [np.sum(np.abs(part.channel) ** 2) for part in (whole, halves)]
    assert power[0] == pytest.approx(power[1], rel=1e-5)
    assert len(set(whole.tracks.tolist())) == 3
    np.testing.assert_array_equal(halves.tracks, np.repeat(whole.tracks, 2))


def test_tracks_that_are_too_short(dataset):
    with pytest.raises(InputError, match=r"6 snapshots at most, sequences need 18.*num_steps"):
        sequence_blocks(dataset, "train", 18)
    with pytest.raises(InputError, match="at least 1"):
        sequence_blocks(dataset, "train", 0)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0, 1, 2, 2, 3, 4], "do not grow at snapshot 3"),
        ([0, 1, 2, 1, 2, 3], "do not grow"),
        ([0, 1, 2, 4, 5, 6], "even ones"),
    ],
)
def test_times_that_are_no_times_of_a_sequence(dataset, monkeypatch, times, message):
    load = type(dataset).load

    def changed(self, split, scene=None) -> Channels:
        channels = load(self, split, scene)
        return dataclasses.replace(channels, times_s=np.tile(1e-3 * np.array(times, float), 3))

    monkeypatch.setattr(type(dataset), "load", changed)
    with pytest.raises(InputError, match=message):
        sequence_blocks(dataset, "train", STEPS)


def test_sequences_with_a_frame_without_paths_are_left_out(dataset, monkeypatch):
    load = type(dataset).load

    def changed(self, split, scene=None) -> Channels:
        channels = load(self, split, scene)
        gone = np.arange(len(channels)) < lost
        return dataclasses.replace(channels, has_path=~gone)

    monkeypatch.setattr(type(dataset), "load", changed)
    lost = 1
    kept, left_out = sequence_blocks(dataset, "train", STEPS)
    assert (len(kept), left_out) == (2, 1)
    lost = 3 * STEPS
    with pytest.raises(InputError, match="without any path"):
        sequence_blocks(dataset, "train", STEPS)


@pytest.mark.parametrize("delay", [0.0, 0.3, 0.6, 0.97])
def test_the_first_arrival_comes_to_its_place(delay):
    count = 32
    frequencies = 3.5e9 + 360e3 * np.arange(count)
    delays = (delay + np.array([0.0, 0.1])) / 360e3
    spectrum = (np.array([1.0, 0.7]) * np.exp(-2j * np.pi * frequencies[:, None] * delays)).sum(axis=1)
    turned = aligned(np.tile(spectrum, (1, 2, 1, 3, 1)).astype(np.complex64), frequencies)
    profile = np.abs(np.fft.ifft(turned[0, 0, 0, 0] * np.hanning(count), 32 * count))
    peak = np.argmax(profile) / len(profile)
    assert peak == pytest.approx(FIRST_ARRIVAL, abs=2 / count)
    assert np.sum(np.abs(turned) ** 2) == pytest.approx(6 * np.sum(np.abs(spectrum) ** 2), rel=1e-4)


def test_one_frequency_has_no_delay():
    response = np.ones((2, 3, 1, 4, 1), np.complex64)
    assert aligned(response, np.array([3.5e9])) is response


def test_delays_stay_absolute_for_those_who_align_by_what_is_observed(dataset):
    kept, _ = sequence_blocks(dataset, "train", STEPS)
    np.testing.assert_array_equal(kept.channel, dataset.load("train").grid.reshape(kept.channel.shape))
    frequencies = kept.grid.frequencies_hz
    advance_s = delay_advance_s(kept.channel[:, :1], np.ones(8, bool), frequencies)
    turned = advanced(kept.channel, advance_s, frequencies)
    np.testing.assert_array_equal(turned, aligned(kept.channel, frequencies))


COUNT, SPACING_HZ = 64, 360e3
TAP_S = 1 / (COUNT * SPACING_HZ)
FREQUENCIES = 7e9 + SPACING_HZ * np.arange(COUNT)
FIRST_TAPS = np.array([2.5, 3.3, 5.7, 9.9, 13.5])  # of five sequences; within a quarter of the axis


@pytest.fixture(scope="module")
def arrivals():
    """Five sequences of 2 frames of 32 x 32 antennas: three waves each, the first of which is the strongest."""
    rng = np.random.default_rng(0)
    delays = (FIRST_TAPS[:, None] + np.array([0.0, 1.3, 2.9])) * TAP_S
    waves = np.array([1.0, 0.6, 0.3])[:, None, None, None] * np.exp(2j * np.pi * rng.random((5, 3, 2, 32, 32)))
    return np.einsum("nptrc,npf->ntrcf", waves, np.exp(-2j * np.pi * delays[..., None] * FREQUENCIES))


def noisy(response, snr_db, seed=1):
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=response.shape) + 1j * rng.normal(size=response.shape)
    return response + noise * np.sqrt(np.mean(np.abs(response) ** 2) / 2 * 10 ** (-snr_db / 10))


@pytest.mark.parametrize("comb", [1, 2, 4])
@pytest.mark.parametrize("snr_db", [0, 10, 20, np.inf])
@pytest.mark.parametrize("frames", [1, 2])
def test_the_first_arrival_is_found_in_noisy_pilots(arrivals, comb, snr_db, frames):
    mask = np.arange(COUNT) % comb == comb - 1
    observed = np.where(mask, noisy(arrivals[:, :frames], snr_db), np.nan)
    advance = delay_advance_s(observed, mask, FREQUENCIES)
    clean = delay_advance_s(arrivals, np.ones(1, bool), FREQUENCIES)
    np.testing.assert_allclose((advance - clean) / TAP_S, 0, atol=1)
    # The rise to the first arrival is half of the window's main lobe, two taps.
    np.testing.assert_allclose(advance / TAP_S, FIRST_TAPS - COUNT * FIRST_ARRIVAL - 1, atol=1.5)


def test_combs_may_be_staggered_and_antennas_missing(arrivals):
    mask = np.zeros((1, 2, 32, 1, COUNT), bool)
    mask[:, 0, ::2, :, ::4] = mask[:, 1, ::2, :, 2::4] = True
    advance = delay_advance_s(np.where(mask, noisy(arrivals, 10), 0), mask, FREQUENCIES)
    clean = delay_advance_s(arrivals, np.ones(1, bool), FREQUENCIES)
    np.testing.assert_allclose((advance - clean) / TAP_S, 0, atol=1)


def test_a_comb_takes_the_earliest_of_the_arrivals_that_it_cannot_tell_apart(arrivals):
    mask, quarter = np.arange(COUNT) % 4 == 0, COUNT / 4 * TAP_S
    late = advanced(arrivals, np.full(5, -quarter), FREQUENCIES)
    one, other = (delay_advance_s(some, mask, FREQUENCIES) for some in (arrivals, late))
    np.testing.assert_allclose(one, other, atol=1e-3 * TAP_S)
    whole = delay_advance_s(late, np.ones(1, bool), FREQUENCIES)
    np.testing.assert_allclose(whole - one, quarter, atol=TAP_S)


def test_sequences_may_be_observed_in_different_ways(arrivals):
    mask = np.zeros((5, 1, 1, 1, COUNT), bool)
    for number, step in enumerate((1, 2, 4, 8, COUNT)):
        mask[number, ..., ::step] = True
    advance = delay_advance_s(arrivals, mask, FREQUENCIES)
    clean = delay_advance_s(arrivals, np.ones(1, bool), FREQUENCIES)
    np.testing.assert_allclose((advance - clean)[:3] / TAP_S, 0, atol=1)
    assert (advance[3] - clean[3]) / TAP_S == pytest.approx(-8, abs=1)  # 9.9 taps on a circle of 8
    assert advance[4] == 0  # one subcarrier has no delay


def test_masks_that_tell_nothing_are_refused(arrivals):
    with pytest.raises(InputError, match="does not fit values"):
        delay_advance_s(arrivals, np.ones(COUNT - 1, bool), FREQUENCIES)
    mask = np.ones((5, 1, 1, 1, 1), bool)
    mask[3] = False
    with pytest.raises(InputError, match="nothing is observed of sequence 3"):
        delay_advance_s(arrivals, mask, FREQUENCIES)
