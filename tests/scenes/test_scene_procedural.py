import numpy as np
import pytest

from channelfm import scenes
from channelfm.errors import InputError
from channelfm.records import Scene


@pytest.fixture(scope="module")
def city():
    return scenes.procedural(3)


def test_the_same_seed_gives_the_same_city_and_others_differ(city):
    again, other = scenes.procedural(3), scenes.procedural(4)
    assert np.array_equal(city.vertices, again.vertices)
    assert city.buildings == again.buildings
    assert city.roads == again.roads
    assert not np.array_equal(city.vertices[:50], other.vertices[:50])


@pytest.mark.parametrize("seed", range(6))
def test_every_building_is_a_watertight_prism(seed):
    city = scenes.procedural(seed)
    assert len(city.buildings) > 15
    for item in city.buildings:
        area = item.footprint_area_m2 - item.hole_area_m2
        assert item.watertight
        assert item.volume_m3 == pytest.approx(area * (item.height_m - item.min_height_m), rel=1e-6)
        assert item.height_source == "procedural"


def test_cities_are_varied():
    buildings = [item for seed in range(8) for item in scenes.procedural(seed).buildings]
    assert len({item.material for item in buildings}) >= 5
    assert any(item.hole_area_m2 > 100.0 for item in buildings)
    assert any(item.min_height_m > 0.0 for item in buildings)
    assert max(item.height_m for item in buildings) > 45.0


def test_roads_meet_at_crossings(city):
    points = [point for road in city.roads for point in road.points]
    assert len(points) == 2 * len(set(points))
    half = city.bounds[2]
    assert max(max(map(abs, point)) for point in points) <= half


def test_the_record_round_trip(city, tmp_path):
    city.save(tmp_path / "city.safetensors")
    back = Scene.load(tmp_path / "city.safetensors")
    assert np.array_equal(back.faces, city.faces)
    assert (back.buildings, back.roads, back.objects, back.bounds) == (
        city.buildings,
        city.roads,
        city.objects,
        city.bounds,
    )


def test_bad_arguments():
    with pytest.raises(InputError, match="size_m"):
        scenes.procedural(0, size_m=50.0)
    with pytest.raises(InputError, match="seed"):
        scenes.procedural(-1)
