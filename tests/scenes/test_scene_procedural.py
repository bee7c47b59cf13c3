import numpy as np
import pytest
import shapely

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


def test_the_styles_differ_as_they_promise():
    courts, towers, suburb = (scenes.procedural(3, style=style) for style in ("courtyards", "towers", "suburb"))
    for city in (courts, towers, suburb):
        again = scenes.procedural(3, style=city.name.split("-")[-1])
        assert np.array_equal(city.vertices, again.vertices)
        assert all(item.watertight for item in city.buildings)
        assert city.roads
        assert len({item.material for item in city.buildings}) >= 3
    assert len(courts.objects) - 1 < 0.85 * len(courts.buildings)  # houses wall to wall
    assert max(item.height_m for item in towers.buildings) > 1.5 * max(item.height_m for item in courts.buildings)
    assert {item.roof_shape for item in suburb.buildings} == {"flat", "gabled", "hipped", "pyramidal"}
    assert max(item.height_m for item in suburb.buildings) < 11.0
    assert not suburb.skipped
    built = sum(item.footprint_area_m2 for item in suburb.buildings) / 450.0**2
    assert 0.08 < built < 0.25  # gardens


def test_houses_of_a_suburb_stand_beside_their_roads():
    suburb = scenes.procedural(4, style="suburb")
    roads = shapely.union_all([shapely.LineString(road.points) for road in suburb.roads])
    for number in range(0, len(suburb.objects) - 1, 10):
        corners = shapely.points(suburb.object_mesh(number)[0][:, :2])
        distance = shapely.distance(corners, roads)
        assert 4.0 < distance.min() < 20.0


def test_bad_arguments():
    with pytest.raises(InputError, match="style = 'village'"):
        scenes.procedural(0, style="village")
    with pytest.raises(InputError, match="size_m"):
        scenes.procedural(0, size_m=50.0)
    with pytest.raises(InputError, match="seed"):
        scenes.procedural(-1)
