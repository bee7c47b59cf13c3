"""Physics is the test: closed forms, reciprocity, Doppler from two traces, and geometry by brute force."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm.arrays import UPA
from channelfm.errors import InputError
from channelfm.records import Paths, Scene, SceneObject, Trajectory
from channelfm.scenes.materials import electromagnetic_properties
from channelfm.tracing.antennas import field_pattern, look_at_angles
from channelfm.tracing.closed_forms import free_space_channel, two_ray_channel, wall_channel
from channelfm.tracing.fresnel import complex_permittivity, half_space_reflection, slab_reflection
from channelfm.tracing.images import find_chains, trace_images
from channelfm.tracing.planes import planar_scene
from channelfm.units import SPEED_OF_LIGHT

CARRIER_HZ = 7e9
WAVELENGTH_M = SPEED_OF_LIGHT / CARRIER_HZ
QUADS = np.array([[0, 3, 2, 1], [4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]])
BOX_FACES = np.vstack([QUADS[:, [0, 1, 2]], QUADS[:, [0, 2, 3]]]).astype(np.int32)


def scene_of(*parts: tuple[np.ndarray, np.ndarray, str]) -> Scene:
    vertices, faces, owner, count = [], [], [], 0
    for index, (points, triangles, _) in enumerate(parts):
        vertices.append(points)
        faces.append(triangles + count)
        owner.append(np.full(len(triangles), index))
        count += len(points)
    return Scene(
        name="test",
        vertices=np.vstack([np.zeros((0, 3)), *vertices]),
        faces=np.vstack([np.zeros((0, 3)), *faces]).astype(np.int32),
        face_object=np.concatenate([np.zeros(0), *owner]).astype(np.int32),
        objects=tuple(SceneObject(f"part-{i}", part[2], "building") for i, part in enumerate(parts)),
        bounds=(-1000.0, -1000.0, 1000.0, 1000.0),
    )


def rectangle(corner, one, two, material="concrete"):
    corner, one, two = (np.asarray(v, dtype=float) for v in (corner, one, two))
    points = np.array([corner, corner + one, corner + one + two, corner + two])
    return points, np.array([[0, 1, 2], [0, 2, 3]], dtype=np.int32), material


def box(low, high, material="concrete"):
    (x0, y0, z0), (x1, y1, z1) = low, high
    base = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
    points = np.array([[*xy, z] for z in (z0, z1) for xy in base], dtype=float)
    return points, BOX_FACES, material


def ground(material="concrete"):
    return rectangle((-1000, -1000, 0), (2000, 0, 0), (0, 2000, 0), material)


def flight(*positions, velocity=(0.0, 0.0, 0.0)) -> Trajectory:
    points = np.array(positions, dtype=float)
    return Trajectory(
        times_s=np.arange(len(points), dtype=float),
        positions_m=points,
        velocities_mps=np.tile(np.asarray(velocity, dtype=float), (len(points), 1)),
        track=np.zeros(len(points), dtype=np.int32),
        kind="test",
    )


def town(seed: int = 0, side: int = 3) -> Scene:
    rng = np.random.default_rng(seed)
    parts = [ground("medium_dry_ground")]
    for row in range(side):
        for col in range(side):
            x, y = 45 * row + rng.uniform(0, 8), 45 * col + rng.uniform(0, 8)
            width, depth, height = rng.uniform(15, 28), rng.uniform(15, 28), rng.uniform(8, 35)
            points, faces, _ = box((0, 0, 0), (width, depth, height))
            angle = rng.uniform(-0.3, 0.3)
            turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
            parts.append((points @ turn.T + [x, y, 0], faces, ["concrete", "brick", "glass"][rng.integers(3)]))
    return scene_of(*parts)


def carrier_channel(paths: Paths) -> np.ndarray:
    phase = np.exp(-2j * np.pi * paths.carrier_hz * paths.delay_s)
    return (paths.gain.astype(np.complex128) * phase).sum(axis=1)


def assert_close(measured: complex, expected: complex) -> None:
    """Within 0.1 dB and 1 degree."""
    ratio = measured / expected
    assert abs(20 * np.log10(abs(ratio))) < 0.1
    assert abs(np.angle(ratio, deg=True)) < 1.0


def concrete() -> complex:
    properties = electromagnetic_properties("concrete", CARRIER_HZ)
    return complex_permittivity(properties.relative_permittivity, properties.conductivity_s_per_m, CARRIER_HZ)


def isotropic(position, rows=1, cols=1, **options) -> UPA:
    return UPA(rows, cols, CARRIER_HZ, tuple(position), pattern="isotropic", **options)


@pytest.mark.parametrize("distance", [1.0, 37.3, 812.0])
def test_free_space_is_friis_with_the_carrier_phase(distance):
    direction = np.array([2.0, -1.0, 0.5]) / np.linalg.norm([2.0, -1.0, 0.5])
    paths = trace_images(scene_of(), flight(distance * direction), isotropic((0, 0, 0)), user_pattern="isotropic")
    assert paths.line_of_sight.all()
    assert_close(carrier_channel(paths)[0, 0], free_space_channel(distance, CARRIER_HZ))


def test_boresight_link_has_the_gain_of_both_patterns():
    array = UPA(1, 1, CARRIER_HZ)
    paths = trace_images(scene_of(), flight((50.0, 0, 0)), array, max_depth=0)
    expected_db = 20 * np.log10(WAVELENGTH_M / (4 * np.pi * 50.0)) + 2 * 8.0
    assert 20 * np.log10(abs(paths.gain[0, 0, 0])) == pytest.approx(expected_db, abs=1e-4)


@pytest.mark.parametrize("thickness", [0.1, np.inf])
@pytest.mark.parametrize(("user", "height", "separation"), [(20, 10, 100), (5, 15, 30), (30, 10, 7), (1.5, 25, 500)])
def test_two_ray_ground(user, height, separation, thickness):
    paths = trace_images(
        scene_of(ground()),
        flight((0.6 * separation, 0.8 * separation, user)),
        isotropic((0, 0, height)),
        user_pattern="isotropic",
        thickness_m=thickness,
    )
    expected = two_ray_channel(user, height, separation, CARRIER_HZ, concrete(), thickness)
    assert_close(carrier_channel(paths)[0, 0], expected)


@pytest.mark.parametrize(("user", "array", "along"), [(20, 10, 100), (5, 15, 30), (30, 10, 0)])
def test_one_wall(user, array, along):
    wall = rectangle((-1000, 0, -1000), (2000, 0, 0), (0, 0, 2000))
    paths = trace_images(scene_of(wall), flight((along, user, 50)), isotropic((0, array, 50)), user_pattern="isotropic")
    assert_close(carrier_channel(paths)[0, 0], wall_channel(user, array, along, CARRIER_HZ, concrete(), 0.1))


def test_corner_reflector_has_the_lengths_of_its_images():
    """Two walls at a right angle: LoS, two single bounces, one double bounce from the image in the corner."""
    walls = scene_of(
        rectangle((0, 0, -500), (500, 0, 0), (0, 0, 1000), "metal"),
        rectangle((0, 0, -500), (0, 500, 0), (0, 0, 1000), "metal"),
    )
    user, array = np.array([30.0, 12.0, 1.0]), np.array([10.0, 25.0, 4.0])
    paths = trace_images(walls, flight(user), isotropic(array), user_pattern="isotropic")
    expected = sorted(np.linalg.norm(user * [i, j, 1] - array) for i in (1, -1) for j in (1, -1))
    valid = paths.valid[0, :, 0]
    np.testing.assert_allclose(paths.delay_s[0, valid, 0] * SPEED_OF_LIGHT, expected, rtol=1e-12)
    assert sorted(np.count_nonzero(paths.interactions[0, valid], axis=1)) == [0, 1, 1, 2]


def test_metal_reflects_without_loss():
    paths = trace_images(
        scene_of(ground("metal")), flight((30.0, 0, 8)), isotropic((0, 0, 5)), user_pattern="isotropic"
    )
    bounced = WAVELENGTH_M / (4 * np.pi * np.hypot(30, 13))
    assert abs(paths.gain[0, 1, 0]) == pytest.approx(bounced, rel=5e-3)


def test_channel_is_reciprocal():
    scene = town()
    here, there = (-20.0, 30.0, 50.0), (70.0, 65.0, 41.0)
    yaw_pitch_roll = look_at_angles(np.array(here), np.array(there))
    back = look_at_angles(np.array(there), np.array(here))
    one = UPA(1, 1, CARRIER_HZ, here, orientation_rad=yaw_pitch_roll)
    other = UPA(1, 1, CARRIER_HZ, there, orientation_rad=back)
    up, down = trace_images(scene, flight(there), one), trace_images(scene, flight(here), other)
    assert up.valid.sum() >= 2
    np.testing.assert_allclose(up.delay_s, down.delay_s, rtol=1e-12)
    np.testing.assert_allclose(up.gain, down.gain, rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose(up.departure, down.arrival, atol=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_doppler_is_the_phase_progression_of_a_moving_user(axis, sign):
    scene, array = scene_of(ground(), box((60, -40, 0), (70, 40, 60))), isotropic((0, 0, 30), 2, 2)
    velocity = np.zeros(3)
    velocity[axis] = 10.0 * sign
    step = 1e-5
    start = np.array([40.0, 11.0, 22.0])
    paths = trace_images(scene, flight(start, start + velocity * step, velocity=velocity), array, max_depth=1)
    assert paths.valid[:, :3].all()
    cycles = -paths.carrier_hz * np.diff(paths.delay_s, axis=0)[0]
    np.testing.assert_allclose(paths.doppler_hz[0], cycles / step, rtol=1e-4, atol=0.01)


def test_user_moving_towards_the_array_has_positive_doppler():
    paths = trace_images(scene_of(), flight((100.0, 0, 0), velocity=(-10, 0, 0)), isotropic((0, 0, 0)))
    assert paths.doppler_hz[0, 0, 0] == pytest.approx(10 / WAVELENGTH_M, rel=1e-6)


def test_blocked_link_keeps_its_snapshot_without_a_path():
    shelter = box((-10, -10, 0), (10, 10, 20))
    paths = trace_images(scene_of(shelter), flight((0, 0, 10), (100, 0, 30)), isotropic((50, 0, 10)))
    assert paths.has_path.tolist() == [False, True]
    assert all(np.isfinite(getattr(paths, name)).all() for name in ("gain", "delay_s", "doppler_hz", "departure"))
    assert not paths.gain[0].any()


def test_chain_seen_by_a_part_of_the_array_is_valid_there_only():
    """A screen hides the user from the upper rows; the geometric shadow edge falls between the elements."""
    array = isotropic((0, 0, 10), rows=9, cols=1, spacing_wavelengths=5.0)
    user = np.array([20.0, 0.0, 10.0])
    screen = rectangle((10, -50, 10.0), (0, 100, 0), (0, 0, 50))
    paths = trace_images(scene_of(screen), flight(user), array, max_depth=0)
    middle = (array.element_positions[:, 2] + user[2]) / 2
    np.testing.assert_array_equal(paths.valid[0, 0], middle < 10.0 - 1e-9)
    assert (paths.gain[0, 0] != 0).tolist() == paths.valid[0, 0].tolist()


def test_elements_agree_with_one_array_for_each_element():
    """The shared chains and bundled occlusion of an array change nothing for any of its elements."""
    scene, user = town(2), flight((80.0, 75.0, 45.0), velocity=(3, -4, 1))
    array = UPA(4, 4, CARRIER_HZ, (-15.0, 55.0, 40.0), spacing_wavelengths=4.0)
    together = carrier_channel(trace_images(scene, user, array))[0]
    for element in (0, 5, 15):
        position = tuple(array.element_positions[element])
        alone = trace_images(scene, user, dataclasses.replace(array, rows=1, cols=1, position=position))
        # The lone element's user looks at it instead of the array's centre: a hair's breadth of pattern.
        assert abs(carrier_channel(alone)[0, 0] / together[element] - 1) < 0.02


def test_occlusion_agrees_with_brute_force():
    geometry = planar_scene(town(1))
    rng = np.random.default_rng(5)
    start, end = rng.uniform([-30, -30, 1], [150, 150, 50], (2, 300, 3))
    none = np.full((300, 1), -1)
    expected = np.zeros(300, dtype=bool)
    for corner, one, two in zip(geometry.corner, geometry.edge_one, geometry.edge_two, strict=True):
        columns = np.stack(np.broadcast_arrays(one, two, start - end), axis=-1)
        u, v, t = np.linalg.solve(columns, (start - corner)[..., None])[..., 0].T
        expected |= (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0) & (t < 1)
    assert 50 < expected.sum() < 250
    np.testing.assert_array_equal(geometry.blocked(start, end, none), expected)
    np.testing.assert_array_equal(geometry.bundle_blocked(start, end, np.array([-1])), expected)


def test_no_double_bounce_is_lost_or_invented():
    """Every ordered pair of planes, one by one and backwards from the receiver, against the pruned search."""
    geometry = planar_scene(town(4, side=2))
    rng = np.random.default_rng(8)
    total = 0
    for user, anchor in zip(*rng.uniform([-20, -20, 2], [100, 100, 45], (2, 12, 3)), strict=True):
        expected = set()
        for pair in itertools.permutations(range(len(geometry.normal)), 2):
            near = geometry.mirror(user, pair[0])
            stops = [anchor]
            for plane, image in ((pair[1], geometry.mirror(near, pair[1])), (pair[0], near)):
                here, there = (geometry.normal[plane] @ end - geometry.offset[plane] for end in (stops[0], image))
                point = stops[0] + here / (here - there) * (image - stops[0])
                if here * there >= 0 or geometry.triangle_at(point[None], np.array([plane]))[0] < 0:
                    break
                stops.insert(0, point)
            else:
                stops.insert(0, user)
                ignored = np.array([[-1, pair[0]], pair, [pair[1], -1]])
                if not geometry.blocked(np.array(stops[:-1]), np.array(stops[1:]), ignored).any():
                    expected.add(pair)
        found = {chain for chain in find_chains(geometry, user, anchor[None], 2) if len(chain) == 2}
        assert found == expected
        total += len(expected)
    assert total > 5


def test_coplanar_triangles_share_a_plane_and_flat_boxes_have_six():
    assert len(planar_scene(scene_of(box((0, 0, 0), (3, 4, 5)))).normal) == 6
    aligned = scene_of(box((0, 0, 0), (3, 4, 5)), box((10, 0, 0), (13, 4, 9)))
    assert len(planar_scene(aligned).normal) == 9  # two walls and the floor are common


@settings(max_examples=40, deadline=None)
@given(
    cosine=st.floats(0.01, 1.0),
    permittivity=st.floats(1.1, 20.0),
    loss=st.floats(0.0, 5.0),
    thickness=st.floats(0.0, 50.0),
)
def test_reflection_never_gains_and_thick_lossy_slabs_are_half_spaces(cosine, permittivity, loss, thickness):
    medium = permittivity - 1j * loss
    for coefficients in (half_space_reflection(cosine, medium), slab_reflection(cosine, medium, thickness)):
        assert all(abs(value) <= 1.0 + 1e-9 for value in coefficients)
    thick = slab_reflection(np.array(cosine), permittivity - 1j, 500.0)
    np.testing.assert_allclose(thick, half_space_reflection(np.array(cosine), permittivity - 1j), atol=1e-6)
    np.testing.assert_allclose(slab_reflection(np.array(cosine), medium, 0.0), 0.0, atol=1e-12)


def test_brewster_angle_and_normal_incidence():
    permittivity = 4.0
    brewster = np.cos(np.arctan(np.sqrt(permittivity)))
    assert abs(half_space_reflection(np.array(brewster), permittivity)[1]) < 1e-12
    te, tm = half_space_reflection(np.array(1.0), permittivity)
    assert te == pytest.approx(-1 / 3)
    assert tm == pytest.approx(1 / 3)


def test_half_wave_slab_is_transparent():
    te, tm = slab_reflection(np.array(1.0), 4.0, 0.25)  # half a wavelength inside a medium of index 2
    assert abs(te) < 1e-12
    assert abs(tm) < 1e-12


@settings(max_examples=30, deadline=None)
@given(st.floats(-3, 3), st.floats(-1.4, 1.4), st.floats(-3, 3))
def test_pattern_is_transverse_and_turns_with_the_antenna(yaw, pitch, roll):
    array = UPA(1, 1, CARRIER_HZ, orientation_rad=(yaw, pitch, roll))
    directions = np.random.default_rng(0).normal(size=(20, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for slant in (0.0, np.pi / 2, -np.pi / 4):
        turned = field_pattern("tr38901", slant, array.rotation, directions @ array.rotation.T)
        straight = field_pattern("tr38901", slant, np.eye(3), directions)
        np.testing.assert_allclose(turned, straight @ array.rotation.T, atol=1e-9)
        np.testing.assert_allclose(np.sum(straight * directions, axis=1), 0.0, atol=1e-12)


def test_look_at_turns_boresight_to_the_target():
    here, there = np.array([3.0, -2.0, 10.0]), np.array([-4.0, 7.0, 55.0])
    array = UPA(1, 1, CARRIER_HZ, orientation_rad=look_at_angles(here, there))
    np.testing.assert_allclose(array.rotation[:, 0], (there - here) / np.linalg.norm(there - here), atol=1e-12)
    assert look_at_angles(here, here + np.array([0, 0, 5]))[0] == 0.0


@pytest.mark.parametrize(
    "options",
    [
        {"max_depth": 3},
        {"max_depth": -1},
        {"thickness_m": -0.1},
        {"user_pattern": "iso"},
        {"user_polarization": "v"},
    ],
)
def test_unusable_arguments_are_named(options):
    with pytest.raises(InputError, match=next(iter(options))):
        trace_images(scene_of(), flight((5.0, 0, 0)), isotropic((0, 0, 0)), **options)


def test_user_at_an_antenna_is_refused():
    with pytest.raises(InputError, match="coincides with an antenna"):
        trace_images(scene_of(), flight((0.0, 0, 0)), isotropic((0, 0, 0)))
