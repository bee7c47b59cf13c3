"""The past mirrored."""

import numpy as np
import pytest

from channelfm.baselines.time import MirroredPast

EVERYTHING = np.ones((1, 1, 1, 1, 1), np.bool_)


def wave(frames, rate=0.21):
    """One wave on the grid of angles and delays, complex64 [1, frames, 2, 4, 8]."""
    frame, row, col, frequency = np.ogrid[:frames, :2, :4, :8]
    return np.exp(2j * np.pi * (rate * frame + row / 2 + col / 4 - 3 * frequency / 8 + 0.1))[None].astype(np.complex64)


@pytest.mark.parametrize(("context", "horizon"), [(5, 3), (5, 4), (5, 13), (2, 6)])
def test_a_wave_of_its_own_bin_goes_on(context, horizon):
    whole = wave(context + horizon)
    predicted = MirroredPast().predict(whole[:, :context], EVERYTHING, horizon)
    assert predicted == pytest.approx(whole[:, context:], abs=1e-4)


def test_a_single_frame_is_held():
    predicted = MirroredPast().predict(wave(1), EVERYTHING, 3)
    assert predicted == pytest.approx(np.repeat(wave(1), 3, axis=1), abs=1e-5)
