"""Sionna's paths against Sionna's own channels, both ends, with and without a synthetic array."""

import numpy as np
import pytest

from channelfm.arrays import UPA
from channelfm.channels import synthesize
from channelfm.datasets.exchange.sionna_paths import from_sionna, save_sionna
from channelfm.errors import InputError
from channelfm.scenes.export import write_sionna_scene

CARRIER_HZ = 3.5e9
OFFSETS_HZ = np.array([-5e6, 0.0, 3e6])
USERS = np.array([[30.0, 20.0, 2.0], [80.0, -5.0, 1.5], [100.0, 40.0, 10.0]])
STATION = (0.0, 0.0, 25.0)
ROWS, COLS = 2, 3


def nmse_db(estimate, truth):
    return 10 * np.log10(np.sum(np.abs(estimate - truth) ** 2) / np.sum(np.abs(truth) ** 2))


@pytest.fixture(scope="module")
def traced(sionna_rt, tiny_scene, tmp_path_factory):
    """Sionna's paths and its own channels [user, antenna, frequency] of a small scene."""
    meshes, kept = write_sionna_scene(tiny_scene, tmp_path_factory.mktemp("scene")), {}

    def trace(array_end, synthetic, polarization="V"):
        request = (array_end, synthetic, polarization)
        if request in kept:
            return kept[request]
        scene = sionna_rt.load_scene(str(meshes))
        scene.frequency = CARRIER_HZ
        one = sionna_rt.PlanarArray(num_rows=1, num_cols=1, pattern="iso", polarization="V")
        many = sionna_rt.PlanarArray(num_rows=ROWS, num_cols=COLS, pattern="tr38901", polarization=polarization)
        scene.rx_array, scene.tx_array = (many, one) if array_end == "rx" else (one, many)
        at_array, at_users = sionna_rt.Receiver, sionna_rt.Transmitter
        if array_end == "tx":
            at_array, at_users = at_users, at_array
        scene.add(at_array("station", STATION, orientation=(0.3, 0.1, 0.0)))
        for number, position in enumerate(USERS):
            scene.add(at_users(f"user-{number}", position.tolist(), velocity=(3.0, -1.0, 0.5)))
        paths = sionna_rt.PathSolver()(scene, max_depth=2, synthetic_array=synthetic, samples_per_src=20_000)
        response = paths.cfr(frequencies=OFFSETS_HZ, normalize_delays=False, normalize=False, out_type="numpy")
        own = response[0, :, :, 0, 0].swapaxes(0, 1) if array_end == "rx" else response[:, 0, 0, :, 0]
        kept[request] = paths, own
        return kept[request]

    return trace


def sionna_order(response, array):
    """Sionna's antennas (by columns from the top left) in ours (by rows from the bottom left), written out."""
    grid = response.reshape(len(response), array.num_polarizations, array.cols, array.rows, -1)
    ours = grid.swapaxes(2, 3)[:, :, ::-1]
    return ours.reshape(len(response), array.num_antennas, -1)


def station(polarization="V"):
    return UPA(ROWS, COLS, CARRIER_HZ, STATION, orientation_rad=(0.3, 0.1, 0.0), polarization=polarization)


@pytest.mark.rt
@pytest.mark.parametrize("array_end", ["rx", "tx"])
@pytest.mark.parametrize("synthetic", [True, False])
@pytest.mark.parametrize("polarization", ["V", "cross"])
def test_channels_are_those_of_sionna(traced, array_end, synthetic, polarization):
    paths, expected = traced(array_end, synthetic, polarization)
    array = station(polarization)
    imported = from_sionna(paths, array, USERS, array_end=array_end)
    response = synthesize(imported, array, CARRIER_HZ + OFFSETS_HZ)
    assert nmse_db(response, sionna_order(expected, array)) < -50
    assert imported.line_of_sight.tolist() == [True, False, True]  # the box hides the second user


@pytest.mark.rt
@pytest.mark.parametrize("array_end", ["rx", "tx"])
@pytest.mark.parametrize("synthetic", [True, False])
def test_geometry_runs_from_the_user_to_the_array(traced, array_end, synthetic):
    paths, _ = traced(array_end, synthetic)
    imported = from_sionna(paths, station(), USERS, array_end=array_end)
    for snapshot, slot in np.argwhere(imported.valid.any(axis=2)):
        hit = imported.interactions[snapshot, slot] != 0
        corners = [USERS[snapshot], *imported.points_m[snapshot, slot, hit], np.array(STATION)]
        legs = np.diff(corners, axis=0)
        length = np.linalg.norm(legs, axis=1)
        np.testing.assert_allclose(imported.departure[snapshot, slot], legs[0] / length[0], atol=5e-3)
        np.testing.assert_allclose(imported.arrival[snapshot, slot], -legs[-1] / length[-1], atol=5e-3)
        delay = imported.delay_s[snapshot, slot][imported.valid[snapshot, slot]].mean()
        assert delay * 299_792_458.0 == pytest.approx(length.sum(), abs=0.1)
        towards = imported.departure[snapshot, slot] @ [3.0, -1.0, 0.5] * CARRIER_HZ / 299_792_458.0
        doppler = imported.doppler_hz[snapshot, slot][imported.valid[snapshot, slot]]
        np.testing.assert_allclose(doppler, towards, atol=0.3)


