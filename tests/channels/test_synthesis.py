"""Synthesis against sums written out, convergence to the far field, Doppler over time, and labels."""

import dataclasses

import numpy as np
import pytest

from channelfm.arrays import UPA
from channelfm.channels import compress, observe, plane_wave, synthesize, synthesize_symbols
from channelfm.errors import InputError
from channelfm.records import Paths, Trajectory
from channelfm.units import SPEED_OF_LIGHT

CARRIER_HZ = 7e9
WAVELENGTH_M = SPEED_OF_LIGHT / CARRIER_HZ


def spherical_paths(array: UPA, sources: np.ndarray, velocity=(0.0, 0.0, 0.0)) -> Paths:
    """Exact line-of-sight paths from point sources [S, P, 3]; the first source of a snapshot is its user."""
    sources = np.asarray(sources, dtype=np.float64)
    snapshots, slots = sources.shape[:2]
    legs = array.element_positions - sources[:, :, None]
    distance = np.linalg.norm(legs, axis=-1)
    towards = np.asarray(array.position) - sources
    departure = towards / np.linalg.norm(towards, axis=-1, keepdims=True)
    return Paths(
        gain=(WAVELENGTH_M / (4 * np.pi * distance)).astype(np.complex64),
        delay_s=distance / SPEED_OF_LIGHT,
        valid=np.ones(distance.shape, dtype=bool),
        doppler_hz=(legs / distance[..., None] @ np.asarray(velocity, dtype=float) / WAVELENGTH_M).astype(np.float32),
        interactions=np.zeros((snapshots, slots, 1), dtype=np.int32),
        points_m=np.zeros((snapshots, slots, 1, 3)),
        departure=departure,
        arrival=-departure,
        times_s=np.arange(snapshots, dtype=float),
        positions_m=sources[:, 0],
        carrier_hz=array.carrier_hz,
        method="test",
        array=array,
    )


def without(paths: Paths, snapshot: int, slots: slice) -> Paths:
    """The paths with some slots of a snapshot emptied."""
    emptied = {}
    for name in ("gain", "delay_s", "valid", "doppler_hz", "departure", "arrival"):
        values = getattr(paths, name).copy()
        values[snapshot, slots] = 0
        emptied[name] = values
    return dataclasses.replace(paths, **emptied)


def nmse(estimate: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sum(np.abs(estimate - truth) ** 2) / np.sum(np.abs(truth) ** 2))


@pytest.fixture
def array() -> UPA:
    return UPA(4, 6, CARRIER_HZ, (1.0, -2.0, 30.0), orientation_rad=(0.4, 0.2, 0.1))


@pytest.fixture
def sources() -> np.ndarray:
    return np.random.default_rng(0).uniform([20, -50, 10], [200, 50, 60], (3, 4, 3))


def test_channel_is_the_sum_of_the_formula(array, sources):
    paths = without(spherical_paths(array, sources, (5.0, 2.0, -1.0)), 1, slice(2, None))
    frequencies, offset = np.array([6.9e9, 7e9, 7.2e9]), 3e-3
    expected = np.zeros((3, 24, 3), dtype=np.complex128)
    for index, frequency in enumerate(frequencies):
        cycles = -frequency * paths.delay_s + paths.doppler_hz.astype(np.float64) * offset
        expected[..., index] = (paths.gain * np.exp(2j * np.pi * cycles)).sum(axis=1)
    result = synthesize(paths, array, frequencies, offset)
    assert result.dtype == np.complex64
    assert nmse(result, expected) < 1e-12


def test_carrier_phase_is_part_of_the_channel(array):
    paths = spherical_paths(UPA(1, 1, CARRIER_HZ), [[[100.0, 0, 0]]])
    h = synthesize(paths, UPA(1, 1, CARRIER_HZ))
    assert np.angle(h[0, 0, 0] * np.exp(2j * np.pi * 100.0 / WAVELENGTH_M)) == pytest.approx(0.0, abs=1e-5)
    quarter = spherical_paths(UPA(1, 1, CARRIER_HZ), [[[100.0 + WAVELENGTH_M / 4, 0, 0]]])
    turned = np.angle(synthesize(quarter, UPA(1, 1, CARRIER_HZ)) / h)[0, 0, 0]
    assert turned == pytest.approx(-np.pi / 2, abs=1e-4)


