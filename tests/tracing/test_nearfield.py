"""The ray tracer against closed forms, the image method and itself element by element."""

import logging

import numpy as np
import pytest

from channelfm.arrays import UPA
from channelfm.channels import synthesize
from channelfm.errors import DependencyError, InputError
from channelfm.records import Scene, SceneObject, Trajectory
from channelfm.scenes import procedural
from channelfm.scenes.materials import electromagnetic_properties
from channelfm.scenes.surface import inside_buildings
from channelfm.tracing import trace
from channelfm.tracing import trace as trace_verb
from channelfm.tracing.antennas import look_at_angles
from channelfm.tracing.closed_forms import free_space_channel, two_ray_channel, wall_channel
from channelfm.tracing.fresnel import DEFAULT_THICKNESS_M, complex_permittivity
from channelfm.tracing.images import trace_images
from channelfm.tracing.nearfield import _first_of_each_path, anchor_elements
from channelfm.units import SPEED_OF_LIGHT

pytestmark = [pytest.mark.rt, pytest.mark.usefixtures("sionna_rt")]

CARRIER_HZ = 7e9


def sheet(corner, one, two):
    corner, one, two = (np.asarray(value, float) for value in (corner, one, two))
    return np.array([corner, corner + one, corner + one + two, corner + two])


def scene_of_sheets(*sheets, material="concrete"):
    faces = np.concatenate([np.array([[0, 1, 2], [0, 2, 3]]) + 4 * i for i in range(len(sheets))]).astype(np.int32)
    return Scene(
        name="sheets",
        vertices=np.concatenate(sheets),
        faces=faces,
        face_object=np.repeat(np.arange(len(sheets)), 2).astype(np.int32),
        objects=tuple(SceneObject(f"sheet-{i}", material, "ground") for i in range(len(sheets))),
        bounds=(-1000.0, -1000.0, 1000.0, 1000.0),
    )


GROUND = scene_of_sheets(sheet((-1000, -1000, 0), (2000, 0, 0), (0, 2000, 0)))


def flight(*positions, velocity=(0.0, 0.0, 0.0)):
    points = np.array(positions, float)
    velocities = np.tile(np.asarray(velocity, float), (len(points), 1))
    return Trajectory(np.arange(len(points)) * 1.0, points, velocities, np.zeros(len(points), np.int32), "test")


def free_users(scene, count, seed):
    """Positions about 45 m up in the middle of a city, outside its buildings."""
    middle = np.array([np.mean(scene.bounds[::2]), np.mean(scene.bounds[1::2]), 45.0])
    places = middle + np.random.default_rng(seed).uniform(-120, 120, (4 * count, 3)) * [1, 1, 0.05]
    return flight(*places[~inside_buildings(scene, places)][:count])


def isotropic(rows=1, cols=1, position=(0.0, 0.0, 30.0)):
    return UPA(rows, cols, CARRIER_HZ, position, pattern="isotropic")


def concrete():
    properties = electromagnetic_properties("concrete", CARRIER_HZ)
    return complex_permittivity(properties.relative_permittivity, properties.conductivity_s_per_m, CARRIER_HZ)


def assert_within_a_tenth_of_a_decibel_and_a_degree(channel, expected):
    assert abs(20 * np.log10(abs(channel / expected))) < 0.1
    assert abs(np.degrees(np.angle(channel / expected))) < 1.0


@pytest.mark.parametrize("distance", [3.0, 57.0, 400.0])
def test_free_space_with_carrier_phase(distance):
    array = isotropic()
    paths = trace(GROUND, flight((distance, 0, 30)), array, max_depth=0, user_pattern="isotropic")
    channel = synthesize(paths, array)[0, 0, 0]
    assert_within_a_tenth_of_a_decibel_and_a_degree(channel, free_space_channel(distance, CARRIER_HZ))


