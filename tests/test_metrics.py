import numpy as np
import pytest
import torch

from channelfm.arrays import spherical_wave
from channelfm.errors import InputError
from channelfm.metrics import (
    DECIBEL_FLOOR,
    PolarPeaks,
    achievable_rate,
    bootstrap_interval,
    bounded_db,
    nmse,
    polar_peak_errors,
    polar_peaks,
    psnr,
    squared_cosine_similarity,
    ssim,
    summary,
)


def random_channels(*shape, seed=0):
    generator = np.random.default_rng(seed)
    return (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(np.complex64)


def test_nmse_of_known_errors():
    truth = np.ones((3, 4, 5, 1), dtype=np.complex64)
    factors = np.array([0.0, 0.9, 2.0], dtype=np.complex64)[:, None, None, None]
    assert nmse(factors * truth, truth) == pytest.approx([1.0, 0.01, 1.0], rel=1e-5)


def test_nmse_counts_phase_errors():
    truth = random_channels(1, 8, 8, 2)
    assert nmse(np.exp(1j * np.pi / 3) * truth, truth) == pytest.approx([1.0], rel=1e-5)  # |e^(j60deg) - 1| = 1


def test_nmse_is_invariant_to_common_gain():
    truth, estimate = random_channels(4, 6, seed=1), random_channels(4, 6, seed=2)
    gain = np.complex64(3e-7 * np.exp(1j))
    assert nmse(gain * estimate, gain * truth) == pytest.approx(nmse(estimate, truth), rel=1e-5)


def test_summary_known_answer():
    linear = np.array([1e-3] * 8 + [1e-1, 1.0])
    numbers = summary(linear)
    assert numbers.mean_db == pytest.approx(10 * np.log10((8e-3 + 1.1) / 10))
    assert numbers.median_db == pytest.approx(-30.0)
    assert numbers.p90_db == pytest.approx(10 * np.log10(0.1 + 0.1 * 0.9))


def test_exact_reconstruction_has_a_finite_floor():
    truth = random_channels(2, 4, 4)
    assert summary(nmse(truth, truth)).mean_db == DECIBEL_FLOOR == bounded_db(0.0)
    assert (psnr(truth, truth) == -DECIBEL_FLOOR).all()


def test_psnr_known_answer():
    truth = np.full((1, 10, 10), 2.0 + 0j)
    assert psnr(truth * 0.9, truth) == pytest.approx([20.0])  # error 0.2 of peak 2
    assert psnr(1j * truth, truth) == pytest.approx([-DECIBEL_FLOOR])  # amplitude only


def test_ssim_is_one_for_equal_and_low_for_unrelated_maps():
    truth, other = random_channels(2, 32, 32), random_channels(2, 32, 32, seed=5)
    assert ssim(truth * np.complex64(1j), truth) == pytest.approx([1.0, 1.0])
    assert (ssim(other, truth) < 0.3).all()
    assert ssim(truth[..., None], truth[..., None]) == pytest.approx([1.0, 1.0])


def test_ssim_of_constant_maps_is_the_luminance_term():
    truth = np.full((1, 16, 16), 1.0 + 0j)
    expected = (2 * 0.5 + 1e-4) / (1 + 0.25 + 1e-4)
    assert ssim(0.5 * truth, truth) == pytest.approx([expected], rel=1e-6)


def test_bootstrap_interval_covers_the_mean_as_often_as_it_says():
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        low, high = bootstrap_interval(generator.normal(size=40), resamples=300, seed=trial)
        hits += low <= 0 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_bootstrap_interval_is_seeded_and_narrows():
    values = np.random.default_rng(1).exponential(size=400)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    wide, narrow = bootstrap_interval(values[:25]), bootstrap_interval(values)
    assert narrow[1] - narrow[0] < wide[1] - wide[0]
    median = bootstrap_interval(values, statistic=lambda drawn: np.median(drawn, axis=-1))
    assert median[0] <= np.log(2) + 0.2
    assert median[1] < narrow[1]


@pytest.mark.parametrize(
    ("estimate", "truth", "words"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), "one shape"),
        (np.ones(3), np.ones(3), "one shape"),
        (np.full((1, 2), np.nan), np.ones((1, 2)), "estimate holds NaN"),
        (np.ones((1, 2)), np.full((1, 2), np.inf), "truth holds NaN"),
        (np.ones((2, 2)), np.array([[1, 1], [0, 0]]), "sample 1"),
    ],
)
def test_nmse_refuses(estimate, truth, words):
    with pytest.raises(InputError, match=words):
        nmse(estimate, truth)


def test_other_refusals():
    with pytest.raises(InputError, match="maps"):
        ssim(np.ones((2, 3)), np.ones((2, 3)))
    with pytest.raises(InputError, match="at least one value, all finite"):
        bootstrap_interval(np.array([]))


def spherical_channels(sines, ranges, rows=24, cols=32):
    """Spherical waves [N, rows, cols] from directions (u_y, u_z) [N, 2] at ranges [N] in wavelengths."""
    sines, ranges = np.asarray(sines, dtype=float), np.asarray(ranges, dtype=float)
    forward = np.sqrt(1 - (sines**2).sum(axis=1, keepdims=True))
    return spherical_wave(rows, cols, ranges[:, None] * np.concatenate([forward, sines], axis=1))


def test_polar_peak_of_a_spherical_wave_is_its_source():
    sines, ranges = [[0.31, -0.2], [-0.62, 0.4], [0.0, 0.0]], [150.0, 400.0, 1e8]
    peaks = polar_peaks(spherical_channels(sines, ranges))
    assert peaks.sines == pytest.approx(np.array(sines), abs=1e-4)
    assert peaks.inverse_range == pytest.approx(1 / np.array(ranges), abs=1e-5)


