import dataclasses
import itertools

import numpy as np
import pytest
import shapely
from numpy.testing import assert_allclose

from channelfm import mobility, scenes
from channelfm.errors import InputError
from channelfm.maps import Footprint
from channelfm.mobility import motion
from channelfm.mobility.motion import KNOT_M, Drive, SmoothLine
from channelfm.mobility.vehicles import LANE_M, lane_graph
from channelfm.records import Road
from channelfm.scenes.assembly import assemble
from channelfm.scenes.surface import inside_buildings

MODELS = [mobility.vehicles, mobility.pedestrians]
HOUSE = Footprint("way/1", shapely.box(40, 40, 60, 60), 6.0, 0.0, "height", "brick")


@pytest.fixture(scope="module")
def city():
    return scenes.procedural(0)


def scene_of(roads, houses=(HOUSE,), bounds=(-200.0, -200.0, 200.0, 200.0)):
    return assemble("roads", list(houses), list(roads), bounds)


def cross(kind="residential"):
    """Two streets that cross at (0, 0)."""
    return [
        Road(kind, ((-200.0, 0.0), (0.0, 0.0), (200.0, 0.0))),
        Road(kind, ((0.0, -200.0), (0.0, 0.0), (0.0, 200.0))),
    ]


def ring(oneway):
    corners = [(150.0, 0.0), (0.0, 150.0), (-150.0, 0.0), (0.0, -150.0), (150.0, 0.0)]
    return [Road("primary", tuple(corners), oneway)]


def nobody(points):
    return np.zeros(len(points), dtype=bool)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("interval_s", [0.001, 0.3, 1.0])
def test_position_is_the_integral_of_velocity(city, model, interval_s):
    track = model(city, num_users=5, num_steps=20, interval_s=interval_s, seed=2)
    position, velocity = track.positions_m.reshape(5, 20, 3), track.velocities_mps.reshape(5, 20, 3)
    assert_allclose(np.cumsum(velocity[:, :-1], axis=1) * interval_s, position[:, 1:] - position[:, :1], atol=1e-9)
    assert track.times_s[:20] == pytest.approx(np.arange(20) * interval_s)


@pytest.mark.parametrize("model", MODELS)
def test_nobody_is_inside_a_building(city, model):
    track = model(city, num_users=10, num_steps=120, seed=1)
    between = track.positions_m + track.velocities_mps * 0.5
    assert not inside_buildings(city, track.positions_m).any()
    assert not inside_buildings(city, between).any()
    x_min, y_min, x_max, y_max = city.bounds
    low, high = (x_min - 2 * LANE_M, y_min - 2 * LANE_M), (x_max + 2 * LANE_M, y_max + 2 * LANE_M)
    assert ((track.positions_m[:, :2] >= low) & (track.positions_m[:, :2] <= high)).all()
    assert (track.positions_m[:, 2] == 1.5).all()


@pytest.mark.parametrize("model", MODELS)
def test_users_are_seeded_and_independent_of_their_number(city, model):
    few, many, again, other = (
        model(city, 2, seed=7),
        model(city, 5, seed=7),
        model(city, 2, seed=7),
        model(city, seed=8),
    )
    assert few.positions_m.tobytes() == again.positions_m.tobytes()
    assert np.array_equal(few.positions_m, many.positions_m[: len(few)])
    assert not np.array_equal(few.positions_m, other.positions_m[: len(few)])
    assert few.kind == model.__name__
    assert len(np.unique(many.positions_m[::25], axis=0)) == 5


def test_vehicles_move_smoothly_at_a_millisecond(city):
    track = mobility.vehicles(city, num_users=20, num_steps=3000, interval_s=0.001, seed=0)
    velocity = track.velocities_mps.reshape(20, 3000, 3)
    acceleration = np.linalg.norm(np.diff(velocity, axis=1), axis=-1) / 0.001
    assert acceleration.max() < 1.1 * np.hypot(motion.BRAKING_MPS2, motion.SIDEWAYS_MPS2)
    assert np.linalg.norm(velocity, axis=-1).max() < 14.1


