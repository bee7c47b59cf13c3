import numpy as np
import pyproj
import pytest

from channelfm.errors import InputError
from channelfm.maps import CITIES, preset_box
from channelfm.maps.presets import MAPS, known_maps, map_box
from channelfm.maps.projection import box_around, checked_box, local_bounds, local_origin


def test_the_thirteen_cities_of_the_paper():
    assert len(CITIES) == 13
    suburban = {name for name, city in CITIES.items() if city.suburban}
    assert suburban == {"sydney", "singapore", "dubai", "beijing", "berlin", "nanjing"}


@pytest.mark.parametrize("name", CITIES)
def test_every_preset_is_a_square_kilometre(name):
    for suburban in (False, True) if CITIES[name].suburban else (False,):
        box = preset_box(name, suburban=suburban)
        x_min, y_min, x_max, y_max = local_bounds(box, local_origin(box))
        assert (x_max - x_min, y_max - y_min) == pytest.approx((1000.0, 1000.0), abs=1.0)


@pytest.mark.parametrize("name", [name for name, city in CITIES.items() if city.gauss_kruger_epsg])
def test_the_zone_recorded_is_the_one_of_the_city(name):
    city = CITIES[name]
    crs = pyproj.CRS.from_epsg(city.gauss_kruger_epsg)
    assert "CGCS2000 / 3-degree Gauss-Kruger zone" in crs.name
    for latitude, longitude in filter(None, (city.centre, city.suburban)):
        area = crs.area_of_use
        assert area.west <= longitude <= area.east
        assert area.south <= latitude <= area.north


def test_suburban_quarters_lie_outside_the_dense_ones():
    for city in CITIES.values():
        if city.suburban:
            distance = np.hypot(*np.subtract(city.suburban, city.centre)) * 111.0
            assert 5.0 < distance < 80.0


def test_every_known_name_has_one_box():
    assert len(MAPS) == 14
    for name in known_maps():
        box = map_box(name)
        local_origin(checked_box(box))
        assert box == MAPS.get(name, box)
    assert map_box("dubai") == preset_box("dubai")
    assert map_box("sydney-suburban") == preset_box("sydney", suburban=True)
    with pytest.raises(InputError, match=r"no place is known as 'atlantis'; use one of baltimore, .*W,S,E,N"):
        map_box("atlantis")


def test_names():
    assert preset_box("New York") == preset_box("new-york")
    with pytest.raises(InputError, match=r"unknown city 'Atlantis'.*shanghai, tianjin"):
        preset_box("Atlantis")
    with pytest.raises(InputError, match=r"Tokyo has no suburban set.*sydney"):
        preset_box("tokyo", suburban=True)


def test_a_square_about_a_point_on_the_antimeridian():
    west, south, east, north = box_around(52.0, 180.0, 1000.0)
    assert east < 0.0 < west
    assert south < 52.0 < north
    assert checked_box((west, south, east, north))[2] > 180.0
    for latitude, longitude, size in ((91.0, 0.0, 1e3), (0.0, 200.0, 1e3), (0.0, 0.0, 0.0), (0.0, 0.0, 1e6)):
        with pytest.raises(InputError, match="square"):
            box_around(latitude, longitude, size)
