"""Domains: what enters leaves as it was; what was taken out is told."""

import numpy as np
import pytest
import torch

from channelfm.arrays import spherical_wave
from channelfm.learned.domains import SequenceDomain, enter_frame
from channelfm.tokens.canonical import FrameRecipe

ROWS, COLS = 12, 16
SOURCES = np.array([[60.0, 20.0, -10.0], [30.0, -5.0, 9.0], [90.0, 40.0, 30.0]])  # in wavelengths
MASK = torch.from_numpy(np.random.default_rng(0).random((3, ROWS, COLS)) < 0.6)


def waves(scale=1.0):
    return torch.from_numpy((scale * spherical_wave(ROWS, COLS, SOURCES)).astype(np.complex64))


@pytest.mark.parametrize("recipe", [FrameRecipe(), FrameRecipe(kind="raw"), FrameRecipe(waves=3)])
def test_what_enters_a_frame_leaves_it(recipe):
    channel = waves(1e-5)
    inside = enter_frame(torch.where(MASK, channel, 0), MASK, recipe)
    assert not inside.known[~MASK].any()
    placed = inside.place(channel)
    torch.testing.assert_close(placed[MASK], inside.known[MASK])
    torch.testing.assert_close(inside.leave(placed), channel, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 3e-6, 1e-15])
def test_what_a_frame_takes_out_is_told(scale):
    inside = enter_frame(torch.where(MASK, waves(scale), 0), MASK, FrameRecipe())
    taken = inside.taken_out().numpy()
    distance = np.linalg.norm(SOURCES, axis=1)
    np.testing.assert_allclose(taken[:, :2], SOURCES[:, 1:] / distance[:, None], atol=2e-3)
    rayleigh = 2 * ((ROWS - 1) ** 2 + (COLS - 1) ** 2) / 4  # of half a wavelength between elements
    np.testing.assert_allclose(taken[:, 2], rayleigh / distance, rtol=0.1)
    np.testing.assert_allclose(taken[:, 3:5], 0, atol=0.05)  # one wave explains all of it
    np.testing.assert_allclose(taken[:, 5], 2 * np.log(scale), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"turned": True}, {"kind": "antenna-frequency"}])
@pytest.mark.parametrize("gain", [1.0, 2.0])
def test_what_enters_a_sequence_domain_leaves_it(wave_sequences, options, gain):
    domain = SequenceDomain(**options)
    channels = torch.from_numpy(3e-6 * wave_sequences(2, rows=2, cols=4))
    frames = domain.frames(channels)
    seen = torch.ones(frames.shape, dtype=torch.bool)
    known, taken = domain.enter(frames, seen, gain)
    assert float(known.square().sum(-1).mean()) == pytest.approx(gain**2, rel=1e-3)
    torch.testing.assert_close(domain.leave(known, taken, channels.shape[2:]), channels, rtol=1e-4, atol=1e-10)