@pytest.mark.parametrize(("side", "sign"), [("right", -1.0), ("left", 1.0)])
def test_vehicles_keep_to_their_side_of_the_road(side, sign):
    track = mobility.vehicles(scene_of(cross()), num_users=20, num_steps=40, seed=3, side=side)
    position, velocity = track.positions_m, track.velocities_mps
    eastwards = (velocity[:, 0] > 3.0) & (np.abs(velocity[:, 1]) < 0.01)
    middle = (np.abs(position[:, 0]) > 20.0) & (np.abs(position[:, 0]) < 170.0)
    assert (eastwards & middle).sum() > 20
    assert_allclose(position[eastwards & middle, 1], sign * LANE_M, atol=0.01)


def test_vehicles_turn_at_junctions_and_back_at_dead_ends_only():
    track = mobility.vehicles(scene_of(cross()), num_users=10, num_steps=300, seed=0, speed_mps=(10.0, 14.0))
    for user in range(10):
        along_x = np.abs(track.velocities_mps[track.track == user, 0]) > 3.0
        along_y = np.abs(track.velocities_mps[track.track == user, 1]) > 3.0
        assert along_x.any()
        assert along_y.any()
    position, velocity = track.positions_m.reshape(10, 300, 3), track.velocities_mps.reshape(10, 300, 3)
    back = (velocity[:, 1:] * velocity[:, :-1]).sum(axis=-1) < -0.1
    assert np.abs(position[:, 1:][back]).max(axis=1).min() > 150.0


def test_vehicles_stop_and_go():
    track = mobility.vehicles(scene_of(cross()), num_users=20, num_steps=120, seed=0)
    speed = np.linalg.norm(track.velocities_mps, axis=1).reshape(20, 120)
    standing = speed < 1e-6
    assert 0.02 < standing.mean() < 0.5
    assert (np.diff(standing.astype(int), axis=1) == 1).any()
    assert (np.diff(standing.astype(int), axis=1) == -1).any()
    places = track.positions_m.reshape(20, 120, 3)[standing]
    assert np.abs(places[:, :2]).max(axis=1).max() < 12.0  # before the only junction
    assert np.abs(places[:, :2]).max(axis=1).min() > 2.0


def test_oneway_streets_are_driven_one_way():
    track = mobility.vehicles(scene_of(ring(oneway=True)), num_users=6, num_steps=60, seed=0)
    x, y = track.positions_m[:, :2].T
    turning = x * track.velocities_mps[:, 1] - y * track.velocities_mps[:, 0]
    assert turning.min() >= 0.0
    both = mobility.vehicles(scene_of(ring(oneway=False)), num_users=6, num_steps=60, seed=0)
    x, y = both.positions_m[:, :2].T
    turning = x * both.velocities_mps[:, 1] - y * both.velocities_mps[:, 0]
    assert turning.min() < 0.0 < turning.max()


def test_lanes_through_buildings_and_cul_de_sacs_of_oneway_streets_are_left_out():
    roads = [*cross(), Road("service", ((0.0, 50.0), (50.0, 50.0), (100.0, 0.0)))]
    assert len(lane_graph(scene_of(cross()), (-200, -200, 200, 200), "right", nobody).edges) == 8
    scene = scene_of(roads)

    def inside(points):
        return inside_buildings(scene, np.column_stack([points, np.full(len(points), 1.5)]))

    assert len(lane_graph(scene, (-200, -200, 200, 200), "right", inside).edges) == 8
    trap = [*cross(), Road("service", ((200.0, 0.0), (200.0, 100.0)), True)]
    assert len(lane_graph(scene_of(trap), (-200, -200, 200, 200), "right", nobody).edges) == 8