@pytest.mark.parametrize(("height", "separation"), [(10.0, 100.0), (25.0, 40.0), (1.5, 250.0)])
def test_two_ray_ground(height, separation):
    array = isotropic()
    user = flight((separation, 0, height))
    paths = trace(GROUND, user, array, max_depth=1, refraction=False, user_pattern="isotropic")
    # The user looks up at the array, which tilts its antenna; the closed form has upright ones, so compare the
    # reflection's share through the image method, which knows both, and the sum through its phase.
    images = trace_images(GROUND, user, array, max_depth=1, user_pattern="isotropic")
    assert paths.valid.sum() == images.valid.sum() == 2
    ours, oracle = synthesize(paths, array)[0, 0, 0], synthesize(images, array)[0, 0, 0]
    assert_within_a_tenth_of_a_decibel_and_a_degree(ours, oracle)


def test_two_ray_ground_closed_form_at_equal_heights():
    array = isotropic(position=(0.0, 0.0, 12.0))
    paths = trace(GROUND, flight((90, 0, 12)), array, max_depth=1, refraction=False, user_pattern="isotropic")
    expected = two_ray_channel(12.0, 12.0, 90.0, CARRIER_HZ, concrete(), DEFAULT_THICKNESS_M)
    assert_within_a_tenth_of_a_decibel_and_a_degree(synthesize(paths, array)[0, 0, 0], expected)


def test_one_wall_closed_form():
    wall = scene_of_sheets(sheet((-500, 20, -500), (1000, 0, 0), (0, 0, 1000)))
    array = isotropic()
    paths = trace(wall, flight((60, 8, 30)), array, max_depth=1, refraction=False, user_pattern="isotropic")
    expected = wall_channel(12.0, 20.0, 60.0, CARRIER_HZ, concrete(), DEFAULT_THICKNESS_M)
    assert_within_a_tenth_of_a_decibel_and_a_degree(synthesize(paths, array)[0, 0, 0], expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [1, -1])
def test_doppler_turns_the_phase_as_a_moving_user_does(axis, sign):
    array, velocity, interval = isotropic(), np.zeros(3), 1e-4
    velocity[axis] = 20.0 * sign
    start = np.array([80.0, 25.0, 50.0])
    paths = trace(
        GROUND,
        flight(start, start + velocity * interval, velocity=velocity),
        array,
        max_depth=0,
        user_pattern="isotropic",
    )
    moved = synthesize(paths, array)[:, 0, 0]
    predicted = synthesize(paths, array, offset_s=interval)[0, 0, 0]
    assert abs(np.angle(moved[1] / predicted)) < np.radians(1.0)
    assert np.sign(paths.doppler_hz[0, 0, 0]) == np.sign(-velocity @ (start - np.array(array.position)))


def test_every_path_of_a_city_agrees_with_the_image_method():
    scene = procedural(seed=3)
    array = UPA(4, 4, CARRIER_HZ, (scene.bounds[0] - 20.0, 0.0, 65.0), orientation_rad=(0.1, 0.1, 0.0))
    users = free_users(scene, 4, seed=0)
    ours = trace(scene, users, array, max_depth=2, refraction=False)
    oracle = trace_images(scene, users, array, max_depth=2)
    for snapshot in range(len(users)):
        mine = ours.delay_s[snapshot][ours.valid[snapshot, :, 5], 5]
        theirs = oracle.delay_s[snapshot][oracle.valid[snapshot, :, 5], 5]
        assert len(mine) == len(theirs)
        np.testing.assert_allclose(np.sort(mine), np.sort(theirs), atol=3e-13)  # 0.1 mm
    reached = oracle.has_path
    assert reached.sum() >= 3
    expected = synthesize(oracle, array)[reached]
    difference = synthesize(ours, array)[reached] - expected
    error = np.sum(np.abs(difference) ** 2, axis=(1, 2)) / np.sum(np.abs(expected) ** 2, axis=(1, 2))
    assert 10 * np.log10(error.max()) < -60.0