def test_wide_band_equals_narrow_band_frequency_by_frequency(array, sources):
    paths = spherical_paths(array, sources)
    frequencies = CARRIER_HZ + 30e3 * np.arange(-700, 700)
    together = synthesize(paths, array, frequencies)
    for index in (0, 13, 1399):
        assert nmse(together[..., index], synthesize(paths, array, frequencies[index])[..., 0]) < 1e-12
    np.testing.assert_array_equal(synthesize(paths, array), synthesize(paths, array, [CARRIER_HZ]))


def written_out(paths: Paths, array: UPA, frequencies: np.ndarray, offset_s: float) -> np.ndarray:
    """The sum of SPEC 1 in double precision, plane waves steered by their arrival direction."""
    delay = paths.delay_s
    if delay.shape[2] == 1:
        delay = delay - paths.arrival @ array.antenna_offsets.T / SPEED_OF_LIGHT
    cycles = paths.doppler_hz.astype(np.float64)[..., None] * offset_s - frequencies * delay[..., None]
    return np.sum(paths.gain[..., None] * np.exp(2j * np.pi * cycles), axis=1)


@pytest.mark.parametrize("polarization", ["V", "cross"])
@pytest.mark.parametrize("plane", [False, True])
@pytest.mark.parametrize(
    "frequencies",
    [
        CARRIER_HZ + 30e3 * np.arange(64),
        CARRIER_HZ + np.linspace(-200e6, 200e6, 96),
        CARRIER_HZ * np.linspace(0.6, 1.4, 30),
        np.random.default_rng(3).uniform(6.5e9, 7.5e9, 50),
        np.array([CARRIER_HZ, CARRIER_HZ, 6.9e9]),
    ],
    ids=["narrow", "wide", "ultra-wide", "unordered", "few"],
)
def test_no_band_and_no_array_costs_accuracy(frequencies, plane, polarization):
    """The power series over a band keeps the beam squint to -110 dB, for plane and for spherical waves."""
    array = UPA(12, 20, CARRIER_HZ, (1.0, -2.0, 30.0), orientation_rad=(0.4, 0.2, 0.1), polarization=polarization)
    one = dataclasses.replace(array, polarization="V")
    paths = spherical_paths(one, np.random.default_rng(0).uniform([9, -50, 10], [200, 50, 60], (3, 4, 3)), (5, 2, -1))
    paths = without(paths, 1, slice(2, None))
    if plane:
        paths = plane_wave(paths, one)
    elif polarization == "cross":
        twice = {name: np.tile(getattr(paths, name), 2) for name in ("gain", "delay_s", "valid", "doppler_hz")}
        paths = dataclasses.replace(paths, **twice)
    paths = dataclasses.replace(paths, array=array)
    result = synthesize(paths, array, frequencies, 3e-3)
    assert nmse(result, written_out(paths, array, frequencies, 3e-3)) < 1e-11


def test_snapshot_without_a_path_is_zero_and_flagged(array, sources):
    paths = without(spherical_paths(array, sources), 1, slice(None))
    trajectory = trajectory_of(paths)
    channels = observe(trajectory, paths, array, [7e9, 7.1e9])
    assert channels.has_path.tolist() == [True, False, True]
    assert np.isfinite(channels.response).all()
    assert not channels.response[1].any()
    assert channels.response[0].all()


def test_energy_of_one_wave_is_that_of_its_gains(array):
    paths = spherical_paths(array, [[[60.0, 5, 40]]])
    energy = np.sum(np.abs(synthesize(paths, array, [6.8e9, 7e9])) ** 2)
    assert energy == pytest.approx(2 * np.sum(np.abs(paths.gain) ** 2), rel=1e-5)


