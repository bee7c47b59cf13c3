import numpy as np
import pytest
import torch

from channelfm.arrays import spherical_wave
from channelfm.baselines.off_grid import OffGrid
from channelfm.metrics import nmse
from channelfm.tokens.masks import random_mask
from channelfm.waves.fit import GainBasis, Waves, refine
from channelfm.waves.gathered import Gathered
from channelfm.waves.visibility import propose_edge, sharpen_edges

ROWS, COLS = 48, 48
PLACE = np.array([900.0, 150.0, -80.0])


def shadow(angle_deg, offset):
    """bool [rows, cols]: antennas on the lit side of a line, offset in wavelengths."""
    y = (np.arange(COLS) - (COLS - 1) / 2) / 2
    z = (np.arange(ROWS) - (ROWS - 1) / 2) / 2
    angle = np.deg2rad(angle_deg)
    return np.cos(angle) * y[None, :] + np.sin(angle) * z[:, None] > offset


@pytest.mark.parametrize(("angle_deg", "offset"), [(90, 2.0), (-20, -3.0), (205, 0.0)])
def test_a_shadow_edge_is_found(angle_deg, offset):
    lit = shadow(angle_deg, offset)
    field = torch.from_numpy((spherical_wave(ROWS, COLS, PLACE) * lit).astype(np.complex64))[None]
    mask = torch.from_numpy(random_mask(np.random.default_rng(0), 1, ROWS, COLS, 0.7)[..., 0])
    observation = Gathered.entries(field, mask, 0.5)
    basis = GainBasis.of_array(ROWS, COLS, 0.5)
    distance = np.linalg.norm(PLACE)
    waves = Waves.none(1).joined(torch.tensor([[PLACE[1] / distance, PLACE[2] / distance, 1 / distance]]))
    start = refine(observation, waves, basis, 0)
    edges, saving = propose_edge(observation, start, basis)
    assert saving[0] > 0.3 * start.cost[0]
    cut = refine(observation, Waves(waves.sources, edges, waves.degree), basis, 2)
    sharp = sharpen_edges(observation, cut, basis)[0, 0].numpy()
    turned = np.rad2deg(np.arctan2(sharp[1], sharp[0])) - angle_deg
    assert abs((turned + 180) % 360 - 180) < 2.0
    assert abs(sharp[2] - offset) < 0.3


def test_no_edge_where_all_antennas_are_reached():
    field = torch.from_numpy(spherical_wave(ROWS, COLS, PLACE).astype(np.complex64))[None]
    observation = Gathered.entries(field, torch.ones(1, ROWS, COLS, dtype=torch.bool), 0.5)
    basis = GainBasis.of_array(ROWS, COLS, 0.5)
    distance = np.linalg.norm(PLACE)
    waves = Waves.none(1).joined(torch.tensor([[PLACE[1] / distance, PLACE[2] / distance, 1 / distance]]).double())
    fit = refine(observation, waves, basis, 1)
    _, saving = propose_edge(observation, fit, basis)
    assert saving[0] < 1e-6
    assert not fit.waves.has_edge.any()


def test_off_grid_follows_a_wave_that_reaches_half_the_array():
    ground = np.array([1000.0, 120.0, -420.0])
    truth = spherical_wave(ROWS, COLS, PLACE) + 0.5j * spherical_wave(ROWS, COLS, ground) * shadow(80, 1.0)
    truth = truth.astype(np.complex64)[None, :, :, None]
    mask = random_mask(np.random.default_rng(1), 1, ROWS, COLS, 0.75)
    assert 10 * np.log10(nmse(OffGrid().predict(truth * mask, mask), truth)[0]) < -22  # the edge lies between antennas
