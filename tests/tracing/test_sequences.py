"""Interpolated sequences against tracing every snapshot by the image method; identities of paths by geometry."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm.arrays import UPA
from channelfm.channels import synthesize
from channelfm.errors import InputError
from channelfm.records import Paths, Scene, SceneObject, Trajectory
from channelfm.tracing import trace as trace_verb
from channelfm.tracing.images import trace_images
from channelfm.tracing.sequences import birth_death_statistics, follow, lay_lattice, trace_sequence
from channelfm.units import SPEED_OF_LIGHT

CARRIER_HZ = 3.5e9
INTERVAL_S = 1e-3


def scene_of(*sheets):
    """Concrete rectangles, each given as (corner, one side, other side); none at all is free space."""
    corners = [[np.array(c, float) + a * np.array(u) + b * np.array(v) for a, b in SQUARE] for c, u, v in sheets]
    faces = [np.array([[0, 1, 2], [0, 2, 3]]) + 4 * number for number in range(len(sheets))]
    return Scene(
        name="sheets",
        vertices=np.array(corners).reshape(-1, 3),
        faces=np.array(faces, np.int32).reshape(-1, 3),
        face_object=np.repeat(np.arange(len(sheets), dtype=np.int32), 2),
        objects=tuple(SceneObject(f"sheet-{number}", "concrete", "other") for number in range(len(sheets))),
        bounds=(-1000.0, -1000.0, 1000.0, 1000.0),
    )


SLOTTED = ("gain", "delay_s", "valid", "doppler_hz", "interactions", "points_m", "departure", "arrival")
SQUARE = ((0, 0), (1, 0), (1, 1), (0, 1))
FREE_SPACE = scene_of()
GROUND = ((-1000, -1000, 0), (2000, 0, 0), (0, 2000, 0))
WALL = ((-1000, 30, -10), (2000, 0, 0), (0, 0, 100))  # the plane y = 30


@dataclasses.dataclass
class ImageTracer:
    """The image method as a tracer, which remembers how many snapshots it was asked for."""

    scene: Scene
    array: UPA
    depth: int = 1
    traced: int = 0

    def trace(self, trajectory, progress=None):
        self.traced += len(trajectory)
        if progress is not None:
            progress(len(trajectory))
        return trace_images(self.scene, trajectory, self.array, max_depth=self.depth)


def array_at(position=(0.0, 0.0, 20.0), rows=4, cols=4, **options):
    return UPA(rows, cols, CARRIER_HZ, position, **options)


def track_of(positions, number=0):
    """A track through positions, one each millisecond, with the velocities of its own movement."""
    places = np.array(positions, float)
    velocities = np.gradient(places, INTERVAL_S, axis=0) if len(places) > 1 else np.zeros_like(places)
    times = np.arange(len(places)) * INTERVAL_S
    return Trajectory(times, places, velocities, np.full(len(places), number, np.int32), "test")


def straight(start, velocity, frames=60, number=0):
    times = np.arange(frames)[:, None] * INTERVAL_S
    return track_of(np.array(start, float) + times * np.array(velocity, float), number)


def both(*tracks):
    names = ("times_s", "positions_m", "velocities_mps", "track")
    return dataclasses.replace(
        tracks[0], **{name: np.concatenate([getattr(track, name) for track in tracks]) for name in names}
    )


def nmse_db(tracer, trajectory, paths, every=7):
    """NMSE [dB] of every seventh snapshot against tracing it: none of the strides here is a multiple of seven."""
    index = slice(None, None, every)
    truth = synthesize(tracer.trace(trajectory.select(index)), tracer.array)
    error = np.sum(np.abs(synthesize(_select(paths, index), tracer.array) - truth) ** 2, axis=(1, 2))
    return 10 * np.log10(np.maximum(error / np.sum(np.abs(truth) ** 2, axis=(1, 2)), 1e-20))


@pytest.mark.parametrize("spacing", [0.1, 1.0])
@pytest.mark.parametrize("velocity", [(20, 20, 1), (0, -30, 0), (-1, 2, 0)])
@pytest.mark.parametrize("sheets", [(), (GROUND,), (GROUND, WALL)])
def test_constant_path_sets_are_interpolated_far_below_the_noise(sheets, velocity, spacing):
    tracer = ImageTracer(scene_of(*sheets), array_at(), depth=2)
    flight = straight((35, 12, 4), velocity)
    paths = trace_sequence(tracer, flight, spacing)
    assert set(paths.valid.any(axis=2).sum(axis=1)) == {1 + len(sheets) + (len(sheets) == 2)}
    assert nmse_db(tracer, flight, paths).max() < (-90 if spacing == 0.1 else -60)


def test_a_hundred_times_fewer_snapshots_are_traced_for_a_slow_walk():
    tracer = ImageTracer(scene_of(GROUND), array_at())
    walk = straight((20, 5, 1.5), (0.6, 0.8, 0.0), frames=1001)
    paths = trace_sequence(tracer, walk)
    assert tracer.traced == 11
    assert nmse_db(tracer, walk, paths, every=47).max() < -90


def _select(paths, index):
    arrays = {name: values[index] for name, values in vars(paths).items() if isinstance(values, np.ndarray)}
    return dataclasses.replace(paths, **arrays)


def test_a_curve_stays_exact_although_the_lattice_is_coarser_than_its_corners():
    angle = np.arange(80) * INTERVAL_S * 10.0 / 8.0  # 10 m/s about a circle of 8 m
    bend = track_of(np.stack([25 + 8 * np.cos(angle), 8 * np.sin(angle), np.full(80, 2.0)], axis=1))
    tracer = ImageTracer(scene_of(GROUND, WALL), array_at(), depth=2)
    assert nmse_db(tracer, bend, trace_sequence(tracer, bend, 0.2)).max() < -75


def test_a_right_angle_gets_a_node_and_nothing_goes_across():
    there = np.arange(40)[:, None] * 0.01 * np.array([1.0, 0, 0]) + [20, 5, 1.5]
    back = there[-1] + np.arange(1, 40)[:, None] * 0.01 * np.array([0, 1.0, 0])
    corner = track_of(np.concatenate([there, back]))
    tracer = ImageTracer(scene_of(GROUND), array_at())
    paths = trace_sequence(tracer, corner, 0.25)
    assert tracer.traced == 6
    assert (lay_lattice(corner, 0.25).nodes.positions_m == there[-1]).all(axis=1).sum() == 2
    assert nmse_db(tracer, corner, paths).max() < -85


def test_the_phase_turns_with_the_delay_and_doppler_is_its_slope():
    tracer = ImageTracer(scene_of(WALL), array_at())
    flight = straight((40, 3, 15), (12, 9, -3))
    paths = trace_sequence(tracer, flight)
    ids = follow(paths)
    assert set(ids.ravel()) == {0, 1}
    for path in (0, 1):
        row, slot = np.nonzero(ids == path)
        delay, doppler = paths.delay_s[row, slot], paths.doppler_hz[row, slot]
        slope = np.gradient(delay, INTERVAL_S, axis=0)[1:-1]
        np.testing.assert_allclose(doppler[1:-1], -CARRIER_HZ * slope, atol=2e-3)
        phase = np.unwrap(np.angle(paths.gain[row, slot] * np.exp(-2j * np.pi * CARRIER_HZ * delay)), axis=0)
        turned = np.gradient(phase, INTERVAL_S, axis=0)[1:-1]
        np.testing.assert_allclose(turned, 2 * np.pi * doppler[1:-1], rtol=0, atol=2 * np.pi * 0.1)


def test_angles_do_not_wrap_between_nodes():
    """Due east of the array the azimuth of departure jumps from +pi to -pi, due west that of arrival does."""
    for east, field in ((30.0, "departure"), (-30.0, "arrival")):
        tracer = ImageTracer(FREE_SPACE, array_at((0.0, 0.0, 1.0), pattern="isotropic"))
        flight = straight((east, -0.3, 1.0), (0, 10, 0))
        direction = getattr(trace_sequence(tracer, flight, 0.25), field)[:, 0]
        azimuth = np.arctan2(direction[:, 1], direction[:, 0])
        assert np.abs(azimuth).min() > 3.1
        assert len(set(np.sign(azimuth))) > 1
        np.testing.assert_allclose(np.linalg.norm(direction, axis=1), 1.0, atol=1e-12)
        np.testing.assert_allclose(direction, getattr(tracer.trace(flight), field)[:, 0], atol=1e-5)


@pytest.mark.parametrize("refinements", [0, 1, 4])
def test_a_path_dies_behind_an_edge_where_it_should(refinements):
    screen = ((10, -50, -50), (0, 50, 0), (0, 0, 100))  # the half plane x = 10, y < 0; shadow at y < 0 for all x > 10
    tracer = ImageTracer(scene_of(screen), array_at((0.0, 0.0, 1.0), rows=1, cols=1))
    flight = straight((20, 0.517, 1.0), (0, -10, 0), frames=100)
    paths = trace_sequence(tracer, flight, refinements=refinements)
    missed = paths.has_path != (flight.positions_m[:, 1] > 0)
    assert np.abs(flight.positions_m[missed, 1]).max(initial=0.0) <= 0.1 / 2 ** (refinements + 1) + 1e-9
    assert paths.has_path[0]
    assert not paths.has_path[-1]
    for name in SLOTTED:
        assert not getattr(paths, name)[~paths.has_path].any()


def test_shadow_sweeps_over_the_array_antenna_by_antenna():
    screen = ((10, -50, -50), (0, 50, 0), (0, 0, 100))
    tracer = ImageTracer(scene_of(screen), array_at((0.0, 0.0, 1.0), rows=1, cols=32))
    flight = straight((20, 1.6, 1.0), (0, -20, 0), frames=160)
    seen = trace_sequence(tracer, flight).valid.any(axis=1)
    truth = tracer.trace(flight).valid.any(axis=1)
    partly = truth.any(axis=1) & ~truth.all(axis=1)
    assert partly.sum() > 50
    assert np.mean(seen[partly] != truth[partly]) < 0.02
    assert (seen == truth)[~partly].mean() > 0.99


def test_what_one_node_alone_sees_is_continued_exactly():
    """A mirror that ends: up to half-way its path goes on with the delay and Doppler shift of its image."""
    mirror = ((0, 30, -10), (30.02, 0, 0), (0, 0, 100))
    tracer = ImageTracer(scene_of(mirror), array_at(rows=2, cols=2))
    endless = ImageTracer(scene_of(WALL), tracer.array)
    flight = straight((59.9, 0, 18), (8, 0, 0), frames=30)  # array and user mirror each other at x = 30
    paths, truth = trace_sequence(tracer, flight, 0.24, refinements=0), endless.trace(flight)
    alive = (paths.interactions > 0).any(axis=(1, 2))
    assert alive.sum() == 15  # to half-way of 0.232 m; the true end is at 0.14 m
    both_seen = np.flatnonzero(alive)
    for name, tolerance in (("delay_s", 1e-16), ("doppler_hz", 1e-3), ("gain", 5e-7), ("departure", 1e-9)):
        bounced = [getattr(p, name)[both_seen, _slot_of_bounce(p)[both_seen]] for p in (paths, truth)]
        np.testing.assert_allclose(*bounced, rtol=0, atol=tolerance, err_msg=name)


def _slot_of_bounce(paths):
    return np.argmax((paths.interactions > 0).any(axis=2), axis=1)


@dataclasses.dataclass
class OverTheEdge:
    """One path by Keller's shortest way over a vertical edge through the origin, whose image moves with the user."""

    elements_m: np.ndarray  # [A, 3]

    def trace(self, trajectory, progress=None):
        count, antennas = len(trajectory), len(self.elements_m)
        ends = np.vstack([self.elements_m, self.elements_m.mean(axis=0)])
        user = trajectory.positions_m[:, None]
        near, far = np.hypot(user[..., 0], user[..., 1]), np.hypot(ends[:, 0], ends[:, 1])
        length = np.hypot(near + far, user[..., 2] - ends[:, 2])
        point = np.zeros((count, antennas + 1, 3))
        point[..., 2] = user[..., 2] + near / (near + far) * (ends[:, 2] - user[..., 2])
        towards = (point - user) / np.linalg.norm(point - user, axis=2, keepdims=True)
        doppler = np.einsum("sai,si->sa", towards, trajectory.velocities_mps) * CARRIER_HZ / SPEED_OF_LIGHT
        back = point[:, -1:] - ends[-1]
        return Paths(
            gain=(1 / length[:, None, :-1]).astype(np.complex64),
            delay_s=length[:, None, :-1] / SPEED_OF_LIGHT,
            valid=np.ones((count, 1, antennas), bool),
            doppler_hz=doppler[:, None, :-1].astype(np.float32),
            interactions=np.full((count, 1, 1), 8, np.int32),
            points_m=point[:, None, -1:],
            departure=towards[:, -1:],
            arrival=back / np.linalg.norm(back, axis=2, keepdims=True),
            times_s=trajectory.times_s,
            positions_m=trajectory.positions_m,
            carrier_hz=CARRIER_HZ,
            method="edge",
        )


