import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm import scenes
from channelfm.errors import InputError
from channelfm.maps import Footprint
from channelfm.records import Scene, SceneObject
from channelfm.scenes.assembly import assemble
from channelfm.scenes.surface import height_raster, inside_buildings, occupancy, require_free, voxels


@pytest.fixture(scope="module")
def small():
    """A courtyard building of 12 m, a slab between 6 and 9 m, and two overlapping blocks."""
    yard = shapely.box(0, 0, 20, 20).difference(shapely.box(5, 5, 15, 15))
    footprints = [
        Footprint("yard", yard, 12.0, 0.0, "height", "brick"),
        Footprint("slab", shapely.box(30, 0, 40, 10), 9.0, 6.0, "height", "glass"),
        Footprint("first", shapely.box(50, 0, 60, 10), 5.0, 0.0, "height", "glass"),
        Footprint("second", shapely.box(55, 0, 65, 10), 8.0, 0.0, "height", "glass"),
    ]
    return assemble("small", footprints, [], (0.0, 0.0, 65.0, 20.0))


def test_inside_knows_courtyards_undersides_and_overlaps(small):
    points = {
        (2.0, 2.0, 5.0): True,
        (2.0, 2.0, 13.0): False,
        (10.0, 10.0, 5.0): False,  # in the courtyard
        (35.0, 5.0, 3.0): False,  # below the slab
        (35.0, 5.0, 7.0): True,
        (57.0, 5.0, 2.0): True,  # in both blocks
        (57.0, 5.0, 6.0): True,
        (25.0, 5.0, 1.0): False,
        (500.0, 5.0, 1.0): False,
    }
    assert inside_buildings(small, list(points)).tolist() == list(points.values())
    assert inside_buildings(small, np.empty((0, 3))).shape == (0,)


@given(st.floats(0.01, 19.99), st.floats(0.01, 19.99), st.floats(0.01, 11.99))
def test_inside_agrees_with_the_footprint(small, x, y, z):
    distance = shapely.boundary(shapely.box(5, 5, 15, 15)).distance(shapely.Point(x, y))
    if distance > 1e-6:
        in_yard = 5 < x < 15 and 5 < y < 15
        assert inside_buildings(small, [(x, y, z)])[0] == (not in_yard)


def test_points_on_shared_edges_are_counted_once(small):
    diagonal = [(x, x, 5.0) for x in np.linspace(50.5, 59.5, 37) - 50.0]
    shifted = np.add(diagonal, (50.0, 0.0, -3.0))  # along the diagonal of a block's roof
    assert inside_buildings(small, shifted).all()


def test_the_raster_is_exact_on_flat_roofs_and_zero_on_the_ground(small):
    raster = height_raster(small, 1.0)
    assert raster.heights_m.shape == (20, 65)
    assert raster.at([(2.5, 2.5), (10.5, 10.5), (35.5, 5.5), (57.5, 5.5), (25.5, 5.5)]).tolist() == [12, 0, 9, 8, 0]
    assert raster.at([(-5.0, 0.0)]).tolist() == [-np.inf]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-8, 8)] * 3), min_size=3, max_size=9), st.sampled_from([0.7, 1.0, 2.5]))
def test_no_surface_lies_above_the_raster(points, cell_m):
    count = len(points) // 3 * 3
    corners = np.array(points[:count])
    faces = np.arange(count, dtype=np.int32).reshape(-1, 3)
    soup = Scene(
        name="soup",
        vertices=corners,
        faces=faces,
        face_object=np.zeros(len(faces), np.int32),
        objects=(SceneObject("soup", "concrete", "building"),),
        bounds=(-9.0, -9.0, 9.0, 9.0),
    )
    raster = height_raster(soup, cell_m)
    weights = np.random.default_rng(0).dirichlet([0.5] * 3, size=400)
    samples = np.einsum("sk,fkd->fsd", weights, corners[faces]).reshape(-1, 3)
    assert (raster.at(samples[:, :2]) >= samples[:, 2] - 1e-9).all()
    assert raster.heights_m.max() <= corners[:, 2].max() + 1e-12