def test_plane_wave_error_power_falls_with_the_square_of_range():
    """The phase error is pi D^2 / (lambda r), so its power falls as r^-2 once the error is small."""
    array = UPA(16, 16, CARRIER_HZ)
    errors = []
    for distance in (100.0, 200.0, 400.0, 800.0):
        paths = spherical_paths(array, [[[0.8 * distance, 0.5 * distance, np.sqrt(0.11) * distance]]])
        errors.append(nmse(synthesize(plane_wave(paths, array), array), synthesize(paths, array)))
    orders = -np.diff(np.log2(errors))
    np.testing.assert_allclose(orders, 2.0, atol=0.1)
    assert errors[-1] < 1e-5


def test_plane_wave_of_an_even_array_has_the_delay_of_its_centre():
    array = UPA(8, 8, CARRIER_HZ, (0, 0, 10.0))
    paths = spherical_paths(array, [[[40.0, 9, 4], [80.0, -30, 0]]])
    collapsed = plane_wave(paths, array)
    assert collapsed.gain.shape == (1, 2, 1)
    distance = np.linalg.norm([[40.0, 9, -6], [80.0, -30, -10]], axis=1)
    np.testing.assert_allclose(collapsed.delay_s[0, :, 0] * SPEED_OF_LIGHT, distance, atol=1e-4)
    assert plane_wave(collapsed, array) is collapsed


def test_plane_wave_of_a_half_hidden_path_still_points_at_the_centre():
    array = UPA(8, 8, CARRIER_HZ)
    paths = spherical_paths(array, [[[300.0, 90, 40]]])
    hidden = np.arange(64) < 40
    partial = dataclasses.replace(
        paths,
        valid=paths.valid & ~hidden,
        gain=np.where(hidden, 0, paths.gain).astype(np.complex64),
        delay_s=np.where(hidden, 0, paths.delay_s),
    )
    difference = plane_wave(partial, array).delay_s - plane_wave(paths, array).delay_s
    assert abs(difference[0, 0, 0]) * CARRIER_HZ < 0.01


def test_beam_squint_grows_with_the_frequency_offset():
    """Across a plane wave's array the phase is 2 pi f u.delta / c: proportional to the absolute frequency."""
    array = UPA(1, 32, CARRIER_HZ)
    source = 1e6 * np.array([np.cos(0.7), np.sin(0.7), 0.0])
    paths = plane_wave(spherical_paths(array, [[source]]), array)
    for frequency in (0.9 * CARRIER_HZ, 1.1 * CARRIER_HZ):
        h = synthesize(paths, array, frequency)[0, :, 0]
        step = np.angle(np.sum(h[1:] * h[:-1].conj()))
        expected = 2 * np.pi * frequency * np.sin(0.7) * array.spacing_m / SPEED_OF_LIGHT
        assert step == pytest.approx((expected + np.pi) % (2 * np.pi) - np.pi, abs=1e-3)


@pytest.mark.parametrize("velocity", [(10.0, 0, 0), (0, 10.0, 0), (0, 0, 10.0), (-10.0, 0, 0)])
def test_doppler_over_time_is_the_channel_of_the_moved_user(velocity):
    array = UPA(4, 4, CARRIER_HZ)
    start, offset = np.array([50.0, 20.0, -30.0]), 2e-4
    before = spherical_paths(array, [[start]], velocity)
    after = spherical_paths(array, [[start + np.asarray(velocity) * offset]], velocity)
    predicted = synthesize(before, array, offset_s=offset)
    assert nmse(predicted, synthesize(after, array)) < 1e-6
    assert nmse(synthesize(before, array), synthesize(after, array)) > 1e-3


def test_symbols_are_the_channels_at_their_times(array, sources):
    paths = spherical_paths(array, sources, (3.0, 1.0, 0.0))
    symbols = synthesize_symbols(paths, array, [7e9, 7.01e9], [0.0, 1e-3, 2e-3])
    assert symbols.shape == (3, 24, 2, 3)
    np.testing.assert_array_equal(symbols[..., 2], synthesize(paths, array, [7e9, 7.01e9], 2e-3))


def test_offsets_may_differ_between_snapshots(array, sources):
    paths = spherical_paths(array, sources, (3.0, 1.0, 0.0))
    offsets = np.array([0.0, 1e-3, 5e-3])
    result = synthesize(paths, array, offset_s=offsets)
    for snapshot, offset in enumerate(offsets):
        np.testing.assert_array_equal(result[snapshot], synthesize(paths, array, offset_s=offset)[snapshot])