@pytest.mark.parametrize("velocity", [(15, 0, 0), (0, 0, 9), (-6, 12, 3)])
def test_a_diffracted_path_is_exact_although_its_image_moves(velocity):
    tracer = OverTheEdge(UPA(8, 8, CARRIER_HZ, (-40.0, -30.0, 20.0)).element_positions)
    flight = straight((0.5, 4, 1.5), velocity)
    paths, truth = trace_sequence(tracer, flight), tracer.trace(flight)
    assert set(follow(paths).ravel()) == {0}
    assert np.abs(paths.delay_s - truth.delay_s).max() * CARRIER_HZ < 1e-6  # cycles: -100 dB
    np.testing.assert_allclose(paths.doppler_hz, truth.doppler_hz, atol=0.03)
    np.testing.assert_allclose(paths.departure, truth.departure, atol=1e-3)


def test_standing_users_and_lone_snapshots_keep_their_velocities():
    tracer = ImageTracer(scene_of(GROUND), array_at())
    lone = dataclasses.replace(track_of([[30, 1, 2]], 1), velocities_mps=np.array([[3.0, -4.0, 0.0]]))
    standing = track_of(np.tile([20.0, -5, 1.5], (30, 1)), 2)
    flight = both(straight((35, 12, 4), (5, 0, 0)), lone, standing)
    paths = trace_sequence(tracer, flight, 0.1)
    assert tracer.traced == 4 + 1 + 1
    assert nmse_db(tracer, flight, paths).max() < -90
    np.testing.assert_allclose(paths.doppler_hz, tracer.trace(flight).doppler_hz, atol=1e-3)


