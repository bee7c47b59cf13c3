import importlib.util
import itertools
import os
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
import shapely

from channelfm import mobility, scenes
from channelfm.errors import DependencyError, InputError
from channelfm.maps.projection import to_local
from channelfm.mobility import sumo_network
from channelfm.mobility.airspace import open_airspace
from channelfm.mobility.sumo_network import build_network

PLACES = {"Berlin": (52.52, 13.4), "Sydney": (-33.87, 151.2), "Quito": (-0.01, -78.5)}
STREETS, BLOCK_DEG = 4, 0.001


@pytest.fixture(scope="session")
def libsumo():
    """SUMO, imported as the package does it: by itself it would take rasterio's projections away."""
    if importlib.util.find_spec("libsumo") is None:
        pytest.skip("SUMO comes with the extra sumo")
    return sumo_network.import_sumo("libsumo")


def write_grid(path, place=PLACES["Berlin"], height=12, kind="residential", head="", lights=False):
    """Streets every 0.001 degrees, crossing at right angles, and a house in the middle of each block."""
    south, west = place
    nodes = {
        (row, col): (row * STREETS + col + 1, south + row * BLOCK_DEG, west + col * BLOCK_DEG)
        for row, col in itertools.product(range(STREETS), repeat=2)
    }
    lines = [[nodes[row, col][0] for col in range(STREETS)] for row in range(STREETS)]
    lines += [[nodes[row, col][0] for row in range(STREETS)] for col in range(STREETS)]
    root = ElementTree.Element("osm", version="0.6", generator="test")
    places = list(nodes.values())
    ways = [(line, {"highway": kind}) for line in lines]
    for row, col in itertools.product(range(STREETS - 1), repeat=2):
        corners = [(0.3, 0.3), (0.3, 0.7), (0.7, 0.7), (0.7, 0.3)]
        first = len(places) + 1
        places += [
            (first + number, south + (row + up) * BLOCK_DEG, west + (col + right) * BLOCK_DEG)
            for number, (up, right) in enumerate(corners)
        ]
        ways.append(([first, first + 1, first + 2, first + 3, first], {"building": "yes", "height": str(height)}))
    ElementTree.SubElement(
        root,
        "bounds",
        minlat=str(south - BLOCK_DEG / 2),
        minlon=str(west - BLOCK_DEG / 2),
        maxlat=str(south + (STREETS - 0.5) * BLOCK_DEG),
        maxlon=str(west + (STREETS - 0.5) * BLOCK_DEG),
    )
    for number, lat, lon in places:
        node = ElementTree.SubElement(root, "node", id=str(number), version="1", lat=f"{lat:.9f}", lon=f"{lon:.9f}")
        if lights and number in (6, 7, 10, 11):  # the inner crossings
            ElementTree.SubElement(node, "tag", k="highway", v="traffic_signals")
    for number, (refs, tags) in enumerate(ways, start=1000):
        way = ElementTree.SubElement(root, "way", id=str(number), version="1")
        for ref in refs:
            ElementTree.SubElement(way, "nd", ref=str(ref))
        for key, value in tags.items():
            ElementTree.SubElement(way, "tag", k=key, v=value)
    path.write_text(head + ElementTree.tostring(root, encoding="unicode"), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def grid(tmp_path_factory):
    path = write_grid(tmp_path_factory.mktemp("map") / "grid.osm")
    return path, scenes.from_osm(path)


def network_nodes(path, scene, folder):
    """Places of the network's nodes [N, 2] in the scene's frame."""
    network = build_network(path, folder, scene.origin, scene.bounds)
    return network, network.to_scene(np.array([node.getCoord() for node in network.net.getNodes()]))


@pytest.mark.parametrize("place", list(PLACES))
def test_crossings_lie_where_the_map_has_them(libsumo, tmp_path, place):
    path = write_grid(tmp_path / "grid.osm", PLACES[place])
    scene = scenes.from_osm(path)
    _, found = network_nodes(path, scene, tmp_path)
    south, west = PLACES[place]
    steps = np.arange(STREETS) * BLOCK_DEG
    lonlat = np.stack(np.meshgrid(west + steps, south + steps), axis=-1).reshape(-1, 2)
    expected = to_local(lonlat, scene.origin)
    apart = np.linalg.norm(found[:, None] - expected[None], axis=-1)
    assert len(found) == STREETS**2
    assert apart.min(axis=1).max() < 0.02
    assert apart.min(axis=0).max() < 0.02


@pytest.mark.parametrize("name", ["monaco_montecarlo_1km.osm.pbf", "berlin_kreuzberg_lehider.osm.gz"])
def test_real_maps_are_aligned_within_a_decimetre(libsumo, extract, tmp_path, name):
    scene = scenes.from_osm(extract(name))
    network, found = network_nodes(extract(name), scene, tmp_path)
    corners = shapely.union_all(shapely.points(np.array([point for road in scene.roads for point in road.points])))
    assert len(found) > 50
    assert shapely.distance(shapely.points(found), corners).max() < 0.1
    # SUMO's own way back to longitude and latitude
    libsumo.start(["sumo", "--net-file", str(network.path), "--no-step-log", "--no-warnings"])
    lonlat = [libsumo.simulation.convertGeo(*node.getCoord()) for node in network.net.getNodes()]
    libsumo.close()
    assert np.abs(to_local(np.array(lonlat), scene.origin) - found).max() < 0.1


def test_traffic_lights_of_the_map_stop_vehicles(libsumo, tmp_path):
    path = write_grid(tmp_path / "lights.osm", kind="primary", lights=True)
    scene = scenes.from_osm(path)
    network, _ = network_nodes(path, scene, tmp_path)
    assert len(network.net.getTrafficLights()) == 4
    flight = mobility.sumo_guided(scene, path, num_uavs=6, num_steps=60, seed=0)
    speed = np.hypot(*flight.velocities_mps[:, :2].T)
    assert (speed < 0.1).any()
    assert speed.max() > 8.0


def test_flights_keep_to_the_lanes_and_the_margin(libsumo, grid):
    path, scene = grid
    flight = mobility.sumo_guided(scene, path, num_uavs=5, num_steps=40, seed=1, altitude_m=(14.0, 30.0))
    roads = shapely.union_all([shapely.LineString(road.points) for road in scene.roads])
    assert shapely.distance(shapely.points(flight.positions_m[:, :2]), roads).max() < 4.0
    airspace = open_airspace(scene, 5.0, None)
    for way in flight.positions_m.reshape(5, 40, 3):
        for start, end in itertools.pairwise(way):
            assert airspace.is_clear(start[:2], end[:2], min(start[2], end[2]))
    assert flight.kind == "sumo_guided"
    assert 14.0 <= flight.positions_m[:, 2].min() <= flight.positions_m[:, 2].max() <= 30.0
    moved = np.ptp(flight.positions_m[:, :2].reshape(5, 40, 2), axis=1).max(axis=1)
    assert moved.min() > 50.0


@pytest.mark.parametrize("interval_s", [0.001, 0.7, 1.0])
def test_velocity_is_the_derivative_of_the_path(libsumo, grid, interval_s):
    path, scene = grid
    flight = mobility.sumo_guided(scene, path, num_uavs=2, num_steps=20, interval_s=interval_s, seed=2)
    position, velocity = flight.positions_m.reshape(2, 20, 3), flight.velocities_mps.reshape(2, 20, 3)
    assert np.allclose(np.diff(position, axis=1), velocity[:, :-1] * interval_s, atol=1e-9)


def test_speed_is_limited_by_the_vehicle(libsumo, grid):
    path, scene = grid
    slow = mobility.sumo_guided(scene, path, num_uavs=6, seed=1, speed_mps=(3.0, 4.0))
    fast = mobility.sumo_guided(scene, path, num_uavs=6, seed=1, speed_mps=(11.0, 12.0))
    slow_speed, fast_speed = (np.hypot(*flight.velocities_mps[:, :2].T) for flight in (slow, fast))
    assert slow_speed.max() < 4.3  # a lane change adds some sideways movement
    assert 8.0 < fast_speed.max() < 12.3


def test_flights_are_seeded_and_independent_of_their_number(libsumo, grid):
    path, scene = grid
    few, many, again, other = (
        mobility.sumo_guided(scene, path, number, 10, seed=seed) for number, seed in ((2, 3), (6, 3), (2, 3), (2, 4))
    )
    assert few.positions_m.tobytes() == again.positions_m.tobytes()
    assert few.velocities_mps.tobytes() == again.velocities_mps.tobytes()
    assert np.array_equal(few.positions_m, many.positions_m[:20])
    assert not np.array_equal(few.positions_m, other.positions_m)
    assert len(np.unique(many.positions_m[::10, :2], axis=0)) == 6


def test_more_uavs_than_one_simulation_holds(libsumo, grid):
    path, scene = grid
    flight = mobility.sumo_guided(scene, path, num_uavs=40, num_steps=3, seed=0)
    assert len(np.unique(flight.positions_m[::3], axis=0)) == 40


def test_the_lowest_altitude_rises_where_streets_have_no_room(libsumo, tmp_path):
    path = write_grid(tmp_path / "wide.osm", height=20)
    scene = scenes.from_osm(path)
    flight = mobility.sumo_guided(scene, path, num_steps=30, altitude_m=(10.0, 60.0), margin_m=30.0)
    assert flight.positions_m[:, 2].min() >= 50.0


def test_no_room_at_all(libsumo, grid):
    path, scene = grid
    with pytest.raises(InputError, match="no room for a sumo_guided flight"):
        mobility.sumo_guided(scene, path, altitude_m=(10.0, 12.0), margin_m=40.0)


@pytest.mark.parametrize("kind", ["footway", "steps"])
def test_a_map_without_drivable_roads(libsumo, tmp_path, kind):
    path = write_grid(tmp_path / "paths.osm", kind=kind)
    with pytest.raises(InputError, match=r"paths\.osm: no drivable road"):
        mobility.sumo_guided(scenes.from_osm(path), path)


def test_a_scene_without_origin(libsumo, grid):
    with pytest.raises(InputError, match="lies nowhere on Earth"):
        mobility.sumo_guided(scenes.procedural(0), grid[0])


def test_external_entities_are_refused(libsumo, tmp_path, grid):
    (tmp_path / "secret.txt").write_text("secret")
    head = f'<!DOCTYPE osm [<!ENTITY leak SYSTEM "{(tmp_path / "secret.txt").as_uri()}">]>'
    path = write_grid(tmp_path / "hostile.osm", head=head)
    with pytest.raises(InputError, match="entities"):
        mobility.sumo_guided(grid[1], path)


def test_a_simulation_that_runs_already_is_left_alone(libsumo, grid, tmp_path):
    path, scene = grid
    network, _ = network_nodes(path, scene, tmp_path)
    libsumo.start(["sumo", "--net-file", str(network.path), "--no-step-log", "--no-warnings"])
    try:
        with pytest.raises(InputError, match="only one"):
            mobility.sumo_guided(scene, path)
        assert libsumo.isLoaded()
    finally:
        libsumo.close()


def test_without_sumo_the_extra_is_named(monkeypatch, grid):
    def missing(name):
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(sumo_network.importlib, "import_module", missing)
    with pytest.raises(DependencyError, match=r"pip install 'channelfm\[sumo\]'"):
        mobility.sumo_guided(grid[1], grid[0])


def test_sumo_leaves_the_projections_of_others_alone(libsumo):
    command = (
        "import os; from channelfm.mobility.sumo_network import import_sumo;"
        "[import_sumo(name) for name in ('sumo', 'libsumo', 'sumolib')];"
        "print([name for name in os.environ if name.startswith('PROJ_')])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PROJ_")}
    done = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
