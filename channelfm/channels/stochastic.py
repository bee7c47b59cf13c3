"""3GPP TR 38.901 channels (CDL-A to CDL-E, UMi, UMa) in the same form as ray-traced ones.

Sionna draws the rays of every cluster and evaluates them at the centre of the array (TR 38.901, steps 1 to 12 of
section 7.5, and section 7.7.1); here they are carried over the array and over frequency as plane waves:

    h_m(f, t) = sum_r a_r(t) exp(-j 2 pi (f - f_c) tau_r) exp(+j 2 pi f u_r . delta_m / c).

f is absolute. Sionna's coefficients a_r hold the carrier phase already, hence f - f_c in the delay term. The array
term is that of eq. 7.5-22 at the carrier, and beyond it section 7.6.2's: beams squint as they do in ``synthesize``.
"""

from __future__ import annotations

from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channelfm.arrays import UPA
from channelfm.channels.cluster_rays import Rays, Scenario, StochasticModel, User, draw_rays
from channelfm.errors import InputError
from channelfm.processes import one_thread
from channelfm.records import Channels
from channelfm.units import SPEED_OF_LIGHT

Float = NDArray[np.float64]
Complex = NDArray[np.complex64]

CARRIER_RANGE_HZ = (0.5e9, 100e9)  # TR 38.901, section 7.1
NOMINAL_DELAY_SPREAD_S = 100e-9  # TR 38.901, table 7.7.3-1
USER_HEIGHT_M = 1.5  # outdoor users, tables 7.2-1
DISTANCES_M: dict[str, tuple[float, float]] = {
    "umi": (10.0, 200.0 / 3**0.5),  # least distance of table 7.2-1 to the corner of its cells, 200 m apart
    "uma": (35.0, 500.0 / 3**0.5),
}
SECTOR_RAD = np.deg2rad(120.0)  # users stand within it, before the array
CHUNK_ENTRIES = 2_000_000  # complex numbers held at once while rays are summed: some 30 MB