def test_a_coarse_trajectory_is_traced_as_it_is():
    tracer = ImageTracer(scene_of(GROUND), array_at())
    flight = straight((35, 12, 4), (25, 0, 0), frames=5)
    done = []
    paths = trace_sequence(tracer, flight, 0.02, progress=done.append)
    assert tracer.traced == 5
    assert paths.method == "images"
    np.testing.assert_array_equal(paths.gain, tracer.trace(flight).gain)
    assert sum(done) == 5


def test_progress_counts_snapshots():
    done = []
    trace_sequence(ImageTracer(FREE_SPACE, array_at()), straight((35, 12, 4), (10, 0, 0)), progress=done.append)
    assert sum(done) == 60


@pytest.mark.parametrize("options", [{"spacing_m": 0.0}, {"spacing_m": np.nan}, {"refinements": -1}])
def test_unusable_arguments_are_named(options):
    with pytest.raises(InputError, match=next(iter(options))):
        trace_sequence(ImageTracer(FREE_SPACE, array_at()), straight((9, 9, 9), (1, 0, 0)), **options)


def test_a_trajectory_that_is_empty_or_not_finite_is_refused():
    with pytest.raises(InputError, match="NaN"):
        trace_sequence(ImageTracer(FREE_SPACE, array_at()), straight((9, 9, 9), (np.nan, 0, 0)))
    with pytest.raises(InputError, match="no snapshots"):
        trace_sequence(ImageTracer(FREE_SPACE, array_at()), straight((9, 9, 9), (1, 0, 0)).select(slice(0, 0)))


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(st.tuples(st.floats(0, 0.2), st.floats(-3, 3)), min_size=1, max_size=30),
    spacing=st.floats(0.02, 1.0),
    cut=st.integers(0, 30),
)
def test_every_snapshot_lies_between_its_nodes(steps, spacing, cut):
    heading = np.cumsum([turn for _, turn in steps])
    length = np.array([length for length, _ in steps])[:, None]
    places = np.cumsum(np.vstack([[0, 0, 0], length * np.stack([np.cos(heading), np.sin(heading), 0 * heading], 1)]), 0)
    flight = dataclasses.replace(track_of(places), track=(np.arange(len(places)) >= cut).astype(np.int32))
    lattice = lay_lattice(flight, spacing)
    nodes = lattice.nodes
    assert ((lattice.share >= 0) & (lattice.share <= 1 + 1e-9)).all()
    assert ((lattice.right - lattice.left == 1) | (lattice.right == lattice.left)).all()
    np.testing.assert_array_equal(nodes.track[lattice.left], nodes.track[lattice.right])
    for node, share in ((lattice.left, lattice.share), (lattice.right, 1 - lattice.share)):
        apart = np.linalg.norm(nodes.positions_m[node] - flight.positions_m, axis=1)
        assert (apart <= share * lattice.gap_m + 1e-7).all()
    speed = np.linalg.norm(nodes.velocities_mps, axis=1)
    assert (np.isclose(speed, 1.0) | (speed == 0)).all()


