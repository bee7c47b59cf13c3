"""Sequences of mirrors and open chains, against every sequence tried one by one."""

import itertools

import numpy as np
import pytest

from channelfm.arrays import UPA
from channelfm.scenes import procedural
from channelfm.scenes.surface import inside_buildings
from channelfm.tracing.candidates import ArrayView, Candidates, _distinct, _words, sequences_seen
from channelfm.tracing.chains import Mirrors
from channelfm.tracing.images import find_chains
from channelfm.tracing.nearfield import anchor_elements
from channelfm.tracing.planes import planar_scene
from channelfm.tracing.rays import sphere_lattice
from channelfm.tracing.settings import Settings

CARRIER_HZ = 7e9
DEFAULTS = Settings(2, False, False, False, "tr38901", "V", 1_000_000, None, 0)


def test_words_say_all_that_can_happen_to_a_ray_with_two_mirrors():
    assert _words(3, refraction=False) == ["RRR"]
    assert sorted(_words(3, refraction=True)) == ["RRR", "RTR", "TRR"]
    assert _words(1, refraction=True) == []


def test_distinct_rows_are_those_of_a_set():
    rows = np.random.default_rng(0).integers(0, 4, (200, 3))
    assert {tuple(row) for row in _distinct(rows)} == {tuple(row) for row in rows}
    assert len(_distinct(rows)) == len({tuple(row) for row in rows})
    assert len(_distinct(np.zeros((0, 2), int))) == 0


def test_the_lattice_is_even_and_turned_by_the_seed():
    directions = sphere_lattice(20_000, 3)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0)
    for axis in np.eye(3):
        assert np.mean(directions @ axis > 0.8) == pytest.approx(0.1, abs=0.002)  # a cap's share of the sphere
    assert not np.allclose(directions, sphere_lattice(20_000, 4))


@pytest.fixture(scope="module")
def city():
    scene = procedural(seed=3)
    array = UPA(16, 16, CARRIER_HZ, (scene.bounds[0] - 20.0, 0.0, 45.0))
    middle = np.array([np.mean(scene.bounds[::2]), np.mean(scene.bounds[1::2]), 25.0])
    users = middle + np.random.default_rng(1).uniform(-1, 1, (40, 3)) * [150, 150, 23]
    return scene, array, users[~inside_buildings(scene, users)][:12]


@pytest.mark.rt
@pytest.mark.usefixtures("sionna_rt")
def test_no_single_or_double_reflection_is_lost(city):
    """The oracle tries every pair of planes; rays from the array must have seen those that carry a path."""
    from channelfm.tracing.sionna import SionnaScene

    scene, array, users = city
    tracer = SionnaScene(scene, CARRIER_HZ, 2)
    anchors = array.element_positions[anchor_elements(array)]
    view = ArrayView(np.array(array.position), anchors, array.aperture_m / 2)
    found = Candidates(tracer.rays, tracer.triangles, view, DEFAULTS).find(users)
    geometry, total = planar_scene(scene), 0
    for number, user in enumerate(users):
        mine = found.chains.kinds[found.user == number]
        theirs = find_chains(geometry, user, anchors, 2)
        for length in (1, 2):
            assert ((mine > 0).sum(axis=1) == length).sum() == sum(len(chain) == length for chain in theirs)
        total += len(theirs)
    assert total > 10


@pytest.mark.rt
@pytest.mark.usefixtures("sionna_rt")
def test_walls_are_counted_as_many_as_a_chain_may_have(city):
    """Lines of sight through buildings have two walls for each, in agreement with the plane-by-plane count."""
    from channelfm.tracing.sionna import SionnaScene

    scene, array, users = city
    tracer = SionnaScene(scene, CARRIER_HZ, 4)
    view = ArrayView(np.array(array.position), np.array([array.position]), 0.0)
    settings = Settings(4, True, False, False, "tr38901", "V", 1, None, 0)
    found = Candidates(tracer.rays, tracer.triangles, view, settings).find(users)
    straight = {
        int(user): int((kinds > 0).sum())
        for user, kinds in zip(found.user, found.chains.kinds, strict=True)
        if not (kinds == 1).any()
    }
    geometry = planar_scene(scene)
    for number, user in enumerate(users):
        ends = np.array([user, np.array(array.position)])
        walls = _walls_between(geometry, *ends)
        assert straight.get(number, 0) == (walls if walls <= 4 else 0)


def _walls_between(geometry, start, end):
    """How many planes' triangles a segment crosses."""
    normal, offset = geometry.normal, geometry.offset
    here, there = normal @ start - offset, normal @ end - offset
    crossing = np.flatnonzero(here * there < 0)
    share = here[crossing] / (here[crossing] - there[crossing])
    points = start + share[:, None] * (end - start)
    return int((geometry.triangle_at(points, crossing) >= 0).sum())


@pytest.mark.rt
@pytest.mark.usefixtures("sionna_rt")
def test_more_rays_only_add_sequences_and_equal_ones_repeat(city):
    from channelfm.tracing.sionna import SionnaScene

    scene, array, _ = city
    tracer = SionnaScene(scene, CARRIER_HZ, 3)
    view = ArrayView(np.array(array.position), array.element_positions[:1], 0.0)
    few, again, many = (
        sequences_seen(
            tracer.rays,
            tracer.triangles.plane,
            view,
            Settings(3, True, False, False, "tr38901", "V", rays, None, 0),
        )
        for rays in (250_000, 250_000, 750_000)
    )
    for short, same, long in zip(few, again, many, strict=True):
        np.testing.assert_array_equal(short, same)
        assert {tuple(row) for row in short} <= {tuple(row) for row in long}
    assert all(column.max() < len(Mirrors.of(tracer.triangles)) for column in itertools.chain(*map(np.transpose, few)))
