"""Import of DeepMIMO scenarios of version 4 as plane-wave paths, with what their phase means said aloud.

DeepMIMO says nowhere whether its phase holds the carrier's -2 pi f_c tau. Ray tracers that report the phase of the
received field include it; DeepMIMO's converter of Sionna's paths leaves it out, and the package then computes channels
that are wrong by more than their own power. So our exports state it in ``params.json``, and an import of other files
asks for it. What the files hold is written in :mod:`channelfm.datasets.exchange.deepmimo_format`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channelfm.arrays import UPA
from channelfm.channels.synthesis import observe
from channelfm.checks import as_numbers
from channelfm.config import brief, parse_values
from channelfm.datasets.exchange.deepmimo_format import (
    CONVENTIONS,
    PER_PATH,
    QUANTITIES,
    STATED,
    TRAJECTORY,
    Link,
    PhaseConvention,
    decode_interactions,
    find_link,
    read_params,
    read_quantity,
    turned_round,
)
from channelfm.datasets.exchange.deepmimo_scene import read_scene
from channelfm.datasets.exchange.files import read_arrays
from channelfm.errors import InputError
from channelfm.records import Channels, Paths, Scene, Trajectory
from channelfm.units import SPEED_OF_LIGHT

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Scenario:
    """An imported scenario.

    ``paths`` are plane waves given at the centre of ``array``; ``trajectory`` holds the users in the file's order.
    ``array`` is the exported one for our own files, else a single isotropic element at the transmitter: replace its
    ``rows``, ``cols`` and orientation by those wanted. ``scene`` is None where the files hold no objects.
    """

    paths: Paths
    trajectory: Trajectory
    array: UPA
    scene: Scene | None

    def channels(self, array: UPA | None = None, frequencies_hz: ArrayLike | None = None) -> Channels:
        """Channels of an array (None: the scenario's) with all labels, see :func:`channelfm.channels.observe`."""
        return observe(self.trajectory, self.paths, array or self.array, frequencies_hz)


def import_deepmimo(
    folder: str | Path,
    phase_convention: PhaseConvention | None = None,
    *,
    link: Link | None = None,
    velocities_mps: ArrayLike | None = None,
) -> Scenario:
    """Read a DeepMIMO scenario (one time step of a dynamic one) as plane-wave paths.

    Parameters
    ----------
    folder : holds ``params.json`` and the path files.
    phase_convention : whether ``phase`` holds the carrier's -2 pi f_c tau. Our exports state it; for other files it
        must be given: "carrier-excluded" for what DeepMIMO's Sionna converter wrote, "carrier-included" where the ray
        tracer reports the phase of the received field, as Wireless InSite does.
    link : numbers of transmitter set, transmitter and receiver set; None: the only ones.
    velocities_mps : [S, 3] of the users; None: those of our exports, else zero. Doppler shifts follow from them (the
        package's own have the wrong sign along x, and no file holds them).

    Raises
    ------
    InputError : names the file and quantity: missing, of another shape, not finite where ``power`` is, of an unknown
        interaction; or a phase convention that is not known, or not the one that the folder states.
    """
    place = Path(folder)
    params = read_params(place)
    stated = params.get(STATED) or {}
    if not isinstance(stated, dict):
        raise InputError(f"{place}: '{STATED}' in its parameters holds {brief(stated)}, no mapping; export it again")
    convention = _convention(place, params, stated, phase_convention)
    link = find_link(place, link)
    read = {quantity: read_quantity(place, quantity, link) for quantity in QUANTITIES}
    valid = _checked(place, read)
    trajectory = _trajectory(place, read["rx_pos"], velocities_mps)
    carrier = float(params["rt_params"]["frequency"])
    x, y, z = read["tx_pos"].ravel().tolist()
    array = UPA(1, 1, carrier, (x, y, z), pattern="isotropic")
    if stated:
        array = parse_values(UPA, stated.get("array"), f"{place}: '{STATED}.array' in its parameters")
    tracer = params["rt_params"].get("raytracer_name", "unknown ray tracer")
    paths = _paths(read, valid, trajectory, array, convention, f"DeepMIMO files of {tracer}")
    # other files do not tell which antennas their gains are for, so any that stands there may be steered
    paths = replace(paths, array=array) if stated else paths
    return Scenario(paths, trajectory, array, read_scene(place, params.get("materials", {}), place.name))


def _paths(
    read: dict[str, Float],
    valid: NDArray[np.bool_],
    trajectory: Trajectory,
    array: UPA,
    convention: PhaseConvention,
    method: str,
) -> Paths:
    """Plane-wave paths at the array's centre from DeepMIMO's quantities at its first element."""
    carrier = array.carrier_hz
    filled = {name: np.where(valid, read[name], 0.0) for name in PER_PATH}
    arrival = _unit_vectors(filled["aod_az"], filled["aod_el"]) * valid[..., None]
    departure = _unit_vectors(filled["aoa_az"], filled["aoa_el"]) * valid[..., None]
    cycles = filled["phase"] / 360.0
    if convention == "carrier-included":
        cycles = cycles + carrier * filled["delay"]
    gain = np.where(valid, 10.0 ** (filled["power"] / 20.0), 0.0) * np.exp(2j * np.pi * (cycles - np.rint(cycles)))
    centre = filled["delay"] + arrival @ array.antenna_offsets[0] / SPEED_OF_LIGHT
    doppler = np.einsum("spx,sx->sp", departure, trajectory.velocities_mps) * carrier / SPEED_OF_LIGHT
    interactions = decode_interactions(np.where(valid, read["inter"], np.nan))
    points = _points(read["inter_pos"], interactions)
    return Paths(
        gain=gain[..., None].astype(np.complex64),
        delay_s=np.where(valid, centre, 0.0)[..., None],
        valid=valid[..., None],
        doppler_hz=doppler[..., None].astype(np.float32),
        interactions=interactions,
        points_m=points,
        departure=departure,
        arrival=arrival,
        times_s=trajectory.times_s,
        positions_m=trajectory.positions_m,
        carrier_hz=carrier,
        method=method,
    )


def _points(stored: Float, interactions: NDArray[np.int32]) -> Float:
    """Interaction points [S, P, D, 3] from the user on, 0 where there is none."""
    depth = interactions.shape[2]
    points = np.zeros((*interactions.shape, 3))
    common = min(depth, stored.shape[2])
    points[:, :, :common] = stored[:, :, :common]
    turned = turned_round(points, np.count_nonzero(interactions, axis=-1))
    return np.asarray(np.where((interactions != 0)[..., None], turned, 0.0))


def _unit_vectors(azimuth_deg: Float, zenith_deg: Float) -> Float:
    azimuth, zenith = np.deg2rad(azimuth_deg), np.deg2rad(zenith_deg)
    level = np.sin(zenith)
    return np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.cos(zenith)], axis=-1)