def test_delays_cross_and_identities_stay():
    """Mirrors on both sides: walking from one to the other, the two reflections swap in delay and in power."""
    mirrors = scene_of(WALL, ((-1000, -30, -10), (2000, 0, 0), (0, 0, 100)))
    tracer = ImageTracer(mirrors, array_at())
    paths = tracer.trace(straight((40, -4, 15), (0, 8, 0), frames=1000).select(slice(None, None, 20)))
    shuffled = _shuffled(paths, seed=1)
    for record in (paths, shuffled):
        ids = follow(record)
        assert set(ids.ravel()) == {0, 1, 2}
        kind = np.sign(record.points_m[:, :, 0, 1])  # -1 and +1 for the mirrors, 0 for the line of sight
        for path in range(3):
            assert len(set(kind[ids == path])) == 1
    longer = paths.delay_s[:, 1:, 0][np.arange(len(paths)), kind_of(paths)]
    assert (np.diff(longer) > 0).all() or (np.diff(longer) < 0).all()


def kind_of(paths):
    """Which of the two reflections, in the order of delays, is the one of the wall y = 30."""
    return np.argmax(paths.points_m[:, 1:, 0, 1] > 0, axis=1)


def _shuffled(paths, seed):
    rng = np.random.default_rng(seed)
    order = np.array([rng.permutation(paths.valid.shape[1]) for _ in range(len(paths))])
    rows = np.arange(len(paths))[:, None]
    return dataclasses.replace(paths, **{name: getattr(paths, name)[rows, order] for name in SLOTTED})


