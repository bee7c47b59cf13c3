"""The spatial channel model: its covariance, and the published errors of the estimator that knows it."""

import numpy as np
import pytest

from channelfm.channels.spatial import draw_spatial, genie_lmmse
from channelfm.errors import InputError

PUBLISHED = {-10: 0.438, 0: 0.124, 10: 0.0225, 20: 0.0032, 30: 0.0004}  # SPEC 8; 64 x 16


def test_channels_have_the_covariance_they_are_drawn_from():
    one = draw_spatial(4, 2, 1, seed=3)
    generator = np.random.default_rng(0)
    many = draw_spatial(4, 2, 4000, seed=4)
    assert np.mean(np.abs(many.channels) ** 2) == pytest.approx(1, abs=0.05)
    parts = generator.standard_normal((20000, 2, 4, 2)) @ np.array([1, 1j]) / np.sqrt(2)
    (power, vectors), (other, basis) = np.linalg.eigh(one.station[0]), np.linalg.eigh(one.user[0])
    roots = vectors * np.sqrt(power), basis * np.sqrt(other)
    channels = roots[1] @ parts @ roots[0].T
    flat = np.swapaxes(channels, 1, 2).reshape(len(channels), -1)
    np.testing.assert_allclose(flat.T @ flat.conj() / len(flat), np.kron(one.station[0], one.user[0]), atol=0.05)


def test_a_cluster_ahead_without_spread_is_a_plane_wave_of_equal_phases():
    draw = draw_spatial(8, 1, 50, seed=0, clusters=1)
    np.testing.assert_allclose(draw.station[:, range(8), range(8)], 1, rtol=1e-12)
    np.testing.assert_allclose(draw.station, np.conj(np.swapaxes(draw.station, 1, 2)))
    assert np.linalg.eigvalsh(draw.station).min() > -1e-9


def test_the_genie_is_within_0_3_db_of_what_was_published():
    draw = draw_spatial(64, 16, 300, seed=0)
    generator = np.random.default_rng(1)
    for snr_db, published in PUBLISHED.items():
        noise = 10 ** (-snr_db / 10)
        drawn = generator.standard_normal((*draw.channels.shape, 2)) @ np.array([1, 1j])
        received = (draw.channels + np.sqrt(noise / 2) * drawn).astype(np.complex64)
        error = np.sum(np.abs(genie_lmmse(draw, received, noise) - draw.channels) ** 2) / draw.channels.size
        assert abs(10 * np.log10(error / published)) < 0.3, (snr_db, error)


def test_settings_out_of_range_are_refused():
    with pytest.raises(InputError, match="at least 1"):
        draw_spatial(0, 4, 3, seed=0)
