"""Diffraction over several edges against repeated Fresnel diffraction, boundary elements and its own symmetries."""

import dataclasses

import numpy as np
import pytest
from scipy.special import hankel2

from channelfm.arrays import UPA, rotation_matrix
from channelfm.channels import synthesize
from channelfm.records import Scene, SceneObject, Trajectory
from channelfm.tracing import Tracer
from channelfm.tracing.antennas import look_at_angles
from channelfm.tracing.closed_forms import free_space_channel, screens_channel
from channelfm.units import SPEED_OF_LIGHT

pytestmark = [pytest.mark.rt, pytest.mark.usefixtures("sionna_rt")]

CARRIER_HZ = 7e9
QUADS = np.array([[0, 3, 2, 1], [4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]])
FACES = np.vstack([QUADS[:, [0, 1, 2]], QUADS[:, [0, 2, 3]]])
BOUNDS = (-1e3, -1e3, 1e3, 1e3)


def scene_of(meshes, material):
    """A scene of several (vertices, faces)."""
    before = np.cumsum([0, *(len(vertices) for vertices, _ in meshes)])
    faces = np.concatenate([mesh[1] + first for mesh, first in zip(meshes, before, strict=False)])
    owner = np.repeat(np.arange(len(meshes)), [len(mesh[1]) for mesh in meshes])
    objects = tuple(SceneObject(f"part-{number}", material, "other") for number in range(len(meshes)))
    vertices = np.concatenate([mesh[0] for mesh in meshes])
    return Scene("roofs", vertices, faces.astype(np.int32), owner.astype(np.int32), objects, BOUNDS)


def screen(distance, height):
    corners = [[distance, y, z] for y, z in ((-400, -300), (400, -300), (400, height), (-400, height))]
    return np.array(corners, float), np.array([[0, 1, 2], [0, 2, 3]])


def block(x, top, low=-200.0, wide=300.0, turned=(0.0, 0.0, 0.0)):
    """A long block between two distances ``x``, with its top at ``top``, turned about (0, 0, top)."""
    places = [
        [at, y, z - top] for z in (low, top) for at, y in ((x[0], -wide), (x[1], -wide), (x[1], wide), (x[0], wide))
    ]
    return np.array(places, float) @ rotation_matrix(turned).T + [0, 0, top], FACES


def flight(*positions, velocity=(0.0, 0.0, 0.0)):
    points = np.array(positions, float)
    velocities = np.tile(np.asarray(velocity, float), (len(points), 1))
    return Trajectory(np.arange(len(points)) * 1.0, points, velocities, np.zeros(len(points), np.int32), "test")


def traced(scene, users, array, depth=3, **settings):
    settings = {"refraction": False, "diffraction": True, "user_pattern": "isotropic", "rays": 1000, **settings}
    return Tracer(scene, array, depth, user_polarization=array.polarization, **settings).trace(users)


