"""What makes two triangles one mirror, and where paths meet mirrors."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm.tracing.chains import Chains, Mirrors, Triangles

FLOOR = np.array([[[0, 0, 0], [10, 0, 0], [10, 10, 0]], [[0, 0, 0], [10, 10, 0], [0, 10, 0]]], float)
WALL = np.array([[[0, 0, 0], [0, 10, 0], [0, 10, 10]], [[0, 0, 0], [0, 0, 10], [0, 10, 10]]], float)
ROOM = Triangles.of_meshes([7, 9], [FLOOR, WALL])
coordinates = st.lists(st.floats(0.5, 9.5), min_size=3, max_size=3)


def test_coplanar_triangles_share_a_plane_whatever_their_winding():
    assert ROOM.plane[0] == ROOM.plane[1] != ROOM.plane[2] == ROOM.plane[3]
    assert ROOM.first == {7: 0, 9: 2}


def test_mirrors_are_the_planes_with_their_boxes():
    mirrors = Mirrors.of(ROOM)
    assert len(mirrors) == 2
    floor = ROOM.plane[0]
    np.testing.assert_allclose(np.abs(mirrors.normal[floor]), [0, 0, 1])
    np.testing.assert_allclose(mirrors.lower[floor], 0)
    np.testing.assert_allclose(mirrors.upper[floor], [10, 10, 0])
    assert ROOM.plane[mirrors.triangle[floor]] == floor


@settings(max_examples=60)
@given(coordinates, coordinates)
def test_paths_by_two_mirrors_are_as_long_as_from_the_image_and_reflect_evenly(user, end):
    mirrors = Mirrors.of(ROOM)
    user, end = np.array([user]), np.array([end])
    planes = np.array([[ROOM.plane[0], ROOM.plane[2]]])
    stops, _ = mirrors.stops(user, planes, end)
    legs = np.linalg.norm(np.diff(stops[0], axis=0), axis=1)
    image = user * [-1, 1, -1]
    forward = stops[0, 1, 0] > 0 and stops[0, 2, 2] > 0  # else the floor would be met after the wall
    if forward:
        np.testing.assert_allclose(legs.sum(), np.linalg.norm(image - end), rtol=1e-9)
        np.testing.assert_allclose(stops[0, 1, 2], 0, atol=1e-9)
        np.testing.assert_allclose(stops[0, 2, 0], 0, atol=1e-9)


def test_no_path_by_a_mirror_between_its_ends():
    mirrors, floor = Mirrors.of(ROOM), np.array([[ROOM.plane[0]]])
    _, possible = mirrors.stops(np.array([[5, 5, 3.0]]), floor, np.array([[5, 5, -3.0]]))
    assert not possible[0]


def test_chains_join_and_select():
    direct = Chains.empty(2, 3)
    assert not direct.kinds.any()
    assert len(Chains.joined([direct, direct]).select(slice(1, 4))) == 3
