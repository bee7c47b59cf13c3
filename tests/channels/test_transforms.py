"""Inverse pairs, energy, and where known waves peak."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm.arrays import spherical_wave
from channelfm.channels import (
    angle_delay,
    from_angle_delay,
    matched_filter_power,
    polar_codebook,
    polar_ranges,
    polar_spectrum,
)
from channelfm.errors import InputError


def random_grid(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.integers(1, 9)] * 4), st.integers(0, 99))
def test_angle_delay_is_inverted_and_keeps_energy(shape, seed):
    grid = random_grid(shape, seed)
    spectrum = angle_delay(grid)
    assert spectrum.dtype == np.complex64
    np.testing.assert_allclose(from_angle_delay(spectrum), grid, atol=1e-5)
    np.testing.assert_allclose(angle_delay(from_angle_delay(grid)), grid, atol=1e-5)
    np.testing.assert_allclose(np.sum(np.abs(spectrum) ** 2), np.sum(np.abs(grid) ** 2), rtol=1e-4)


def test_a_plane_wave_with_a_delay_is_one_bin():
    rows, cols, frequencies, spacing_hz = 8, 16, 32, 1e6
    delay = 5 / (frequencies * spacing_hz)
    row, col, f = np.ogrid[:rows, :cols, :frequencies]
    grid = np.exp(2j * np.pi * (3 * row / rows + 12 * col / cols - f * spacing_hz * delay))[None].astype(np.complex64)
    power = np.abs(angle_delay(grid)) ** 2
    assert np.unravel_index(power.argmax(), power.shape) == (0, 3, 12, 5)
    assert power.max() == pytest.approx(power.sum(), rel=1e-5)


def test_matched_filter_is_one_at_its_source_and_less_elsewhere():
    sources = np.array([[200.0, 40.0, -30.0], [400.0, 40.0, -30.0], [200.0, -40.0, 30.0]])
    wave = spherical_wave(32, 32, sources[0])[None, :, :, None].astype(np.complex64)
    power = matched_filter_power(wave, sources) / np.sum(np.abs(wave) ** 2)
    assert power[0, 0] == pytest.approx(1.0, abs=1e-5)
    assert (power[0, 1:] < 0.9).all()


@pytest.mark.parametrize(("rows", "cols", "oversampling"), [(6, 8, 1), (4, 4, 3), (1, 16, 2)])
def test_polar_spectrum_is_the_power_in_the_written_out_atoms(rows, cols, oversampling):
    codebook = polar_codebook(rows, cols, rings=3, oversampling=oversampling)
    grid = random_grid((2, rows, cols, 3))
    power = codebook.spectrum(grid)
    assert power.shape == (2, 3, *codebook.bins)
    ring, ky, kx = (index.reshape(-1) for index in np.indices(power.shape[1:]))
    atoms = codebook.atoms(ring, ky, kx)
    np.testing.assert_allclose(np.sum(np.abs(atoms) ** 2, axis=(1, 2)), 1.0, rtol=1e-5)
    expected = np.sum(np.abs(np.einsum("nrc,srcf->snf", atoms.conj(), grid)) ** 2, axis=2)
    np.testing.assert_allclose(power.reshape(2, -1), expected, rtol=1e-3, atol=1e-4)
    assert codebook.num_atoms == power[0].size


def test_every_atom_is_found_at_its_own_index():
    codebook = polar_codebook(16, 16, rings=4, oversampling=2)
    rng = np.random.default_rng(3)
    ring, ky, kx = rng.integers(0, 4, 10), rng.integers(0, 32, 10), rng.integers(0, 32, 10)
    power = codebook.spectrum(codebook.atoms(ring, ky, kx)[..., None])
    best = power.reshape(10, -1).argmax(axis=1)
    np.testing.assert_array_equal(best, np.ravel_multi_index((ring, ky, kx), power.shape[1:]))


def test_near_source_peaks_at_its_ring_and_far_source_at_infinity():
    ranges = np.array([np.inf, 600.0, 300.0, 150.0])
    near = spherical_wave(32, 32, np.array([300.0, 0.0, 0.0]))
    far = spherical_wave(32, 32, np.array([1e6, 0.0, 0.0]))
    power = polar_spectrum(np.stack([near, far])[..., None].astype(np.complex64), ranges)
    assert power.reshape(2, 4, -1).max(axis=2).argmax(axis=1).tolist() == [2, 0]


def test_oblique_wave_of_a_linear_array_focuses_at_the_foreshortened_range():
    """A source at r and direction cosine u matches the boresight ring r / (1 - u^2) (Cui and Dai's sampling)."""
    cosine, distance = 0.5, 1500.0
    wave = spherical_wave(1, 128, distance * np.array([np.sqrt(1 - cosine**2), cosine, 0.0]))
    ranges = np.array([1000.0, 1500.0, distance / (1 - cosine**2), 3000.0])
    power = polar_spectrum(wave[None, :, :, None].astype(np.complex64), ranges, oversampling=8)
    peaks = power.reshape(4, -1).max(axis=1)
    assert peaks.argmax() == 2
    assert peaks[2] > 0.98 * 128


def test_rings_are_uniform_in_inverse_range():
    ranges = polar_ranges(5, aperture_wavelengths=32.0)
    assert np.isinf(ranges[0])
    np.testing.assert_allclose(np.diff(1 / ranges), 2 * 1.2**2 / 32.0**2)


def test_unusable_arguments_are_refused():
    grid = random_grid((1, 4, 4, 1))
    for call in (
        lambda: angle_delay(grid[0]),
        lambda: from_angle_delay(grid[..., :0]),
        lambda: matched_filter_power(grid, np.ones(3)),
        lambda: polar_ranges(0, 32.0),
        lambda: polar_codebook(0, 4, 2),
        lambda: polar_codebook(4, 5, 2).spectrum(grid),
        lambda: polar_spectrum(grid, np.array([0.0])),
    ):
        with pytest.raises(InputError):
            call()
