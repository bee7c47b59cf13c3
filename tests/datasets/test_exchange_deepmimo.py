"""DeepMIMO scenarios: export and import are inverse, the phase convention is never guessed, and (where DeepMIMO is
installed in another environment, DEEPMIMO_PYTHON) its package computes our channels from our files."""

import dataclasses
import json
import os
import subprocess

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm.arrays import UPA
from channelfm.channels import plane_wave, synthesize
from channelfm.datasets.exchange.deepmimo_export import export_deepmimo
from channelfm.datasets.exchange.deepmimo_format import decode_interactions, encode_interactions
from channelfm.datasets.exchange.deepmimo_import import import_deepmimo
from channelfm.errors import InputError
from channelfm.records import Paths, Scene, SceneObject, Trajectory
from channelfm.scenes.materials import electromagnetic_properties
from channelfm.units import SPEED_OF_LIGHT

CARRIER_HZ = 7e9
CONVENTIONS = ["carrier-included", "carrier-excluded"]
STATION = UPA(4, 6, CARRIER_HZ, (1.0, -2.0, 30.0), orientation_rad=(0.4, 0.2, 0.1))


def nmse_db(estimate, truth):
    return 10 * np.log10(np.sum(np.abs(estimate - truth) ** 2) / np.sum(np.abs(truth) ** 2))


