"""Multipolygons of osm-testdata's kinds: rings that touch, gaps, islands, split and doubled lines, against shapely."""

import itertools

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm.maps import read_map
from channelfm.maps.areas import area_from_members, area_from_ring

CELL_M = 10.0


def line(*points):
    return np.array(points, dtype=float)


def box(x_min, y_min, x_max, y_max):
    """Closed ring of a rectangle."""
    return line((x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max), (x_min, y_min))


def assert_is(area, expected):
    """Valid, fit for extrusion, and the same as ``expected`` to 1 % of its area."""
    assert area.is_valid
    assert shapely.boundary(area).is_simple
    assert shapely.symmetric_difference(area, expected).area < 0.01 * expected.area


def polygon(*rings):
    shell, *holes = rings
    return shapely.Polygon(shell, holes)


def test_a_gap_between_outer_rings_that_share_two_nodes_stays_open():
    left = line((0, 0), (20, 0), (20, 10), (10, 10), (10, 20), (20, 20), (20, 30), (0, 30), (0, 0))
    right = line((20, 10), (40, 0), (40, 30), (20, 20), (30, 15), (20, 10))
    area = area_from_members([left, right], [])
    assert_is(area, shapely.union(shapely.Polygon(left), shapely.Polygon(right)))
    assert not area.contains(shapely.Point(18, 15))


def test_a_gap_between_outer_rings_that_share_segments_stays_open():
    left = line((0, 0), (20, 0), (20, 10), (10, 10), (10, 20), (20, 20), (20, 30), (0, 30), (0, 0))
    right = line((20, 0), (40, 0), (40, 30), (20, 30), (20, 20), (30, 20), (30, 10), (20, 10), (20, 0))
    assert_is(area_from_members([left, right], []), polygon(box(0, 0, 40, 30), box(10, 10, 30, 20)))


def test_a_ring_of_four_blocks_that_touch_in_corners_has_a_court():
    blocks = [box(10, 0, 20, 10), box(0, 10, 10, 20), box(20, 10, 30, 20), box(10, 20, 20, 30)]
    assert_is(area_from_members(blocks, []), shapely.MultiPolygon([shapely.Polygon(block) for block in blocks]))


@pytest.mark.parametrize("role_of_islands", ["outer", "inner"])
def test_islands_in_courtyards_nested_twice(role_of_islands):
    rings = [box(k * 10, k * 10, 90 - k * 10, 90 - k * 10) for k in range(4)]
    outer, inner = rings[::2], rings[1::2]
    if role_of_islands == "inner":  # a common slip: the rings say the same without their roles
        outer, inner = rings[:1], rings[1:]
    expected = shapely.MultiPolygon([polygon(*rings[:2]), polygon(*rings[2:])])
    assert_is(area_from_members(outer, inner), expected)


@pytest.mark.parametrize(
    "inner",
    [
        line((0, 15), (10, 10), (10, 20), (0, 15)),  # in a point within a wall
        line((0, 0), (10, 5), (5, 10), (0, 0)),  # in a corner
        box(0, 10, 10, 20),  # along a part of a wall, without a shared node
        line((0, 0), (30, 0), (30, 10), (0, 10), (0, 0)),  # along a whole wall
        line((0, 15), (15, 0), (30, 15), (15, 30), (0, 15)),  # in a point of every wall
    ],
)
@pytest.mark.parametrize("turn", [0.0, 0.4])
def test_an_inner_ring_may_touch_the_outer_one(inner, turn):
    cosine, sine = np.cos(turn), np.sin(turn)
    shell, hole = (np.round(ring @ [[cosine, sine], [-sine, cosine]], 3) for ring in (box(0, 0, 30, 30), inner))
    expected = shapely.difference(shapely.Polygon(shell), shapely.Polygon(hole))
    assert_is(area_from_members([shell], [hole]), expected)


def test_inner_rings_that_share_segments_are_one_courtyard():
    holes = [box(10, 10, 20, 20), box(20, 10, 30, 20), line((10, 20), (30, 20), (20, 30), (10, 20))]
    expected = shapely.difference(
        shapely.Polygon(box(0, 0, 40, 40)), shapely.union_all(list(map(shapely.Polygon, holes)))
    )
    assert_is(area_from_members([box(0, 0, 40, 40)], holes), expected)


def test_rings_that_are_listed_twice_count_once():
    shell, hole = box(0, 0, 40, 40), box(10, 10, 20, 20)
    again = [shell[::-1], np.roll(shell[:-1], 2, axis=0)[[0, 1, 2, 3, 0]]]
    assert_is(area_from_members([shell, *again], [hole, hole[::-1]]), polygon(shell, hole))