@pytest.mark.rt
def test_a_stored_file_gives_the_same_paths(traced, tmp_path):
    paths, _ = traced("rx", False)
    save_sionna(paths, USERS, tmp_path / "paths.npz")
    alive = from_sionna(paths, station(), USERS, array_end="rx")
    stored = from_sionna(tmp_path / "paths.npz", station(), array_end="rx")
    np.testing.assert_array_equal(alive.gain, stored.gain)
    np.testing.assert_array_equal(alive.points_m, stored.points_m)
    assert alive.valid.all(axis=2).any(), "a chain that all antennas see has one slot"


def tensors(users=2, antennas=4, paths=3, depth=2, synthetic=True):
    """Made-up tensors of receivers with one antenna and one transmitting array."""
    shape = (users, 1, paths) if synthetic else (users, 1, 1, antennas, paths)
    rng = np.random.default_rng(0)
    a = rng.normal(size=(users, 1, 1, antennas, paths)) + 1j * rng.normal(size=(users, 1, 1, antennas, paths))
    angles = {name: rng.uniform(0, 3, shape) for name in ("theta_t", "phi_t", "theta_r", "phi_r", "doppler")}
    tau = rng.uniform(1e-7, 1e-6, shape)
    return angles | {
        "a": a,
        "tau": tau,
        "valid": np.ones(shape, bool),
        "interactions": np.zeros((depth, *shape), np.uint32),
        "objects": np.zeros((depth, *shape), np.uint32),
        "vertices": np.zeros((depth, *shape, 3)),
    }


def test_a_delay_of_minus_one_is_no_path():
    made = tensors()
    made["tau"][0, 0, 1:] = -1
    made["a"][..., 0] = 1e-3
    array = UPA(2, 2, CARRIER_HZ)
    imported = from_sionna(made, array, np.zeros((2, 3)), array_end="tx")
    assert imported.valid.any(axis=2).sum(axis=1).tolist() == [1, 3]
    assert (imported.delay_s[~imported.valid] == 0).all()
    assert (imported.gain[~imported.valid] == 0).all()


def test_chains_are_matched_across_antennas_whatever_their_slots():
    made = tensors(users=1, antennas=2, paths=2, depth=1, synthetic=False)
    made["interactions"][0, 0, 0, 0, 0, 1] = 1  # first antenna: LoS, wall; second antenna: wall, LoS
    made["interactions"][0, 0, 0, 0, 1, 0] = 1
    imported = from_sionna(made, UPA(1, 2, CARRIER_HZ), np.zeros((1, 3)), array_end="tx")
    assert imported.valid.shape == (1, 2, 2)
    assert imported.valid.all()
    wall = imported.interactions[0, :, 0] == 1
    assert wall.sum() == 1
    expected = made["a"][0, 0, 0, [0, 1], [1, 0]].astype(np.complex64)
    np.testing.assert_array_equal(imported.gain[0, wall][0], expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": None}, "without a"),
        ({"a": np.zeros((2, 1, 1, 4))}, "'a' of shape"),
        ({"a": np.zeros((2, 2, 1, 4, 3))}, "users with 2 antennas"),
        ({"a": np.zeros((2, 1, 1, 5, 3))}, "do not fit an array of 4"),
        ({"tau": np.zeros((2, 1, 1, 4, 3))}, "'theta_t' holds float64 of shape .*, not numbers of"),
        ({"interactions": np.full((2, 2, 1, 3), 16)}, "interaction codes"),
    ],
)
def test_unusable_tensors_are_named(change, message):
    made = {name: values for name, values in (tensors() | change).items() if values is not None}
    with pytest.raises(InputError, match=message):
        from_sionna(made, UPA(2, 2, CARRIER_HZ), np.zeros((2, 3)), array_end="tx")


def test_unusable_arguments_are_named():
    array = UPA(2, 2, CARRIER_HZ)
    with pytest.raises(InputError, match="array_end 'bs'"):
        from_sionna(tensors(), array, np.zeros((2, 3)), array_end="bs")
    with pytest.raises(InputError, match="station 1"):
        from_sionna(tensors(), array, np.zeros((2, 3)), array_end="tx", station=1)
    with pytest.raises(InputError, match="positions_m"):
        from_sionna(tensors(), array, np.zeros((3, 3)), array_end="tx")
    with pytest.raises(InputError, match="give positions_m"):
        from_sionna(tensors(), array, array_end="tx")
