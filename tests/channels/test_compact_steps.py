"""Compact paths whose gains step across the aperture: pieces, what they cost, and what is left without them."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from channelfm.arrays import UPA
from channelfm.channels import synthesize
from channelfm.channels.compact import CompactPaths, compress, expand
from channelfm.channels.compact.cuts import straight_cut
from channelfm.channels.compact.pieces import MOST_PIECES
from channelfm.channels.compact.smooth import smooth_basis
from channelfm.channels.compact.steps import regions_between, unexpected_changes, usual_height
from channelfm.records import Paths
from channelfm.units import SPEED_OF_LIGHT

CARRIER_HZ = 7e9
WAVELENGTH_M = SPEED_OF_LIGHT / CARRIER_HZ
SOURCE = np.array([40.0, 12.0, -9.0])
FLAG = 4  # bytes of a snapshot: its error, and how many further pieces it has


@pytest.fixture(scope="module")
def array() -> UPA:
    return UPA(32, 32, CARRIER_HZ)


def places(array: UPA) -> np.ndarray:
    """Coordinates (y, z) [2, M] of the elements, +-1 half a spacing beyond the outermost."""
    return array.element_offsets[:, 1:].T / (np.array([[array.cols], [array.rows]]) * array.spacing_m / 2)


def one_path(array: UPA, gains, seen=True, source=SOURCE, extra_m=0.0) -> Paths:
    """A path of one source with any gains [S, A], seen by any antennas, longer than straight by ``extra_m``."""
    gains = np.atleast_2d(gains)
    legs = np.tile(array.element_positions - source, (array.num_polarizations, 1))
    distance = np.broadcast_to(np.linalg.norm(legs, axis=1) + extra_m, gains.shape)
    valid = np.broadcast_to(seen, gains.shape).copy()
    shift = legs @ [12.0, -7.0, 2.0] / distance / WAVELENGTH_M
    towards = source / np.linalg.norm(source)
    count = len(gains)
    return Paths(
        gain=np.where(valid, gains, 0).astype(np.complex64)[:, None],
        delay_s=np.where(valid, distance / SPEED_OF_LIGHT, 0.0)[:, None],
        valid=valid[:, None],
        doppler_hz=np.where(valid, shift, 0).astype(np.float32)[:, None],
        interactions=np.full((count, 1, 1), 8, np.int32),
        points_m=np.zeros((count, 1, 1, 3)),
        departure=np.tile(-towards, (count, 1, 1)),
        arrival=np.tile(towards, (count, 1, 1)),
        times_s=np.arange(count, dtype=float),
        positions_m=np.tile(source, (count, 1)),
        carrier_hz=array.carrier_hz,
        method="test",
    )


def nmse_db(estimate, truth) -> np.ndarray:
    """NMSE [S] in dB of channels [S, A, F]."""
    truth = np.asarray(truth, np.complex128)
    error = np.sum(np.abs(np.asarray(estimate) - truth) ** 2, axis=(1, 2))
    return 10 * np.log10(1e-30 + error / np.sum(np.abs(truth) ** 2, axis=(1, 2)))


def smooth_field(array: UPA, seed: int) -> np.ndarray:
    """A gain [M] that a polynomial of degree 2 describes, about 1."""
    rng = np.random.default_rng(seed)
    basis = smooth_basis(*places(array), 2)
    return (np.array([1, 0.2, 0.2, 0.05, 0.05, 0.05]) * np.exp(2j * np.pi * rng.random(6))) @ basis


def slanted(array: UPA) -> np.ndarray:
    """Which elements lie beyond a slanted edge."""
    y, z = places(array)
    return z > 0.3 * y + 0.1


STEPS = {"sign": -1.0, "pane": 0.6 * np.exp(1j * np.radians(105.0)), "phase": np.exp(1j * np.radians(105.0))}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_step_along_a_slanted_edge_makes_two_pieces_of_one_path(array, step):
    paths = one_path(array, smooth_field(array, 1) * np.where(slanted(array), step, 1.0))
    compact = compress(paths, array)
    errors = nmse_db(expand(compact), synthesize(paths, array))
    assert errors.max() < -65
    np.testing.assert_allclose(compact.error_db, errors, atol=0.3)  # float32 in expand counts at -90 dB
    assert compact.path_count.tolist() == [1]
    assert compact.pieces.tolist() == [2]


def test_a_path_without_a_step_costs_what_it_did_and_the_flag(array):
    smooth = one_path(array, [smooth_field(array, 1), smooth_field(array, 2)])
    compact = compress(smooth, array)
    later = ("split_count", "split_path", "error_db")
    assert compact.split_count.tolist() == [0, 0]
    assert sum(getattr(compact, name).nbytes for name in later) == 2 * FLAG
    assert compact.pieces.tolist() == [1, 1]
    assert compact.error_db.max() < -65


def test_two_crossing_edges_make_four_pieces(array):
    y, z = places(array)
    levels = np.where(y > 0.2 * z, -1.0, 1.0) * np.where(z > 0.3 - 0.4 * y, 0.5j, 1.0)
    paths = one_path(array, smooth_field(array, 3) * levels)
    compact = compress(paths, array)
    assert nmse_db(expand(compact), synthesize(paths, array)).max() < -65
    assert compact.pieces.tolist() == [4]


@pytest.mark.parametrize("where", ["one", "both"])
def test_steps_of_two_polarisations(where):
    array = UPA(24, 24, CARRIER_HZ, polarization="VH")
    first = np.where(slanted(array), -1.0, 1.0)
    second = np.where(slanted(array), 0.3j, 1.0) if where == "both" else np.ones(array.num_elements)
    paths = one_path(array, np.concatenate([smooth_field(array, 1) * first, 0.4 * smooth_field(array, 2) * second]))
    compact = compress(paths, array)
    assert compact.polarizations == 2
    assert compact.pieces.tolist() == [2]
    assert nmse_db(expand(compact), synthesize(paths, array)).max() < -65


@pytest.mark.parametrize(("rows", "cols"), [(1, 32), (4, 64), (64, 4), (8, 8), (96, 32)])
@pytest.mark.parametrize("angle", [0.0, 0.9, 1.31, 2.7])
def test_steps_of_arrays_of_any_shape(rows, cols, angle):
    array = UPA(rows, cols, CARRIER_HZ)
    y, z = places(array)
    beyond = np.cos(angle) * y + np.sin(angle) * z > 0.1 if rows > 1 else y > angle / 5
    compact = compress(one_path(array, smooth_field(array, 4) * np.where(beyond, -1.0, 1.0)), array)
    assert compact.error_db[0] < -65


@settings(max_examples=40, deadline=None)
@given(
    angle=st.floats(0, np.pi),
    place=st.floats(-0.8, 0.8),
    step=st.tuples(st.floats(0.2, 2.0), st.floats(0.5, 5.5)),
    seeds=st.tuples(st.integers(0, 99), st.integers(100, 199)),
)
def test_any_straight_edge_between_smooth_gains_is_found(angle, place, step, seeds):
    array = UPA(32, 32, CARRIER_HZ)
    y, z = places(array)
    beyond = np.cos(angle) * y + np.sin(angle) * z > place
    there = step[0] * np.exp(1j * step[1]) * smooth_field(array, seeds[1])
    paths = one_path(array, np.where(beyond, there, smooth_field(array, seeds[0])))
    compact = compress(paths, array)
    assert compact.error_db[0] < -65
    assert nmse_db(expand(compact), synthesize(paths, array))[0] < -65
    assert compact.path_count.tolist() == [1]


def test_a_step_that_vanishes_somewhere_is_cut_straight(array):
    """Where its height passes through zero no step closes the boundary."""
    y, _ = places(array)
    paths = one_path(array, np.where(slanted(array), 1.0, 1.0 + y))
    compact = compress(paths, array)
    assert compact.error_db[0] < -50
    assert 2 <= compact.pieces[0] <= MOST_PIECES


@pytest.mark.parametrize("kind", ["complex", "phase"])
def test_a_step_in_noise_is_as_good_as_the_noise(array, kind):
    rng = np.random.default_rng(0)
    real, imaginary = 10 ** (-45 / 20) * rng.standard_normal((2, array.num_elements)) / np.sqrt(2)
    noise = 1.0 + real + 1j * imaginary if kind == "complex" else np.exp(1j * np.sqrt(2) * real)
    paths = one_path(array, smooth_field(array, 1) * np.where(slanted(array), -1.0, 1.0) * noise)
    compact = compress(paths, array)
    assert -47 < compact.error_db[0] < -43
    assert 2 <= compact.pieces[0] <= 3


@pytest.mark.parametrize("kind", ["complex", "phase", "levels"])
def test_noise_alone_is_left_alone_and_flagged(array, kind):
    rng = np.random.default_rng(1)
    real, imaginary = 0.1 * rng.standard_normal((2, array.num_elements))
    phase = np.round(5 * real) / 5 if kind == "levels" else real
    noise = 1.0 + real + 1j * imaginary if kind == "complex" else np.exp(1j * phase)
    compact = compress(one_path(array, smooth_field(array, 1) * noise), array)
    assert compact.pieces.tolist() == [1]
    assert -23 < compact.error_db[0] < -15


def test_what_no_few_pieces_hold_is_flagged(array):
    rng = np.random.default_rng(2)
    paths = one_path(array, np.exp(2j * np.pi * rng.random(array.num_elements)))
    compact = compress(paths, array)
    assert compact.pieces[0] <= MOST_PIECES
    assert compact.error_db[0] > -5
    np.testing.assert_allclose(compact.error_db, nmse_db(expand(compact), synthesize(paths, array)), atol=0.1)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("at", [0, 17])
def test_slivers_are_kept_as_they_are(array, count, at):
    """Paths that a few antennas see, in a row and in a column, beside one that all see."""
    few = np.isin(np.arange(array.num_elements), 32 * at + at % 27 + np.arange(count))
    for seen in (few, few.reshape(32, 32).T.ravel()):
        paths = one_path(array, smooth_field(array, 1) * np.linspace(1, 2, array.num_elements), seen)
        compact = compress(paths, array)
        response = expand(compact).numpy()[0, :, 0]
        np.testing.assert_array_equal(response != 0, seen)
        assert nmse_db(expand(compact), synthesize(paths, array))[0] < -60


def test_lengths_that_step_a_little_are_phases_of_pieces(array):
    """A length that jumps by an eighth of a wavelength turns the gain by 45 degrees, which pieces hold."""
    longer = np.where(slanted(array), WAVELENGTH_M / 8, 0.0)
    paths = one_path(array, smooth_field(array, 1), extra_m=longer)
    compact = compress(paths, array)
    assert nmse_db(expand(compact), synthesize(paths, array))[0] < -60


def test_pieces_share_delay_and_doppler(array):
    paths = one_path(array, smooth_field(array, 1) * np.where(slanted(array), -1.0, 1.0))
    compact = compress(paths, array)
    band = CARRIER_HZ + np.linspace(-50e6, 50e6, 16)
    later = expand(compact, array, band, offset_s=2e-3)
    assert nmse_db(later, synthesize(paths, array, band, 2e-3))[0] < -60
    assert len(compact.delay_s) == len(compact.doppler_hz) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 12, "cols": 20},
        {"rows": 1, "cols": 32},
        {"rows": 64, "cols": 64, "spacing_wavelengths": 0.25},
        {"rows": 96, "cols": 96, "spacing_wavelengths": 0.5 / 3},
        {"rows": 16, "cols": 16, "spacing_wavelengths": 1.0},
    ],
)
def test_other_arrays_see_the_piece_of_the_nearest_traced_element(array, change):
    other = dataclasses.replace(array, **change)
    field, beyond = smooth_field(array, 1), slanted(array)
    compact = compress(one_path(array, field * np.where(beyond, -0.5j, 1.0)), array)
    smooth = expand(compress(one_path(array, field), array), other).numpy()[0, :, 0]
    row, col = (np.rint(at / array.spacing_m + 15.5 + 1e-9).astype(int) for at in other.element_offsets[:, 2:0:-1].T)
    expected = smooth * np.where(beyond.reshape(32, 32)[row, col], -0.5j, 1.0)
    found = expand(compact, other).numpy()[0, :, 0]
    assert nmse_db(found[None, :, None], expected[None, :, None])[0] < -60


def test_selected_and_joined_and_stored_pieces_stay_with_their_paths(array, tmp_path):
    y, z = places(array)
    levels = [np.where(slanted(array), -1.0, 1.0), np.ones_like(y), np.where(y > z, 1j, 1) * np.where(y > -z, 2, 1)]
    paths = one_path(array, [smooth_field(array, 5) * level for level in levels])
    compact = compress(paths, array)
    assert compact.split_count.tolist() == [1, 0, 3]
    channels = expand(compact).numpy()
    for index in (slice(1, 3), [2, 0, 2], [1], np.array([True, False, True]), []):
        chosen = compact.select(index)
        np.testing.assert_allclose(expand(chosen).numpy(), channels[index], atol=1e-6)
        np.testing.assert_array_equal(chosen.error_db, compact.error_db[index])
    joined = CompactPaths.concatenate([compact.select([2, 1]), compact.select([0])])
    np.testing.assert_allclose(expand(joined).numpy(), channels[[2, 1, 0]], atol=1e-6)
    joined.save(tmp_path / "joined")
    np.testing.assert_array_equal(expand(CompactPaths.load(tmp_path / "joined")).numpy(), expand(joined).numpy())


def test_records_from_before_there_were_pieces_are_read(array, tmp_path):
    compact = compress(one_path(array, [smooth_field(array, 1), smooth_field(array, 2)]), array)
    compact.save(tmp_path / "new")
    with safe_open(str(tmp_path / "new"), framework="numpy") as file:
        old = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        metadata = file.metadata()
    for name in ("split_count", "split_path", "error_db"):
        del old[name]
    assert set(json.loads(metadata["channelfm"])["fields"]) == {"array"}
    save_file(old, tmp_path / "old", metadata=metadata)
    back = CompactPaths.load(tmp_path / "old")
    np.testing.assert_array_equal(expand(back).numpy(), expand(compact).numpy())
    assert back.pieces.tolist() == [1, 1]
    assert np.isnan(back.error_db).all()


@pytest.mark.parametrize("power", [-60, -13, 7, 60])
def test_powers_of_two_pass_through_exactly(array, power):
    levels = np.array([np.where(slanted(array), -1.0, 1.0), np.ones(array.num_elements)])
    paths = one_path(array, smooth_field(array, 1) * levels)
    scaled = dataclasses.replace(paths, gain=paths.gain * np.float32(2.0**power))
    compact, other = compress(paths, array), compress(scaled, array)
    np.testing.assert_array_equal(expand(other).numpy(), expand(compact).numpy() * np.float32(2.0**power))
    for item in dataclasses.fields(CompactPaths):
        if item.name not in ("gain_scale", "array"):
            np.testing.assert_array_equal(getattr(other, item.name), getattr(compact, item.name))


@pytest.mark.parametrize("scale", [1e-43, 1e-30, 1e-15, 1e15, 1e30])
def test_paths_of_any_power_come_back(array, scale):
    """At 1e-43 single precision itself counts in steps of 1e-45."""
    levels = np.array([np.where(slanted(array), -1.0, 1.0), np.ones(array.num_elements)])
    paths = one_path(array, scale * smooth_field(array, 1) * levels)
    compact = compress(paths, array)
    truth, found = synthesize(paths, array).astype(complex), expand(compact).numpy().astype(complex)
    assert compact.path_count.tolist() == [1, 1]
    assert nmse_db(found / scale, truth / scale).max() < (-65 if scale > 1e-40 else -30)
    if scale > 1e-40:
        assert compact.pieces.tolist() == [2, 1]


def test_a_smooth_field_has_nothing_unexpected(array):
    field = smooth_field(array, 1).reshape(1, 1, 32, 32)
    seen = np.ones((1, 32, 32), bool)
    smooth = unexpected_changes(field, seen)
    stepped = unexpected_changes(np.where(np.arange(32) < 11, field, -field), seen)
    assert max(np.max(part) for part in smooth) < 1e-3
    assert (stepped[0][..., 10] > 1.0).all()
    assert np.delete(stepped[0], 10, axis=2).max() < 1e-3
    assert stepped[1].max() < 1e-3
    assert usual_height(stepped)[0] < 1e-3


def test_regions_lie_between_steps_and_shadows():
    values = np.ones((2, 1, 6, 8))
    values[1, 0, :3] = -1.0
    seen = np.ones((2, 6, 8), bool)
    seen[:, :, 5] = False
    labels = regions_between(unexpected_changes(values, seen), seen, np.array([0.5, 0.5]))
    assert (labels[:, :, 5] == 0).all()
    assert [len(np.unique(part[part > 0])) for part in labels] == [2, 4]
    assert len(np.unique(labels)) == 7


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.2, 2.0, 3.0])
def test_a_straight_cut_finds_the_edge(array, angle):
    y, z = places(array)
    beyond = np.cos(angle) * y + np.sin(angle) * z > 0.25
    values = (smooth_field(array, 1) * np.where(beyond, -1.0, 1.0))[None]
    one, other = straight_cut(values, np.ones(array.num_elements, bool), smooth_basis(y, z, 2))
    assert (one ^ other).all()
    agreement = np.mean(one == beyond)
    assert max(agreement, 1.0 - agreement) > 0.93