def made_up(snapshots=5, slots=6, depth=2, antennas=1, share=0.8, seed=0):
    """Random paths, some slots empty, and the movement that their Doppler shifts belong to."""
    rng = np.random.default_rng(seed)

    def directions():
        vectors = rng.normal(size=(snapshots, slots, 3))
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    used = rng.random((snapshots, slots, 1)) < share
    valid = np.broadcast_to(used, (snapshots, slots, antennas)).copy()
    gain = 1e-5 * (rng.normal(size=valid.shape) + 1j * rng.normal(size=valid.shape)) * valid
    length = rng.integers(0, depth + 1, (snapshots, slots, 1))
    interactions = rng.choice([1, 2, 4, 8], (snapshots, slots, depth)) * (np.arange(depth) < length) * used
    departure, arrival = directions() * used, directions() * used
    velocities, times = rng.normal(size=(snapshots, 3)), 0.1 * np.arange(snapshots)
    positions = 100 * rng.normal(size=(snapshots, 3))
    doppler = np.einsum("spx,sx->sp", departure, velocities) * CARRIER_HZ / SPEED_OF_LIGHT
    paths = Paths(
        gain=gain.astype(np.complex64),
        delay_s=(rng.uniform(1e-7, 3e-6, (snapshots, slots, 1)) + rng.uniform(0, 1e-9, valid.shape)) * valid,
        valid=valid,
        doppler_hz=(doppler[..., None] * valid).astype(np.float32),
        interactions=interactions.astype(np.int32),
        points_m=rng.normal(size=(snapshots, slots, depth, 3)) * (interactions > 0)[..., None],
        departure=departure,
        arrival=arrival,
        times_s=times,
        positions_m=positions,
        carrier_hz=CARRIER_HZ,
        method="test",
    )
    return paths, Trajectory(times, positions, velocities, np.arange(snapshots, dtype=np.int32) // 2, "test")


def as_if_foreign(folder):
    """The same scenario without what only our exports say."""
    params = json.loads((folder / "params.json").read_text())
    del params["channelfm"]
    (folder / "params.json").write_text(json.dumps(params))
    (folder / "trajectory.npz").unlink()


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_export_and_import_are_inverse(tmp_path, convention):
    paths, trajectory = made_up()
    export_deepmimo(paths, STATION, tmp_path / "scenario", trajectory=trajectory, phase_convention=convention)
    scenario = import_deepmimo(tmp_path / "scenario")
    assert scenario.array == STATION
    assert scenario.scene is None
    frequencies = [6.9e9, 7e9, 7.1e9]
    again = synthesize(scenario.paths, scenario.array, frequencies, offset_s=0.01)
    assert nmse_db(again, synthesize(paths, STATION, frequencies, offset_s=0.01)) < -100
    for name in ("times_s", "positions_m", "velocities_mps", "track"):
        np.testing.assert_array_equal(getattr(scenario.trajectory, name), getattr(trajectory, name))
    channels = scenario.channels()
    np.testing.assert_array_equal(channels.line_of_sight, paths.line_of_sight)
    np.testing.assert_array_equal(channels.has_path, paths.has_path)


@settings(max_examples=25, deadline=None)
@given(
    snapshots=st.integers(1, 4),
    slots=st.integers(1, 7),
    depth=st.integers(1, 4),
    share=st.sampled_from([0.0, 0.2, 0.6, 1.0]),
    seed=st.integers(0, 2**20),
)
def test_any_number_of_paths_comes_back_in_order_of_strength(tmp_path_factory, snapshots, slots, depth, share, seed):
    paths, _ = made_up(snapshots, slots, depth, share=share, seed=seed)
    folder = tmp_path_factory.mktemp("deepmimo") / "scenario"
    exported = export_deepmimo(paths, STATION, folder)
    again = import_deepmimo(folder).paths
    assert exported.paths == paths.valid.sum() == again.valid.sum()
    power = np.load(folder / "power_t000_tx000_r001.npz")["power"]
    for name in ("phase", "delay", "aoa_az", "aoa_el", "aod_az", "aod_el", "inter"):
        values = np.load(folder / f"{name}_t000_tx000_r001.npz")[name]
        np.testing.assert_array_equal(np.isnan(values), np.isnan(power))
    for snapshot in range(snapshots):
        order = np.argsort(-np.abs(paths.gain[snapshot, :, 0]), kind="stable")[: paths.valid[snapshot].sum()]
        found = again.valid[snapshot, :, 0]
        np.testing.assert_allclose(again.gain[snapshot, found, 0], paths.gain[snapshot, order, 0], rtol=1e-5)
        np.testing.assert_allclose(again.delay_s[snapshot, found, 0], paths.delay_s[snapshot, order, 0], atol=1e-18)
        for name in ("departure", "arrival"):
            np.testing.assert_allclose(
                getattr(again, name)[snapshot, found], getattr(paths, name)[snapshot, order], atol=1e-12
            )
        for name in ("interactions", "points_m"):
            stored, expected = getattr(again, name)[snapshot, found], getattr(paths, name)[snapshot, order]
            common = min(stored.shape[1], expected.shape[1])
            np.testing.assert_array_equal(stored[:, :common], expected[:, :common])
            assert not expected[:, common:].any()
    assert (again.delay_s[~again.valid] == 0).all()


@given(st.lists(st.lists(st.sampled_from([1, 2, 4, 8]), max_size=7), min_size=1, max_size=5))
def test_interaction_codes_are_inverse(chains):
    depth = max(1, *(len(chain) for chain in chains))
    types = np.array([chain + [0] * (depth - len(chain)) for chain in chains], dtype=np.int32)
    decoded = decode_interactions(encode_interactions(types))
    np.testing.assert_array_equal(decoded[:, :depth], types[:, : decoded.shape[1]])


def test_interaction_codes_begin_at_the_transmitter():
    user_reflects_then_refracts = np.array([[1, 4, 0], [0, 0, 0], [8, 2, 1]], dtype=np.int32)
    assert encode_interactions(user_reflects_then_refracts).tolist() == [41, 0, 132]
    with pytest.raises(InputError, match=r"digits \[7\]"):
        decode_interactions(np.array([17.0]))
    with pytest.raises(InputError, match="0 inside"):
        decode_interactions(np.array([101.0]))


def test_near_field_paths_are_exported_as_their_plane_waves(tmp_path):
    paths, _ = made_up(antennas=STATION.num_antennas)
    export_deepmimo(paths, STATION, tmp_path / "scenario")
    scenario = import_deepmimo(tmp_path / "scenario")
    expected = synthesize(plane_wave(paths, STATION), STATION)
    assert nmse_db(scenario.channels().response, expected) < -60


def test_the_strongest_paths_are_kept_and_the_rest_is_accounted_for(tmp_path):
    paths, _ = made_up(snapshots=3, slots=40, share=1.0)
    exported = export_deepmimo(paths, STATION, tmp_path / "scenario")
    power = -np.sort(-(np.abs(paths.gain[..., 0].astype(np.complex128)) ** 2), axis=1)
    assert (exported.snapshots, exported.paths, exported.left_out) == (3, 75, 45)
    assert exported.left_out_power == pytest.approx(power[:, 25:].sum() / power.sum())
    stored = np.load(tmp_path / "scenario" / "power_t000_tx000_r001.npz")["power"]
    np.testing.assert_allclose(10 ** (stored / 10), power[:, :25])


def test_a_single_element_stands_at_the_transmitter_of_foreign_files(tmp_path):
    paths, trajectory = made_up()
    export_deepmimo(paths, STATION, tmp_path / "scenario", trajectory=trajectory)
    as_if_foreign(tmp_path / "scenario")
    scenario = import_deepmimo(tmp_path / "scenario", "carrier-included", velocities_mps=trajectory.velocities_mps)
    np.testing.assert_allclose(scenario.array.position, STATION.element_positions[0])
    first = synthesize(paths, STATION)[:, :1]
    assert nmse_db(synthesize(scenario.paths, scenario.array), first) < -100
    # an array whose first element stands there sees what ours does, as DeepMIMO's arrays do
    moved = dataclasses.replace(STATION, position=tuple(np.array(scenario.array.position) * 2 - STATION.position))
    doubled = dataclasses.replace(moved, rows=2 * 4 - 1, cols=2 * 6 - 1, position=scenario.array.position)
    grid = doubled.to_grid(synthesize(scenario.paths, doubled))[:, 3:, 5:]
    assert nmse_db(grid, STATION.to_grid(synthesize(paths, STATION))) < -100
    assert nmse_db(synthesize(scenario.paths, scenario.array, offset_s=0.02), first) > -30
    later = synthesize(paths, STATION, offset_s=0.02)[:, :1]
    assert nmse_db(synthesize(scenario.paths, scenario.array, offset_s=0.02), later) < -100


def test_doppler_has_the_sign_of_approach_along_every_axis(tmp_path):
    paths, _ = made_up(snapshots=3, slots=1, share=1.0)
    towards = np.eye(3)[:, None]
    paths = dataclasses.replace(paths, departure=towards)
    export_deepmimo(paths, STATION, tmp_path / "scenario")
    again = import_deepmimo(tmp_path / "scenario", velocities_mps=10 * np.eye(3))
    np.testing.assert_allclose(again.paths.doppler_hz[:, 0, 0], 10 * CARRIER_HZ / SPEED_OF_LIGHT, rtol=1e-6)


def test_the_phase_convention_is_never_guessed(tmp_path):
    paths, _ = made_up()
    folder = tmp_path / "scenario"
    export_deepmimo(paths, STATION, folder)
    with pytest.raises(InputError, match="states phase_convention carrier-included, not carrier-excluded"):
        import_deepmimo(folder, "carrier-excluded")
    as_if_foreign(folder)
    with pytest.raises(InputError, match="give phase_convention"):
        import_deepmimo(folder)
    with pytest.raises(InputError, match="phase_convention 'absolute'"):
        import_deepmimo(folder, "absolute")
    right, wrong = (synthesize(import_deepmimo(folder, c).paths, UPA(1, 1, CARRIER_HZ)) for c in CONVENTIONS)
    assert nmse_db(wrong, right) > 0, "the wrong convention is worse than no channel at all"


def test_matlab_files_are_read_too(tmp_path):
    paths, _ = made_up()
    folder = tmp_path / "scenario"
    export_deepmimo(paths, STATION, folder)
    expected = import_deepmimo(folder)
    for file in folder.glob("*_r001.npz"):
        quantity = file.stem.removesuffix("_t000_tx000_r001")
        scipy.io.savemat(file.with_suffix(".mat"), {quantity: np.load(file)[quantity]})
        file.unlink()
    np.testing.assert_array_equal(import_deepmimo(folder).paths.gain, expected.paths.gain)


def test_the_scene_goes_along(tmp_path, tiny_scene):
    paths, _ = made_up()
    export_deepmimo(paths, STATION, tmp_path / "scenario", scene=tiny_scene, properties_of=electromagnetic_properties)
    again = import_deepmimo(tmp_path / "scenario").scene
    np.testing.assert_array_equal(again.vertices, tiny_scene.vertices)
    np.testing.assert_array_equal(again.faces, tiny_scene.faces)
    np.testing.assert_array_equal(again.face_object, tiny_scene.face_object)
    assert again.objects == tiny_scene.objects
    materials = json.loads((tmp_path / "scenario" / "params.json").read_text())["materials"]
    concrete = next(entry for entry in materials.values() if entry["name"] == "concrete")
    assert concrete["permittivity"] == pytest.approx(5.24)
    assert concrete["conductivity"] == pytest.approx(0.0462 * 7**0.7822)


def test_polygons_of_simplified_scenes_become_triangles(tmp_path):
    paths, _ = made_up()
    folder = tmp_path / "scenario"
    export_deepmimo(paths, STATION, folder)
    corners = np.array([[0, 0, 0], [4, 0, 0], [4, 4, 0], [1, 1, 0], [0, 4, 0], [0, 0, 5], [4, 0, 5]], np.float64)
    np.savez(folder / "vertices.npz", vertices=corners)
    faces = [[0, 1, 6, 5], [4, 0, 1, 2, 3]]  # a wall, and a floor with a notch that no fan from its corner fills
    entry = {"name": "house", "label": "buildings", "id": 0, "face_vertex_idxs": faces, "face_material_idxs": [1, 0]}
    (folder / "objects.json").write_text(json.dumps([entry]))
    params = json.loads((folder / "params.json").read_text())
    params["materials"] = {"material_0": {"name": "itu_concrete"}, "material_1": {"name": "Brick"}}
    (folder / "params.json").write_text(json.dumps(params))
    scene = import_deepmimo(folder).scene
    assert scene.faces.tolist() == [[0, 1, 6], [0, 6, 5]]
    assert scene.objects[0] == SceneObject("house-1", "brick", "building")
    assert scene.skipped == {"faces that are not convex": 1}
    assert scene.bounds == (0, 0, 4, 4)
    entry["face_material_idxs"] = [5, 5]
    (folder / "objects.json").write_text(json.dumps([entry]))
    with pytest.raises(InputError, match="do not fit together"):
        import_deepmimo(folder)


def test_unusable_exports_are_named(tmp_path, tiny_scene):
    paths, trajectory = made_up()
    with pytest.raises(InputError, match="call the folder 'scenario'"):
        export_deepmimo(paths, STATION, tmp_path / "Scenario")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match="already holds something"):
        export_deepmimo(paths, STATION, tmp_path / "full")
    with pytest.raises(InputError, match="one polarisation"):
        export_deepmimo(paths, dataclasses.replace(STATION, polarization="VH"), tmp_path / "a")
    with pytest.raises(InputError, match="phase_convention 'none'"):
        export_deepmimo(paths, STATION, tmp_path / "a", phase_convention="none")
    with pytest.raises(InputError, match="max_paths = 0"):
        export_deepmimo(paths, STATION, tmp_path / "a", max_paths=0)
    with pytest.raises(InputError, match="not the one of these paths"):
        export_deepmimo(paths, STATION, tmp_path / "a", trajectory=trajectory.select(slice(2)))
    odd = Scene(**vars(tiny_scene) | {"objects": tuple(SceneObject("x", "cheese", "other") for _ in range(2))})
    with pytest.raises(InputError, match="permittivity and conductivity of 'cheese': give properties_of"):
        export_deepmimo(paths, STATION, tmp_path / "c", scene=odd)
    with pytest.raises(InputError, match="unknown material 'cheese'"):
        export_deepmimo(paths, STATION, tmp_path / "b", scene=odd, properties_of=electromagnetic_properties)


