import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from channelfm import UPA, mobility, scenes
from channelfm.errors import InputError
from channelfm.scenes.pictures import draw_scene
from channelfm.scenes.rendering import draw_faces, view_from


@pytest.fixture(scope="module")
def city():
    return scenes.procedural(3, size_m=200.0)


def test_views_are_orthonormal_and_look_the_right_way():
    for azimuth, elevation in ((180.0, 45.0), (205.0, 30.0), (90.0, 90.0)):
        view = view_from(azimuth, elevation)
        axes = np.stack([view.right, view.up, view.towards])
        assert axes @ axes.T == pytest.approx(np.eye(3), abs=1e-12)
        assert np.linalg.det(axes) == pytest.approx(1.0)
    south = view_from(180.0, 45.0)
    assert south.right == pytest.approx((1.0, 0.0, 0.0), abs=1e-12)  # east is on the right
    assert south.towards[1] < 0.0
    assert view_from(180.0, 90.0).up == pytest.approx((0.0, 1.0, 0.0), abs=1e-12)


def test_the_nearest_face_is_seen():
    flat = np.array([[(0, 0), (4, 0), (0, 4)]] * 2, dtype=float)
    near_to_the_left = np.stack([np.full((1, 3), 1.0)[0], np.array([2.0, 0.0, 2.0])])
    buffer = draw_faces(np.concatenate([flat, near_to_the_left[..., None]], axis=2), (0.0, 0.0, 4.0, 4.0), 0.5)
    assert buffer.face.shape == (8, 8)
    assert buffer.face[0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert (buffer.face[np.add.outer(np.arange(8), np.arange(8)) > 7] == -1).all()
    assert buffer.nearness_at(np.array([[0.25, 0.25], [9.0, 9.0]])) == pytest.approx([1.875, -np.inf])


def test_a_picture_shows_buildings_and_is_the_same_every_time(city, tmp_path):
    flight = mobility.cruise(city, num_uavs=2, num_steps=5, seed=0)
    array = UPA(rows=8, cols=8, carrier_hz=7e9, position=(0.0, 0.0, 60.0))
    draw_scene(city, tmp_path / "plain.png", pixels=300)
    draw_scene(city, tmp_path / "again.png", pixels=300)
    draw_scene(city, tmp_path / "folder" / "flown.png", flight=flight, array=array, pixels=300)
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    plain = np.asarray(Image.open(tmp_path / "plain.png").convert("RGB")).astype(int)
    flown = np.asarray(Image.open(tmp_path / "folder" / "flown.png").convert("RGB")).astype(int)
    assert plain.shape[1] == 300
    bluish = (plain[..., 2] > plain[..., 0] + 20).mean()
    assert 0.1 < bluish < 0.9
    assert ((flown[..., 0] - flown[..., 2]) > 100).any()  # the red flight
    assert not ((plain[..., 0] - plain[..., 2]) > 100).any()


def test_a_picture_in_given_axes_carries_the_attribution(write_map, tmp_path):
    scene = scenes.from_osm(write_map(tmp_path / "town.osm"))
    axes = Figure().add_subplot()
    draw_scene(scene, axes, pixels=100, elevation_deg=90.0)
    assert any("OpenStreetMap contributors" in text.get_text() for text in axes.texts)


def test_bad_arguments(city, tmp_path):
    with pytest.raises(InputError, match="elevation_deg"):
        draw_scene(city, tmp_path / "x.png", elevation_deg=0.0)
    with pytest.raises(InputError, match="cannot write the picture"):
        draw_scene(city, tmp_path / "x.unknown", pixels=50)
