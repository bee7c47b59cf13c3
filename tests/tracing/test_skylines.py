"""Which edges a string over the roofs touches, and which come near it."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm.tracing.chains import Triangles
from channelfm.tracing.edges import Edges
from channelfm.tracing.skylines import Skylines, _hull, _sights

QUADS = np.array([[0, 3, 2, 1], [4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]])
FACES = np.vstack([QUADS[:, [0, 1, 2]], QUADS[:, [0, 2, 3]]])
WAVELENGTH_M = 0.05
sections = st.lists(
    st.tuples(st.floats(0.5, 99.5), st.floats(0.0, 30.0)), min_size=0, max_size=8, unique_by=lambda p: p[0]
)


def block(low, high):
    (x0, y0, z0), (x1, y1, z1) = low, high
    return np.array([[x, y, z] for z in (z0, z1) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))], float)[FACES]


def skylines(*blocks, most=3):
    edges = Edges.of(Triangles.of_meshes([0], [np.concatenate([block(*one) for one in blocks])]))
    return edges, Skylines(edges, WAVELENGTH_M, most)


def heights(edges, strings):
    """(distance, height) of the edges of each string, where they cross the x axis."""
    return sorted([(float(edges.origin[e, 0]), float(edges.origin[e, 2])) for e in string] for string in strings)


def test_a_string_over_one_roof_touches_both_its_edges():
    edges, lines = skylines(((20, -50, 0), (32, 50, 20)))
    found = lines.strings(np.array([0, 0, 1.5]), np.array([60, 0, 10.0]))
    assert heights(edges, found) == [[(20, 20), (32, 20)]]


def test_lower_roofs_count_only_where_they_cut_the_fresnel_zone():
    tall, near, far = ((20, -50, 0), (32, 50, 20)), ((60, -50, 0), (61, 50, 15.3)), ((60, -50, 0), (61, 50, 12.0))
    user, end = np.array([0, 0, 1.5]), np.array([100, 0, 10.0])
    edges, lines = skylines(tall, near)
    assert heights(edges, lines.strings(user, end)) == [[(20, 20), (32, 20)], [(20, 20), (32, 20), (61, 15.3)]]
    edges, lines = skylines(tall, far)
    assert heights(edges, lines.strings(user, end)) == [[(20, 20), (32, 20)]]


def test_nothing_is_found_past_the_allowed_number_of_edges_or_under_open_sky():
    blocks = [((20, -50, 0), (32, 50, 20)), ((50, -50, 0), (62, 50, 21))]
    user, end = np.array([0, 0, 1.5]), np.array([80, 0, 3.0])
    assert not skylines(*blocks, most=2)[1].strings(user, end)
    edges, lines = skylines(*blocks)
    assert heights(edges, lines.strings(user, end)) == [[(20, 20), (50, 21), (62, 21)]]
    assert not lines.strings(np.array([0, 0, 90.0]), np.array([90, 0, 90.0]))


def test_the_section_follows_the_path_that_bends_aside():
    """Over an edge askew the path crosses where the straight section has another roof."""
    corners = block((40, -200, 0), (60, 200, 20))
    turn = np.array([[np.cos(0.7), -np.sin(0.7), 0], [np.sin(0.7), np.cos(0.7), 0], [0, 0, 1]])
    skew = (corners - [50, 0, 0]) @ turn.T + [50, 0, 0]
    edges = Edges.of(Triangles.of_meshes([0], [skew]))
    user, end = np.array([0, 0, 1.5]), np.array([140, 0, 5.0])
    for string in Skylines(edges, WAVELENGTH_M, 2).strings(user, end):
        chosen = edges.select(np.array(string)[None])
        places = chosen.settled(user[None], end)
        assert ((places > 0) & (places < chosen.length)).all()


@settings(max_examples=100)
@given(sections)
def test_hulls_and_sights_are_those_of_every_pair(points):
    points = sorted([(0.0, 1.5), *points, (100.0, 10.0)])
    distance, height = np.array(points).T

    def clear(one, other, slack):
        between = slice(one + 1, other)
        share = (distance[between] - distance[one]) / (distance[other] - distance[one])
        return bool((height[between] <= height[one] + share * (height[other] - height[one]) + slack).all())

    seen = _sights(distance, height)
    for one, other in itertools.combinations(range(len(points)), 2):
        if other in seen[one]:
            assert clear(one, other, 0.02)
        else:
            assert not clear(one, other, -1e-9)
    taut = [0, *_hull(distance, height), len(points) - 1]
    assert all(clear(one, other, 1e-6) for one, other in itertools.pairwise(taut))
    slopes = np.diff(height[taut]) / np.diff(distance[taut])
    assert (np.diff(slopes) < 1e-9).all()
