"""The verb of this stage: which users see the array, by which paths."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from channelfm.arrays import UPA, ElementPattern, check_choice
from channelfm.errors import DependencyError, InputError
from channelfm.records import Paths, Scene, Trajectory
from channelfm.scenes.surface import require_free
from channelfm.tracing.antennas import UserPolarization, check_user_antenna
from channelfm.tracing.settings import Settings

Method = Literal["auto", "near-field", "images"]
_Trace = Callable[[Trajectory, Callable[[int], None]], Paths]

_log = logging.getLogger(__name__)


class Tracer:
    """One scene and one array, ready to be traced to any users: what they share is worked out once, here.

    Users carry one antenna of ``user_pattern`` and ``user_polarization`` ("V" or "H"), which looks at the array
    centre. Paths are the line of sight and chains of up to ``max_depth`` specular reflections and, each if asked for,
    refractions (straight through thin walls). They are exact per element: delays, gains, visibility. ``diffraction``
    adds paths over one edge, of all edges of the scene, with walls before and behind it, and paths over up to
    ``max_depth`` edges, those of the roofs between both ends, through open air; no reflections beside edges. Edges are
    the convex ones of closed meshes and the free borders of thin sheets. ``diffuse`` adds single scattering by rough
    surfaces and takes its power from the reflections. Of diffracted and of scattered paths a user keeps the 64
    strongest each. Several base stations are several tracers. Channels are reciprocal, so the same paths serve uplink
    and downlink.

    One edge is the wedge of the uniform theory of diffraction, metal in both polarisations as Kouyoumjian and Pathak
    have it, other materials by Holm's coefficients. Several edges are a multiple knife-edge integral of such wedges
    (``tracing.liftings``): within 1.5 dB of repeated Fresnel diffraction for screens, 0.2 dB in the mean of both
    polarisations, and of boundary elements within 0.5 dB (field along the edges) and 1.5 dB (across) for a flat roof of
    metal.

    Parameters
    ----------
    method : "near-field" traces with Sionna RT; "images" with the NumPy image method: specular paths up to depth 2,
        no refraction, never plane waves; "auto" takes the first where its LLVM exists and else the second, with a
        warning.
    rays : how many rays leave the array to find sequences of several mirrors, at most; fewer where they find no more.
    plane_wave_beyond : users farther from the array than this multiple of its Rayleigh distance get plane waves: gain,
        Doppler and visibility of the array centre, delays by the direction of arrival. The phase of each path is then
        wrong by up to k D^2 / (8 r) (D the aperture, r the path's length), pi / (8 b) at b Rayleigh distances, so the
        NMSE of a path of even gain stays below (pi / (8 b))^2: -28 dB at b = 10. Paths that reach the centre only
        through an edge's shadow, or past the end of a wall, have no such bound. None (the default): never.
    seed : turns the lattice of rays.

    Raises
    ------
    InputError : if the array stands inside a building, on a negative depth, rays or seed, on a method, user pattern or
        polarisation that does not exist, on a ``plane_wave_beyond`` that is not positive, or on settings that "images"
        does not know.
    DependencyError : if "near-field" is asked for where no ray tracer runs.
    """

    def __init__(
        self,
        scene: Scene,
        array: UPA,
        max_depth: int = 3,
        *,
        refraction: bool = True,
        diffraction: bool = False,
        diffuse: bool = False,
        user_pattern: ElementPattern = "tr38901",
        user_polarization: UserPolarization = "V",
        method: Method = "auto",
        rays: int = 2_000_000,
        plane_wave_beyond: float | None = None,
        seed: int = 0,
    ) -> None:
        if max_depth < 0:
            raise InputError(f"max_depth = {max_depth}: give 0 (line of sight only) or more")
        check_user_antenna(user_pattern, user_polarization)
        check_choice("method", method, Method)
        if rays < 1:
            raise InputError(f"rays = {rays}: give a positive number, e.g. 2000000")
        if seed < 0:
            raise InputError(f"seed = {seed}: give an integer of at least 0")
        if plane_wave_beyond is not None and not plane_wave_beyond > 0:
            raise InputError(f"plane_wave_beyond = {plane_wave_beyond}: give a positive multiple, e.g. 10, or None")
        require_free(scene, np.asarray(array.position, dtype=np.float64), "the array")
        traced_by = _by_images if available_method(method) == "images" else _by_rays
        self._trace = traced_by(
            scene,
            array,
            Settings(
                max_depth,
                refraction,
                diffraction,
                diffuse,
                user_pattern,
                user_polarization,
                rays,
                plane_wave_beyond,
                seed,
            ),
        )

    def trace(self, trajectory: Trajectory, progress: Callable[[int], None] | None = None) -> Paths:
        """Paths from every snapshot to every antenna: A = array.num_antennas, the elements once per polarisation.

        A snapshot that nothing reaches has no valid path. Equal trajectories give equal bytes, whatever was traced
        before; and no snapshot's paths depend on another's, but for rounding. ``progress`` is called with the number
        of snapshots just done.

        Raises InputError if the trajectory is empty or not finite.
        """
        if len(trajectory) == 0:
            raise InputError("the trajectory has no snapshots: give at least one")
        if not (np.isfinite(trajectory.positions_m).all() and np.isfinite(trajectory.velocities_mps).all()):
            raise InputError("the trajectory holds NaN or infinite positions or velocities: remove those snapshots")
        return self._trace(trajectory, progress or (lambda _: None))


def trace(
    scene: Scene,
    trajectory: Trajectory,
    array: UPA,
    max_depth: int = 3,
    *,
    progress: Callable[[int], None] | None = None,
    **settings: Any,
) -> Paths:
    """Propagation paths from every snapshot of a trajectory to every antenna of an array.

    Short for ``Tracer(scene, array, max_depth, **settings).trace(trajectory, progress)``; see :class:`Tracer` for the
    settings, what is traced, and the errors. Keep a Tracer where several trajectories meet one array.
    """
    return Tracer(scene, array, max_depth, **settings).trace(trajectory, progress)


def _by_rays(scene: Scene, array: UPA, settings: Settings) -> _Trace:
    from channelfm.tracing.nearfield import NearFieldTracer

    return NearFieldTracer(scene, array, settings).trace


def _by_images(scene: Scene, array: UPA, settings: Settings) -> _Trace:
    from channelfm.tracing.images import LARGEST_DEPTH, trace_images

    if settings.diffraction or settings.diffuse:
        raise InputError("the image method knows neither diffraction nor diffuse reflection: turn both off")
    depth = min(settings.max_depth, LARGEST_DEPTH)

    def traced(trajectory: Trajectory, progress: Callable[[int], None]) -> Paths:
        paths = trace_images(
            scene,
            trajectory,
            array,
            max_depth=depth,
            user_pattern=settings.user_pattern,
            user_polarization=settings.user_polarization,
        )
        progress(len(trajectory))
        return paths

    return traced


def available_method(method: Method) -> Method:
    """For "auto", Sionna where it runs; else the image method, said aloud. Other methods are as they are."""
    if method != "auto":
        return method
    from channelfm.tracing.sionna import import_sionna

    try:
        import_sionna()
    except DependencyError as error:
        _log.warning("%s. Going on with the NumPy image method: specular paths up to depth 2, no refraction.", error)
        return "images"
    return "near-field"
