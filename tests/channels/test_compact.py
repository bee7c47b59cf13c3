"""The compact form against synthesis from the paths themselves: accuracy, size, other arrays and frequencies."""

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from channelfm import scenes
from channelfm.arrays import UPA
from channelfm.channels import plane_wave, synthesize
from channelfm.channels.compact import CompactPaths, compress, expand
from channelfm.channels.compact.edges import decode_edges, encode_edges
from channelfm.channels.compact.wavefronts import fit_wavefront, path_difference
from channelfm.channels.strongest import count_paths
from channelfm.errors import InputError
from channelfm.records import Paths, Trajectory
from channelfm.tracing.images import trace_images
from channelfm.units import SPEED_OF_LIGHT

CARRIER_HZ = 7e9
WAVELENGTH_M = SPEED_OF_LIGHT / CARRIER_HZ
VELOCITY = np.array([12.0, -7.0, 2.0])


def from_sources(array: UPA, sources: np.ndarray, strength=1.0, seen=True) -> Paths:
    """Paths of point sources [S, P, 3]: exact delays and Doppler shifts, free-space gains times ``strength`` [S, P],
    ``seen`` broadcast to [S, P, A]; the first source of a snapshot is its user, the others have one reflection."""
    legs = array.element_positions - np.asarray(sources, float)[:, :, None]
    legs = np.tile(legs, (1, 1, array.num_polarizations, 1))
    distance = np.linalg.norm(legs, axis=-1)
    valid = np.broadcast_to(seen, distance.shape).copy()
    towards = np.asarray(array.position) - sources
    departure = towards / np.linalg.norm(towards, axis=-1, keepdims=True)
    interactions = np.zeros((*distance.shape[:2], 2), np.int32)
    interactions[:, 1:, 0] = 1
    gain = np.broadcast_to(strength, distance.shape[:2])[..., None] * WAVELENGTH_M / (4 * np.pi * distance)
    shift = legs / distance[..., None] @ VELOCITY / WAVELENGTH_M
    return Paths(
        gain=np.where(valid, gain, 0).astype(np.complex64),
        delay_s=np.where(valid, distance / SPEED_OF_LIGHT, 0.0),
        valid=valid,
        doppler_hz=np.where(valid, shift, 0).astype(np.float32),
        interactions=interactions,
        points_m=np.zeros((*interactions.shape, 3)),
        departure=departure,
        arrival=-departure,
        times_s=np.arange(len(distance), dtype=float),
        positions_m=np.asarray(sources)[:, 0],
        carrier_hz=array.carrier_hz,
        method="test",
    )


def nmse_db(estimate, truth) -> np.ndarray:
    """NMSE [S] in dB of channels [S, A, F]."""
    truth = np.asarray(truth)
    error = np.sum(np.abs(np.asarray(estimate) - truth) ** 2, axis=(1, 2))
    return 10 * np.log10(error / np.sum(np.abs(truth) ** 2, axis=(1, 2)) + 1e-20)


def scattered(snapshots=6, paths=5, seed=0) -> tuple[np.ndarray, np.ndarray]:
    """Source positions [S, P, 3] in front of an array at the origin, and complex strengths that fall with the slot."""
    rng = np.random.default_rng(seed)
    sources = rng.uniform([15, -80, -50], [150, 80, 40], (snapshots, paths, 3))
    return sources, np.exp(2j * np.pi * rng.random((snapshots, paths))) * 0.5 ** np.arange(paths)


@pytest.fixture(scope="module")
def array() -> UPA:
    return UPA(32, 32, CARRIER_HZ, (0.0, 0.0, 10.0), orientation_rad=(0.3, 0.1, 0.0))


@pytest.fixture(scope="module")
def paths(array) -> Paths:
    return from_sources(array, *scattered())


@pytest.fixture(scope="module")
def traced() -> tuple[UPA, Paths]:
    """Image-method paths of a procedural city at 64 x 64 elements."""
    scene = scenes.procedural(seed=2)
    array = UPA(64, 64, CARRIER_HZ, (-230.0, 0.0, 65.0))
    positions = np.random.default_rng(1).uniform([-150, -100, 35], [50, 100, 60], (5, 3))
    flight = Trajectory(
        times_s=np.arange(5.0),
        positions_m=positions,
        velocities_mps=np.tile(VELOCITY, (5, 1)),
        track=np.zeros(5, np.int32),
        kind="test",
    )
    return array, trace_images(scene, flight, array)