def stochastic_channels(
    model: StochasticModel,
    array: UPA,
    *,
    num_tracks: int,
    num_steps: int = 1,
    interval_s: float = 1e-3,
    frequencies_hz: ArrayLike | None = None,
    speed_mps: tuple[float, float] = (0.0, 30.0),
    delay_spread_s: float | None = None,
    distance_m: tuple[float, float] | None = None,
    path_loss: bool | None = None,
    seed: int = 0,
) -> Channels:
    """Channels of ``num_tracks`` users at ``num_steps`` times each, ordered by track, then by time.

    Every track is a user of its own with one vertically polarised isotropic antenna that transmits to the array. Its
    speed is uniform in ``speed_mps`` and its direction uniform in the horizontal plane; both stay. Over a track the
    rays keep gains, angles and delays and turn by their Doppler shifts, so the response is continuous in time; the
    standard's drops stand for movements of some wavelengths, not of streets. A track follows from ``seed`` and its
    number alone, whatever the other tracks are.

    Parameters
    ----------
    model : "cdl-a" to "cdl-e" (TR 38.901 section 7.7.1, fixed clusters), "umi" or "uma" (section 7.5, outdoor users).
    array : position, orientation, pattern and polarisation are used. UMi and UMa count heights from z = 0 (the
        standard's stations stand at 10 m and 25 m); CDL uses no position, its clusters' azimuth counts from +x.
    interval_s : time between steps [s].
    frequencies_hz : absolute frequencies [F] in Hz; None means the carrier alone.
    speed_mps : least and greatest speed [m/s].
    delay_spread_s : rms delay spread of CDL [s], None: 100 ns. UMi and UMa draw their own.
    distance_m : least and greatest horizontal distance of UMi and UMa users [m], spread evenly over the area of the
        120 degrees before the array; None: from the least of table 7.2-1 to the corner of a cell of 200 m (UMi) or
        500 m (UMa) between sites.
    path_loss : whether UMi and UMa apply path loss and shadow fading; None: not.

    Returns
    -------
    Channels, with ``has_path`` True throughout. Mean power over tracks: cluster powers sum to one, so |h|^2 is one on
    average for isotropic elements of the user's polarisation (the other one gets 1 / XPR); patterns weight it, and
    ``path_loss`` scales it. Labels of CDL, which has no geometry: positions, distance and angles hold 0,
    ``near_field`` False, ``line_of_sight`` True for D and E. Labels of UMi and UMa: positions move with the user,
    ``line_of_sight`` is the drawn state, ``near_field`` compares the distance with the Rayleigh distance although the
    waves are plane. Delays of CDL count from the first cluster, those of UMi and UMa from transmission (section 7.6.9,
    without excess).

    Raises
    ------
    InputError : on a setting that is out of range, or that the model does not have.
    DependencyError : without the extra "threegpp", or with another release of Sionna than this adapter knows.
    """
    frequencies = _checked(model, array, num_tracks, num_steps, interval_s, frequencies_hz, speed_mps, seed)
    steps = np.arange(num_steps, dtype=np.float64) * interval_s
    scenario = _scenario(model, array, delay_spread_s, distance_m, path_loss)
    response = np.empty((num_tracks * num_steps, array.num_antennas, len(frequencies)), dtype=np.complex64)
    positions, velocities = np.zeros((2, num_tracks, num_steps, 3))
    line_of_sight = np.zeros((num_tracks, num_steps), dtype=np.bool_)
    for track in range(num_tracks):
        user = _draw_user(scenario, array, speed_mps, np.random.SeedSequence([seed, track]))
        with one_thread():
            rays = draw_rays(scenario, array, user, steps)
            response[track * num_steps : (track + 1) * num_steps] = _over_the_array(rays, array, frequencies)
        velocities[track] = user.velocity_mps
        line_of_sight[track] = rays.line_of_sight
        if not scenario.is_cdl:
            positions[track] = user.position_m + steps[:, None] * user.velocity_mps
    views = np.zeros((num_tracks, num_steps, 3)) if scenario.is_cdl else array.view_angles(positions)
    near = np.zeros_like(line_of_sight) if scenario.is_cdl else views[..., 0] < array.rayleigh_distance_m
    return Channels(
        response=response,
        frequencies_hz=frequencies,
        positions_m=positions.reshape(-1, 3),
        velocities_mps=velocities.reshape(-1, 3),
        times_s=np.tile(steps, num_tracks),
        track=np.repeat(np.arange(num_tracks, dtype=np.int32), num_steps),
        line_of_sight=line_of_sight.reshape(-1),
        near_field=near.reshape(-1),
        has_path=np.ones(num_tracks * num_steps, dtype=np.bool_),
        distance_m=views[..., 0].reshape(-1),
        azimuth_rad=views[..., 1].reshape(-1),
        elevation_rad=views[..., 2].reshape(-1),
        rows=array.rows,
        cols=array.cols,
        carrier_hz=array.carrier_hz,
        spacing_wavelengths=array.spacing_wavelengths,
    )


def _scenario(
    model: StochasticModel,
    array: UPA,
    delay_spread_s: float | None,
    distance_m: tuple[float, float] | None,
    path_loss: bool | None,
) -> Scenario:
    """Check the settings that only some models have, and fill in their defaults."""
    if model.startswith("cdl"):
        for name, value in (("distance_m", distance_m), ("path_loss", path_loss)):
            if value is not None:
                raise InputError(f"{name} = {value}: {model} has no geometry; leave {name} out, or take umi or uma")
        spread = NOMINAL_DELAY_SPREAD_S if delay_spread_s is None else float(delay_spread_s)
        if not 0.0 <= spread < np.inf:
            raise InputError(f"delay_spread_s = {spread}: give an rms delay spread in s, e.g. 100e-9")
        return Scenario(model, delay_spread_s=spread)
    if delay_spread_s is not None:
        raise InputError(f"delay_spread_s = {delay_spread_s}: {model} draws its own; leave it out, or take a CDL")
    low, high = DISTANCES_M[model] if distance_m is None else distance_m
    if not 0.0 < low <= high < np.inf:
        raise InputError(f"distance_m = ({low}, {high}): give two positive distances in m, the smaller one first")
    if array.position[2] <= USER_HEIGHT_M:
        raise InputError(
            f"{model}: the array's centre is at z = {array.position[2]:g} m, not above the users at {USER_HEIGHT_M} m; "
            f"give UPA(position=(x, y, {10 if model == 'umi' else 25}))"
        )
    return Scenario(model, distance_m=(low, high), path_loss=bool(path_loss))


