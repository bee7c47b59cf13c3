import dataclasses

import numpy as np
import pytest

from channelfm import UPA, mobility, scenes
from channelfm.errors import InputError
from channelfm.mobility.statistics import is_visible
from channelfm.records import Trajectory

ARRAY = UPA(rows=8, cols=8, carrier_hz=7e9, position=(0.0, 0.0, 10.0))


def flight_at(points, speed=3.0):
    points = np.asarray(points, dtype=np.float64)
    return Trajectory(
        times_s=np.arange(len(points), dtype=np.float64),
        positions_m=points,
        velocities_mps=np.tile([speed, 0.0, 0.0], (len(points), 1)),
        track=np.zeros(len(points), np.int32),
        kind="test",
    )


def test_visibility_behind_a_box_is_a_shadow(tiny_scene):
    # box: x 40-60, y -10-10, 15 m high; from (0, 0, 10) its roof's edge at x = 60 shadows heights below 10 + 5 x / 60
    # (seen over the nearer edge at x = 40: below 10 + 5 x / 40, which is more)
    x = 120.0
    edge = 10.0 + 5.0 * x / 40.0
    points = [(x, 0.0, edge - 0.1), (x, 0.0, edge + 0.1), (39.0, 0.0, 1.0), (x, 60.0, 1.0), (50.0, 0.0, 16.5)]
    assert is_visible(tiny_scene, points, ARRAY.position).tolist() == [False, True, True, True, True]
    assert not is_visible(tiny_scene, [(50.0, 0.0, -1.0)], ARRAY.position).any()


def test_visibility_is_mutual_and_agrees_with_a_dense_search(tiny_scene):
    rng = np.random.default_rng(0)
    points = rng.uniform((-10.0, -60.0, 1.0), (150.0, 60.0, 40.0), (300, 3))
    target = np.array([-15.0, 20.0, 12.0])
    seen = is_visible(tiny_scene, points, target)
    share = np.linspace(0.0, 1.0, 4001)[:, None]
    line = points[:, None] + share * (target - points[:, None])
    inside = ((line > (40.0, -10.0, 0.0)) & (line < (60.0, 10.0, 15.0))).all(axis=-1).any(axis=1)
    deep = inside.mean()
    assert 0.05 < deep < 0.9
    assert (seen == ~inside).mean() > 0.99
    back = [is_visible(tiny_scene, [target], point)[0] for point in points[:40]]
    assert back == seen[:40].tolist()


def test_counts_of_a_known_flight(tiny_scene):
    near = ARRAY.rayleigh_distance_m * 0.9
    points = [(near, 0.0, 10.0), (0.0, 50.0, 10.0), (100.0, 0.0, 5.0), (100.0, 0.0, 34.0)]
    found = mobility.flight_statistics(tiny_scene, flight_at(points), ARRAY)
    assert (found.snapshots, found.tracks) == (4, 1)
    assert (found.near, found.far) == (1, 3)
    assert (found.line_of_sight, found.no_line_of_sight, found.near_and_line_of_sight) == (3, 1, 1)
    assert found.heights.tolist() == [1, 2, 0, 0, 0, 1]
    assert found.height_edges_m.tolist() == [5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0]
    assert found.speeds.tolist() == [4]
    assert found.speed_edges_mps.tolist() == [2.5, 5.0]
    assert found.distance_range_m == pytest.approx((near, np.hypot(100.0, 24.0)))


def test_statistics_of_a_city_flight_and_their_picture(tmp_path):
    city = scenes.procedural(0)
    flight = mobility.cruise(city, num_uavs=6, num_steps=40, altitude_m=(15.0, 40.0))
    array = UPA(rows=64, cols=64, carrier_hz=7e9, position=(0.0, -225.0, 30.0))
    found = mobility.flight_statistics(city, flight, array)
    assert found.heights.sum() == found.speeds.sum() == found.snapshots == 240
    assert 0 < found.near < 240
    assert 0 < found.line_of_sight < 240
    picture = mobility.draw_statistics(found, tmp_path / "flight.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="cannot write the picture"):
        mobility.draw_statistics(found, tmp_path / "flight.nonsense")


def test_line_of_sight_may_come_from_paths(tiny_scene):
    class SomePaths:
        positions_m = np.array([(30.0, 0.0, 10.0), (100.0, 0.0, 5.0)])
        line_of_sight = np.array([False, True])

        def __len__(self):
            return 2

    found = mobility.flight_statistics(tiny_scene, flight_at(SomePaths.positions_m), ARRAY, SomePaths())
    assert found.line_of_sight == 1
    with pytest.raises(InputError, match="do not belong"):
        mobility.flight_statistics(tiny_scene, flight_at([(0.0, 0.0, 5.0)] * 2), ARRAY, SomePaths())


def test_an_empty_flight(tiny_scene):
    with pytest.raises(InputError, match="no snapshot"):
        mobility.flight_statistics(tiny_scene, flight_at(np.empty((0, 3))), ARRAY)


def test_statistics_are_frozen(tiny_scene):
    found = mobility.flight_statistics(tiny_scene, flight_at([(30.0, 0.0, 10.0)]), ARRAY)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.near = 5