def test_channels_of_a_city_come_back_from_a_fraction_of_the_bytes(traced):
    array, paths = traced
    assert paths.valid.any(axis=2).sum() >= 8
    compact = compress(paths, array)
    exact = synthesize(paths, array)
    assert 20 * compact.num_bytes < exact.nbytes
    seen = paths.has_path
    errors = nmse_db(expand(compact, array)[seen], exact[seen])
    assert np.median(errors) < -65
    assert errors.max() < -55
    np.testing.assert_array_equal(compact.line_of_sight, paths.line_of_sight)
    np.testing.assert_array_equal(compact.has_path, paths.has_path)


def test_free_space_is_exact_up_to_rounding(array):
    sources = np.array([[[40.0, 5, 20]], [[120.0, -60, -30]], [[900.0, 200, 0]]])
    paths = from_sources(array, sources)
    assert nmse_db(expand(compress(paths, array), array), synthesize(paths, array)).max() < -70


def test_other_frequencies_and_times_need_no_other_paths(array, paths):
    compact = compress(paths, array)
    band = CARRIER_HZ + np.linspace(-50e6, 50e6, 64)
    for frequencies, offset in ((band, 0.0), (band[::-1], 1e-3), ([6.5e9, 7.5e9], 0.0), ([7e9], 0.05)):
        exact = synthesize(paths, array, frequencies, offset)
        assert nmse_db(expand(compact, array, frequencies, offset_s=offset), exact).max() < -60


def test_offsets_may_differ_between_snapshots(array, paths):
    offsets = np.linspace(0, 5e-3, len(paths))
    together = expand(compress(paths, array), array, offset_s=offsets)
    assert nmse_db(together, synthesize(paths, array, offset_s=offsets)).max() < -60


@pytest.mark.parametrize(
    "other",
    [
        {"rows": 16, "cols": 16},
        {"rows": 8, "cols": 32},
        {"rows": 1, "cols": 32},
        {"rows": 64, "cols": 64, "spacing_wavelengths": 0.25},
        {"rows": 128, "cols": 128, "spacing_wavelengths": 0.125},
        {"rows": 16, "cols": 16, "spacing_wavelengths": 1.0},
    ],
)
def test_other_arrays_over_the_same_aperture(array, other):
    sources, strength = scattered()
    smaller = dataclasses.replace(array, **other)
    exact = synthesize(from_sources(smaller, sources, strength), smaller)
    compact = compress(from_sources(array, sources, strength), array)
    assert nmse_db(expand(compact, smaller), exact).max() < -60


def test_a_shifted_and_rolled_part_of_the_aperture(array):
    sources, strength = scattered()
    yaw, pitch, _ = array.orientation_rad
    centre = np.asarray(array.position) + array.rotation @ [0.0, 4 * array.spacing_m, -3 * array.spacing_m]
    part = UPA(10, 14, CARRIER_HZ, tuple(centre), orientation_rad=(yaw, pitch, 0.7))
    exact = synthesize(from_sources(part, sources, strength), part)
    compact = compress(from_sources(array, sources, strength), array)
    assert nmse_db(expand(compact, part), exact).max() < -60


def test_a_sub_array_is_the_sub_grid_of_the_whole(array, paths):
    compact = compress(paths, array)
    inner = dataclasses.replace(array, rows=16, cols=8)
    whole = array.to_grid(expand(compact, array).numpy())[:, 8:24, 12:20]
    np.testing.assert_allclose(inner.to_grid(expand(compact, inner).numpy()), whole, atol=1e-5 * np.abs(whole).max())


def test_arrays_beyond_the_aperture_are_refused(array, paths):
    compact = compress(paths, array)
    tilted = dataclasses.replace(array, orientation_rad=(0.35, 0.1, 0.0))
    raised = dataclasses.replace(array, position=(0.0, 0.0, 10.5))
    for other in (dataclasses.replace(array, rows=34), tilted, raised):
        with pytest.raises(InputError, match="trace the larger array"):
            expand(compact, other)
    for change in ({"carrier_hz": 6.9e9}, {"pattern": "isotropic"}, {"polarization": "VH"}):
        with pytest.raises(InputError, match=next(iter(change))):
            expand(compact, dataclasses.replace(array, **change))


def test_edges_of_visibility_are_kept_exactly(array):
    sources, strength = scattered(3, 3)
    row, col = np.divmod(np.arange(array.num_antennas), array.cols)
    seen = np.stack([col < 11, row + 0.7 * col > 20, (row > 4) & (row < 9)])
    paths = from_sources(array, sources, strength, seen)
    compact = compress(paths, array)
    assert nmse_db(expand(compact, array), synthesize(paths, array)).max() < -60
    assert compact.edge_count.max() <= 2 * array.rows
    for edge in seen:
        one_path = compress(from_sources(array, sources[:1, :1], seen=edge), array)
        np.testing.assert_array_equal(expand(one_path, array)[0, :, 0].numpy() != 0, edge)