@pytest.mark.parametrize("times", [1, 2])
def test_a_wall_between_two_rings_of_open_lines_may_be_listed_once_or_twice(times):
    wall, west = line((20, 0), (20, 20)), line((20, 0), (0, 0), (0, 20), (20, 20))
    east = line((20, 20), (40, 20), (40, 0), (20, 0))
    assert_is(area_from_members([*[wall] * times, west, east], []), shapely.box(0, 0, 40, 20))


def test_a_loose_end_disturbs_no_ring():
    ring = [line((0, 0), (20, 0), (20, 20)), line((20, 20), (0, 20), (0, 0))]
    stray = [line((20, 20), (50, 50)), line((50, 50), (60, 50)), line((0, 0), (-9, -9))]
    assert_is(area_from_members([*stray, *ring], []), shapely.box(0, 0, 20, 20))


def test_what_inner_rings_alone_enclose_is_no_area():
    assert_is(area_from_members([box(0, 0, 20, 20)], [box(30, 0, 40, 10)]), shapely.box(0, 0, 20, 20))
    assert_is(
        area_from_members([box(0, 0, 20, 20)], [box(10, 5, 40, 15)]),
        shapely.box(0, 0, 20, 20) - shapely.box(10, 5, 20, 15),
    )
    assert area_from_members([], [box(0, 0, 20, 20)]) is None


def test_a_closed_way_that_meets_itself_encloses_what_the_even_odd_rule_says():
    keyhole = line(
        (0, 0), (30, 0), (30, 30), (10, 10), (20, 10), (20, 20), (10, 20), (10, 10), (30, 30), (0, 30), (0, 0)
    )
    assert_is(area_from_ring(keyhole), polygon(box(0, 0, 30, 30), box(10, 10, 20, 20)))
    hourglass = line((0, 0), (20, 0), (10, 10), (20, 20), (0, 20), (10, 10), (0, 0))
    assert area_from_ring(hourglass).area == pytest.approx(200.0, rel=0.01)


cells = st.lists(st.booleans(), min_size=36, max_size=36)


def shape_of(chosen):
    """Some cells of a board of 6 x 6: courts, islands, corners that touch, in all combinations."""
    squares = [
        shapely.box(x * CELL_M, y * CELL_M, (x + 1) * CELL_M, (y + 1) * CELL_M)
        for (x, y), is_chosen in zip(itertools.product(range(6), repeat=2), chosen, strict=True)
        if is_chosen
    ]
    return squares, shapely.union_all(squares)


def split(ring, random, step_m=CELL_M):
    """A closed ring in pieces, cut at random nodes; now and then in one piece."""
    nodes = shapely.get_coordinates(shapely.segmentize(shapely.LinearRing(ring), step_m))[:-1]
    start = random.randrange(len(nodes))
    nodes = np.roll(nodes, -start, axis=0)
    nodes = np.concatenate([nodes, nodes[:1]])
    cuts = sorted(random.sample(range(1, len(nodes) - 1), random.randrange(0, min(5, len(nodes) - 2))))
    return [nodes[a : b + 1][:: random.choice((1, -1))] for a, b in itertools.pairwise([0, *cuts, len(nodes) - 1])]


@settings(deadline=None)
@given(cells, st.randoms(use_true_random=False))
def test_any_shape_is_found_from_its_rings_in_pieces(chosen, random):
    _, shape = shape_of(chosen)
    if shape.is_empty:
        return
    outer, inner = [], []
    for part in shapely.get_parts(shape):
        outer += split(part.exterior.coords, random)
        inner += [piece for hole in part.interiors for piece in split(hole.coords, random)]
    random.shuffle(outer)
    random.shuffle(inner)
    assert_is(area_from_members(outer, inner), shape)


@settings(deadline=None)
@given(cells, st.randoms(use_true_random=False))
def test_any_shape_is_found_from_blocks_that_share_walls(chosen, random):
    squares, shape = shape_of(chosen)
    if shape.is_empty:
        return
    outer = [piece for square in squares for piece in split(square.exterior.coords, random)]
    random.shuffle(outer)
    assert_is(area_from_members(outer, []), shape)


def test_a_file_with_a_gap_and_an_island(city, ring):
    city.way(1, ring(0, 0, 60))
    city.way(2, ring(10, 10, 40))
    city.way(3, ring(20, 20, 20))
    city.relation(4, [(1, "outer"), (2, "inner"), (3, "outer")], building="yes", height="10")
    blocks = [(110, 0), (100, 10), (120, 10), (110, 20)]
    for number, corner in enumerate(blocks, 11):
        city.way(number, ring(*corner, 10))
    city.relation(20, [(number, "outer") for number in (11, 12, 13, 14)], building="yes", height="10")
    found = {item.osm_id: item.area for item in read_map(city.write()).footprints}
    assert found["relation/4"].area == pytest.approx(3600 - 1600 + 400, rel=0.01)
    assert found["relation/20"].area == pytest.approx(400, rel=0.01)
    assert not found["relation/20"].contains(shapely.Point(115, 15))
