"""Frames from combs, and the noise of pilots."""

import numpy as np
import pytest

from channelfm.baselines.time.completion import complete_frames
from channelfm.baselines.time.noise import estimate_noise


def white(rng, *size):
    return ((rng.standard_normal(size) + 1j * rng.standard_normal(size)) / np.sqrt(2)).astype(np.complex64)


def short_profile(rng, size=(2, 10, 1, 16, 32), latest=0.12):
    """Waves of delays up to ``latest`` of the delay axis, and any angle and Doppler shift."""
    frame, row, col, frequency = np.ogrid[tuple(slice(n) for n in size[1:])]
    total = np.zeros(size, complex)
    for sequence in total:
        for _ in range(6):
            delay, angle, doppler = rng.uniform(0.02, latest), rng.uniform(-0.5, 0.5), rng.uniform(-0.3, 0.3)
            cycles = doppler * frame + angle * (row + col) - delay * frequency
            sequence += np.exp(2j * np.pi * (cycles + rng.uniform()))
    return total.astype(np.complex64)


def comb(frames, step):
    return np.broadcast_to(np.arange(frames.shape[4]) % step == 0, frames.shape)


def decibel(estimate, truth):
    return 10 * np.log10(np.sum(np.abs(estimate - truth) ** 2) / np.sum(np.abs(truth) ** 2))


@pytest.mark.parametrize("size", [(3, 10, 1, 32, 32), (3, 10, 4, 8, 8), (3, 5, 1, 32, 1), (3, 10, 1, 32, 8)])
@pytest.mark.parametrize("power", [1e-6, 1.0, 3e4])
def test_the_power_of_pure_noise(size, power):
    past = (np.sqrt(power) * white(np.random.default_rng(0), *size)).astype(np.complex64)
    assert estimate_noise(past, np.ones(size, bool)) == pytest.approx([power] * 3, rel=8 / np.sqrt(np.prod(size[1:])))


@pytest.mark.parametrize("step", [1, 2, 4])
@pytest.mark.parametrize("level", [1e-3, 0.1, 1.0])
def test_the_power_of_noise_beside_paths(step, level):
    rng = np.random.default_rng(1)
    frames = short_profile(rng)
    past = frames + np.sqrt(level) * white(rng, *frames.shape)
    mask = comb(frames, step)
    assert estimate_noise(past * mask, mask) == pytest.approx([level] * 2, rel=0.5, abs=1e-3)


@pytest.mark.parametrize("step", [1, 2])
def test_clean_frames_have_no_noise(step):
    frames = short_profile(np.random.default_rng(2))
    mask = comb(frames, step)
    assert not estimate_noise(frames * mask, mask).any()
    assert not estimate_noise(0 * frames, mask).any()


def test_too_little_is_taken_as_clean():
    frames = white(np.random.default_rng(3), 2, 3, 1, 2, 2)
    assert not estimate_noise(frames, np.ones(frames.shape, bool)).any()
    mask = np.zeros((2, 10, 1, 2, 8), bool)
    mask[:, ::2, ..., :4] = True
    mask[:, 1::2, ..., 4:] = True  # no frequency in common
    assert not estimate_noise(white(np.random.default_rng(3), *mask.shape) * mask, mask).any()


def test_frames_that_are_seen_stay_as_they_are():
    frames = short_profile(np.random.default_rng(4))
    assert complete_frames(frames, np.ones(frames.shape, bool)) is frames


@pytest.mark.parametrize("step", [2, 4])
def test_a_short_profile_from_a_comb(step):
    frames = short_profile(np.random.default_rng(5), latest=0.2 / step)
    mask = comb(frames, step)
    whole = complete_frames(frames * mask, mask)
    inner = slice(4, 24)  # beyond the last pilots, the window of sinc functions ends
    assert decibel(whole[..., inner], frames[..., inner]) < -15
    assert decibel(whole[mask], frames[mask]) < -40


def test_the_support_is_where_the_first_arrival_was_put():
    frequency = np.arange(64)
    mask = np.broadcast_to(frequency % 4 == 0, (1, 1, 1, 1, 64))

    def error(delay):
        frames = np.exp(-2j * np.pi * delay * frequency).astype(np.complex64).reshape(1, 1, 1, 1, -1)
        return decibel(complete_frames(frames * mask, mask)[..., 16:48], frames[..., 16:48])

    assert max(error(1 / 32), error(0.1), error(0.15)) < -12 < 0 < min(error(-1 / 16), error(0.25))


def test_noise_is_filtered_but_not_made_larger():
    rng = np.random.default_rng(6)
    frames = short_profile(rng)
    mask = comb(frames, 2)
    past = (frames + 3 * white(rng, *frames.shape)) * mask
    whole = complete_frames(past, mask)
    assert np.mean(np.abs(whole) ** 2) < np.sum(np.abs(past) ** 2) / mask.sum()


def test_each_pattern_is_completed_and_unseen_frames_are_held_over():
    frames = short_profile(np.random.default_rng(7), latest=0.1)
    mask = comb(frames, 2).copy()
    mask[:, 1] = True
    mask[:, 3] = np.arange(32) % 4 == 0
    mask[0, 5:8] = False
    mask[1, 0] = False
    whole = complete_frames(frames * mask, mask)
    assert np.array_equal(whole[:, 1], frames[:, 1])
    assert decibel(whole[:, 3, ..., 4:24], frames[:, 3, ..., 4:24]) < -12
    assert np.array_equal(whole[0, 5], whole[0, 4])
    assert np.array_equal(whole[0, 6], whole[0, 4])  # as near as frame 8, and earlier
    assert np.array_equal(whole[0, 7], whole[0, 8])
    assert np.array_equal(whole[1, 0], whole[1, 1])