def test_parallel_mirrors_a_centimetre_apart_are_two_paths():
    """A pane in front of a wall, ending in the middle of the track: the path off it is not the wall's."""
    pane = ((-1000, 29.98, -10), (1020, 0, 0), (0, 0, 100))
    tracer = ImageTracer(scene_of(WALL, pane), array_at(rows=1, cols=1))
    paths = tracer.trace(straight((39.5, 0, 20), (20, 0, 0), frames=60))
    ids = follow(paths)
    bounce = (paths.interactions > 0).any(axis=2)
    off_pane = np.isclose(paths.points_m[:, :, 0, 1], 29.98)
    assert len(set(ids[bounce & off_pane])) == len(set(ids[bounce & ~off_pane])) == 1
    assert not set(ids[bounce & off_pane]) & set(ids[bounce & ~off_pane])


def test_users_never_share_identities_and_a_path_that_returns_is_new():
    tracer = ImageTracer(FREE_SPACE, array_at())
    flight = both(straight((20, 0, 5), (1, 0, 0), 5, 0), straight((20.005, 0, 5), (1, 0, 0), 5, 1))
    paths = tracer.trace(flight)
    np.testing.assert_array_equal(follow(paths, flight.track)[:, 0], np.repeat([0, 1], 5))
    valid = paths.valid.copy()
    valid[2] = False
    np.testing.assert_array_equal(follow(dataclasses.replace(paths, valid=valid))[:5, 0], [0, 0, -1, 1, 1])
    with pytest.raises(InputError, match="track"):
        follow(paths, flight.track[:3])


