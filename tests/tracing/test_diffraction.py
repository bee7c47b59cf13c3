"""Diffraction at one edge against exact fields and the uniform theory of diffraction, worked out independently."""

import numpy as np
import pytest

from channelfm.arrays import UPA
from channelfm.channels import synthesize
from channelfm.records import Scene, SceneObject, Trajectory
from channelfm.tracing import Tracer
from channelfm.tracing.chains import Triangles
from channelfm.tracing.closed_forms import free_space_channel, half_plane_channel, knife_edge_loss_db, wedge_channel
from channelfm.tracing.edges import Edges

CARRIER_HZ = 7e9
QUADS = np.array([[0, 3, 2, 1], [4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]])
FACES = np.vstack([QUADS[:, [0, 1, 2]], QUADS[:, [0, 2, 3]]]).astype(np.int32)
RIGHT_ANGLE = 1.5 * np.pi  # outside a block's edge


def block(low, high, material="metal"):
    (x0, y0, z0), (x1, y1, z1) = low, high
    vertices = np.array([[x, y, z] for z in (z0, z1) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))], float)
    owner = np.zeros(len(FACES), np.int32)
    objects = (SceneObject("block", material, "other"),)
    return Scene("block", vertices, FACES, owner, objects, (-1e3, -1e3, 1e3, 1e3))


# Its upper left edge runs along y through (0, 0, 100); the roof goes on for 400 m.
BLOCK = block((0, -500, -500), (400, 500, 100))


def flight(*positions):
    points = np.array(positions, float)
    return Trajectory(np.arange(len(points)) * 1.0, points, 0 * points, np.zeros(len(points), np.int32), "test")


def array_at(position, polarization="V"):
    return UPA(1, 1, CARRIER_HZ, tuple(position), pattern="isotropic", polarization=polarization)


def tracer(array, polarization="V", scene=BLOCK, **settings):
    settings = {"max_depth": 1, "refraction": False, "diffraction": True, **settings}
    return Tracer(scene, array, user_pattern="isotropic", user_polarization=polarization, **settings)


def around_the_edge(range_m, angle_rad):
    """A point at a range from the edge and an angle from the block's wall, through the outside."""
    return np.array([-range_m * np.sin(angle_rad), 0.0, 100.0 - range_m * np.cos(angle_rad)])


def behind_the_edge(shadow_deg, polarization, material="metal"):
    """Channel from a user 50 m beyond the edge, so many degrees in its shadow, to an array 30 m before it."""
    array = array_at(around_the_edge(30.0, np.radians(30.0)), polarization)
    user = flight(around_the_edge(50.0, np.radians(210.0 + shadow_deg)))
    scene = block((0, -500, -500), (400, 500, 100), material)
    paths = tracer(array, polarization, scene).trace(user)
    assert paths.interactions[0, 0].tolist() == [8]
    return abs(synthesize(paths, array)[0, 0, 0])


@pytest.mark.rt
@pytest.mark.usefixtures("sionna_rt")
@pytest.mark.parametrize("polarization", ["V", "H"])
@pytest.mark.parametrize("material", ["metal", "concrete"])
@pytest.mark.parametrize("shadow_deg", [0.5, 2.0, 6.0])
def test_the_half_shadow_is_that_of_a_knife_edge(shadow_deg, material, polarization):
    loss_db = knife_edge_loss_db(50.0, 30.0, np.radians(shadow_deg), CARRIER_HZ)
    expected_db = 20 * np.log10(abs(free_space_channel(80.0, CARRIER_HZ))) - loss_db
    measured_db = 20 * np.log10(behind_the_edge(shadow_deg, polarization, material))
    assert measured_db == pytest.approx(expected_db, abs=2.0)


@pytest.mark.rt
@pytest.mark.usefixtures("sionna_rt")
@pytest.mark.parametrize("polarization", ["V", "H"])
@pytest.mark.parametrize("shadow_deg", [0.5, 5.0, 25.0, 52.0])
def test_a_metal_block_is_the_wedge_of_kouyoumjian_and_pathak_in_both_polarisations(shadow_deg, polarization):
    angles = np.radians(210.0 + shadow_deg), np.radians(30.0)
    expected = wedge_channel(50.0, 30.0, *angles, RIGHT_ANGLE, CARRIER_HZ, hard=polarization == "V")
    assert 20 * np.log10(behind_the_edge(shadow_deg, polarization) / abs(expected)) == pytest.approx(0.0, abs=0.1)


