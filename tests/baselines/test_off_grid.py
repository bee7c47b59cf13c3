import numpy as np
import pytest

from channelfm.arrays import spherical_wave
from channelfm.baselines.bounds import spherical_wave_bound
from channelfm.baselines.off_grid import OffGrid
from channelfm.errors import InputError
from channelfm.metrics import nmse
from channelfm.tokens.masks import random_mask

RNG = np.random.default_rng


def decibel(linear):
    return 10 * np.log10(linear)


def source(azimuth_deg, elevation_deg, distance):
    azimuth, elevation = np.deg2rad([azimuth_deg, elevation_deg])
    direction = [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
    return distance * np.array(direction)


def channel_of(sources, gains, rows, cols, variation=0.0, spacing=0.5, seed=0):
    """Sum of spherical waves whose gains vary over the aperture by a random quadratic polynomial."""
    y, z = np.linspace(-1, 1, cols)[None, :], np.linspace(-1, 1, rows)[:, None]
    total = np.zeros((rows, cols), dtype=complex)
    generator = RNG(seed)
    for place, gain in zip(sources, gains, strict=True):
        c = variation * (generator.normal(size=5) + 1j * generator.normal(size=5))
        slow = 1 + c[0] * y + c[1] * z + 0.1 * (c[2] * y**2 + c[3] * y * z + c[4] * z**2)
        total += gain * slow * spherical_wave(rows, cols, place, spacing)
    return total.astype(np.complex64)[None, :, :, None]


THREE = [source(10, -5, 900), source(8, -28, 1000), source(-35, 4, 2500)]
GAINS = [1.0, 0.5 * np.exp(1j), 0.3 * np.exp(-2j)]


@pytest.mark.parametrize(("rows", "cols", "ratio"), [(32, 32, 0.9), (48, 24, 0.75), (16, 64, 0.5)])
def test_recovers_waves_with_slowly_varying_gains(rows, cols, ratio):
    truth = channel_of(THREE, GAINS, rows, cols, variation=0.02)
    mask = random_mask(RNG(1), 1, rows, cols, ratio)
    assert decibel(nmse(OffGrid().predict(truth * mask, mask), truth))[0] < -80


def test_linear_arrays_along_both_axes():
    for rows, cols in ((1, 128), (128, 1)):
        truth = channel_of(THREE[:1], GAINS[:1], rows, cols)
        mask = random_mask(RNG(2), 1, rows, cols, 0.5)
        assert decibel(nmse(OffGrid().predict(truth * mask, mask), truth))[0] < -80


def test_other_spacing():
    truth = channel_of(THREE, GAINS, 32, 32, spacing=0.4)
    mask = random_mask(RNG(3), 1, 32, 32, 0.8)
    assert decibel(nmse(OffGrid(spacing_wavelengths=0.4).predict(truth * mask, mask), truth))[0] < -80


def test_noise_behaves_as_the_cramer_rao_bound():
    place, count, rows, cols, ratio = source(15, -10, 400), 40, 24, 24, 0.8
    truth = np.repeat(channel_of([place], [1.0], rows, cols), count, axis=0)
    mask = np.repeat(random_mask(RNG(4), 1, rows, cols, ratio), count, axis=0)
    noise = RNG(5).normal(size=(*truth.shape, 2)) @ np.array([1, 1j]) / np.sqrt(2)
    for snr_db in (20.0, 5.0):
        noisy = ((truth + 10 ** (-snr_db / 20) * noise) * mask).astype(np.complex64)
        measured = decibel(nmse(OffGrid().predict(noisy, mask), truth).mean())
        bound = decibel(spherical_wave_bound(place, mask[0, ..., 0], snr_db))
        assert bound - 1.0 < measured < bound + 1.5


@pytest.mark.parametrize("seed", range(4))
def test_estimates_do_not_run_away_from_a_small_part_of_the_array(seed):
    # A cluster that a small part of the array cannot resolve: without priors the energy came out a hundredfold.
    generator = RNG(seed)
    angles, distances = generator.uniform(-4, 4, (8, 2)), generator.uniform(100, 3000, 8)
    places = [source(*direction, distance) for direction, distance in zip(angles, distances, strict=True)]
    gains = generator.normal(size=8) + 1j * generator.normal(size=8)
    truth = channel_of(places, gains, 48, 48, variation=0.05, seed=seed)
    mask = np.zeros((1, 48, 48, 1), dtype=bool)
    mask[:, 4:14, 4:14] = True
    estimate = OffGrid().predict(np.where(mask, truth, 0), mask)
    assert (np.abs(estimate) ** 2).sum() < 4 * (np.abs(truth) ** 2).sum()


def test_bound_counts_parameters_where_all_are_resolved():
    # With all antennas observed, k real parameters cost k / (2 M snr) of the energy.
    full = np.ones((32, 32), dtype=bool)
    assert spherical_wave_bound(source(0, 0, 500), full, 10.0) == pytest.approx(5 / (2 * 1024 * 10), rel=1e-6)
    line = np.ones((1, 64), dtype=bool)
    assert spherical_wave_bound(source(10, 0, 300), line, 0.0) == pytest.approx(4 / (2 * 64), rel=1e-6)
    with pytest.raises(InputError, match="do not determine"):
        spherical_wave_bound(source(0, 0, 500), np.eye(32, dtype=bool)[:, :] & (np.arange(32) < 2), 10.0)