def test_unusable_imports_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no params\.json"):
        import_deepmimo(tmp_path)
    paths, _ = made_up()
    folder = tmp_path / "scenario"
    export_deepmimo(paths, STATION, folder)
    with pytest.raises(InputError, match=r"no link \(0, 1, 1\).*has: \(0, 0, 1\)"):
        import_deepmimo(folder, link=(0, 1, 1))
    with pytest.raises(InputError, match="velocities_mps of shape"):
        import_deepmimo(folder, velocities_mps=np.zeros(3))
    (folder / "power_t000_tx001_r001.npz").write_bytes((folder / "power_t000_tx000_r001.npz").read_bytes())
    with pytest.raises(InputError, match="several transmitters"):
        import_deepmimo(folder)
    link = (0, 0, 1)
    phase = np.load(folder / "phase_t000_tx000_r001.npz")["phase"]
    np.savez(folder / "phase_t000_tx000_r001.npz", phase=np.full_like(phase, np.nan))
    with pytest.raises(InputError, match="'phase' is not finite"):
        import_deepmimo(folder, link=link)
    np.savez(folder / "phase_t000_tx000_r001.npz", phase=phase[:2])
    with pytest.raises(InputError, match="'phase' has shape"):
        import_deepmimo(folder, link=link)
    np.savez(folder / "phase_t000_tx000_r001.npz", angle=phase)
    with pytest.raises(InputError, match="no array 'phase'; it has: angle"):
        import_deepmimo(folder, link=link)
    (folder / "phase_t000_tx000_r001.npz").unlink()
    with pytest.raises(InputError, match=r"phase_t000_tx000_r001\.npz: missing"):
        import_deepmimo(folder, link=link)
    (folder / "params.json").write_text('{"version": "3.1", "rt_params": {"frequency": 1e9}}')
    with pytest.raises(InputError, match=r"version 3\.1"):
        import_deepmimo(folder)
    (folder / "params.json").write_text("{")
    with pytest.raises(InputError, match="not the parameters"):
        import_deepmimo(folder)


