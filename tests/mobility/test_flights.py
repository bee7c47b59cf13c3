import itertools

import numpy as np
import pytest
import shapely

from channelfm import mobility, scenes
from channelfm.errors import InputError
from channelfm.maps import Footprint
from channelfm.mobility.flights import CLIMB_MPS, altitude_profile
from channelfm.mobility.streets import street_graph
from channelfm.records import Road
from channelfm.scenes.assembly import assemble

MODELS = [mobility.cruise, mobility.street_guided]


@pytest.fixture(scope="module")
def city():
    return scenes.procedural(0)


def clearance_violation(scene, flight, margin_m):
    """How far [m] any surface within the margin horizontally reaches into the margin below a flight; found from the
    triangles themselves, at points every half metre of the snapshots and the lines between them."""
    triangles = scene.vertices[scene.faces]
    shadows = shapely.convex_hull(shapely.multipoints(triangles[:, :, :2]))
    tree = shapely.STRtree(shadows)
    worst = -np.inf
    for track in np.unique(flight.track):
        corners = flight.positions_m[flight.track == track]
        pieces = [
            start + (end - start) * np.linspace(0, 1, int(np.linalg.norm(end - start) / 0.5) + 2)[:, None]
            for start, end in itertools.pairwise(corners)
        ]
        points = np.concatenate(pieces)
        near, triangle = tree.query(shapely.points(points[:, :2]), predicate="dwithin", distance=margin_m)
        worst = max(worst, (triangles[triangle, :, 2].max(axis=1) + margin_m - points[near, 2]).max())
    return worst


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("altitude_m", [None, (12.0, 30.0)])
@pytest.mark.parametrize("seed", [0, 1])
def test_flights_keep_the_margin_everywhere(city, model, altitude_m, seed):
    flight = model(city, num_uavs=5, num_steps=30, seed=seed, altitude_m=altitude_m, margin_m=5.0)
    assert clearance_violation(city, flight, 5.0) <= 1e-9
    x, y, z = flight.positions_m.T
    x_min, y_min, x_max, y_max = city.bounds
    assert (x >= x_min).all()
    assert (x <= x_max).all()
    assert (y >= y_min).all()
    assert (y <= y_max).all()
    if altitude_m:
        assert z.min() >= altitude_m[0]
        assert z.max() <= altitude_m[1]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("interval_s", [0.001, 0.4, 1.0])
@pytest.mark.parametrize("mode", ["walk", "sinusoid"])
def test_each_position_is_the_former_one_plus_velocity_times_interval(city, model, interval_s, mode):
    flight = model(city, num_uavs=2, num_steps=12, interval_s=interval_s, seed=3, altitude_mode=mode)
    for track in range(2):
        positions = flight.positions_m[flight.track == track]
        velocities = flight.velocities_mps[flight.track == track]
        assert np.allclose(np.diff(positions, axis=0), velocities[:-1] * interval_s, atol=1e-9)
    assert np.isfinite(flight.velocities_mps).all()
    assert np.abs(flight.velocities_mps[:, 2]).max() <= CLIMB_MPS + 1e-9
    assert np.hypot(*flight.velocities_mps[:, :2].T).max() <= 20.0 + 1e-6


def test_cruise_keeps_one_speed_within_the_range(city):
    flight = mobility.cruise(city, num_uavs=6, seed=1, speed_mps=(8.0, 12.0))
    speed = np.hypot(*flight.velocities_mps[:, :2].T).reshape(6, -1)
    assert np.ptp(speed, axis=1).max() < 1e-9
    assert speed.min() >= 8.0
    assert speed.max() <= 12.0


def test_long_intervals_stay_clear_too(city):
    flight = mobility.cruise(city, num_uavs=3, num_steps=20, interval_s=10.0, seed=2)
    assert flight.times_s[:3].tolist() == [0.0, 10.0, 20.0]
    steps = np.linalg.norm(np.diff(flight.positions_m.reshape(3, 20, 3), axis=1), axis=-1)
    assert steps.max() <= 10 * np.hypot(20.0, CLIMB_MPS)


@pytest.mark.parametrize("model", MODELS)
def test_flights_are_seeded_and_uavs_independent_of_their_number(city, model):
    few, many, other = model(city, 2, seed=7), model(city, 5, seed=7), model(city, 2, seed=8)
    assert np.array_equal(few.positions_m, many.positions_m[: len(few)])
    assert not np.array_equal(few.positions_m, other.positions_m)
    assert few.track.tolist() == [0] * 25 + [1] * 25
    assert few.kind == model.__name__
    assert few.seed == 7


@pytest.mark.parametrize("model", MODELS)
def test_default_flights_spread_over_the_city(city, model):
    flight = model(city)
    starts = flight.positions_m[flight.times_s == 0.0]
    apart = np.linalg.norm(starts[:, None, :2] - starts[None, :, :2], axis=-1)[np.triu_indices(4, 1)]
    assert apart.min() > 40.0
    assert np.ptp(flight.positions_m[:, :2], axis=0).min() > 200.0


