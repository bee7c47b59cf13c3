import numpy as np
import pytest

from channelfm.arrays import spherical_wave
from channelfm.baselines.polar_omp import PolarOMP
from channelfm.baselines.zero_filling import ZeroFilling
from channelfm.metrics import nmse
from channelfm.tokens.masks import random_mask
from channelfm.waves.spherical import largest_inverse_range


def on_grid_source(rows, cols, bin_y, bin_z, ring):
    """A source of the codebook: twice oversampled direction sines, twelve rings in inverse range."""
    u_y, u_z = bin_y / cols, bin_z / rows  # one bin is 1 / (2 cols) cycles per element of half a wavelength
    inverse_range = max(ring / 11 * largest_inverse_range(rows, cols, 0.5), 1e-9)
    return np.array([np.sqrt(1 - u_y**2 - u_z**2), u_y, u_z]) / inverse_range


@pytest.mark.parametrize(("rows", "cols"), [(32, 32), (16, 48), (1, 64)])
@pytest.mark.parametrize("ring", [0, 3, 9])
def test_exact_when_the_source_is_on_the_grid(rows, cols, ring):
    place = on_grid_source(rows, cols, bin_y=5, bin_z=-3 if rows > 1 else 0, ring=ring)
    truth = (0.3j * spherical_wave(rows, cols, place)).astype(np.complex64)[None, :, :, None]
    mask = random_mask(np.random.default_rng(0), 1, rows, cols, 0.7)
    assert 10 * np.log10(nmse(PolarOMP(max_atoms=1).predict(truth * mask, mask), truth)[0]) < -80


def test_two_sources_on_the_grid_take_two_atoms():
    first, second = on_grid_source(32, 32, 4, -6, 2), on_grid_source(32, 32, -12, 3, 5)
    truth = (spherical_wave(32, 32, first) + 0.4j * spherical_wave(32, 32, second)).astype(np.complex64)[
        None, ..., None
    ]
    mask = random_mask(np.random.default_rng(1), 1, 32, 32, 0.8)
    assert 10 * np.log10(nmse(PolarOMP(max_atoms=2).predict(truth * mask, mask), truth)[0]) < -60


def test_off_the_grid_more_atoms_help_until_they_are_noise():
    place = np.array([700.0, 100.3, -50.7])
    truth = spherical_wave(24, 24, place).astype(np.complex64)[None, :, :, None]
    mask = random_mask(np.random.default_rng(2), 1, 24, 24, 0.5)
    errors = [nmse(PolarOMP(max_atoms=atoms).predict(truth * mask, mask), truth)[0] for atoms in (1, 4, 16)]
    assert errors[0] > errors[1] > errors[2]
    noise = np.random.default_rng(3).normal(size=(*truth.shape, 2)) @ np.array([1, 1j])
    noisy = ((truth + noise / np.sqrt(2)) * mask).astype(np.complex64)  # 0 dB
    assert 10 * np.log10(nmse(PolarOMP().predict(noisy, mask), truth)[0]) < -10


def test_zero_filling_keeps_what_was_observed():
    generator = np.random.default_rng(4)
    truth = np.exp(2j * np.pi * generator.random((3, 8, 8, 2))).astype(np.complex64)
    mask = random_mask(generator, 3, 8, 8, 0.75)
    filled = ZeroFilling().predict(truth * mask, mask)
    assert np.array_equal(filled, truth * mask)
    assert nmse(filled, truth) == pytest.approx([0.75] * 3)
