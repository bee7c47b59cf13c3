"""What makes two chains the same, and which triangles can mirror."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm.tracing.chains import Triangles, identified

FLOOR = np.array([[[0, 0, 0], [10, 0, 0], [10, 10, 0]], [[0, 0, 0], [10, 10, 0], [0, 10, 0]]], float)
WALL = np.array([[[0, 0, 0], [0, 10, 0], [0, 10, 10]], [[0, 0, 0], [0, 0, 10], [0, 10, 10]]], float)
ROOM = Triangles.of_meshes([7, 9], [FLOOR, WALL])


def chains(kinds, triangle):
    kinds, triangle = np.array(kinds), np.array(triangle)
    shapes = np.where(kinds > 0, ROOM.shape[triangle], 2**32 - 1)
    return identified(kinds, shapes, np.where(kinds > 0, ROOM.primitive[triangle], 2**32 - 1), {}, ROOM)


def test_coplanar_triangles_share_a_plane_whatever_their_winding():
    assert ROOM.plane[0] == ROOM.plane[1] != ROOM.plane[2] == ROOM.plane[3]


def test_rows_are_found_by_mesh_and_number():
    np.testing.assert_array_equal(ROOM.rows(np.array([7, 9, 9]), np.array([1, 0, 1])), [1, 2, 3])


def test_reflections_differ_by_plane_and_refractions_do_not():
    found = chains([[1, 0], [1, 0], [1, 0], [4, 0], [4, 0], [0, 0]], [[0, 0], [1, 0], [2, 0], [0, 0], [2, 0], [0, 0]])
    distinct = found.distinct()
    assert len(distinct) == 3  # floor, wall, and one refraction; the empty chain is dropped
    assert sorted(distinct.kinds[:, 0].tolist()) == [1, 1, 4]


def test_joining_keeps_each_chain_once():
    one, two = chains([[1, 0], [1, 1]], [[0, 0], [0, 2]]), chains([[1, 1], [1, 1]], [[1, 3], [2, 0]])
    assert len(one.joined(two)) == 3


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from([1, 4]), st.integers(0, 3)), min_size=1, max_size=3))
def test_reversing_twice_changes_nothing(steps):
    padded = steps + [(0, 0)] * (3 - len(steps))
    chain = chains([[kind for kind, _ in padded]], [[triangle for _, triangle in padded]])
    twice = chain.reversed(ROOM).reversed(ROOM)
    np.testing.assert_array_equal(twice.keys, chain.keys)
    bounces = len(steps)
    np.testing.assert_array_equal(chain.reversed(ROOM).kinds[0, :bounces], chain.kinds[0, :bounces][::-1])


@settings(max_examples=60)
@given(st.lists(st.floats(-8, 18), min_size=4, max_size=4), st.floats(0.5, 20), st.floats(0.5, 20))
def test_mirrors_agree_with_the_mirror_point(place, user_height, target_height):
    user, target = np.array([*place[:2], user_height]), np.array([*place[2:], target_height])
    share = user_height / (user_height + target_height)
    x, y = (user + share * (target - user))[:2]
    if min(abs(x), abs(y), abs(x - 10), abs(y - 10)) > 1e-6:
        assert ROOM.mirrors(user, target, 0.0)[:2].any() == (0 < x < 10 and 0 < y < 10)
    assert ROOM.mirrors(user, target, 100.0)[:2].all()


def test_no_mirror_between_two_sides():
    assert not ROOM.mirrors(np.array([5, 5, 3.0]), np.array([5, 5, -3.0]), 100.0)[:2].any()