def _draw_user(scenario: Scenario, array: UPA, speed_mps: tuple[float, float], words: np.random.SeedSequence) -> User:
    """A user before the array, evenly spread over the area between the distances; at the origin for CDL."""
    for_user, for_rays = words.spawn(2)
    random = np.random.default_rng(for_user)
    speed, heading = random.uniform(*speed_mps), random.uniform(0.0, 2.0 * np.pi)
    velocity = speed * np.array([np.cos(heading), np.sin(heading), 0.0])
    low, high = scenario.distance_m
    distance = np.sqrt(random.uniform(low**2, high**2))
    bearing = array.orientation_rad[0] + random.uniform(-SECTOR_RAD / 2, SECTOR_RAD / 2)
    x, y, _ = array.position
    position = np.array([x + distance * np.cos(bearing), y + distance * np.sin(bearing), USER_HEIGHT_M])
    return User(position, velocity, int(for_rays.generate_state(1, np.uint64)[0]))


def _over_the_array(rays: Rays, array: UPA, frequencies: Float) -> Complex:
    """Response complex64 [step, antenna, frequency] of plane waves over the array."""
    import torch

    steps, polarizations, count = rays.gain.shape
    _, *axes = (rays.arrival @ array.rotation).T * array.spacing_m / SPEED_OF_LIGHT  # seconds per column, row; [ray]
    across, upwards = (
        (np.arange(size) - (size - 1) / 2)[:, None] * axis
        for size, axis in zip((array.cols, array.rows), axes, strict=True)
    )
    response = np.empty((steps, polarizations, array.rows, array.cols, len(frequencies)), dtype=np.complex64)
    per_step = polarizations * max(array.rows, array.cols) * (count + array.rows)
    step_chunk = max(1, CHUNK_ENTRIES // per_step)
    frequency_chunk = max(1, CHUNK_ENTRIES // (min(steps, step_chunk) * per_step))
    for start in range(0, len(frequencies), frequency_chunk):
        part = slice(start, start + frequency_chunk)
        chosen = frequencies[part, None]
        rows = np.exp(2j * np.pi * chosen[:, None] * upwards).astype(np.complex64)
        cols = np.exp(2j * np.pi * chosen[:, None] * across).astype(np.complex64)
        turned = np.exp(-2j * np.pi * (chosen - array.carrier_hz) * rays.delay_s)
        for first in range(0, steps, step_chunk):
            some = slice(first, first + step_chunk)
            gain = (rays.gain[some] * turned[:, None, None, :]).astype(np.complex64)
            weighted = gain[:, :, :, None, :] * rows[:, None, None]
            flat = torch.from_numpy(weighted.reshape(len(chosen), -1, count))
            summed = torch.matmul(flat, torch.from_numpy(cols).mT).numpy()
            shape = (len(chosen), gain.shape[1], polarizations, array.rows, array.cols)
            response[some, ..., part] = np.moveaxis(summed.reshape(shape), 0, -1)
    return response.reshape(steps, array.num_antennas, len(frequencies))


def _checked(
    model: StochasticModel,
    array: UPA,
    num_tracks: int,
    num_steps: int,
    interval_s: float,
    frequencies_hz: ArrayLike | None,
    speed_mps: tuple[float, float],
    seed: int,
) -> Float:
    """The frequencies, once all settings that every model has are usable; else InputError."""
    if model not in get_args(StochasticModel):
        raise InputError(f"model '{model}': give one of {', '.join(get_args(StochasticModel))}")
    if not CARRIER_RANGE_HZ[0] <= array.carrier_hz <= CARRIER_RANGE_HZ[1]:
        raise InputError(f"carrier_hz = {array.carrier_hz:g}: TR 38.901 holds from 0.5 to 100 GHz; give one in there")
    if num_tracks < 1 or num_steps < 1 or seed < 0:
        raise InputError(f"num_tracks = {num_tracks}, num_steps = {num_steps}, seed = {seed}: give at least 1, 1, 0")
    if not 0.0 < interval_s < np.inf:
        raise InputError(f"interval_s = {interval_s}: give a positive time between steps in s, e.g. 1e-3")
    if not 0.0 <= speed_mps[0] <= speed_mps[1] < np.inf:
        raise InputError(
            f"speed_mps = {tuple(speed_mps)}: give two speeds in m/s, none negative, the smaller one first"
        )
    frequencies = np.atleast_1d(np.asarray(array.carrier_hz if frequencies_hz is None else frequencies_hz, np.float64))
    if frequencies.ndim != 1 or not len(frequencies) or not np.all(np.isfinite(frequencies) & (frequencies > 0)):
        raise InputError("frequencies_hz: give one or several positive absolute frequencies in Hz, as a list")
    return frequencies
