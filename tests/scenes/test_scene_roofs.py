import numpy as np
import pytest
import shapely
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm.maps import Footprint, Roof
from channelfm.maps.areas import clean_area
from channelfm.scenes.assembly import assemble
from channelfm.scenes.roofs import roofed_solid

RECTANGLE = shapely.box(0, 0, 12, 8)


def house(area, roof, top=8.0, bottom=0.0):
    return Footprint("house", area, top, bottom, "height", "brick", roof=roof)


def solid(item):
    """The mesh, after the checks that every roof must pass."""
    mesh = trimesh.Trimesh(*roofed_solid(item))
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    up = mesh.face_normals[:, 2] > 1e-6
    projected = (mesh.area_faces * mesh.face_normals[:, 2])[up].sum()
    assert projected == pytest.approx(item.area.area, rel=1e-6)
    assert mesh.bounds[0, 2] == item.min_height_m
    return mesh


@pytest.mark.parametrize(
    ("shape", "share", "planes"),
    [("gabled", 1 / 2, 2), ("pyramidal", 1 / 3, 4), ("hipped", 1 / 2 - 8 / 12 / 6, 4)],
)
def test_volume_over_a_rectangle(shape, share, planes):
    """A hip takes a sixth of (roof height x width x width) from each end of the gable."""
    mesh = solid(house(RECTANGLE, Roof(shape, 3.0)))
    assert mesh.volume == pytest.approx(96.0 * (5.0 + 3.0 * share), rel=1e-9)
    assert mesh.bounds[1, 2] == pytest.approx(8.0)
    sloping = mesh.face_normals[(mesh.face_normals[:, 2] > 1e-6) & (mesh.face_normals[:, 2] < 1 - 1e-6)]
    assert len(np.unique(sloping.round(6), axis=0)) == planes


def test_the_ridge_runs_along_the_longer_side_or_its_bearing():
    def ridge(roof):
        vertices, _ = roofed_solid(house(RECTANGLE, roof))
        top = vertices[vertices[:, 2] > 8.0 - 1e-9]
        return np.ptp(top[:, :2], axis=0)

    assert ridge(Roof("gabled", 3.0)) == pytest.approx((12.0, 0.0))
    assert ridge(Roof("gabled", 3.0, 0.0)) == pytest.approx((0.0, 8.0))  # north
    assert ridge(Roof("gabled", 3.0, 90.0)) == pytest.approx((12.0, 0.0))
    assert ridge(Roof("hipped", 3.0)) == pytest.approx((4.0, 0.0))


def test_eaves_are_level_and_walls_follow_a_gable():
    vertices, _ = roofed_solid(house(RECTANGLE, Roof("gabled", 3.0), bottom=1.0))
    at = {(x, y): sorted(vertices[(vertices[:, :2] == (x, y)).all(axis=1), 2]) for x in (0, 12) for y in (0, 4, 8)}
    assert all(at[(x, y)] == pytest.approx([1.0, 5.0]) for x in (0, 12) for y in (0, 8))
    assert at[(0, 4)] == at[(12, 4)] == pytest.approx([8.0])


def test_roofs_that_do_not_fit_become_flat_and_are_counted():
    horseshoe = shapely.box(0, 0, 30, 30).difference(shapely.box(5, 5, 25, 40))
    yard = shapely.box(0, 0, 30, 30).difference(shapely.box(10, 10, 20, 20))
    for item in (
        house(horseshoe, Roof("pyramidal", 3.0)),
        house(yard, Roof("pyramidal", 3.0)),
    ):
        assert roofed_solid(item) is None
        scene = assemble("flat", [item], [], (0.0, 0.0, 1.0, 1.0))
        (building,) = scene.buildings
        assert building.roof_shape == "flat"
        assert building.watertight
        assert building.volume_m3 == pytest.approx(item.area.area * 8.0)
        assert scene.skipped == {"roof shape does not fit the outline": 1}


def test_a_roof_that_reaches_the_underside_leaves_a_centimetre_of_wall():
    mesh = solid(house(RECTANGLE, Roof("gabled", 2.0), top=22.0, bottom=20.0))
    assert mesh.volume == pytest.approx(96.0 * (0.01 + 1.99 / 2))
    on_top = house(RECTANGLE, Roof("gabled", 2.0), top=22.0, bottom=20.0)
    below = Footprint("below", RECTANGLE, 20.0, 0.0, "height", "brick")
    scene = assemble("church", [below, on_top], [], (0.0, 0.0, 1.0, 1.0))
    assert [(item.roof_shape, item.min_height_m) for item in scene.buildings] == [("flat", 0.0), ("gabled", 20.01)]
    assert not scene.skipped


def test_a_pitched_building_in_a_scene():
    (building,) = assemble("one", [house(RECTANGLE, Roof("gabled", 3.0))], [], (0.0, 0.0, 1.0, 1.0)).buildings
    assert (building.roof_shape, building.mesh, building.watertight) == ("gabled", "house", True)
    assert building.volume_m3 == pytest.approx(96.0 * 6.5)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-30, 30), st.integers(-30, 30)), min_size=4, max_size=9, unique=True),
    st.sampled_from(["gabled", "hipped"]),
    st.one_of(st.none(), st.floats(0.0, 179.0)),
)
def test_ridged_roofs_fit_any_outline(ring, shape, ridge_deg):
    raw = shapely.Polygon(ring, [[(-2, -1), (2, -1), (0, 2)]]) if len(ring) > 6 else shapely.Polygon(ring)
    area = clean_area(raw)
    if area is not None:
        mesh = solid(house(area, Roof(shape, 3.0, ridge_deg)))
        assert area.area * 5.0 < mesh.volume < area.area * 8.0
