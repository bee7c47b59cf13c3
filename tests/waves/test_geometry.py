"""One spherical wave: its path, its derivatives, its least-squares step."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm.arrays import spherical_wave
from channelfm.waves.geometry import (
    coordinates,
    element_coordinates,
    largest_inverse_range,
    move_in_front,
    nearest_wave,
    path_and_slope,
    path_difference,
    wave_of,
    waves_at,
)

sines = st.floats(-0.65, 0.65)


@settings(max_examples=30, deadline=None)
@given(u_y=sines, u_z=sines, q=st.floats(1e-4, 0.1))
def test_paths_are_those_of_the_exact_wave_and_slopes_their_derivatives(u_y, u_z, q):
    y, z = coordinates(12, 16, 0.5)
    source = torch.tensor([[[u_y, u_z, q]]], dtype=torch.float64)
    path, slope = path_and_slope(source, y, z)
    assert torch.equal(path, path_difference(source, y, z))
    place = np.array([np.sqrt(1 - u_y**2 - u_z**2), u_y, u_z]) / q
    antennas = np.stack([np.zeros(192), y[0].numpy(), z[0].numpy()], axis=1)
    exact = np.linalg.norm(place - antennas, axis=1) - np.linalg.norm(place)
    np.testing.assert_allclose(path[0, 0].numpy(), exact, atol=1e-9)
    np.testing.assert_allclose(waves_at(source, y, z)[0, 0], spherical_wave(12, 16, place).reshape(-1), atol=1e-8)
    for axis in range(3):
        step = torch.zeros(1, 1, 3, dtype=torch.float64)
        step[..., axis] = 1e-6
        numeric = (path_difference(source + step, y, z) - path_difference(source - step, y, z)) / 2e-6
        assert torch.allclose(slope[:, :, axis], numeric, rtol=1e-6, atol=1e-6)


def test_plane_wave_has_no_special_case():
    y, z = torch.linspace(-10, 10, 21, dtype=torch.float64)[None], torch.zeros(1, 21, dtype=torch.float64)
    path, slope = path_and_slope(torch.tensor([[[0.3, 0.1, 0.0]]], dtype=torch.float64), y, z)
    assert torch.allclose(path[0, 0], -0.3 * y[0])
    assert torch.allclose(slope[0, 0, 2], (y[0] ** 2 - 0.09 * y[0] ** 2) / 2)  # curvature across the direction


def test_coordinates_are_row_by_row():
    y, z = coordinates(3, 5, 0.7)
    columns, rows = element_coordinates(3, 5, 0.7, dtype=torch.float64)
    assert torch.equal(y.reshape(3, 5), columns.expand(3, 5))
    assert torch.equal(z.reshape(3, 5), rows.expand(3, 5))
    assert y.sum().abs() < 1e-12


@pytest.mark.parametrize(("rows", "cols"), [(16, 16), (1, 64), (64, 1)])
def test_steps_reach_the_wave(rows, cols):
    """From half a beam away, through a third of the antennas; what a line of antennas cannot see stays as it is."""
    source = torch.tensor([[0.2 * (cols > 1), -0.3 * (rows > 1), 0.3 * largest_inverse_range(rows, cols, 0.5)]])
    field = 2j * wave_of(source, rows, cols, 0.5).flatten(1)
    weight = (torch.rand(1, rows * cols, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    start = source + torch.tensor([[0.5 / cols * (cols > 1), -0.5 / rows * (rows > 1), 0.0]])
    y, z = coordinates(rows, cols, 0.5, dtype=torch.float32)
    found, gain = nearest_wave(field * weight, weight, start, y, z, 12, largest_inverse_range(rows, cols, 0.5))
    torch.testing.assert_close(wave_of(found, rows, cols, 0.5) * gain, field.reshape(1, rows, cols), atol=2e-3, rtol=0)


def test_sources_stay_in_front():
    moved = move_in_front(torch.tensor([[[3.0, 4.0, -1.0], [0.1, 0.2, 0.7]]]), 0.5)
    torch.testing.assert_close(moved, torch.tensor([[[0.999 * 0.6, 0.999 * 0.8, 0.0], [0.1, 0.2, 0.5]]]))