def test_a_drive_obeys_limits_and_waits():
    line = SmoothLine.through(np.column_stack([np.arange(0.0, 400.0, KNOT_M), np.zeros(800)]))
    drive = Drive.along(line, 10.0, line.knots[np.array([400])], np.array([5.0]))
    times = np.linspace(0.0, drive.times_s[-1], 20_001)
    length = drive.length_at(times)
    speed = np.diff(length) / np.diff(times)
    assert np.diff(length).min() >= -1e-9
    assert speed.max() <= 10.0 + 1e-6
    acceleration = np.diff(speed) / (times[1] - times[0])
    assert acceleration.max() <= motion.ACCELERATION_MPS2 * 1.01
    assert acceleration.min() >= -motion.BRAKING_MPS2 * 1.01
    # 5 s of standing, and what braking from 10 m/s and starting again costs: v/2b + v/2a
    free = line.lengths_m[-1] / 10.0
    assert drive.times_s[-1] - free == pytest.approx(5.0 + 10.0 / 6.0 + 10.0 / 4.0, rel=1e-3)


def test_corners_are_driven_slowly():
    points = np.concatenate(
        [
            np.column_stack([np.arange(0.0, 100.0, KNOT_M), np.zeros(200)]),
            np.column_stack([np.full(200, 100.0), np.arange(0.0, 100.0, KNOT_M)]),
        ]
    )
    line = SmoothLine.through(points)
    drive = Drive.along(line, 14.0, np.empty(0, dtype=np.int64), np.empty(0))
    assert drive.speeds_mps.min() == pytest.approx(np.sqrt(motion.SIDEWAYS_MPS2 / line.curvature().max()), rel=1e-6)
    assert 2.0 < drive.speeds_mps.min() < 6.0
    assert np.abs(np.linalg.norm(line.spline(line.lengths_m, 1), axis=1) - 1.0).max() < 0.01


def test_pedestrians_walk_at_one_speed_with_bounded_changes_of_heading(city):
    track = mobility.pedestrians(scene_of(cross()), num_users=12, num_steps=60, seed=0, speed_mps=(1.0, 1.5))
    velocity = track.velocities_mps.reshape(12, 60, 3)
    speed = np.linalg.norm(velocity, axis=-1)
    assert np.ptp(speed, axis=1).max() < 1e-9
    assert 1.0 <= speed.min() <= speed.max() <= 1.5
    heading = np.unwrap(np.arctan2(velocity[..., 1], velocity[..., 0]), axis=1)
    far = (np.abs(track.positions_m[:, :2]).max(axis=1) < 190.0) & (
        np.abs(track.positions_m[:, :2] - 50.0).max(axis=1) > 25.0
    )
    turns = np.abs(np.diff(heading, axis=1))[far.reshape(12, 60)[:, 1:]]
    assert turns.max() <= np.deg2rad(20.0) + 1e-9
    assert np.ptp(heading) > 0.5
    start = track.positions_m[track.times_s == 0.0, :2]
    beside = np.abs(start).min(axis=1)
    assert ((beside >= 3.0) & (beside <= 6.0)).all()


def test_pedestrians_need_no_roads():
    track = mobility.pedestrians(scene_of([]), num_users=3)
    assert len(track) == 75


@pytest.mark.parametrize("model", MODELS)
def test_height_counts_from_the_ground(model):
    scene = hill(cross())
    track = model(scene, num_users=5, num_steps=40, seed=1, height_m=2.0)
    assert_allclose(track.positions_m[:, 2], slope(track.positions_m[:, 0]) + 2.0, atol=1e-6)
    assert np.ptp(track.positions_m[:, 2]) > 1.0


def slope(x):
    """Ground height of ``hill`` at x: 20 % up towards the east."""
    return 0.2 * (x + 300.0)


