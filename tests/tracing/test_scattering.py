"""Diffuse reflection: energy, reciprocity, and scatterers that stay where they are."""

import numpy as np
import pytest

from channelfm.arrays import UPA
from channelfm.records import Scene, SceneObject, Trajectory
from channelfm.tracing import Tracer
from channelfm.tracing.scatterers import SCATTERING_COEFFICIENT
from channelfm.units import SPEED_OF_LIGHT

pytestmark = [pytest.mark.rt, pytest.mark.usefixtures("sionna_rt")]

CARRIER_HZ = 7e9
WALL = Scene(
    name="wall",
    vertices=np.array([[-40, 20, 0], [40, 20, 0], [40, 20, 40], [-40, 20, 40]], float),
    faces=np.array([[0, 1, 2], [0, 2, 3]], np.int32),
    face_object=np.zeros(2, np.int32),
    objects=(SceneObject("wall", "concrete", "other"),),
    bounds=(-100.0, -100.0, 100.0, 100.0),
)


def flight(*positions, velocity=(0.0, 0.0, 0.0)):
    points = np.array(positions, float)
    velocities = np.tile(np.asarray(velocity, float), (len(points), 1))
    return Trajectory(np.arange(len(points)) * 1.0, points, velocities, np.zeros(len(points), np.int32), "test")


def traced(users, diffuse=True, array=None):
    array = array or UPA(2, 2, CARRIER_HZ, (-10.0, 0.0, 20.0), pattern="isotropic")
    tracer = Tracer(WALL, array, max_depth=1, refraction=False, diffuse=diffuse, user_pattern="isotropic")
    return tracer.trace(users)


def power(paths, kind):
    chosen = (paths.interactions.max(axis=2) == kind) & paths.valid[:, :, 0]
    return np.sum(np.abs(paths.gain[:, :, 0]) ** 2 * chosen, axis=1)


def test_scattering_takes_its_power_from_the_specular_reflection():
    users = flight((10.0, 0.0, 18.0))
    smooth, rough = traced(users, diffuse=False), traced(users)
    reduction = power(rough, 1) / power(smooth, 1)
    np.testing.assert_allclose(reduction, 1 - SCATTERING_COEFFICIENT**2, rtol=1e-4)
    lost = power(smooth, 1) - power(rough, 1)
    assert 0 < power(rough, 2)[0] < lost[0]


def test_scattered_paths_lie_on_the_wall_and_are_as_long_as_their_two_legs():
    users = flight((10.0, 0.0, 18.0), velocity=(0.0, 15.0, 0.0))
    paths = traced(users)
    scattered = np.flatnonzero(paths.interactions[0, :, 0] == 2)
    assert 10 < len(scattered) <= 64
    points = paths.points_m[0, scattered, 0]
    np.testing.assert_allclose(points[:, 1], 20.0, atol=0.01)
    element = UPA(2, 2, CARRIER_HZ, (-10.0, 0.0, 20.0)).element_positions[3]
    legs = np.linalg.norm(points - users.positions_m[0], axis=1) + np.linalg.norm(points - element, axis=1)
    np.testing.assert_allclose(paths.delay_s[0, scattered, 3] * SPEED_OF_LIGHT, legs, atol=1e-6)
    assert (paths.doppler_hz[0, scattered, 0] > 0).all()  # the user flies towards the wall


def test_scatterers_stay_while_the_user_moves():
    paths = traced(flight((10.0, 0.0, 18.0), (10.5, 0.1, 18.0)))
    scattered = [paths.points_m[s, paths.interactions[s, :, 0] == 2, 0] for s in (0, 1)]
    first, second = ({tuple(point) for point in np.round(points, 3)} for points in scattered)
    assert len(first & second) > 0.9 * len(first)


def test_nothing_is_scattered_through_a_wall():
    assert power(traced(flight((10.0, 30.0, 18.0))), 2)[0] == 0.0
