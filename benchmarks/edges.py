"""Diffraction by one edge and by several against closed forms: what is the wedge's physics, and what an error.

    python -m benchmarks.edges

Part 1 looks over one edge from the lit into the deep shadow, at 7 GHz, 30 and 50 m from it: the field behind a thin
metal screen against Sommerfeld's half-plane, behind a metal block against the wedge of the uniform theory of
diffraction, and behind blocks of metal and of concrete against the knife edge of ITU-R P.526, each for a field along
the edge (soft) and across it (hard). Part 2 looks over two and three screens, against repeated Fresnel diffraction, and
says what the product of single knife edges would. All values are dB. The last line is one JSON object.
"""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from channelfm.arrays import UPA
from channelfm.channels import synthesize
from channelfm.records import Scene, SceneObject, Trajectory
from channelfm.tracing import Tracer
from channelfm.tracing.closed_forms import (
    Place,
    free_space_channel,
    half_plane_channel,
    knife_edge_loss_db,
    screens_channel,
    wedge_channel,
)
from channelfm.units import wavelength

CARRIER_HZ = 7e9
BEFORE_M, BEHIND_M = 30.0, 50.0  # of array and user from the edge
LEVEL_M = 100.0  # of height 0 above the ground, for both ends are below it
INCIDENCE_RAD = np.radians(30.0)  # of the array, from the block's wall
NU = (0.2, 0.6, 2.0, 5.8, 10.9, 19.0, 25.0)
SCREENS: tuple[tuple[list[Place], Place], ...] = (  # (distance, height) of upper edges, and the array; the user is at 0
    ([(50, 0.1), (100, 0.1)], (150, 0.0)),
    ([(100, 0.1), (110, 0.1)], (210, 0.0)),
    ([(100, 3.0), (110, 3.0)], (210, 0.0)),
    ([(100, 1.0), (110, 0.5)], (210, 0.0)),
    ([(50, 0.1), (100, 0.2), (150, 0.1)], (200, 0.0)),
    ([(50, 1.0), (100, 1.0), (150, 1.0)], (200, 0.0)),
    ([(20, 4.0), (40, 5.0), (60, 5.2)], (200, 0.0)),
)
SIDES = np.array([[0, 3, 2, 1], [4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]])
HARD = {"V": True, "H": False}  # the field of vertical antennas lies across a level edge


def main() -> None:
    """Print both tables."""
    print(json.dumps(_one_edge() | _several_edges()))


def _one_edge() -> dict[str, float]:
    """The first table; its largest differences from the exact fields."""
    print("behind one edge, over free space; in brackets the difference from the exact field or the uniform theory")
    print(f"{'nu':>6}{'angle':>8}{'knife':>8}  {'screen, soft':>15}{'hard':>15}", end="")
    print(f"  {'metal, soft':>15}{'hard':>15}  {'concrete, V':>12}{'H':>8}")
    screen, metal, concrete = _screens([(0.0, 0.0)]), _block("metal"), _block("concrete")
    worst = {"screen_db": 0.0, "wedge_db": 0.0}
    free = abs(free_space_channel(BEFORE_M + BEHIND_M, CARRIER_HZ))
    for nu in NU:
        shadow = nu * np.sqrt(wavelength(CARRIER_HZ) * (1 / BEFORE_M + 1 / BEHIND_M) / 2)
        knife = -knife_edge_loss_db(BEHIND_M, BEFORE_M, shadow, CARRIER_HZ)
        told = f"{nu:>6.1f}{np.degrees(shadow):>7.1f}°{knife:>8.1f}"
        for name, scene, wall, exact in (
            ("screen_db", screen, np.pi / 2, _half_plane),
            ("wedge_db", metal, INCIDENCE_RAD, _wedge),
        ):
            told += "  "
            for polarization in "HV":
                found = _behind(scene, wall, shadow, polarization)
                error = 20 * np.log10(found / abs(exact(wall, shadow, HARD[polarization])))
                worst[name] = max(worst[name], abs(error))
                told += f"{20 * np.log10(found / free):>8.1f} ({error:+.1f})".rjust(15)
        found = [_behind(concrete, INCIDENCE_RAD, shadow, polarization) / free for polarization in "VH"]
        print(f"{told}  {20 * np.log10(found[0]):>12.1f}{20 * np.log10(found[1]):>8.1f}")
    print()
    return {name: round(value, 2) for name, value in worst.items()}


