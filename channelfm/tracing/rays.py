"""Rays against triangles, in and out as NumPy: what a ray meets first, and which mirrors it visits in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.tracing.chains import Triangles

Float = NDArray[np.float64]
Index = NDArray[np.int64]

ONWARD_M = 2e-3  # a ray that goes on behind a wall starts this far beyond it


@dataclass(frozen=True)
class Backend:
    """The ray tracer's modules, and its record of paths."""

    rt: Any
    mitsuba: Any
    drjit: Any
    paths_buffer: Any


class RayCaster:
    """Ray queries on a scene inside the ray tracer; ``mitsuba`` and ``drjit`` are the modules of its backend."""

    def __init__(self, mitsuba: Any, drjit: Any, mi_scene: Any, triangles: Triangles) -> None:
        self._mi, self._dr, self._scene, self._triangles = mitsuba, drjit, mi_scene, triangles
        first = np.zeros(max(triangles.first, default=0) + 1, np.uint32)
        for shape, row in triangles.first.items():
            first[shape] = row
        self._first = mitsuba.UInt32(first)

    def first_hits(self, start: Float, direction: Float, reach: Float) -> tuple[Float, Index]:
        """Distance [N] in m to what rays from start [N, 3] along unit directions [N, 3] meet within reach [N], and
        the triangle [N] met, -1 where there is none."""
        if not len(start):
            return np.zeros(0), np.zeros(0, np.int64)
        ray = self._mi.Ray3f(self.points(start), self.points(direction))
        ray.maxt = self._mi.Float(reach.astype(np.float32))
        hit = self._scene.ray_intersect(ray, coherent=False, ray_flags=self._mi.RayFlags.Minimal, active=True)
        row = self.rows(hit)
        distance = self._dr.select(hit.is_valid(), hit.t, 0.0)
        self._dr.eval(row, distance)
        return np.asarray(distance).astype(np.float64), np.asarray(row).astype(np.int64)

    def visited(self, origin: Float, directions: Float, word: str) -> Index:
        """Triangles [N, D] that rays from one origin [3] along directions [N, 3] meet; -1 once they have left.

        ``word`` says what happens at each of the D hits: "R" reflects, "T" goes straight through.
        """
        ray = self._mi.Ray3f(self._mi.Point3f(*map(float, origin)), self.points(directions))
        inside, rows = self._mi.Bool(True), []
        for letter in word:
            hit = self._scene.ray_intersect(ray, coherent=True, ray_flags=self._mi.RayFlags.Minimal, active=inside)
            inside = inside & hit.is_valid()
            rows.append(self._dr.select(inside, self.rows(hit), -1))
            onward = ray.d if letter == "T" else ray.d - 2.0 * self._dr.dot(ray.d, hit.n) * hit.n
            ray = hit.spawn_ray(onward)
        self._dr.eval(*rows)
        return np.stack([np.asarray(row) for row in rows], axis=1).astype(np.int64)

    def rows(self, hit: Any) -> Any:
        """Rows of the triangles hit, -1 where nothing is."""
        shape = self._dr.reinterpret_array(self._mi.UInt32, hit.shape)
        row = self._dr.gather(self._mi.UInt32, self._first, shape, hit.is_valid()) + hit.prim_index
        return self._dr.select(hit.is_valid(), self._mi.Int32(row), -1)

    def points(self, positions: Float) -> Any:
        """Dr.Jit points of positions [N, 3], in single precision."""
        axes = np.ascontiguousarray(positions.T, dtype=np.float32)
        points = self._mi.Point3f(*(self._mi.Float(axis) for axis in axes))
        self._dr.make_opaque(points)
        return points


def sphere_lattice(count: int, seed: int) -> Float:
    """Unit directions [count, 3] spread evenly over the sphere: a Fibonacci lattice, turned at random by the seed."""
    number = np.arange(count) + 0.5
    cosine, azimuth = 1.0 - 2.0 * number / count, np.pi * (1.0 + 5.0**0.5) * number
    sine = np.sqrt(1.0 - cosine**2)
    lattice = np.stack([sine * np.cos(azimuth), sine * np.sin(azimuth), cosine], axis=1)
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return np.asarray(lattice @ turn)
