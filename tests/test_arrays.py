import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from channelfm.arrays import ULA, UPA, dft_codebook, element_amplitude, rotation_matrix, spherical_wave
from channelfm.errors import InputError

angles = st.floats(-np.pi, np.pi)
sides = st.integers(1, 9)


def test_elements_lie_as_in_the_system_model():
    # SPEC 1: delta_m = [0, (i_h - (N_h-1)/2) d, (i_v - (N_v-1)/2) d], antenna m = row * cols + col
    array = UPA(rows=3, cols=4, carrier_hz=7e9, position=(1.0, 2.0, 65.0))
    spacing = array.wavelength_m / 2
    expected = [[0.0, (col - 1.5) * spacing, (row - 1) * spacing] for row in range(3) for col in range(4)]
    np.testing.assert_allclose(array.element_offsets, expected, atol=1e-12)
    np.testing.assert_allclose(array.element_positions.mean(axis=0), [1.0, 2.0, 65.0], atol=1e-12)


def test_rayleigh_distance_of_the_paper():
    assert UPA(64, 64, 7e9).rayleigh_distance_m == pytest.approx(170, abs=0.1)
    assert UPA(32, 32, 7e9).rayleigh_distance_m == pytest.approx(41.2, abs=0.1)


def test_linear_array_is_one_row_along_y():
    array = ULA(5, carrier_hz=3e9)
    assert (array.rows, array.cols) == (1, 5)
    assert np.ptp(array.element_offsets, axis=0) == pytest.approx([0, 4 * array.spacing_m, 0])


@given(angles, angles, angles)
def test_rotations_keep_lengths_and_handedness(yaw, pitch, roll):
    rotation = rotation_matrix((yaw, pitch, roll))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)


def test_directions_of_rotation():
    np.testing.assert_allclose(rotation_matrix((np.pi / 2, 0, 0)) @ [1, 0, 0], [0, 1, 0], atol=1e-12)  # yaw: left
    np.testing.assert_allclose(rotation_matrix((0, np.pi / 2, 0)) @ [1, 0, 0], [0, 0, -1], atol=1e-12)  # pitch: down
    np.testing.assert_allclose(rotation_matrix((0, 0, np.pi / 2)) @ [0, 1, 0], [0, 0, 1], atol=1e-12)  # roll about x


@given(angles, st.floats(-1.5, 1.5), st.floats(0.5, 500))
def test_view_angles_invert_spherical_coordinates(azimuth, elevation, distance):
    array = UPA(2, 2, 7e9, position=(5.0, -3.0, 60.0), orientation_rad=(0.7, 0.2, -0.4))
    local = distance * np.array(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
    )
    seen = array.view_angles(np.array(array.position) + array.rotation @ local)
    assert seen[0] == pytest.approx(distance)
    assert np.exp(1j * seen[1]) == pytest.approx(np.exp(1j * azimuth), abs=1e-6)
    assert seen[2] == pytest.approx(elevation, abs=1e-6)


@given(sides, sides, st.integers(0, 4), st.integers(1, 3))
def test_grid_and_flat_antennas_are_inverse(rows, cols, snapshots, frequencies):
    array = UPA(rows, cols, 7e9)
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(snapshots, rows * cols, frequencies)).astype(np.complex64)
    grid = array.to_grid(flat)
    assert grid.shape == (snapshots, rows, cols, frequencies)
    np.testing.assert_array_equal(array.from_grid(grid), flat)


def test_wrong_shapes_are_refused_in_words():
    array = UPA(4, 4, 7e9)
    with pytest.raises(InputError, match=r"\[snapshot, 16, frequency\]"):
        array.to_grid(np.zeros((2, 15, 1), np.complex64))
    with pytest.raises(InputError, match=r"\[snapshot, 4, 4, frequency\]"):
        array.from_grid(np.zeros((2, 5, 4, 1), np.complex64))