@pytest.mark.slow
def test_near_field_agrees_with_tracing_every_element():
    from channelfm.tracing.sionna import SionnaScene

    scene = procedural(seed=5)
    array = UPA(8, 8, CARRIER_HZ, (scene.bounds[0] - 20.0, 0.0, 65.0))
    users = free_users(scene, 3, seed=1)
    ours = synthesize(trace(scene, users, array), array)[:, :, 0]
    tracer = SionnaScene(scene, CARRIER_HZ, 3)
    for position, channel in zip(users.positions_m, ours, strict=True):
        look = np.array(look_at_angles(position, np.array(array.position)))
        gain, delay = tracer.every_element(position, look, array, 200_000, 2_000_000)
        reference = np.sum(gain * np.exp(-2j * np.pi * CARRIER_HZ * delay), axis=1)
        error = np.sum(np.abs(channel - reference) ** 2) / np.sum(np.abs(reference) ** 2)
        assert 10 * np.log10(error) < -35.0


@pytest.mark.parametrize("gap", [0.002, 0.004, 0.02])
def test_a_reflection_that_sionna_finds_twice_counts_once(gap):
    """Two walls whose planes are 1 to 5 mm apart: either wall's reflection is found as that of the other, too."""
    from channelfm.tracing.sionna import SionnaScene

    walls = sheet((40, -20, 0), (0, 20, 0), (0, 0, 40)), sheet((40 + gap, 0, 0), (0, 20, 0), (0, 0, 40))
    scene, array, user = scene_of_sheets(*walls, material="metal"), isotropic(1, 3), np.array([0.5, 8.0, 22.0])
    look = np.array(look_at_angles(user, np.array(array.position)))
    theirs = SionnaScene(scene, CARRIER_HZ, 1).every_element(user, look, array, 1_000_000, 100, elements=[0, 2])
    ours = trace(scene, flight(user), array, max_depth=1, user_pattern="isotropic")
    sources = user, [2 * (40 + gap) - 0.5, 8.0, 22.0]
    for (gain, delay), elements in ((theirs, [0, 2]), ((ours.gain[0].T, ours.delay_s[0].T), [0, 1, 2])):
        for of_gain, of_delay, place in zip(gain, delay, array.element_positions[elements], strict=True):
            expected = [np.linalg.norm(place - source) for source in sources]
            np.testing.assert_allclose(np.sort(of_delay[of_gain != 0]) * SPEED_OF_LIGHT, expected, atol=1e-4)


def test_wall_hides_the_user_from_a_part_of_the_array():
    screen = scene_of_sheets(sheet((10, -50, -100), (0, 50, 0), (0, 0, 300)), material="metal")
    array = isotropic(1, 16)
    paths = trace(screen, flight((20, 0, 30)), array, max_depth=0, user_pattern="isotropic")
    assert paths.valid[0, 0].tolist() == [False] * 8 + [True] * 8  # rays to y > 0 pass the edge at y = 0
    assert (paths.gain[~paths.valid] == 0).all()
    assert (paths.delay_s[~paths.valid] == 0).all()


def test_user_behind_metal_has_no_path_and_no_nan():
    sides = [
        sheet((40, -10, 0), (0, 20, 0), (0, 0, 60)),
        sheet((60, -10, 0), (0, 20, 0), (0, 0, 60)),
        sheet((40, -10, 0), (20, 0, 0), (0, 0, 60)),
        sheet((40, 10, 0), (20, 0, 0), (0, 0, 60)),
        sheet((40, -10, 0), (20, 0, 0), (0, 20, 0)),
        sheet((40, -10, 60), (20, 0, 0), (0, 20, 0)),
    ]
    array = isotropic(2, 2)
    paths = trace(scene_of_sheets(*sides, material="metal"), flight((50, 0, 30), (20, 0, 30)), array, max_depth=2)
    assert paths.has_path.tolist() == [False, True]
    assert paths.line_of_sight.tolist() == [False, True]
    channel = synthesize(paths, array)
    assert np.isfinite(channel).all()
    assert (channel[0] == 0).all()