def winding_number(vertices, faces, points):
    """Share of the full solid angle that a closed mesh fills, seen from each point (Van Oosterom and Strackee 1983):
    1 inside, 0 outside."""
    a, b, c = np.moveaxis(vertices[faces][None] - points[:, None, None], 2, 0)
    la, lb, lc = (np.linalg.norm(side, axis=-1) for side in (a, b, c))
    triple = (a * np.cross(b, c)).sum(axis=-1)
    rest = la * lb * lc + (a * b).sum(axis=-1) * lc + (b * c).sum(axis=-1) * la + (c * a).sum(axis=-1) * lb
    return np.arctan2(triple, rest).sum(axis=1) / (2 * np.pi)


def test_inside_agrees_with_the_winding_number_on_a_city():
    city = scenes.procedural(5)
    points = np.random.default_rng(0).uniform((-220, -220, 0.5), (220, 220, 40), (400, 3))
    expected = np.zeros(len(points), dtype=bool)
    for number, item in enumerate(city.objects):
        if item.kind == "building":
            expected |= winding_number(*city.object_mesh(number), points) > 0.5
    assert 0.05 < expected.mean() < 0.6
    assert np.array_equal(inside_buildings(city, points), expected)


def test_buildings_without_underside_stand_on_the_ground(packaged_scenes):
    munich = scenes.builtin("munich")
    raster = height_raster(munich, 1.0)
    points = np.random.default_rng(0).uniform((-300, -300, 1), (300, 300, 60), (2000, 3))
    inside = inside_buildings(munich, points)
    assert 0.1 < inside.mean() < 0.5
    assert not (inside & (points[:, 2] > raster.at(points[:, :2]))).any()


def test_a_position_inside_a_building_names_the_roof(small):
    require_free(small, (10.0, 10.0, 5.0), "base station")
    with pytest.raises(InputError, match=r"base station \(2, 2, 5\) lies inside a building .* above 12.0 m"):
        require_free(small, (2.0, 2.0, 5.0), "base station")
    with pytest.raises(InputError, match="below the ground"):
        require_free(small, (10.0, 10.0, -1.0))


def test_occupancy_is_what_stands_over_the_middle_of_a_cell(small):
    grid = occupancy(small, 1.0, (-3.0, -2.0, 67.0, 22.0))
    assert (grid.shape, grid.dtype) == ((24, 70), np.dtype(bool))
    assert int(grid.sum()) == 300 + 100 + 150  # courtyard left out, slab above the ground included
    x, y = np.meshgrid(np.arange(70) - 2.5, np.arange(24) - 1.5)
    points = np.column_stack([x.ravel(), y.ravel()])
    standing = [inside_buildings(small, np.column_stack([points, np.full(len(points), z)])) for z in (1.0, 7.0)]
    assert np.array_equal(grid.ravel(), standing[0] | standing[1])


def test_occupancy_and_voxels_of_a_city_agree_with_points_in_solids():
    city = scenes.procedural(5, style="suburb")
    bounds = (-100.0, -100.0, 100.0, 100.0)
    grid = occupancy(city, 1.0, bounds)
    assert grid.shape == (200, 200)
    cubes = voxels(city, 2.0, bounds)
    assert cubes.shape == (int(np.ceil(city.vertices[:, 2].max() / 2.0)), 100, 100)
    rng = np.random.default_rng(0)
    level, row, col = (rng.integers(0, size, 500) for size in cubes.shape)
    centres = np.column_stack([col * 2.0 - 99.0, row * 2.0 - 99.0, level * 2.0 + 1.0])
    assert np.array_equal(cubes[level, row, col], inside_buildings(city, centres))
    coarse = occupancy(city, 2.0, bounds)
    assert np.array_equal(coarse, cubes.any(axis=0))  # every house stands on the ground


def test_bad_cells(small):
    for grid in (height_raster, occupancy, voxels):
        with pytest.raises(InputError, match="cell_m"):
            grid(small, 0.0)