def hill(roads, houses=(HOUSE,)):
    """A scene whose ground rises towards the east."""
    flat = scene_of(roads, houses)
    ground = np.flatnonzero([item.kind == "ground" for item in flat.objects])[0]
    used = np.unique(flat.faces[flat.face_object == ground])
    vertices = flat.vertices.copy()
    vertices[used, 2] = slope(vertices[used, 0])
    return dataclasses.replace(flat, vertices=vertices)


@pytest.mark.parametrize("model", [mobility.cruise, mobility.street_guided])
@pytest.mark.parametrize("mode", ["walk", "sinusoid"])
@pytest.mark.parametrize("interval_s", [0.001, 1.0, 5.0])
def test_flights_over_a_hill_keep_altitude_and_margin(model, mode, interval_s):
    tall = Footprint("way/2", shapely.box(-60, -60, -10, -10), 150.0, 0.0, "height", "glass")
    scene = hill(cross(), (HOUSE, tall))
    band = (20.0, 30.0) if model is mobility.cruise else (12.0, 40.0)
    flight = model(
        scene,
        num_uavs=4,
        num_steps=30,
        interval_s=interval_s,
        seed=1,
        altitude_m=band,
        altitude_mode=mode,
        margin_m=4.0,
    )
    altitude = flight.positions_m[:, 2] - slope(flight.positions_m[:, 0])
    assert altitude.min() >= band[0] - 1e-6
    assert altitude.max() <= band[1] + 1e-6
    corners = shapely.multipoints(flight.positions_m[:, :2])
    assert shapely.distance(corners, tall.area) >= 4.0


def test_the_default_altitude_counts_roofs_from_the_ground():
    tall = Footprint("way/2", shapely.box(100, 100, 190, 190), 180.0, 0.0, "height", "glass")  # on a hill of 80-98 m
    flight = mobility.cruise(hill(cross(), (tall,)), num_uavs=3, seed=0)
    altitude = flight.positions_m[:, 2] - slope(flight.positions_m[:, 0])
    assert 80.0 < altitude.min() <= altitude.max() < 125.0


@pytest.mark.parametrize(
    ("model", "bad"),
    [
        *itertools.product(
            MODELS,
            [
                {"num_users": 0},
                {"num_steps": 0},
                {"interval_s": 0.0},
                {"seed": -1},
                {"speed_mps": (0.0, 1.0)},
                {"height_m": 0.0},
            ],
        ),
        (mobility.vehicles, {"side": "middle"}),
        (mobility.pedestrians, {"bounds": (0.0, 0.0, 0.0, 10.0)}),
    ],
)
def test_bad_arguments_of_ground_users_name_themselves(city, model, bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        model(city, **bad)


def test_scenes_without_room_for_ground_users():
    with pytest.raises(InputError, match="no roads to drive on"):
        mobility.vehicles(scene_of(cross("footway")))
    with pytest.raises(InputError, match="no roads to drive on"):
        mobility.vehicles(scene_of(cross()), bounds=(100.0, 100.0, 150.0, 150.0))
    block = Footprint("way/1", shapely.box(-200, -200, 200, 200), 6.0, 0.0, "height", "brick")
    with pytest.raises(InputError, match="no free ground"):
        mobility.pedestrians(scene_of([], [block]))
    with pytest.raises(InputError, match="no roads to drive on"):
        mobility.vehicles(scene_of(cross(), [block]))


def test_steady_vehicles_keep_every_speed_alike():
    track = mobility.vehicles(scene_of(cross()), 60, 20, 1e-3, seed=0, speed_mps=(0.5, 30.0), steady=True)
    speed = np.linalg.norm(track.velocities_mps, axis=1).reshape(60, 20)
    assert np.ptp(speed, axis=1).max() < 0.2
    assert np.histogram(speed[:, 0], [0, 10, 20, 30])[0].min() > 10
    assert (np.linalg.norm(np.diff(track.positions_m.reshape(60, 20, 3), axis=1), axis=2) <= 0.031).all()