def _trajectory(place: Path, positions_m: Float, velocities_mps: ArrayLike | None) -> Trajectory:
    """Users of a scenario; without a file of ours, all at time 0 on one track, and at rest unless told otherwise."""
    users = len(positions_m)
    told: dict[str, Any] = read_arrays(place / TRAJECTORY) if (place / TRAJECTORY).is_file() else {}
    if velocities_mps is not None:
        told["velocities_mps"] = velocities_mps
    shapes = {"velocities_mps": (users, 3), "times_s": (users,), "track": (users,)}
    columns = {}
    for name, shape in shapes.items():
        values = as_numbers(told.get(name, np.zeros(shape)), f"{place}: {name}")
        if values.shape != shape or values.dtype.kind == "c" or not np.isfinite(values).all():
            raise InputError(f"{place}: {name} of shape {values.shape}: give {list(shape)} finite numbers")
        columns[name] = values.astype(np.float64)
    track = columns["track"].astype(np.int32)
    return Trajectory(columns["times_s"], positions_m, columns["velocities_mps"], track, "recorded")


def _checked(place: Path, read: dict[str, Float]) -> NDArray[np.bool_]:
    """Which slots hold a path (``power`` is a number); InputError where the other quantities do not agree."""
    shape, users = read["power"].shape, len(read["rx_pos"])
    shapes = dict.fromkeys(PER_PATH, shape) | {"rx_pos": (users, 3)}
    for quantity, expected in shapes.items():
        if read[quantity].shape != expected or len(expected) != 2 or expected[0] != users:
            raise InputError(
                f"{place}: '{quantity}' has shape {read[quantity].shape} beside power {shape}, {users} users"
            )
    if read["inter_pos"].shape[:2] != shape or read["inter_pos"].shape[3:] != (3,) or read["tx_pos"].size != 3:
        raise InputError(
            f"{place}: inter_pos {read['inter_pos'].shape} or tx_pos {read['tx_pos'].shape} does not fit power"
        )
    valid = ~np.isnan(read["power"])
    for quantity in PER_PATH:
        broken = int((valid & ~np.isfinite(read[quantity])).sum())
        if broken:
            raise InputError(
                f"{place}: '{quantity}' is not finite for {broken} paths that have a power; mend the files"
            )
    if not np.isfinite(read["rx_pos"]).all() or not np.isfinite(read["tx_pos"]).all():
        raise InputError(f"{place}: rx_pos or tx_pos holds NaN or infinite values; mend the files")
    return valid


def _convention(place: Path, params: dict[str, Any], stated: dict[str, Any], given: str | None) -> PhaseConvention:
    """The phase convention that folder and caller agree on."""
    told = stated.get("phase_convention")
    convention = given or told
    if convention is None:
        tracer = params["rt_params"].get("raytracer_name", "an unknown ray tracer")
        raise InputError(
            f"{place}: files of {tracer} do not say whether 'phase' holds the carrier's -2 pi f tau; give "
            "phase_convention carrier-excluded (DeepMIMO's Sionna converter) or carrier-included (Wireless InSite)"
        )
    if convention not in CONVENTIONS:
        raise InputError(f"phase_convention '{convention}': give one of: {', '.join(CONVENTIONS)}")
    if told is not None and convention != told:
        raise InputError(f"{place}: states phase_convention {told}, not {convention}; leave it out")
    return "carrier-included" if convention == "carrier-included" else "carrier-excluded"
