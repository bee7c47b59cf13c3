"""Export of paths as a DeepMIMO scenario of version 4: plane waves at the base station's first element, and the scene.

What the files hold is written in :mod:`channelfm.datasets.exchange.deepmimo_format`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.arrays import UPA
from channelfm.channels.synthesis import plane_wave
from channelfm.datasets.exchange.deepmimo_format import (
    CONVENTIONS,
    MAX_PATHS,
    PARAMS,
    STATED,
    TRAJECTORY,
    VERSION,
    Link,
    PhaseConvention,
    encode_interactions,
    file_stem,
    turned_round,
)
from channelfm.datasets.exchange.deepmimo_scene import PropertiesOf, write_scene
from channelfm.datasets.exchange.files import write_npz
from channelfm.errors import InputError
from channelfm.files import write_atomically
from channelfm.records import Paths, Scene, Trajectory
from channelfm.units import SPEED_OF_LIGHT

Float = NDArray[np.float64]
EXPORTED: Link = (0, 0, 1)


@dataclass(frozen=True)
class Exported:
    """What an export holds: snapshots, paths, and how many weaker paths it left out, with their share of the power."""

    snapshots: int
    paths: int
    left_out: int
    left_out_power: float


def export_deepmimo(
    paths: Paths,
    array: UPA,
    folder: str | Path,
    *,
    trajectory: Trajectory | None = None,
    scene: Scene | None = None,
    properties_of: PropertiesOf | None = None,
    phase_convention: PhaseConvention = "carrier-included",
    max_paths: int = MAX_PATHS,
) -> Exported:
    """Write paths as a DeepMIMO scenario, the array as its base station and transmitter.

    Near-field paths become plane waves (:func:`channelfm.channels.plane_wave`), given at the array's first element,
    where DeepMIMO's arrays begin: with a ``bs_antenna`` of shape (cols, rows), this spacing, rotation (roll, pitch,
    yaw) in degrees and pattern "isotropic" (our gains hold the element's), the package computes the channels of this
    array at the carrier. It multiplies them by 1 / sqrt(number of subcarriers). The ``max_paths`` strongest paths of a
    user are kept, strongest first. ``trajectory`` adds velocities and tracks in a file of its own, which the package
    ignores. ``scene`` goes along as triangles; DeepMIMO wants its materials' permittivity and conductivity, which
    ``properties_of`` tells: :func:`channelfm.scenes.materials.electromagnetic_properties`. ``params.json`` comes last.

    Raises
    ------
    InputError : a folder that is not empty or not in lower case (the package lowers names), a dual-polarised array,
        paths of another array, a trajectory of other positions, a scene without ``properties_of`` or of a material that
        it does not know, an unknown phase convention.
    """
    place = _new_folder(Path(folder))
    _check_export(paths, array, trajectory, phase_convention, max_paths)
    plane = plane_wave(paths, array)
    slots, kept = _strongest(plane, max_paths)
    for quantity, values in _quantities(plane, array, slots, kept, phase_convention).items():
        write_npz(place / f"{file_stem(quantity, EXPORTED)}.npz", {quantity: values})
    moving = {} if trajectory is None else {name: getattr(trajectory, name) for name in ("velocities_mps", "track")}
    write_npz(place / TRAJECTORY, {"times_s": plane.times_s, **moving})
    scene_block, materials = write_scene(scene, properties_of, place, paths.carrier_hz)
    result = _account(plane, slots, kept)
    stated = {"phase_convention": phase_convention, "array": asdict(array), "exported": asdict(result)}
    params = {
        "version": VERSION,
        "rt_params": _tracing_block(plane),
        "txrx_sets": _device_blocks(len(plane), int(kept.any(axis=1).sum())),
        "materials": materials,
        "scene": scene_block,
        STATED: stated,
    }
    write_atomically(place / PARAMS, json.dumps(params, indent=1).encode())
    return result


def _strongest(plane: Paths, max_paths: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Slots [S, K] of the strongest paths, strongest first, and which of them hold one; K >= 1."""
    strength = np.where(plane.valid[..., 0], np.abs(plane.gain[..., 0]), 0.0)
    slots = np.argsort(-strength, axis=1, kind="stable")[:, :max_paths]
    kept = np.take_along_axis(strength, slots, axis=1) > 0
    width = max(int(kept.sum(axis=1).max(initial=0)), 1)
    return slots[:, :width], kept[:, :width]


def _account(plane: Paths, slots: NDArray[np.int64], kept: NDArray[np.bool_]) -> Exported:
    """How much of the paths the chosen slots are."""
    power = np.where(plane.valid[..., 0], np.abs(plane.gain[..., 0].astype(np.complex128)) ** 2, 0.0)
    total = power.sum()
    np.put_along_axis(power, slots, 0.0, axis=1)  # what remains is left out
    share = float(power.sum() / total) if total else 0.0
    return Exported(len(plane), int(kept.sum()), int(np.count_nonzero(power)), share)


def _quantities(
    plane: Paths, array: UPA, slots: NDArray[np.int64], kept: NDArray[np.bool_], convention: PhaseConvention
) -> dict[str, Float]:
    """DeepMIMO's quantities of the chosen paths, NaN where there is none."""

    def chosen(values: NDArray[Any]) -> NDArray[Any]:
        index = slots.reshape(slots.shape + (1,) * (values.ndim - 2))
        return np.take_along_axis(values, index, axis=1)

    arrival, departure = chosen(plane.arrival), chosen(plane.departure)
    gain = chosen(plane.gain)[..., 0].astype(np.complex128)
    delay = chosen(plane.delay_s)[..., 0] - arrival @ array.antenna_offsets[0] / SPEED_OF_LIGHT
    cycles = np.angle(gain) / (2 * np.pi)
    if convention == "carrier-included":
        cycles = cycles - plane.carrier_hz * delay
    interactions = chosen(plane.interactions)
    with np.errstate(divide="ignore"):
        power = 20 * np.log10(np.abs(gain))
    aod_az, aod_el = _angles_deg(arrival)
    aoa_az, aoa_el = _angles_deg(departure)
    per_path = {
        "power": power,
        "phase": 360.0 * (cycles - np.rint(cycles)),
        "delay": delay,
        "aod_az": aod_az,
        "aod_el": aod_el,
        "aoa_az": aoa_az,
        "aoa_el": aoa_el,
        "inter": encode_interactions(interactions),
    }
    points = turned_round(chosen(plane.points_m), np.count_nonzero(interactions, axis=-1))
    return {name: np.where(kept, values, np.nan) for name, values in per_path.items()} | {
        "inter_pos": np.where(kept[..., None, None], points, np.nan),
        "rx_pos": plane.positions_m,
        "tx_pos": array.element_positions[:1],
    }


def _angles_deg(vectors: Float) -> tuple[Float, Float]:
    """Azimuth from +x and zenith from +z [deg] of vectors [..., 3]."""
    horizontal = np.hypot(vectors[..., 0], vectors[..., 1])
    azimuth = np.arctan2(vectors[..., 1], vectors[..., 0])
    return np.rad2deg(azimuth), np.rad2deg(np.arctan2(horizontal, vectors[..., 2]))


def _tracing_block(plane: Paths) -> dict[str, Any]:
    """The entry ``rt_params``: the carrier, and the largest number of every interaction on a path."""
    import channelfm

    most = {code: int((plane.interactions == code).sum(axis=-1).max(initial=0)) for code in (1, 2, 4, 8)}
    return {
        "raytracer_name": f"channelfm ({plane.method})",
        "raytracer_version": channelfm.__version__,
        "frequency": plane.carrier_hz,
        "max_path_depth": int(np.count_nonzero(plane.interactions, axis=-1).max(initial=0)),
        "max_reflections": most[1],
        "max_diffractions": most[8],
        "max_scattering": most[2],
        "max_transmissions": most[4],
        "synthetic_array": True,
        "gps_bbox": [0, 0, 0, 0],
        "raw_params": {},
    }


def _device_blocks(users: int, reached: int) -> dict[str, Any]:
    """The entry ``txrx_sets``: the base station as transmitter, all users as one receiver set."""

    def block(number: int, name: str, points: int, active: int) -> dict[str, Any]:
        return {
            "name": name,
            "id_orig": number,
            "id": number,
            "is_tx": number == EXPORTED[0],
            "is_rx": number == EXPORTED[2],
            "num_points": points,
            "num_active_points": active,
            "num_ant": 1,
            "dual_pol": False,
            "ant_rel_positions": [[0, 0, 0]],
            "array_orientation": [0, 0, 0],
            "grid_spacing": None,
        }

    return {"txrx_set_0": block(0, "base station", 1, 1), "txrx_set_1": block(1, "users", users, reached)}


def _new_folder(folder: Path) -> Path:
    if folder.name != folder.name.lower():
        raise InputError(f"{folder}: DeepMIMO lowers scenario names; call the folder '{folder.name.lower()}'")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: already holds something; give a new or empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _check_export(paths: Paths, array: UPA, trajectory: Trajectory | None, convention: str, max_paths: int) -> None:
    if convention not in CONVENTIONS:
        raise InputError(f"phase_convention '{convention}': give one of: {', '.join(CONVENTIONS)}")
    if max_paths < 1:
        raise InputError(f"max_paths = {max_paths}: give at least 1")
    if array.num_polarizations > 1:
        raise InputError("DeepMIMO's paths have one polarisation: trace with polarization V or H to export them")
    if trajectory is not None and not np.array_equal(trajectory.positions_m, paths.positions_m):
        raise InputError("the trajectory is not the one of these paths: give that, or none")
