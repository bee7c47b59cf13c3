import numpy as np
import pytest
import shapely
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm.errors import InputError
from channelfm.maps import Footprint
from channelfm.maps.areas import clean_area
from channelfm.scenes.assembly import assemble
from channelfm.scenes.extrusion import extrude, is_watertight, mesh_volume


def check_against_trimesh(vertices, faces, area, height):
    mesh = trimesh.Trimesh(vertices, faces)  # merges equal vertices
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume == pytest.approx(area * height, rel=1e-6)
    assert mesh_volume(vertices, faces) == pytest.approx(area * height, rel=1e-9)
    assert is_watertight(vertices, faces)


def test_a_box_has_twelve_outward_faces():
    vertices, faces = extrude(shapely.box(0, 0, 2, 3), 1.0, 5.0)
    assert (len(vertices), len(faces)) == (8, 12)
    check_against_trimesh(vertices, faces, 6.0, 4.0)
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((corners.mean(axis=1) - [1, 1.5, 3]) * normals).sum(axis=1).min() > 0


def test_holes_collinear_points_and_several_parts():
    ring = [(0, 0), (5, 0), (10, 0), (10, 10), (0, 10)]
    with_holes = shapely.Polygon(ring, [[(2, 2), (4, 2), (4, 3), (4, 4), (2, 4)], [(6, 6), (8, 6), (7, 8)]])
    area = shapely.MultiPolygon([with_holes, shapely.box(20, 0, 25, 5)])
    vertices, faces = extrude(area, 0.0, 7.0)
    check_against_trimesh(vertices, faces, 100 - 4 - 2 + 25, 7.0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=4, max_size=12, unique=True),
    st.lists(st.tuples(st.integers(-20, 20), st.integers(-20, 20)), min_size=3, max_size=5, unique=True),
    st.floats(0.5, 100.0),
)
def test_any_cleaned_area_extrudes_to_a_watertight_mesh(ring, hole, height):
    raw = shapely.make_valid(shapely.Polygon(ring)).difference(shapely.make_valid(shapely.Polygon(hole)))
    area = clean_area(raw)
    if area is not None:
        check_against_trimesh(*extrude(area, 0.0, height), area.area, height)


def test_the_record_of_a_scene_with_a_hole_and_a_raised_part():
    yard = shapely.box(0, 0, 20, 20).difference(shapely.box(5, 5, 15, 15))
    footprints = [
        Footprint("way/1", yard, 12.0, 0.0, "height", "brick"),
        Footprint("relation/-2", shapely.box(30, 0, 40, 10), 9.0, 6.0, "levels", "glass"),
    ]
    scene = assemble("two", footprints, [], (0.0, 0.0, 40.0, 20.0))
    assert [item.name for item in scene.objects] == ["way_1", "relation_-2", "ground"]
    assert [item.kind for item in scene.objects] == ["building", "building", "ground"]
    first, second = scene.buildings
    assert (first.footprint_area_m2, first.hole_area_m2) == pytest.approx((400.0, 100.0))
    assert first.volume_m3 == pytest.approx(300.0 * 12.0, rel=1e-9)
    assert second.volume_m3 == pytest.approx(100.0 * 3.0, rel=1e-9)
    assert first.watertight
    assert second.watertight
    raised, _ = scene.object_mesh(1)
    assert raised[:, 2].min() == 6.0
    ground, faces = scene.object_mesh(2)
    assert (ground[:, 2] == 0.0).all()
    assert (ground[:, :2].min(axis=0) < -50).all()
    assert (
        np.cross(ground[faces[:, 1]] - ground[faces[:, 0]], ground[faces[:, 2]] - ground[faces[:, 0]])[:, 2] > 0
    ).all()


def test_watertightness_notices_holes_and_flipped_faces():
    vertices, faces = extrude(shapely.box(0, 0, 2, 3), 0.0, 1.0)
    assert not is_watertight(vertices, faces[1:])
    flipped = faces.copy()
    flipped[0] = flipped[0, ::-1]
    assert not is_watertight(vertices, flipped)


def test_a_scene_without_buildings():
    with pytest.raises(InputError, match="no building"):
        assemble("empty", [], [], (0.0, 0.0, 1.0, 1.0))