def trajectory_of(paths: Paths) -> Trajectory:
    return Trajectory(
        times_s=paths.times_s,
        positions_m=paths.positions_m,
        velocities_mps=np.ones_like(paths.positions_m),
        track=np.arange(len(paths), dtype=np.int32),
        kind="test",
    )


def test_labels_are_seen_from_the_array():
    array = UPA(32, 32, CARRIER_HZ, (0, 0, 20.0), orientation_rad=(np.pi / 2, 0, 0))  # looks north
    near, far = 0.5 * array.rayleigh_distance_m, 2.0 * array.rayleigh_distance_m
    paths = spherical_paths(array, [[[0, near, 20.0]], [[-far, 0, 20.0]], [[0, 10.0, 30.0]]])
    channels = observe(trajectory_of(paths), paths, array)
    assert channels.near_field.tolist() == [True, False, True]
    np.testing.assert_allclose(channels.distance_m, [near, far, np.sqrt(200.0)])
    np.testing.assert_allclose(channels.azimuth_rad, [0, np.pi / 2, 0], atol=1e-12)
    np.testing.assert_allclose(channels.elevation_rad, [0, 0, np.pi / 4], atol=1e-12)
    assert channels.line_of_sight.all()
    assert channels.grid.shape == (3, 32, 32, 1)


def test_misfits_are_refused(array, sources):
    paths = spherical_paths(array, sources)
    with pytest.raises(InputError, match="24 antennas"):
        synthesize(paths, UPA(2, 2, CARRIER_HZ))
    with pytest.raises(InputError, match=r"at 3\.5e\+09 Hz"):
        synthesize(paths, dataclasses.replace(array, carrier_hz=3.5e9))
    for frequencies in ([], [0.0], [np.nan], [[7e9]]):
        with pytest.raises(InputError, match="frequencies_hz"):
            synthesize(paths, array, frequencies)
    with pytest.raises(InputError, match="trace it again"):
        observe(trajectory_of(paths).select(slice(2)), paths, array)


USES = {
    "synthesize": lambda paths, array: synthesize(paths, array),
    "plane_wave": lambda paths, array: plane_wave(paths, array),
    "observe": lambda paths, array: observe(trajectory_of(paths), paths, array),
    "compress": lambda paths, array: compress(paths, array),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    "other",
    [
        {"position": (1.0, -2.0, 30.01)},
        {"orientation_rad": (0.4, 0.2, 0.0)},
        {"spacing_wavelengths": 0.6},
        {"rows": 6, "cols": 4},
        {"pattern": "isotropic"},
        {"polarization": "H"},
    ],
)
def test_an_array_that_the_paths_were_not_traced_for_is_refused(array, sources, other, use):
    paths = spherical_paths(array, sources)
    USES[use](paths, dataclasses.replace(array))
    with pytest.raises(InputError, match=next(iter(other))) as caught:
        USES[use](paths, dataclasses.replace(array, **other))
    assert "\n" not in str(caught.value)


def test_plane_waves_may_meet_more_elements_but_no_other_antenna(array, sources):
    plane = plane_wave(spherical_paths(array, sources), array)
    wider = dataclasses.replace(array, rows=9, cols=2, spacing_wavelengths=0.7)
    assert synthesize(plane, wider).shape == (3, 18, 1)
    for other in ({"position": (0.0, 0.0, 0.0)}, {"orientation_rad": (0.0, 0.0, 0.0)}, {"pattern": "dipole"}):
        with pytest.raises(InputError, match=next(iter(other))):
            synthesize(plane, dataclasses.replace(wider, **other))


def test_paths_that_know_no_array_are_compared_by_carrier_and_antennas(array, sources):
    paths = dataclasses.replace(spherical_paths(array, sources), array=None)
    moved = dataclasses.replace(array, position=(0.0, 0.0, 0.0))
    np.testing.assert_array_equal(synthesize(paths, moved), synthesize(paths, array))
    with pytest.raises(InputError, match="24 antennas"):
        synthesize(paths, UPA(2, 2, CARRIER_HZ))
