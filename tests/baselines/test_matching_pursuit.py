"""On-grid matching pursuit: exact on its grid, better with more atoms off it."""

import numpy as np
import pytest

from channelfm.arrays import spherical_wave
from channelfm.baselines import AngularOMP, PolarOMP
from channelfm.metrics import nmse
from channelfm.tokens.masks import random_mask
from channelfm.waves.geometry import largest_inverse_range


def on_grid_source(rows, cols, bin_y, bin_z, ring):
    """A source of the codebook: twice oversampled direction sines, twelve rings in inverse range."""
    u_y, u_z = bin_y / cols, bin_z / rows  # one bin is 1 / (2 cols) cycles per element of half a wavelength
    inverse_range = max(ring / 11 * largest_inverse_range(rows, cols, 0.5), 1e-9)
    return np.array([np.sqrt(1 - u_y**2 - u_z**2), u_y, u_z]) / inverse_range


def decibel(estimate, truth):
    return 10 * np.log10(nmse(estimate, truth)[0])


@pytest.mark.parametrize(("rows", "cols"), [(32, 32), (16, 48), (1, 64)])
@pytest.mark.parametrize("ring", [0, 3, 9])
def test_exact_when_the_source_is_on_the_grid(rows, cols, ring):
    place = on_grid_source(rows, cols, bin_y=5, bin_z=-3 if rows > 1 else 0, ring=ring)
    truth = (0.3j * spherical_wave(rows, cols, place)).astype(np.complex64)[None, :, :, None]
    mask = random_mask(np.random.default_rng(0), 1, rows, cols, 0.7)
    assert decibel(PolarOMP(max_atoms=1).predict(truth * mask, mask), truth) < -80


@pytest.mark.parametrize(("rows", "cols", "bins"), [(32, 32, (7, -4)), (16, 48, (-11, 5)), (1, 64, (20, 0))])
def test_a_plane_wave_on_the_dft_grid_is_one_angular_atom(rows, cols, bins):
    phase = bins[0] * np.arange(cols) / cols + bins[1] * np.arange(rows)[:, None] / rows  # a column of the DFT matrix
    truth = (0.2 * np.exp(2j * np.pi * phase)).astype(np.complex64)[None, :, :, None]
    mask = random_mask(np.random.default_rng(5), 1, rows, cols, 0.8)
    assert decibel(AngularOMP(max_atoms=1).predict(truth * mask, mask), truth) < -80


def test_only_the_polar_codebook_holds_near_sources():
    place = on_grid_source(32, 32, 4, -6, 9)
    truth = spherical_wave(32, 32, place).astype(np.complex64)[None, :, :, None]
    mask = random_mask(np.random.default_rng(6), 1, 32, 32, 0.5)
    angular, polar = (decibel(omp(max_atoms=1).predict(truth * mask, mask), truth) for omp in (AngularOMP, PolarOMP))
    assert polar < -60 < -10 < angular


@pytest.mark.parametrize(("omp", "rings"), [(PolarOMP, (2, 5)), (AngularOMP, (0, 0))])
def test_two_sources_on_the_grid_take_two_atoms(omp, rings):
    first, second = on_grid_source(32, 32, 4, -6, rings[0]), on_grid_source(32, 32, -12, 3, rings[1])
    truth = (spherical_wave(32, 32, first) + 0.4j * spherical_wave(32, 32, second)).astype(np.complex64)
    truth = truth[None, ..., None]
    mask = random_mask(np.random.default_rng(1), 1, 32, 32, 0.8)
    assert decibel(omp(max_atoms=2).predict(truth * mask, mask), truth) < -60


@pytest.mark.parametrize("omp", [AngularOMP, PolarOMP])
def test_off_the_grid_more_atoms_help_until_they_are_noise(omp):
    place = np.array([700.0, 100.3, -50.7])
    truth = spherical_wave(24, 24, place).astype(np.complex64)[None, :, :, None]
    mask = random_mask(np.random.default_rng(2), 1, 24, 24, 0.5)
    errors = [nmse(omp(max_atoms=atoms).predict(truth * mask, mask), truth)[0] for atoms in (1, 4, 16)]
    assert errors[0] > errors[1] > errors[2]
    noise = np.random.default_rng(3).normal(size=(*truth.shape, 2)) @ np.array([1, 1j])
    noisy = ((truth + noise / np.sqrt(2)) * mask).astype(np.complex64)  # 0 dB
    assert decibel(omp().predict(noisy, mask), truth) < -10


def test_samples_that_stop_early_do_not_disturb_the_others():
    single = spherical_wave(16, 16, on_grid_source(16, 16, 3, 2, 0))
    several = single + 0.5 * spherical_wave(16, 16, np.array([300.0, 90.0, -40.0]))
    truth = np.stack([single, several, 1j * single, 2 * several]).astype(np.complex64)[..., None]
    mask = random_mask(np.random.default_rng(4), 4, 16, 16, np.array([0.5, 0.4, 0.9, 0.6]))
    together = PolarOMP().predict(truth * mask, mask)
    alone = np.concatenate([PolarOMP().predict((truth * mask)[[k]], mask[[k]]) for k in range(4)])
    np.testing.assert_allclose(together, alone, atol=1e-3)