@pytest.mark.parametrize(
    "wrong",
    [
        {"rows": 0},
        {"cols": -1},
        {"carrier_hz": 0.0},
        {"carrier_hz": float("nan")},
        {"carrier_hz": float("inf")},
        {"spacing_wavelengths": 0.0},
        {"spacing_wavelengths": float("inf")},
        {"position": (0.0, 0.0, float("nan"))},
        {"orientation_rad": (0.0, float("nan"), 0.0)},
        {"orientation_rad": (0.0, 0.0)},
        {"pattern": "iso"},
        {"polarization": "v"},
    ],
)
def test_impossible_arrays_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong)).replace("_", ".")) as caught:
        UPA(**({"rows": 2, "cols": 2, "carrier_hz": 7e9} | wrong))
    assert "\n" not in str(caught.value)


def test_arrays_come_back_from_their_json():
    array = UPA(2, 3, 7e9, (1.0, -2.0, 30.0), 0.6, (0.1, 0.2, 0.3), "dipole", "cross")
    assert UPA.of_plain(json.loads(json.dumps(dataclasses.asdict(array)))) == array


def test_element_patterns_of_the_standard():
    boresight = (np.array(np.pi / 2), np.array(0.0))
    assert 20 * np.log10(element_amplitude("tr38901", *boresight)) == pytest.approx(8.0)  # table 7.3-1: 8 dBi
    half_power = element_amplitude("tr38901", np.array(np.pi / 2), np.array(np.deg2rad(32.5)))
    assert 20 * np.log10(half_power) == pytest.approx(8.0 - 3.0)  # 65 degrees between half-power points
    assert 20 * np.log10(element_amplitude("tr38901", np.array(np.pi / 2), np.array(np.pi))) == pytest.approx(-22.0)
    assert element_amplitude("isotropic", *boresight) == 1.0
    assert 20 * np.log10(element_amplitude("dipole", *boresight)) == pytest.approx(1.76, abs=0.01)
    assert element_amplitude("dipole", np.array(0.0), np.array(0.0)) == pytest.approx(0.0)


@pytest.mark.parametrize("pattern", ["isotropic", "dipole"])
def test_lossless_patterns_radiate_unit_power(pattern):
    zenith = (np.arange(400) + 0.5) * np.pi / 400
    power = element_amplitude(pattern, zenith, np.zeros_like(zenith)) ** 2
    assert np.sum(power * np.sin(zenith)) * (np.pi / 400) / 2 == pytest.approx(1.0, abs=1e-4)


@given(st.integers(1, 64))
def test_critical_dft_codebook_is_unitary(elements):
    codebook = dft_codebook(elements)
    np.testing.assert_allclose(codebook.conj().T @ codebook, np.eye(elements), atol=1e-4)


def test_oversampled_codebook_has_unit_beams():
    codebook = dft_codebook(16, oversampling=4)
    assert codebook.shape == (16, 64)
    np.testing.assert_allclose(np.linalg.norm(codebook, axis=0), 1.0, atol=1e-5)


def test_spherical_wave_has_the_exact_distances():
    array = UPA(6, 5, 7e9)
    source = np.array([12.0, -3.0, 4.0])  # m, in the array's frame
    wave = spherical_wave(6, 5, source / array.wavelength_m)
    distance = np.linalg.norm(source - array.element_offsets, axis=1) - np.linalg.norm(source)
    np.testing.assert_allclose(wave.ravel(), np.exp(-2j * np.pi * distance / array.wavelength_m), atol=1e-9)


def test_spherical_wave_of_a_far_source_is_plane():
    direction = np.array([0.8, 0.48, np.sqrt(1 - 0.8**2 - 0.48**2)])
    wave = spherical_wave(4, 4, 1e6 * direction)
    row, col = np.mgrid[:4, :4] - 1.5
    np.testing.assert_allclose(wave, np.exp(1j * np.pi * (row * direction[2] + col * direction[1])), atol=1e-4)