def test_visibility_follows_to_a_denser_grid(array):
    half = np.arange(array.num_antennas) % array.cols < 16
    compact = compress(from_sources(array, [[[50.0, 0, 0]]], seen=half), array)
    dense = dataclasses.replace(array, rows=64, cols=64, spacing_wavelengths=0.25)
    grid = dense.to_grid(expand(compact, dense).numpy())[0, :, :, 0] != 0
    assert grid[:, :32].all()
    assert not grid[:, 32:].any()


def test_a_diffracted_wavefront_is_bent(array):
    """Around a vertical edge 30 m away the lengths are those of a source whose two curvatures differ (unfolding)."""
    edge_xy, user = np.array([30.0, 4.0]), np.array([30.5, 60.0, 25.0])
    elements = array.element_positions
    radial = np.linalg.norm(user[:2] - edge_xy) + np.linalg.norm(elements[:, :2] - edge_xy, axis=1)
    length = np.hypot(radial, user[2] - elements[:, 2])
    paths = from_sources(array, [[[30.0, 4.0, 15.0]]])
    bent = dataclasses.replace(paths, delay_s=(length / SPEED_OF_LIGHT)[None, None], gain=0 * paths.gain + 1e-4)
    compact = compress(bent, array)
    assert compact.bend_degree[0] > 0
    assert nmse_db(expand(compact, array), synthesize(bent, array))[0] < -60


def test_weak_paths_are_dropped_and_their_power_is_below_the_accuracy(array):
    sources, _ = scattered(4, 6)
    sources *= 80.0 / np.linalg.norm(sources, axis=-1, keepdims=True)
    strength = 10.0 ** np.array([0, -1, -2, -3.2, -3.7, -4])
    paths = from_sources(array, sources, strength)
    compact = compress(paths, array, accuracy_db=-60.0)
    assert compact.path_count.tolist() == [3] * 4
    assert nmse_db(expand(compact, array), synthesize(paths, array)).max() < -50
    assert compress(paths, array, accuracy_db=-120.0).path_count.tolist() == [6] * 4


def test_channels_count_the_paths_that_their_compact_form_has(array):
    sources, _ = scattered(4, 6)
    sources *= 80.0 / np.linalg.norm(sources, axis=-1, keepdims=True)
    paths = from_sources(array, sources, 10.0 ** np.array([0, -1, -2, -3, -4, -5]))
    assert compress(paths, array).path_count.tolist() == count_paths(paths).tolist() == [4] * 4
    silent = dataclasses.replace(paths, gain=0 * paths.gain, valid=paths.valid & False)
    assert count_paths(silent).tolist() == [0] * 4


@pytest.mark.parametrize("polarization", ["VH", "cross"])
def test_two_polarisations_have_gains_of_their_own(polarization):
    array = UPA(16, 16, CARRIER_HZ, polarization=polarization)
    paths = from_sources(array, *scattered(3, 4))
    slope = np.repeat([1.0, -0.4j], array.num_elements) * (1 + np.linspace(0, 0.2, array.num_antennas))
    paths = dataclasses.replace(paths, gain=(paths.gain * slope).astype(np.complex64))
    compact = compress(paths, array)
    assert compact.polarizations == 2
    assert nmse_db(expand(compact), synthesize(paths, array)).max() < -60
    assert nmse_db(expand(compact.select([2, 0])), synthesize(paths, array)[[2, 0]]).max() < -60


@pytest.mark.parametrize("polarization", ["V", "cross"])
def test_plane_waves_stay_plane(polarization):
    array = UPA(16, 24, CARRIER_HZ, (1.0, 2.0, 3.0), orientation_rad=(0.5, 0, 0), polarization=polarization)
    plane = plane_wave(from_sources(array, *scattered(4, 3)), array)
    compact = compress(plane, array)
    band = CARRIER_HZ + np.linspace(-100e6, 100e6, 32)
    errors = nmse_db(expand(compact, array), synthesize(plane, array))
    assert errors.max() < -65
    np.testing.assert_allclose(compact.error_db, errors, atol=0.3)
    assert nmse_db(expand(compact, array, band, offset_s=2e-3), synthesize(plane, array, band, 2e-3)).max() < -65


def test_linear_arrays_do_not_know_their_elevation():
    array = UPA(1, 128, CARRIER_HZ)
    paths = from_sources(array, *scattered(4, 3))
    assert nmse_db(expand(compress(paths, array)), synthesize(paths, array)).max() < -60