def test_headings_change_little_in_free_air():
    lone = assemble(
        "lone", [Footprint("way/1", shapely.box(0, 0, 5, 5), 5.0, 0.0, "height", "brick")], [], (-5e3, -5e3, 5e3, 5e3)
    )
    flight = mobility.cruise(lone, num_uavs=3, num_steps=40, speed_mps=(5, 8), bounds=(-1e3, -1e3, 1e3, 1e3))
    velocity = flight.velocities_mps.reshape(3, 40, 3)
    heading = np.unwrap(np.arctan2(velocity[..., 1], velocity[..., 0]), axis=1)
    far_from_edge = np.abs(flight.positions_m[:, :2]).max(axis=1).reshape(3, 40)[:, 1:] < 0.95e3
    assert far_from_edge.mean() > 0.5
    assert np.abs(np.diff(heading, axis=1))[far_from_edge].max() <= np.deg2rad(5.0) + 1e-9
    assert 30.0 <= flight.positions_m[:, 2].min() <= flight.positions_m[:, 2].max() <= 50.0


def test_the_default_altitude_rises_above_roofs():
    tall = assemble(
        "tall", [Footprint("way/1", shapely.box(0, 0, 150, 150), 80.0, 0.0, "height", "glass")], [], (0, 0, 200, 200)
    )
    flight = mobility.cruise(tall, num_uavs=2)
    assert 85.0 <= flight.positions_m[:, 2].min() <= flight.positions_m[:, 2].max() <= 105.0


@pytest.mark.parametrize("mode", ["walk", "sinusoid"])
def test_altitudes_move_within_their_band(mode):
    profiles = [altitude_profile(np.random.default_rng(k), (30.0, 50.0), 200, 1.0, mode) for k in range(20)]
    assert min(profile.min() for profile in profiles) >= 30.0
    assert max(profile.max() for profile in profiles) <= 50.0
    assert max(np.abs(np.diff(profile)).max() for profile in profiles) <= CLIMB_MPS + 1e-9
    assert min(np.ptp(profile) for profile in profiles) > 2.0


def crossing(kind="residential"):
    """Two streets that cross at (0, 0), and a low house beside them."""
    roads = [
        Road(kind, ((-100.0, 0.0), (0.0, 0.0), (100.0, 0.0))),
        Road(kind, ((0.0, -100.0), (0.0, 0.0), (0.0, 100.0))),
    ]
    house = Footprint("way/1", shapely.box(20, 20, 30, 30), 6.0, 0.0, "height", "brick")
    return assemble("crossing", [house], roads, (-100.0, -100.0, 100.0, 100.0))


def test_streets_join_where_roads_share_a_point():
    graph = street_graph(crossing())
    assert len(graph.points) == 5
    assert sorted(map(len, graph.neighbours)) == [1, 1, 1, 1, 4]


def test_street_guided_flights_follow_the_streets_and_turn():
    flight = mobility.street_guided(crossing(), num_uavs=4, num_steps=60, seed=0, speed_mps=(4.0, 6.0))
    off_street = np.abs(flight.positions_m[:, :2]).min(axis=1)
    assert off_street.max() < 1e-9
    for track in range(4):
        x, y = flight.positions_m[flight.track == track, :2].T
        assert np.ptp(x) + np.ptp(y) > 50.0
        assert max(np.abs(x).max(), np.abs(y).max()) <= 100.0
    arms = {(round(np.sign(x)), round(np.sign(y))) for x, y in flight.positions_m[:, :2]}
    assert len(arms) >= 4


def test_a_uav_turns_back_only_at_dead_ends():
    flight = mobility.street_guided(crossing(), num_uavs=3, num_steps=80, seed=1, speed_mps=(5.0, 5.0))
    velocity = flight.velocities_mps.reshape(3, 80, 3)[..., :2]
    position = flight.positions_m.reshape(3, 80, 3)[..., :2]
    reversed_here = (velocity[:, 1:] * velocity[:, :-1]).sum(axis=-1) < -1e-9
    assert reversed_here.any()
    assert np.abs(position[:, 1:][reversed_here]).max(axis=1).min() > 90.0


@pytest.mark.parametrize("roads", ["none", "footway"])
def test_a_scene_without_streets(roads):
    scene = scenes.procedural(0)
    scene = crossing("footway") if roads == "footway" else type(scene)(**{**vars(scene), "roads": ()})
    with pytest.raises(InputError, match="no streets"):
        mobility.street_guided(scene)


@pytest.mark.parametrize("model", MODELS)
def test_a_flight_without_room(model):
    block = Footprint("way/1", shapely.box(-100, -100, 100, 100), 60.0, 0.0, "height", "brick")
    full = assemble("full", [block], crossing().roads, (-100.0, -100.0, 100.0, 100.0))
    with pytest.raises(InputError, match=r"no room for a .* flight at 30-50 m .*raise altitude_m"):
        model(full, altitude_m=(30.0, 50.0))


@pytest.mark.parametrize(
    "bad",
    [
        {"num_uavs": 0},
        {"num_steps": 0},
        {"interval_s": 0.0},
        {"seed": -1},
        {"speed_mps": (0.0, 5.0)},
        {"speed_mps": (9.0, 5.0)},
        {"altitude_m": (50.0, 30.0)},
        {"altitude_mode": "zigzag"},
        {"margin_m": -1.0},
        {"bounds": (0.0, 0.0, 0.0, 10.0)},
    ],
)
def test_bad_arguments_name_themselves(city, bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        mobility.cruise(city, **bad)
