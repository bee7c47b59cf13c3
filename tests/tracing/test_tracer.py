"""The tracer as a whole: polarisations, plane waves, both directions of a link, bandwidth, and no memory of calls."""

import dataclasses

import numpy as np
import pytest

from channelfm.arrays import ULA, UPA
from channelfm.channels import synthesize
from channelfm.errors import InputError
from channelfm.records import Scene, SceneObject, Trajectory
from channelfm.scenes import procedural
from channelfm.scenes.surface import inside_buildings
from channelfm.tracing import Tracer, trace
from channelfm.tracing.antennas import look_at_angles
from channelfm.tracing.images import trace_images
from channelfm.units import SPEED_OF_LIGHT

CARRIER_HZ = 7e9
RAYS = 500_000
GROUND = Scene(
    name="ground",
    vertices=np.array([[-1000, -1000, 0], [1000, -1000, 0], [1000, 1000, 0], [-1000, 1000, 0]], float),
    faces=np.array([[0, 1, 2], [0, 2, 3]], np.int32),
    face_object=np.zeros(2, np.int32),
    objects=(SceneObject("ground", "concrete", "ground"),),
    bounds=(-1000.0, -1000.0, 1000.0, 1000.0),
)
rt = pytest.mark.usefixtures("sionna_rt")


def flight(*positions, velocity=(0.0, 0.0, 0.0)):
    points = np.array(positions, float)
    velocities = np.tile(np.asarray(velocity, float), (len(points), 1))
    return Trajectory(np.arange(len(points)) * 1.0, points, velocities, np.zeros(len(points), np.int32), "test")


def carrier_channel(paths):
    return np.sum(paths.gain * np.exp(-2j * np.pi * paths.carrier_hz * paths.delay_s), axis=1)


def nmse_db(channel, reference):
    return 10 * np.log10(np.sum(np.abs(channel - reference) ** 2) / np.sum(np.abs(reference) ** 2))


@pytest.fixture(scope="module")
def city():
    """A procedural city, an array before it and a few users about 45 m up."""
    scene = procedural(seed=3)
    middle = np.array([np.mean(scene.bounds[::2]), np.mean(scene.bounds[1::2]), 45.0])
    places = middle + np.random.default_rng(0).uniform(-120, 120, (12, 3)) * [1, 1, 0.05]
    users = flight(*places[~inside_buildings(scene, places)][:3], velocity=(4.0, -3.0, 1.0))
    return scene, (scene.bounds[0] - 20.0, 0.0, 65.0), users


@pytest.mark.rt
@rt
@pytest.mark.parametrize(
    ("array", "user"),
    [
        ({"polarization": "VH", "pattern": "tr38901", "orientation_rad": (0.1, 0.1, 0.0)}, "V"),
        ({"polarization": "cross", "pattern": "dipole", "orientation_rad": (0.1, 0.2, 0.3)}, "H"),
        ({"polarization": "H", "pattern": "isotropic", "orientation_rad": (0.3, 0.0, -0.2)}, "H"),
    ],
)
def test_every_polarisation_and_pattern_agrees_with_the_image_method(city, array, user):
    scene, position, users = city
    upa = UPA(3, 4, CARRIER_HZ, position, **array)
    options = {"user_polarization": user, "user_pattern": upa.pattern}
    ours = trace(scene, users, upa, max_depth=2, refraction=False, rays=RAYS, **options)
    oracle = trace_images(scene, users, upa, max_depth=2, **options)
    assert ours.gain.shape[2] == oracle.gain.shape[2] == upa.num_antennas
    reached = oracle.has_path
    assert nmse_db(carrier_channel(ours)[reached], carrier_channel(oracle)[reached]) < -60.0


@pytest.mark.rt
@rt
def test_both_polarisations_of_an_element_share_delays(city):
    scene, position, users = city
    array = UPA(2, 3, CARRIER_HZ, position, polarization="VH")
    paths = trace(scene, users, array, rays=RAYS)
    for name in ("delay_s", "doppler_hz", "valid"):
        values = getattr(paths, name)
        np.testing.assert_array_equal(values[..., : array.num_elements], values[..., array.num_elements :])
    alone = trace(scene, users, dataclasses.replace(array, polarization="V"), rays=RAYS)
    np.testing.assert_allclose(carrier_channel(paths)[:, :6], carrier_channel(alone), atol=1e-12)


@pytest.mark.rt
@rt
def test_links_are_reciprocal(city):
    """Array element and user change places: the same paths, delays and gains, walked the other way."""
    scene, position, users = city
    here, there = np.array(position), users.positions_m[0]
    one = UPA(1, 1, CARRIER_HZ, tuple(here), orientation_rad=look_at_angles(here, there))
    other = UPA(1, 1, CARRIER_HZ, tuple(there), orientation_rad=look_at_angles(there, here))
    up, down = trace(scene, flight(there), one), trace(scene, flight(here), other)
    assert up.valid.sum() == down.valid.sum() >= 2
    order = [np.argsort(paths.delay_s[0, :, 0]) for paths in (up, down)]
    up_delay, down_delay = (paths.delay_s[0, o, 0] for paths, o in zip((up, down), order, strict=True))
    np.testing.assert_allclose(up_delay, down_delay, atol=3e-13)  # 0.1 mm
    up_gain, down_gain = (paths.gain[0, o, 0] for paths, o in zip((up, down), order, strict=True))
    np.testing.assert_allclose(up_gain, down_gain, rtol=2e-3, atol=1e-4 * np.abs(up_gain).max())