def test_lives_of_made_up_paths():
    ids = np.array([[0, 1], [0, 1], [0, 2], [0, -1], [5, -1], [5, 6]], np.int32)
    places = np.array([0.0, 1, 2, 3, 0, 2])[:, None] * [0.0, 1.0, 0.0]
    lives = birth_death_statistics(ids, places, [0, 0, 0, 0, 1, 1])
    assert (lives.length_m, lives.paths, lives.births, lives.deaths) == (5.0, 5, 2, 2)
    assert lives.births_per_m == lives.deaths_per_m == pytest.approx(0.4)
    # Track 0: two metres and then one of both, halves for the change and the death; track 1: 2 m, half of 2 m.
    assert lives.mean_life_m == pytest.approx((2 + 1 + 0.5 + 0.5 + 1 + 0.5 + 2 + 1) / 2)
    assert lives.mean_paths == pytest.approx(10 / 6)
    still = birth_death_statistics(ids[:1], places[:1])
    assert np.isnan(still.births_per_m)
    assert still.mean_life_m == np.inf
    with pytest.raises(InputError, match="snapshots"):
        birth_death_statistics(ids, places[:2])


@pytest.mark.rt
@pytest.mark.usefixtures("sionna_rt")
@pytest.mark.parametrize(("start", "edges"), [((70, 14, 6), 1), ((75, -5, 6), 2)])
def test_traced_by_sionna_with_diffracted_paths(tiny_scene, start, edges):
    """Behind the box only refraction, and diffraction by a corner or over the roof, reach the user."""

    @dataclasses.dataclass
    class Sionna:
        array: UPA

        def trace(self, trajectory, progress=None) -> Paths:
            return trace_verb(tiny_scene, trajectory, self.array, 2, diffraction=True, method="near-field")

    tracer = Sionna(array_at((0.0, 0.0, 10.0), 4, 4))
    flight = straight(start, (0, 10, 0), frames=40)
    paths = trace_sequence(tracer, flight)
    assert ((paths.interactions == 8).sum(axis=2) == edges).any()
    assert np.median(nmse_db(tracer, flight, paths)) < -50
