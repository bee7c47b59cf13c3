"""The verb of this stage: which users see the array, by which paths."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

import numpy as np

from channelfm.arrays import UPA, ElementPattern
from channelfm.errors import DependencyError, InputError
from channelfm.records import Paths, Scene, Trajectory
from channelfm.scenes.surface import require_free

Method = Literal["auto", "near-field", "images"]

_log = logging.getLogger(__name__)


def trace(
    scene: Scene,
    trajectory: Trajectory,
    array: UPA,
    max_depth: int = 3,
    *,
    refraction: bool = True,
    diffraction: bool = False,
    user_pattern: ElementPattern = "tr38901",
    method: Method = "auto",
    rays_per_user: int = 25_000,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Paths:
    """Propagation paths from every snapshot of a trajectory to every element of an array.

    Users carry one antenna of ``user_pattern`` and the array's polarisation, which looks at the array centre. Paths
    are the line of sight and chains of up to ``max_depth`` specular reflections, refractions (straight through thin
    walls) and, if asked for, one diffraction. They are exact per element: delays, gains, visibility.

    ``method``: "near-field" traces with Sionna RT; "images" with the NumPy image method, specular paths up to
    depth 2 only; "auto" takes the first where its LLVM exists and else the second, with a warning.
    ``rays_per_user`` rays look for candidates; 16 consecutive snapshots share what they find.
    ``progress`` is called with the number of snapshots just done.

    Returns Paths with A = array.num_elements; a snapshot that nothing reaches has no valid path.
    Raises InputError if the array stands inside a building, if the trajectory is empty or not finite, or on a
    negative depth; DependencyError if "near-field" is asked for where no ray tracer runs.
    """
    _check(scene, trajectory, array, max_depth)
    report = progress or (lambda _: None)
    if method == "auto":
        method = _available_method()
    if method == "images":
        from channelfm.tracing.images import trace_images

        paths = trace_images(scene, trajectory, array, max_depth=min(max_depth, 2), user_pattern=user_pattern)
        report(len(trajectory))
        return paths
    from channelfm.tracing.nearfield import Effort, trace_near_field

    effort = Effort(rays_per_user=rays_per_user)
    return trace_near_field(
        scene, trajectory, array, max_depth, refraction, diffraction, user_pattern, effort, seed, report
    )


def _available_method() -> Method:
    """Sionna where it runs; else the image method, said aloud."""
    from channelfm.tracing.sionna import import_sionna

    try:
        import_sionna()
    except DependencyError as error:
        _log.warning("%s. Going on with the NumPy image method: specular paths up to depth 2, no refraction.", error)
        return "images"
    return "near-field"


def _check(scene: Scene, trajectory: Trajectory, array: UPA, max_depth: int) -> None:
    if max_depth < 0:
        raise InputError(f"max_depth = {max_depth}: give 0 (line of sight only) or more")
    if len(trajectory) == 0:
        raise InputError("the trajectory has no snapshots: give at least one")
    if not (np.isfinite(trajectory.positions_m).all() and np.isfinite(trajectory.velocities_mps).all()):
        raise InputError("the trajectory holds NaN or infinite positions or velocities: remove those snapshots")
    require_free(scene, np.asarray(array.position, dtype=np.float64), "the array")
