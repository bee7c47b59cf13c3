import sys

import numpy as np
import pytest

from channelfm import scenes
from channelfm.errors import DependencyError, InputError
from channelfm.scenes import packaged
from channelfm.scenes.materials import TABLE


@pytest.fixture(scope="module")
def munich(packaged_scenes):
    return scenes.builtin("munich")


def test_munich(munich):
    assert len(munich.objects) == 2367
    assert len(munich.buildings) > 1000
    assert {item.material for item in munich.objects} <= set(TABLE)
    assert [item.name for item in munich.objects if item.kind == "ground"] == ["ground"]
    assert munich.faces.max() < len(munich.vertices)
    assert munich.bounds[0] == pytest.approx(-759.9, abs=0.1)
    church = next(item for item in munich.buildings if "Frauenkirche" in item.osm_id)
    assert 90.0 < church.height_m < 105.0
    assert church.volume_m3 > 50_000.0
    assert all(item.footprint_area_m2 > 0 and item.volume_m3 > 0 for item in munich.buildings)


def test_faces_look_outwards():
    canyon = scenes.builtin("simple_street_canyon")
    assert len(canyon.buildings) == 6
    for item in canyon.buildings:
        assert item.watertight
        assert item.volume_m3 == pytest.approx(item.footprint_area_m2 * item.height_m, rel=1e-3)
    corners = canyon.vertices[canyon.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    ground = np.array([item.kind == "ground" for item in canyon.objects])[canyon.face_object]
    assert (normals[ground, 2] > 0).all()


def test_cars_and_walls_are_no_buildings():
    with_cars = scenes.builtin("simple_street_canyon_with_cars")
    kinds = {item.name: item.kind for item in with_cars.objects}
    assert kinds["car_1"] == "other"
    assert kinds["floor"] == "ground"
    assert len(with_cars.buildings) == 6
    assert scenes.builtin("box").buildings == ()


@pytest.mark.parametrize("name", ["etoile", "florence", "double_reflector", "simple_wedge"])
def test_other_packaged_scenes(name):
    scene = scenes.builtin(name)
    assert len(scene.faces) == len(scene.face_object)
    assert np.isfinite(scene.vertices).all()


def test_reading_runs_nothing_of_sionna():
    before = {name for name in sys.modules if name.startswith("sionna")}
    scenes.builtin("simple_reflector")
    assert {name for name in sys.modules if name.startswith("sionna")} == before


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match="munich"):
        scenes.builtin("atlantis")
    with pytest.raises(InputError, match="munich"):
        scenes.builtin("../munich")


def test_without_sionna_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(packaged.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"pip install channelfm\[rt\]"):
        scenes.builtin("munich")