def test_the_uniform_theory_of_a_half_plane_is_exact():
    for angle, hard in ((200.0, False), (330.0, False), (250.0, True), (330.0, True)):
        place = 50.0, 30.0, np.radians(angle), np.radians(10.0)
        exact = half_plane_channel(*place, CARRIER_HZ, hard)
        assert wedge_channel(*place, 2 * np.pi, CARRIER_HZ, hard) == pytest.approx(exact, rel=1e-3)


SHEET = Scene(
    "sheet",
    np.array([[0, -500, -500], [0, 500, -500], [0, 500, 100], [0, -500, 100]], float),
    np.array([[0, 1, 2], [0, 2, 3]], np.int32),
    np.zeros(2, np.int32),
    (SceneObject("sheet", "metal", "other"),),
    (-1e3, -1e3, 1e3, 1e3),
)


@pytest.mark.rt
@pytest.mark.usefixtures("sionna_rt")
@pytest.mark.parametrize("polarization", ["V", "H"])
def test_thin_screens_are_sommerfelds_half_plane(polarization):
    """Up to nu = 20; the screen's upper edge is free, so it diffracts though nothing else meets there."""
    array = array_at((-30.0, 0.0, 100.0), polarization)
    nu = np.array([0.2, 1.0, 3.0, 8.0, 20.0])
    shadow = nu * np.sqrt(array.wavelength_m * (1 / 50.0 + 1 / 30.0) / 2)
    users = flight(*(np.array([50.0 * np.cos(angle), 0.0, 100.0 - 50.0 * np.sin(angle)]) for angle in shadow))
    paths = tracer(array, polarization, SHEET).trace(users)
    assert (paths.interactions[:, 0] == 8).all()
    # the strongest path is that over the upper edge; those around the far ends are 30 dB weaker
    for angle, found in zip(shadow, paths.gain[:, 0, 0], strict=True):
        where = 50.0, 30.0, np.radians(270.0) + angle, np.radians(90.0)
        exact = half_plane_channel(*where, CARRIER_HZ, hard=polarization == "V")
        assert 20 * np.log10(abs(found / exact)) == pytest.approx(0.0, abs=0.1)


@pytest.mark.rt
@pytest.mark.usefixtures("sionna_rt")
def test_the_field_is_continuous_across_the_shadow_boundary_and_half_of_free_space_there():
    array = array_at(around_the_edge(30.0, np.radians(30.0)))
    angles = np.radians(210.0 + np.array([-0.02, 0.02]))
    users = flight(*(around_the_edge(50.0, angle) for angle in angles))
    channel = synthesize(tracer(array).trace(users), array)[:, 0, 0]
    assert 20 * np.log10(abs(channel[1] / channel[0])) == pytest.approx(0.0, abs=0.3)
    free = free_space_channel(80.0, CARRIER_HZ)
    assert 20 * np.log10(abs(channel[0] / free)) == pytest.approx(-6.0, abs=1.0)


@pytest.mark.rt
@pytest.mark.usefixtures("sionna_rt")
def test_diffraction_is_reciprocal():
    here, there = around_the_edge(30.0, np.radians(40.0)), around_the_edge(60.0, np.radians(250.0))
    there[1] += 25.0
    up, down = (tracer(array_at(one)).trace(flight(other)) for one, other in ((here, there), (there, here)))
    assert up.interactions[0, 0].tolist() == down.interactions[0, 0].tolist() == [8]
    np.testing.assert_allclose(up.delay_s[0, 0], down.delay_s[0, 0], atol=1e-14)
    # the array's antenna stands upright at one end and the user's looks at it at the other, hence not quite equal
    assert 20 * np.log10(abs(up.gain[0, 0, 0] / down.gain[0, 0, 0])) == pytest.approx(0.0, abs=0.2)


@pytest.mark.rt
@pytest.mark.usefixtures("sionna_rt")
def test_walls_on_the_way_to_an_edge_count_as_refractions():
    screen = block((-16, -30, 60), (-15, 30, 120), "glass")
    both = Scene(
        "two",
        np.concatenate([BLOCK.vertices, screen.vertices]),
        np.concatenate([BLOCK.faces, screen.faces + len(BLOCK.vertices)]),
        np.repeat([0, 1], len(FACES)).astype(np.int32),
        (*BLOCK.objects, SceneObject("screen", "glass", "other")),
        BLOCK.bounds,
    )
    array = array_at((-30, 0, 85.0))
    user = flight(around_the_edge(50.0, np.radians(250.0)))
    paths = tracer(array, scene=both, max_depth=3, refraction=True).trace(user)
    kinds = {tuple(kind) for kind, valid in zip(paths.interactions[0], paths.valid[0, :, 0], strict=True) if valid}
    assert (8, 4, 4) in kinds
    fewer = tracer(array, scene=both, max_depth=2, refraction=True).trace(user)
    assert not (fewer.interactions == 4).any()