def test_snapshots_without_paths(array):
    paths = from_sources(array, *scattered(3, 2))
    for emptied in ([1], [0, 1, 2]):
        gone = np.isin(np.arange(3), emptied)[:, None, None]
        empty = dataclasses.replace(
            paths,
            valid=paths.valid & ~gone,
            gain=np.where(gone, 0, paths.gain).astype(np.complex64),
            delay_s=np.where(gone, 0, paths.delay_s),
        )
        compact = compress(empty, array)
        channels = expand(compact, array).numpy()
        assert compact.has_path.tolist() == [index not in emptied for index in range(3)]
        assert channels.any(axis=(1, 2)).tolist() == compact.has_path.tolist()
        assert compact.line_of_sight.tolist() == empty.line_of_sight.tolist()
    assert expand(compact.select([]), array).shape == (0, 1024, 1)


def test_selecting_and_joining_are_those_of_the_channels(array, paths):
    compact = compress(paths, array)
    channels = expand(compact, array).numpy()
    for index in (slice(1, 4), [5, 0, 0], np.arange(6) % 2 == 0, 3):
        assert nmse_db(expand(compact.select(index), array), channels[np.arange(6)[index].reshape(-1)]).max() < -100
        assert nmse_db(expand(compact, array, snapshots=index), expand(compact.select(index), array)).max() < -100
    joined = CompactPaths.concatenate([compact.select(slice(0, 2)), compact.select(slice(2, None))])
    for item in dataclasses.fields(compact):
        np.testing.assert_array_equal(getattr(joined, item.name), getattr(compact, item.name))
    with pytest.raises(InputError, match="to join"):
        CompactPaths.concatenate([])
    with pytest.raises(InputError, match="to join"):
        CompactPaths.concatenate([compact, dataclasses.replace(compact, array=UPA(32, 32, CARRIER_HZ))])


def test_files_are_deterministic_and_lossless(array, paths, tmp_path):
    compact = compress(paths, array)
    compact.save(tmp_path / "one")
    compress(paths, array).save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    back = CompactPaths.load(tmp_path / "one")
    assert back.array == array
    np.testing.assert_array_equal(expand(back).numpy(), expand(compact).numpy())


def test_misfits_are_refused(array, paths):
    with pytest.raises(InputError, match="1024 antennas do not fit 4 x 4"):
        compress(paths, UPA(4, 4, CARRIER_HZ))
    with pytest.raises(InputError, match="less than 0"):
        compress(paths, array, accuracy_db=3.0)
    with pytest.raises(InputError, match="frequencies_hz"):
        expand(compress(paths, array), array, [0.0])


@settings(max_examples=40, deadline=None)
@given(data=st.data(), rows=st.integers(1, 12), cols=st.integers(1, 12), paths=st.integers(1, 4))
def test_edges_come_back_as_they_went(data, rows, cols, paths):
    bits = data.draw(st.lists(st.booleans(), min_size=rows * cols * paths, max_size=rows * cols * paths))
    seen = np.array(bits).reshape(paths, rows * cols)
    np.testing.assert_array_equal(decode_edges(*encode_edges(seen, rows, cols), rows, cols), seen)


@settings(max_examples=40, deadline=None)
@given(
    x=st.floats(5, 2000),
    sine=st.tuples(st.floats(-0.95, 0.95), st.floats(-0.95, 0.95)),
    cut=st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(-0.6, 0.6)),
    start=st.tuples(st.floats(-0.02, 0.02), st.floats(-0.02, 0.02), st.floats(0.3, 3)),
)
def test_image_sources_are_found_behind_any_edge(x, sine, cut, start):
    """From a start a degree and a factor of three off, lengths are right to 10 um wherever the path is seen."""
    assume(np.hypot(*sine) < 0.97)
    array = UPA(16, 16, CARRIER_HZ)
    y, z = array.element_offsets[:, 1], array.element_offsets[:, 2]
    seen = cut[0] * y + cut[1] * z >= cut[2] * 0.16
    assume(seen.sum() >= 4)
    direction = np.array([np.sqrt(1 - sine[0] ** 2 - sine[1] ** 2), *sine])
    length = np.linalg.norm(x * direction - array.element_offsets, axis=1)
    guess = np.array([[sine[0] + start[0], sine[1] + start[1]]])
    found = fit_wavefront(length[None], seen[None], y, z, guess, np.array([x * start[2]]))[0]
    fitted = found[0] + path_difference((found[1], found[2]), found[3], y, z)
    assert np.abs(fitted - length)[seen].max() < 1e-5