def _several_edges() -> dict[str, float]:
    """The second table; its largest difference from repeated Fresnel diffraction."""
    print(f"{'screens, at m (height m)':44}{'repeated Fresnel':>18}{'soft':>8}{'hard':>8}{'knife by knife':>16}")
    worst = 0.0
    for screens, place in SCREENS:
        expected = 20 * np.log10(abs(screens_channel((0.0, 0.0), screens, place, CARRIER_HZ)))
        scene, distance = _screens(screens), float(np.hypot(*place))
        free = abs(free_space_channel(distance, CARRIER_HZ))
        found = [20 * np.log10(_channel(scene, (0.0, 0.0), place, polarization) / free) for polarization in "HV"]
        worst = max(worst, *(abs(value - expected) for value in found))
        told = ", ".join(f"{at:g} ({height:g})" for at, height in screens)
        print(f"{told:44}{expected:>18.1f}{found[0]:>8.1f}{found[1]:>8.1f}{_knife_by_knife(screens, place):>16.1f}")
    print()
    return {"screens_db": round(worst, 2)}


def _half_plane(wall: float, shadow: float, hard: bool) -> complex:
    return half_plane_channel(BEHIND_M, BEFORE_M, np.pi + wall + shadow, wall, CARRIER_HZ, hard)


def _wedge(wall: float, shadow: float, hard: bool) -> complex:
    return wedge_channel(BEHIND_M, BEFORE_M, np.pi + wall + shadow, wall, 1.5 * np.pi, CARRIER_HZ, hard)


def _knife_by_knife(screens: list[Place], place: Place) -> float:
    """Sum of the losses of single knife edges from stop to stop: what neighbours do to each other is left out."""
    gain = 0.0
    stops = [(0.0, 0.0), *screens, place]
    for (start, low), (edge, top), (end, there) in zip(stops, stops[1:], stops[2:], strict=False):
        before, after = edge - start, end - edge
        bend = np.arctan2(top - low, before) + np.arctan2(top - there, after)
        gain -= knife_edge_loss_db(before, after, float(bend), CARRIER_HZ)
    return gain


def _behind(scene: Scene, wall: float, shadow: float, polarization: str) -> float:
    """Amplitude so far in the shadow of the edge at (0, 0), for an array at the angle ``wall`` from the face there."""
    array = _around(BEFORE_M, wall)
    return _channel(scene, _around(BEHIND_M, np.pi + wall + shadow), array, polarization)


def _around(distance: float, angle: float) -> Place:
    """A place by its distance from the edge and its angle from the wall below it, through the outside."""
    return -distance * float(np.sin(angle)), -distance * float(np.cos(angle))


def _channel(scene: Scene, user: Place, place: Place, polarization: str) -> float:
    """Amplitude of the channel between isotropic antennas, both given by distance and height."""
    array = UPA(1, 1, CARRIER_HZ, (place[0], 0.0, place[1] + LEVEL_M), pattern="isotropic", polarization=polarization)  # type: ignore[arg-type]
    point = np.array([[user[0], 0.0, user[1] + LEVEL_M]])
    trajectory = Trajectory(np.zeros(1), point, np.zeros((1, 3)), np.zeros(1, np.int32), "benchmark")
    paths = Tracer(
        scene,
        array,
        refraction=False,
        diffraction=True,
        user_pattern="isotropic",
        user_polarization=polarization,  # type: ignore[arg-type]
        rays=1000,
    ).trace(trajectory)
    return float(np.abs(synthesize(paths, array)[0, 0, 0]))


def _screens(edges: list[Place]) -> Scene:
    """Thin metal screens across the x axis by their upper edges, too wide for a way around."""
    corners = [[[x, y, z] for y, z in ((-5e3, -300), (5e3, -300), (5e3, top), (-5e3, top))] for x, top in edges]
    faces = np.array([[0, 1, 2], [0, 2, 3]]) + 4 * np.arange(len(edges))[:, None, None]
    return _scene(np.concatenate(corners), faces.reshape(-1, 3), "metal")


def _block(material: str) -> Scene:
    """A block whose upper edge runs along y through (0, 0, 0), with a roof of 400 m behind it."""
    corners = [[x, y, z] for z in (-500, 0) for x, y in ((0, -5e3), (400, -5e3), (400, 5e3), (0, 5e3))]
    return _scene(np.array(corners), np.vstack([SIDES[:, [0, 1, 2]], SIDES[:, [0, 2, 3]]]), material)


def _scene(vertices: NDArray[np.float64], faces: NDArray[np.int64], material: str) -> Scene:
    owner = np.zeros(len(faces), np.int32)
    objects = (SceneObject("edges", material, "other"),)
    lifted = vertices + np.array([0.0, 0.0, LEVEL_M])
    return Scene("edges", lifted, faces.astype(np.int32), owner, objects, (-1e3, -1e3, 1e3, 1e3))


if __name__ == "__main__":
    main()
