"""Sequences cut from tracks, aligned in delay."""

import dataclasses

import numpy as np
import pytest

from channelfm.datasets.generate import generate
from channelfm.datasets.recipe import DatasetRecipe
from channelfm.datasets.sequences import FIRST_ARRIVAL, aligned, join_sequences, load_sequences
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
    whole = load_sequences(dataset, "train", STEPS)
    assert whole.response.shape == (3, STEPS, 1, 4, 8)
    assert whole.interval_s == pytest.approx(1e-3)
    assert ((whole.speed_mps >= 10) & (whole.speed_mps <= 20)).all()
    assert set(whole.scene.tolist()) == {"cdl"}
    halves = load_sequences(dataset, "train", STEPS // 2)
    assert len(halves) == 6
    power = [np.sum(np.abs(part.response) ** 2) for part in (whole, halves)]
    assert power[0] == pytest.approx(power[1], rel=1e-5)
    assert len(whole.select(np.array([0, 2]))) == 2


def test_joining(dataset):
    parts = [load_sequences(dataset, split, STEPS) for split in ("train", "test")]
    assert len(join_sequences(parts)) == 5
    with pytest.raises(InputError, match="do not join"):
        join_sequences([parts[0], load_sequences(dataset, "test", 2)])


def test_tracks_that_are_too_short(dataset):
    with pytest.raises(InputError, match=r"6 snapshots at most, sequences need 18.*num_steps"):
        load_sequences(dataset, "train", 18)
    with pytest.raises(InputError, match="at least 1"):
        load_sequences(dataset, "train", 0)


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
        load_sequences(dataset, "train", STEPS)


def test_sequences_with_a_frame_without_paths_are_left_out(dataset, monkeypatch):
    load = type(dataset).load

    def changed(self, split, scene=None) -> Channels:
        channels = load(self, split, scene)
        gone = np.arange(len(channels)) < lost
        return dataclasses.replace(channels, has_path=~gone)

    monkeypatch.setattr(type(dataset), "load", changed)
    lost = 1
    assert (len(load_sequences(dataset, "train", STEPS)), load_sequences(dataset, "train", STEPS).left_out) == (2, 1)
    lost = 3 * STEPS
    with pytest.raises(InputError, match="without any path"):
        load_sequences(dataset, "train", STEPS)


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