def test_same_seed_gives_the_same_bytes():
    scene = procedural(seed=1)
    array = UPA(4, 4, CARRIER_HZ, (scene.bounds[0] - 20.0, 0.0, 65.0))
    users = flight((0, 0, 45), (10, 5, 46), velocity=(3, 1, 0))
    first, second = (trace(scene, users, array, rays=50_000) for _ in range(2))
    for name in ("gain", "delay_s", "valid", "doppler_hz", "points_m", "departure", "arrival"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()


def test_first_order_diffraction_reaches_behind_an_edge():
    scene = procedural(seed=1)
    low = flight((0.0, 0.0, 60.0))
    array = UPA(2, 2, CARRIER_HZ, (scene.bounds[0] - 20.0, 0.0, 65.0))
    paths = trace(scene, low, array, max_depth=1, diffraction=True, rays=50_000)
    assert (paths.interactions == 8).any()
    assert np.isfinite(synthesize(paths, array)).all()


def test_material_outside_its_range_is_recorded():
    scene = scene_of_sheets(sheet((-100, -100, 0), (200, 0, 0), (0, 200, 0)), material="medium_dry_ground")
    array = UPA(2, 2, 28e9, (0.0, 0.0, 30.0))
    paths = trace(scene, flight((30, 0, 20)), array, max_depth=1)
    assert "medium_dry_ground" in paths.materials


def test_array_inside_a_building_and_empty_flights_are_refused(tiny_scene):
    with pytest.raises(InputError, match="array"):
        trace(tiny_scene, flight((0, 0, 40)), isotropic(position=(50.0, 0.0, 5.0)))
    with pytest.raises(InputError, match="no snapshots"):
        trace(tiny_scene, flight((0, 0, 40)).select(slice(0, 0)), isotropic())
    with pytest.raises(InputError, match="NaN"):
        trace(tiny_scene, flight((0, np.nan, 40)), isotropic())
    with pytest.raises(InputError, match="max_depth"):
        trace(tiny_scene, flight((0, 0, 40)), isotropic(), max_depth=-1)


def test_without_a_ray_tracer_the_image_method_steps_in_aloud(tiny_scene, monkeypatch, caplog):
    def missing():
        raise DependencyError("no usable LLVM library")

    monkeypatch.setattr("channelfm.tracing.sionna.import_sionna", missing)
    with caplog.at_level(logging.WARNING):
        paths = trace_verb(tiny_scene, flight((0, 0, 40)), isotropic())
    assert paths.method == "images"
    assert "no usable LLVM" in caplog.text
    with pytest.raises(DependencyError):
        trace_verb(tiny_scene, flight((0, 0, 40)), isotropic(), method="near-field")


def test_anchors_include_the_corners_and_lie_close():
    array = UPA(128, 6, CARRIER_HZ)
    anchors = anchor_elements(array)
    assert {0, 5, 127 * 6, 127 * 6 + 5} <= set(anchors.tolist())
    heights = np.unique(array.element_positions[anchors, 2])
    assert 0.2 < np.diff(heights).max() < 0.37
    assert anchor_elements(UPA(1, 1, CARRIER_HZ)).tolist() == [0]


def test_a_path_found_twice_is_kept_once():
    user = np.array([0, 0, 0, 1])
    kinds = np.array([[1, 0], [1, 0], [1, 0], [1, 0]])
    points = np.array([[[1, 1, 0], [5, 5, 5]], [[1, 1.001, 0], [0, 0, 0]], [[2, 1, 0], [0, 0, 0]], [[1, 1, 0]] * 2])
    kept = _first_of_each_path(user, kinds, points)
    assert kept[2]
    assert kept[3]
    assert kept[0] != kept[1]
    assert len(_first_of_each_path(np.zeros(0, int), np.zeros((0, 2), int), np.zeros((0, 2, 3)))) == 0