def test_time_steps_of_a_dynamic_scenario_are_named(tmp_path):
    paths, _ = made_up()
    export_deepmimo(paths, STATION, tmp_path / "all" / "scene_0")
    (tmp_path / "all" / "params.json").write_bytes((tmp_path / "all" / "scene_0" / "params.json").read_bytes())
    (tmp_path / "all" / "scene_0" / "params.json").unlink()
    with pytest.raises(InputError, match="time steps: scene_0"):
        import_deepmimo(tmp_path / "all")
    assert len(import_deepmimo(tmp_path / "all" / "scene_0").paths) == len(paths)


IN_PACKAGE = """
import sys, numpy, deepmimo
rows, cols, spacing, *rotation = map(float, sys.argv[1:])
dataset = deepmimo.load("scenario")
parameters = deepmimo.ChannelParameters(
    bs_antenna={"shape": numpy.array([int(cols), int(rows)]), "spacing": spacing, "rotation": numpy.array(rotation)},
    ue_antenna={"shape": numpy.array([1, 1])},
    ofdm={"subcarriers": 64, "selected_subcarriers": numpy.arange(3), "bandwidth": 64e3},
)
numpy.savez("channels.npz", h=dataset.compute_channels(parameters) * 8, los=dataset.los, paths=dataset.num_paths,
            objects=len(dataset.scene.objects))
"""


@pytest.mark.skipif("DEEPMIMO_PYTHON" not in os.environ, reason="DEEPMIMO_PYTHON names no Python that has DeepMIMO")
def test_the_package_computes_our_channels(tmp_path, tiny_scene):
    paths, _ = made_up()
    folder = tmp_path / "deepmimo_scenarios" / "scenario"
    export_deepmimo(paths, STATION, folder, scene=tiny_scene, properties_of=electromagnetic_properties)
    yaw, pitch, roll = np.rad2deg(STATION.orientation_rad)
    geometry = [STATION.rows, STATION.cols, STATION.spacing_wavelengths, roll, pitch, yaw]
    command = [os.environ["DEEPMIMO_PYTHON"], "-c", IN_PACKAGE, *map(str, geometry)]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    theirs = np.load(tmp_path / "channels.npz")
    ours = synthesize(paths, STATION, CARRIER_HZ + 1e3 * np.arange(3))
    assert nmse_db(theirs["h"][:, 0], ours) < -80
    np.testing.assert_array_equal(theirs["paths"], paths.valid.sum(axis=(1, 2)))
    assert theirs["objects"] == len(tiny_scene.objects)