def over_free_space(scene, user, place, polarization="V", carrier_hz=CARRIER_HZ, **settings):
    """The channel from a user to a place over that of free space, in dB; both (distance, height)."""
    array = UPA(1, 1, carrier_hz, (place[0], 0.0, place[1]), pattern="isotropic", polarization=polarization)
    channel = synthesize(traced(scene, flight((user[0], 0.0, user[1])), array, **settings), array)[0, 0, 0]
    distance = float(np.hypot(place[0] - user[0], place[1] - user[1]))
    return 20 * np.log10(abs(channel / free_space_channel(distance, carrier_hz)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("screens", "place"),
    [
        ([(50, 0.1), (100, 0.1)], (150, 0.0)),  # one height, evenly apart: 1/3 of the field
        ([(100, 0.1), (110, 0.1)], (210, 0.0)),  # close together
        ([(100, 3.0), (110, 3.0)], (210, 0.0)),
        ([(100, 1.0), (110, 0.5)], (210, 0.0)),  # the lower one grazes the path over the higher
        ([(50, 0.1), (100, 0.2), (150, 0.1)], (200, 0.0)),
        ([(50, 1.0), (100, 1.0), (150, 1.0)], (200, 0.0)),  # the middle one just touches the path
        ([(20, -1.0), (40, 0.2), (60, -0.3)], (200, 0.0)),
        ([(20, 4.0), (40, 5.0), (60, 5.2)], (200, 0.0)),
    ],
)
def test_screens_in_turn_are_as_repeated_fresnel_diffraction_says(screens, place):
    expected = 20 * np.log10(abs(screens_channel((0.0, 0.0), screens, place, CARRIER_HZ)))
    scene = scene_of([screen(*one) for one in screens], "metal")
    found = [over_free_space(scene, (0.0, 0.0), place, polarization) for polarization in "VH"]
    # the screens of the theory absorb; what metal reflects it adds in one polarisation and takes in the other
    assert found == pytest.approx([expected] * 2, abs=1.5)
    assert np.mean(found) == pytest.approx(expected, abs=0.2)


def behind_a_block(width, depth, user, place, hard):
    """The field behind a perfectly conducting block over that of free space, by boundary elements; lengths in
    wavelengths, the block's top at height 0 from 0 to ``width``.

    Pulses along the outline, of the field (hard) or its normal derivative (soft); points inside, where the field is
    zero, keep cavity resonances out (H. A. Schenck, J. Acoust. Soc. Am. 44(1), 1968).
    """
    corners = np.array([(0, -depth), (width, -depth), (width, 0), (0, 0)], float)
    ends = np.roll(corners, -1, axis=0)
    parts = [np.linspace(a, b, int(20 * np.linalg.norm(b - a)) + 1) for a, b in zip(corners, ends, strict=True)]
    start, end = (np.concatenate([part[cut] for part in parts]) for cut in (slice(None, -1), slice(1, None)))
    length, middle = np.linalg.norm(end - start, axis=1), (start + end) / 2
    normal = ((end - start) / length[:, None]) @ np.array([[0, -1], [1, 0]])
    k = 2 * np.pi

    def layers(points):
        single = double = 0.0
        for node, weight in zip(*np.polynomial.legendre.leggauss(3), strict=True):
            away = points[:, None] - (middle + node / 2 * (end - start))
            distance = np.maximum(np.linalg.norm(away, axis=2), 1e-9)
            single = single + weight / 2 * length * -0.25j * hankel2(0, k * distance)
            slope = -0.25j * k * hankel2(1, k * distance) * np.sum(away * normal, axis=2) / distance
            double = double + weight / 2 * length * slope
        return single, double

    single, double = layers(middle)
    own = np.arange(len(middle))
    single[own, own] = length * -0.25j * (1 - 2j / np.pi * (np.log(k * length / 4) + np.euler_gamma - 1))
    double[own, own] = 0.0
    inside = np.random.default_rng(0).uniform([0.1 * width, -0.9 * depth], [0.9 * width, -0.1 * depth], (150, 2))
    single_inside, double_inside = layers(inside)
    point = np.array([place], float)
    single_there, double_there = layers(point)
    matrix = np.vstack([0.5 * np.eye(len(middle)) - double, -double_inside] if hard else [single, single_inside])
    incident = [-0.25j * hankel2(0, k * np.linalg.norm(at - user, axis=1)) for at in (middle, inside, point)]
    unknown = np.linalg.lstsq(matrix, np.concatenate(incident[:2]), rcond=None)[0]
    scattered = double_there @ unknown if hard else -single_there @ unknown
    return abs(1 + scattered[0] / incident[2][0])


@pytest.mark.slow
@pytest.mark.parametrize(("polarization", "tolerance_db"), [("H", 0.5), ("V", 1.5)])
@pytest.mark.parametrize(("user", "place"), [((-10, -0.1), (13, -1)), ((-10, -2), (13, -4)), ((-3, -3), (13, -1))])
def test_a_flat_roof_is_as_boundary_elements_say(user, place, polarization, tolerance_db):
    """Both ends below one roof of metal, three wavelengths (of 1 m) wide: soft along it, or hard."""
    scene = scene_of([block((0, 3), 20.0, low=5.0)], "metal")
    expected = 20 * np.log10(behind_a_block(3.0, 15.0, user, place, hard=polarization == "V"))
    user, place = ((distance, height + 20.0) for distance, height in (user, place))
    found = over_free_space(scene, user, place, polarization, SPEED_OF_LIGHT, depth=2)
    assert found == pytest.approx(expected, abs=tolerance_db)


SKEW = scene_of(
    [block((0, 10), 20.0, turned=(0.3, 0.02, 0.0)), block((40, 55), 19.0, turned=(-0.4, -0.03, 0.0))], "concrete"
)
HERE, THERE = np.array([-30.0, 3.0, 18.0]), np.array([120.0, -20.0, 16.0])


def facing(here, there, polarization="V"):
    """One element at a place, turned to another."""
    look = look_at_angles(here, there)
    return UPA(1, 1, CARRIER_HZ, tuple(here), orientation_rad=look, pattern="isotropic", polarization=polarization)


@pytest.mark.parametrize("polarization", ["V", "H"])
def test_paths_over_skew_edges_are_reciprocal(polarization):
    up = traced(SKEW, flight(THERE), facing(HERE, THERE, polarization))
    down = traced(SKEW, flight(HERE), facing(THERE, HERE, polarization))
    several = (up.interactions[0] == 8).sum(axis=1) > 1
    assert several.sum() >= 2
    assert up.valid.sum() == down.valid.sum()
    order = [np.argsort(paths.delay_s[0, :, 0]) for paths in (up, down)]
    np.testing.assert_allclose(*(p.delay_s[0, o, 0] for p, o in zip((up, down), order, strict=True)), atol=1e-16)
    gains = [paths.gain[0, o, 0] for paths, o in zip((up, down), order, strict=True)]
    ratio = gains[0] / gains[1]
    np.testing.assert_allclose(np.abs(ratio), 1.0, rtol=2e-3)
    np.testing.assert_allclose(ratio**2, 1.0, atol=1e-2)  # a sign is the antennas'


def test_delays_over_skew_edges_are_the_shortest_for_every_element():
    array = dataclasses.replace(facing(THERE, HERE), rows=8, cols=8)
    paths = traced(SKEW, flight(HERE), array)
    assert ((paths.interactions[0] == 8).sum(axis=1) > 1).any()
    for slot in np.flatnonzero(paths.valid[0].any(axis=1)):
        corners = paths.points_m[0, slot][paths.interactions[0, slot] > 0]
        ends = [HERE, *corners, np.array(array.position)]
        centre = np.linalg.norm(np.diff(ends, axis=0), axis=1).sum()
        seen = np.flatnonzero(paths.valid[0, slot])
        length = paths.delay_s[0, slot, seen] * SPEED_OF_LIGHT
        # beyond what any fixed bend gives, the shortest path is shorter, but by less than 1 mm over half a metre
        fixed = centre - np.linalg.norm(ends[-1] - ends[-2])
        fixed = fixed + np.linalg.norm(array.element_positions[seen] - ends[-2], axis=1)
        assert (length <= fixed + 1e-5).all()
        assert (length > fixed - 1e-3).all()


def test_the_doppler_shift_is_the_rate_of_the_phase():
    velocity, step = np.array([1.0, -2.0, 0.5]), 1e-3
    array = facing(THERE, HERE)
    paths = traced(SKEW, flight(HERE, HERE + step * velocity, velocity=velocity), array)
    order = [np.argsort(paths.delay_s[at, :, 0] + ~paths.valid[at, :, 0]) for at in range(2)]
    assert ((paths.interactions[0] == 8).sum(axis=1) > 1).any()
    for one, other in zip(*order, strict=True):
        rate = -CARRIER_HZ * (paths.delay_s[1, other, 0] - paths.delay_s[0, one, 0]) / step
        assert paths.doppler_hz[0, one, 0] == pytest.approx(rate, abs=0.02)


@pytest.mark.parametrize("polarization", ["V", "H"])
def test_nothing_jumps_where_the_far_edge_of_a_roof_comes_into_sight(polarization):
    scene = scene_of([block((0, 12), 20.0)], "concrete")
    array = UPA(1, 1, CARRIER_HZ, (50.0, 0.0, 10.0), pattern="isotropic", polarization=polarization)
    users = flight(*((-80.0, 0.0, 20.0 + above) for above in (-3e-3, 3e-3)))
    paths = traced(scene, users, array)
    assert ((paths.interactions == 8).sum(axis=2) == 1).any(axis=1).tolist() == [False, True]
    below, above = synthesize(paths, array)[:, 0, 0]
    assert 20 * np.log10(abs(above / below)) == pytest.approx(0.0, abs=0.5)


def test_users_behind_two_roofs_hear_the_array_and_depth_limits_the_edges():
    scene = scene_of([block((0, 12), 20.0), block((40, 52), 25.0)], "concrete")
    array = UPA(2, 2, CARRIER_HZ, (90.0, 0.0, 10.0))
    users = flight((-20.0, 0.0, 1.5))
    assert not traced(scene, users, array, depth=1).has_path.any()
    paths = traced(scene, users, array, depth=3)
    assert paths.valid[0].all(axis=1).any()
    assert ((paths.interactions[0] == 8).sum(axis=1) == 3).any()