@pytest.mark.slow
@pytest.mark.rt
@pytest.mark.usefixtures("sionna_rt")
@pytest.mark.parametrize("material", ["brick", "concrete", "glass"])
@pytest.mark.parametrize("polarization", ["V", "H"])
def test_nothing_jumps_where_walls_let_the_hidden_wave_through(material, polarization):
    """In the shadow the direct path goes on through the roof and the wall: the edge must not replace all of it."""
    scene = block((0, -500, -500), (400, 500, 20), material)
    array = array_at((60.0, 0.0, 45.0), polarization)
    boundary = 20.0 - 28.0 * 25.0 / 60.0
    users = flight(*([-28.0, 0.0, boundary + beyond] for beyond in (-7e-3, 7e-3)))
    paths = tracer(array, polarization, scene, max_depth=3, refraction=True).trace(users)
    kinds = [{tuple(k) for k, v in zip(kind, valid, strict=True) if v} for kind, valid in
             zip(paths.interactions, paths.valid[:, :, 0], strict=True)]  # fmt: skip
    assert (4, 4, 0) in kinds[0]
    assert (0, 0, 0) in kinds[1]
    shadow, light = synthesize(paths, array)[:, 0, 0]
    assert 20 * np.log10(abs(light / shadow)) == pytest.approx(0.0, abs=0.5)


@pytest.mark.rt
@pytest.mark.usefixtures("sionna_rt")
@pytest.mark.parametrize("polarization", ["V", "H"])
def test_nothing_jumps_where_a_reflection_ends(polarization):
    scene = block((0, -500, -500), (400, 500, 20), "concrete")
    array = array_at((60.0, 0.0, 45.0), polarization)
    boundary = 20.0 + 28.0 * 25.0 / 60.0
    users = flight(*([-28.0, 0.0, boundary + beyond] for beyond in (-2e-4, 2e-4)))
    paths = tracer(array, polarization, scene).trace(users)
    assert sorted((paths.interactions[:, :, 0] == 1).sum(axis=1).tolist()) == [0, 1]
    one, other = synthesize(paths, array)[:, 0, 0]
    assert 20 * np.log10(abs(one / other)) == pytest.approx(0.0, abs=0.1)


@pytest.mark.rt
@pytest.mark.usefixtures("sionna_rt")
def test_edges_scatter_no_more_than_they_hide():
    """Over a height of many Fresnel zones behind a screen, as much power arrives as before it but for the shadow."""
    array = array_at((-30.0, 0.0, 100.0))
    heights = np.linspace(-8.0, 30.0, 800)
    paths = tracer(array, scene=SHEET).trace(flight(*([60.0, 0.0, 100.0 + height] for height in heights)))
    power = np.abs(synthesize(paths, array)[:, 0, 0]) ** 2
    free = np.abs([free_space_channel(float(np.hypot(90.0, height)), CARRIER_HZ) for height in heights]) ** 2
    assert power.sum() == pytest.approx(free[heights > 0].sum(), rel=0.02)


def test_a_box_has_twelve_right_angled_edges_and_six_facets():
    box = block((0, 0, 0), (2, 3, 4))
    edges = Edges.of(Triangles.of_meshes([0], [box.vertices[box.faces]]))
    assert len(edges) == 12
    np.testing.assert_allclose(np.sort(np.unique(edges.length)), [2, 3, 4])
    np.testing.assert_allclose(edges.opening, 1.5)
    middle = edges.points(edges.length / 2)
    into_face = np.cross(edges.near, edges.along)
    assert (np.sum((np.array([1, 1.5, 2]) - middle) * into_face, axis=1) > 0).all()
    assert (np.sum((middle - np.array([1, 1.5, 2])) * edges.outwards, axis=1) > 0).all()
    assert len(np.unique([edges.near_facet, edges.far_facet])) == 6
    opposite = np.flatnonzero(np.abs(edges.along[:, 1]) > 0.5)
    upper = opposite[edges.origin[opposite, 2] == 4]
    assert edges.select(upper[None]).shared_faces().any()


def test_the_point_of_diffraction_has_equal_angles_with_the_edge():
    box = block((0, 0, 0), (2, 300, 4))
    edges = Edges.of(Triangles.of_meshes([0], [box.vertices[box.faces]]))
    rng = np.random.default_rng(0)
    user, end = (rng.uniform([-20, 50, 0], [-5, 250, 20], (len(edges), 3)) for _ in range(2))
    point = edges.points(edges.places(user, end))
    cosines = [np.sum(edges.along * leg, axis=1) / np.linalg.norm(leg, axis=1) for leg in (point - user, end - point)]
    np.testing.assert_allclose(*cosines, atol=1e-9)