@pytest.mark.rt
@rt
def test_wide_bands_squint_as_exact_delays_say():
    """At the edge of a 20 % band the narrow-band channel misses; every element's own delay does not."""
    array, user = ULA(64, CARRIER_HZ, (0.0, 0.0, 30.0), pattern="isotropic"), np.array([40.0, 60.0, 30.0])
    frequencies = CARRIER_HZ * np.array([0.9, 1.0, 1.1])
    tracer = Tracer(GROUND, array, max_depth=0, user_pattern="isotropic")
    channel = synthesize(tracer.trace(flight(user)), array, frequencies_hz=frequencies)[0]
    distance = np.linalg.norm(array.element_positions - user, axis=1)[:, None]
    phase = np.exp(-2j * np.pi * frequencies * distance / SPEED_OF_LIGHT)
    expected = array.wavelength_m / (4 * np.pi * distance) * phase
    assert nmse_db(channel, expected) < -55.0
    # pointed by the carrier's phases, the array loses its gain at the edge of the band: the beam squints
    beam = np.conj(channel[:, 1]) / np.abs(channel[:, 1])
    gain = np.abs(beam @ channel) ** 2
    assert gain[0] < 0.1 * gain[1]


@pytest.mark.rt
@rt
@pytest.mark.parametrize("multiple", [2.0, 10.0])
def test_plane_waves_keep_their_bound_in_free_space(multiple):
    array = UPA(32, 32, CARRIER_HZ, (0.0, 0.0, 400.0), pattern="isotropic")
    distance = 1.01 * multiple * array.rayleigh_distance_m
    user = flight(np.array([0.0, 0.0, 400.0]) + distance * np.array([0.8, 0.6, 0.0]))
    options = {"max_depth": 0, "user_pattern": "isotropic"}
    exact = Tracer(GROUND, array, **options).trace(user)
    plane = Tracer(GROUND, array, plane_wave_beyond=multiple, **options).trace(user)
    assert exact.gain.shape == plane.gain.shape
    error = nmse_db(carrier_channel(plane), carrier_channel(exact))
    bound = 20 * np.log10(np.pi / (8 * multiple))
    assert bound - 25.0 < error < bound
    near = Tracer(GROUND, array, plane_wave_beyond=1.1 * multiple, **options).trace(user)
    np.testing.assert_array_equal(near.delay_s, exact.delay_s)


@pytest.mark.rt
@rt
def test_plane_waves_keep_their_bound_path_by_path_in_a_city(city):
    scene, position, users = city
    array = UPA(8, 8, CARRIER_HZ, position)
    exact = Tracer(scene, array, rays=RAYS).trace(users)
    multiple = 0.99 * float(np.linalg.norm(users.positions_m - position, axis=1).min() / array.rayleigh_distance_m)
    plane = Tracer(scene, array, rays=RAYS, plane_wave_beyond=multiple).trace(users)
    bound = 20 * np.log10(np.pi / (8 * multiple))
    compared = 0
    for snapshot in range(len(users)):
        strength = np.abs(exact.gain[snapshot])
        even = np.ptp(strength, axis=1) < 0.05 * strength.max(axis=1)  # else another wall begins within the array
        for slot in np.flatnonzero(exact.valid[snapshot].all(axis=1) & even):
            same = np.flatnonzero(
                plane.valid[snapshot].any(axis=1)
                & (plane.interactions[snapshot] == exact.interactions[snapshot, slot]).all(axis=1)
                & (np.abs(plane.points_m[snapshot] - exact.points_m[snapshot, slot]).max(axis=(1, 2)) < 0.01)
            )
            assert len(same) == 1
            error = nmse_db(*(_wave(paths, snapshot, at) for paths, at in ((plane, same[0]), (exact, slot))))
            assert error < bound + 1.0
            compared += 1
    assert compared >= 4


def _wave(paths, snapshot, slot):
    return paths.gain[snapshot, slot] * np.exp(-2j * np.pi * paths.carrier_hz * paths.delay_s[snapshot, slot])


@pytest.mark.rt
@rt
def test_traces_do_not_remember_earlier_ones_nor_their_neighbours(city):
    scene, position, users = city
    array = UPA(4, 4, CARRIER_HZ, position)
    tracer = Tracer(scene, array, rays=RAYS)
    together, alone = tracer.trace(users), tracer.trace(users.select(slice(1, 2)))
    fresh = Tracer(scene, array, rays=RAYS).trace(users)
    assert (alone.interactions[0] == 4).any()  # paths through buildings, reflected at their floors, among them
    slots = alone.valid.shape[1]
    for name in ("gain", "delay_s", "valid", "points_m", "departure"):
        all_of_them, one = getattr(together, name), getattr(alone, name)[0]
        assert all_of_them.tobytes() == getattr(fresh, name).tobytes()
        np.testing.assert_allclose(all_of_them[1, :slots], one, rtol=1e-6)


def test_users_in_step_with_progress(tiny_scene):
    seen = []
    array = UPA(2, 2, CARRIER_HZ, (0.0, 0.0, 30.0))
    Tracer(tiny_scene, array, method="images").trace(flight((0, 0, 40), (1, 0, 40)), seen.append)
    assert sum(seen) == 2


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"user_polarization": "cross"}, "user_polarization"),
        ({"user_polarization": "v"}, "user_polarization"),
        ({"user_pattern": "iso"}, "user_pattern"),
        ({"method": "image"}, "method"),
        ({"rays": 0}, "rays"),
        ({"seed": -1}, "seed"),
        ({"plane_wave_beyond": 0.0}, "plane_wave_beyond"),
        ({"method": "images", "diffraction": True}, "diffraction"),
        ({"method": "images", "diffuse": True}, "diffuse"),
    ],
)
def test_unusable_settings_are_named(tiny_scene, settings, named):
    with pytest.raises(InputError, match=named):
        Tracer(tiny_scene, UPA(2, 2, CARRIER_HZ, (0.0, 0.0, 30.0)), **settings)
