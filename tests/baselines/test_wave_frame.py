"""The canonical frame's waves as an estimator."""

import numpy as np
import torch

from channelfm.arrays import spherical_wave
from channelfm.baselines import WaveFrame
from channelfm.metrics import nmse
from channelfm.tokens.canonical import FrameRecipe, find_frame, from_canonical
from channelfm.tokens.masks import random_mask

SOURCES = np.array([[900.0, 200.0, -150.0], [1500.0, -700.0, 300.0]])


def two_waves(rows, cols):
    waves = spherical_wave(rows, cols, SOURCES)
    return (waves[0] + 0.3j * waves[1]).astype(np.complex64)[None, :, :, None]


def test_few_waves_are_found_from_a_tenth_of_the_antennas():
    channel = two_waves(24, 20)
    mask = random_mask(np.random.default_rng(0), 1, 24, 20, 0.9)
    answer = WaveFrame().predict(channel * mask, mask)
    assert 10 * np.log10(nmse(answer, channel)[0]) < -25
    np.testing.assert_array_equal(answer[mask], channel[mask])  # observed antennas keep their values


def test_it_is_the_canonical_frame_without_a_network():
    channel = two_waves(16, 16)
    mask = random_mask(np.random.default_rng(1), 1, 16, 16, 0.75)
    field, seen = torch.from_numpy((channel * mask)[..., 0]), torch.from_numpy(mask[..., 0])
    frame = find_frame(field, seen, FrameRecipe(waves=4))
    empty = from_canonical(torch.zeros_like(field), frame).numpy()[..., None]
    answer = WaveFrame(waves=4).predict(channel * mask, mask)
    np.testing.assert_allclose(answer[~mask], empty[~mask], atol=1e-5)