def test_polar_peak_is_the_strongest_of_two_waves_whatever_the_scale():
    strong, weak = spherical_channels([[0.3, 0.2], [-0.4, -0.5]], [300.0, 150.0])
    peaks = polar_peaks(1e-6 * np.stack([strong + 0.4 * weak, weak + 0.4 * strong])[..., None])
    assert peaks.sines == pytest.approx(np.array([[0.3, 0.2], [-0.4, -0.5]]), abs=5e-3)


def test_polar_peak_errors_known_answer():
    true = PolarPeaks(np.zeros((2, 2)), np.array([0.0, 0.01]))
    found = PolarPeaks(np.array([[1 / 16, 0.0], [2 / 16, 2 / 12]]), np.array([0.0, 0.02]))
    direction, inverse_range = polar_peak_errors(found, true, rows=24, cols=32)
    assert direction == pytest.approx([1.0, np.sqrt(8)])  # beamwidths 2 / 32 and 2 / 24
    assert inverse_range == pytest.approx([0.0, 0.01 * 2 * (0.25 * (23**2 + 31**2))])
    one_row = polar_peak_errors(
        PolarPeaks(np.array([[0.0, 0.7]]), np.zeros(1)), PolarPeaks(np.zeros((1, 2)), np.zeros(1)), 1, 32
    )
    assert one_row[0] == pytest.approx([0.0])


def test_polar_peak_of_silence_is_boresight():
    peaks = polar_peaks(np.zeros((1, 8, 8)))
    assert not peaks.sines.any()
    assert not peaks.inverse_range.any()
    with pytest.raises(InputError, match="polar peaks"):
        polar_peaks(np.zeros((8, 8)))


def test_squared_cosine_similarity_forgives_a_factor():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((3, 4, 5)) + 1j * rng.standard_normal((3, 4, 5))
    assert squared_cosine_similarity(2j * truth, truth) == pytest.approx(np.ones(3))
    assert squared_cosine_similarity(0 * truth, truth) == pytest.approx(np.zeros(3))
    mixed = truth.copy()
    mixed[:, :, :] = truth[::-1]
    found = squared_cosine_similarity(mixed, truth)
    inner = abs(np.vdot(truth[2], truth[0])) ** 2
    assert found[0] == pytest.approx(inner / (np.linalg.norm(truth[2]) ** 2 * np.linalg.norm(truth[0]) ** 2))


def test_achievable_rate_of_known_precoders():
    truth = np.ones((1, 4, 2), complex)
    assert achievable_rate(truth, truth, 10.0) == pytest.approx(np.log2(11.0))
    assert achievable_rate(3j * truth, truth, 10.0) == pytest.approx(np.log2(11.0))
    one = np.zeros_like(truth)
    one[:, 0] = 1  # a quarter of the gain
    assert achievable_rate(one, truth, 10.0) == pytest.approx(np.log2(1 + 10 / 4))
    assert achievable_rate(0 * truth, truth, 10.0) == pytest.approx(0.0)
    with pytest.raises(InputError, match="antenna, frequency"):
        achievable_rate(truth[0], truth[0], 10.0)


@pytest.mark.parametrize("scale", [1e30, 1e-43, 2.0**-60, 2.0**60])
def test_no_metric_depends_on_a_common_scale(scale):
    rng = np.random.default_rng(5)
    truth, error = (rng.normal(size=(3, 8, 8, 2)) @ np.array([1, 1j]) for _ in range(2))
    estimate = truth + 0.1 * error
    for metric in (nmse, squared_cosine_similarity, psnr, ssim, lambda *pair: achievable_rate(*map(flat, pair), 10.0)):
        found = metric(estimate * scale, truth * scale)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found, metric(estimate, truth), rtol=1e-9)
    peaks, scaled = polar_peaks(truth), polar_peaks(truth * scale)
    np.testing.assert_allclose(scaled.sines, peaks.sines, atol=1e-3)


def flat(maps):
    return maps.reshape(len(maps), -1, 1)


@pytest.mark.parametrize("metric", [nmse, squared_cosine_similarity, psnr, ssim])
@pytest.mark.parametrize(
    ("estimate", "truth", "words"),
    [
        (np.ones((2, 0, 3)), np.ones((2, 0, 3)), "something in each sample"),
        (np.ones((1, 2, 2)), np.zeros((1, 2, 2)), "all zero"),
        ("x", np.ones((1, 2, 2)), "the estimate holds"),
        (np.ones((1, 2, 2)), np.full((1, 2, 2), 1e200), "more than 1e"),
    ],
)
def test_every_metric_refuses_what_has_no_answer(metric, estimate, truth, words):
    with pytest.raises(InputError, match=words):
        metric(estimate, truth)


def test_metrics_take_tensors_and_no_sample_at_all():
    truth = np.random.default_rng(0).normal(size=(2, 4, 4)) + 1j
    tensor = torch.from_numpy(truth)
    for metric in (nmse, psnr, ssim, squared_cosine_similarity):
        np.testing.assert_array_equal(metric(0.9 * tensor, tensor), metric(0.9 * truth, truth))
        assert metric(truth[:0], truth[:0]).shape == (0,)
    assert polar_peaks(tensor).sines.shape == (2, 2)
    for values in (np.array([]), np.array([np.nan]), np.array([-1.0])):
        with pytest.raises(InputError, match="summary"):
            summary(values)
    with pytest.raises(InputError, match="finite maps"):
        polar_peaks(np.ones((1, 0, 3), complex))
    with pytest.raises(InputError, match="same channels"):
        polar_peak_errors(polar_peaks(truth), polar_peaks(truth[:1]), 4, 4)
