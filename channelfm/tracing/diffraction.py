"""Chains over edges solved between users and array elements: path, occlusion test and field of each pair.

The path is exact (``tracing.edge_paths``). The field is carried along it as a vector: walls before the first and behind
the last edge take their share of it, and the edges what ``tracing.wedges`` and ``tracing.liftings`` say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.tracing.chains import DIFFRACTION, REFRACTION, Chains, Endpoints, Solution, reference_lanes
from channelfm.tracing.edge_paths import EdgeLanes, EdgePaths, Lanes, soft_and_hard, spread
from channelfm.tracing.edges import LIFT_M, Edges
from channelfm.tracing.liftings import Liftings
from channelfm.tracing.rays import ONWARD_M, Backend, RayCaster
from channelfm.tracing.wedges import Surfaces, Wedges, sum_of

Float = NDArray[np.float64]


@dataclass(frozen=True)
class _Field:
    """A complex vector on every lane, in the scene's frame."""

    real: Lanes
    imaginary: Lanes

    def along(self, dr: Any, mi: Any, unit: Lanes) -> Lanes:
        return mi.Complex2f(dr.dot(self.real, unit), dr.dot(self.imaginary, unit))

    @classmethod
    def of(cls, parts: list[tuple[Lanes, Lanes]]) -> _Field:
        """The sum of complex amplitudes times unit vectors."""
        return cls(sum_of(a.real * unit for a, unit in parts), sum_of(a.imag * unit for a, unit in parts))


class EdgeSolver:
    """Solves chains over edges in one scene at one wavelength; walls may stand before the first and behind the last."""

    def __init__(
        self,
        backend: Backend,
        mi_scene: Any,
        rays: RayCaster,
        edges: Edges,
        surfaces: Surfaces,
        wavelength_m: float,
        penetrable: bool,
    ) -> None:
        self._rt, self._mi, self._dr = backend.rt, backend.mitsuba, backend.drjit
        self._mi_scene, self._rays, self.edges = mi_scene, rays, edges
        self._wavelength = wavelength_m
        self._wedges = Wedges(backend, surfaces, wavelength_m, penetrable)
        self._of_triangle = self._mi.UInt32(surfaces.of_triangle.astype(np.uint32))
        self._liftings = Liftings(backend, self._wedges, wavelength_m)

    def solve(
        self, chains: Chains, user: NDArray[np.intp], users: Endpoints, elements: Endpoints, patterns: tuple[Any, Any]
    ) -> Solution:
        """As ``ChainSolver.solve``, for chains of one number of edges that have no other interactions but walls."""
        mi, dr = self._mi, self._dr
        edges = self.edges.select(_in_order(chains.site))
        pair = dr.arange(mi.UInt32, len(chains) * len(elements))
        row, element = pair // len(elements), pair % len(elements)

        def of_user(kind: Any, values: NDArray[Any]) -> Lanes:
            return spread(dr, kind, values[user], row)

        lanes = [EdgeLanes.of(mi, dr, edges.select((slice(None), k)), row) for k in range(edges.length.shape[1])]
        here, there = of_user(mi.Vector3d, users.positions_m), spread(dr, mi.Vector3d, elements.positions_m, element)
        places = edges.settled(users.positions_m[user], elements.positions_m[-1])
        level = np.asarray(edges.shared_faces().any(axis=(2, 3)))
        paths = EdgePaths.over(
            mi,
            dr,
            lanes,
            here,
            there,
            [spread(dr, mi.Float64, places[:, k], row) for k in range(places.shape[1])],
            [spread(dr, mi.Bool, level[:, k], row) for k in range(level.shape[1])],
        )
        first, last = paths.directions[0], paths.directions[-1]
        field = self._sent(patterns[0], of_user(mi.Point3f, users.orientations_rad), first)
        lifted = [mi.Point3f(p) + LIFT_M * edge.outwards for p, edge in zip(paths.points, lanes, strict=True)]
        stops = [mi.Point3f(here), *lifted, mi.Point3f(there)]
        valid, field = self._along_legs(chains, lanes, paths, stops, row, field, edges)
        facing = spread(dr, mi.Point3f, elements.orientations_rad, element)
        amplitude = paths.spreading * (self._wavelength / (4.0 * np.pi))
        received = (self._received(pattern, facing, last, field) * amplitude for pattern in patterns[1])
        gains = [dr.select(valid, gain, mi.Complex2f(0.0)) for gain in received]
        closing = dr.dot(of_user(mi.Vector3f, users.velocities_mps), first)
        dr.eval(valid, gains, paths.length, closing, first, last, stops)
        return self._downloaded(chains, elements, valid, gains, paths, closing, stops)

    def _downloaded(
        self,
        chains: Chains,
        elements: Endpoints,
        valid: Lanes,
        gains: list[Lanes],
        paths: EdgePaths,
        closing: Lanes,
        stops: list[Lanes],
    ) -> Solution:
        """The solution, as arrays, of what was evaluated for all pairs of chain and element."""
        shape = len(chains), len(elements)
        open_ = np.asarray(valid).reshape(shape).astype(bool)
        reference = reference_lanes(open_, elements)

        def at_reference(vectors: Lanes) -> Float:
            return np.asarray(np.asarray(vectors).T[reference], dtype=np.float64)

        return Solution(
            valid=open_,
            gain=np.stack([(np.asarray(g.real) + 1j * np.asarray(g.imag)).reshape(shape) for g in gains], axis=1),
            length_m=np.asarray(paths.length).reshape(shape),
            closing_mps=np.asarray(closing).reshape(shape),
            departure=at_reference(paths.directions[0]),
            arrival=-at_reference(paths.directions[-1]),
            points_m=self._interactions(chains, [at_reference(stop) for stop in stops]),
        )

    def _interactions(self, chains: Chains, stops: list[Float]) -> Float:
        """Points [R, D, 3] of all interactions of chains, given user, points on the edges and end [R, 3] each."""
        points = np.zeros((*chains.kinds.shape, 3))
        leg = np.zeros(len(chains), np.int64)  # the leg on which the next wall stands
        passed = stops[0].copy()
        every = np.stack(stops)
        for slot in range(chains.kinds.shape[1]):
            edge, wall = (np.flatnonzero(chains.kinds[:, slot] == kind) for kind in (DIFFRACTION, REFRACTION))
            leg[edge] += 1
            points[edge, slot] = every[leg[edge], edge]
            way = every[leg[wall] + 1, wall] - passed[wall]
            reach = np.linalg.norm(way, axis=1)
            way /= np.maximum(reach, 1e-9)[:, None]
            distance, _ = self._rays.first_hits(passed[wall], way, reach)
            points[wall, slot] = passed[wall] + distance[:, None] * way
            passed[edge], passed[wall] = points[edge, slot], points[wall, slot] + ONWARD_M * way
        return points

    def _along_legs(
        self,
        chains: Chains,
        lanes: list[EdgeLanes],
        paths: EdgePaths,
        stops: list[Lanes],
        row: Lanes,
        field: _Field,
        edges: Edges,
    ) -> tuple[Lanes, _Field]:
        """Whether paths are open along their legs between stops, and the field that arrives."""
        before, after = _walls_beside(chains.kinds)
        counts = [before, *[np.zeros_like(before)] * (len(lanes) - 1), after]
        valid = paths.possible
        for leg, count in enumerate(counts):
            if leg == len(lanes):
                field = self._over_edges(lanes, paths, row, field, edges)
            free, field = self._through(stops[leg], stops[leg + 1], count, row, valid, field)
            valid &= free
        return valid, field

    def _through(
        self, start: Lanes, end: Lanes, count: NDArray[np.int64], row: Lanes, active: Lanes, field: _Field
    ) -> tuple[Lanes, _Field]:
        """Whether just ``count`` [R] walls stand between start and end, and the field behind them."""
        dr, mi = self._dr, self._mi
        way = mi.Vector3f(end - start)
        length = dr.norm(way)
        way = way / length
        reach = length * (1.0 - 1e-6)
        if not count.any():
            ray = mi.Ray3f(start, way)
            ray.maxt = reach
            return ~self._mi_scene.ray_test(ray, coherent=True, active=active), field
        due = spread(dr, mi.UInt32, count.astype(np.uint32), row)

        def next_wall(
            looking: Lanes, free: Lanes, left: Lanes, travelled: Lanes, real: Lanes, imaginary: Lanes
        ) -> tuple[Lanes, ...]:
            ray = mi.Ray3f(start + travelled * way, way)
            ray.maxt = reach - travelled
            hit = self._mi_scene.ray_intersect(ray, coherent=True, ray_flags=mi.RayFlags.Minimal, active=looking)
            met = looking & hit.is_valid()
            free &= ~looking | (hit.is_valid() == (left > 0))
            behind = self._transmitted(_Field(real, imaginary), way, hit, met & free)
            travelled = travelled + dr.select(met, hit.t + ONWARD_M, 0.0)
            return met & free, free, left - 1, travelled, behind.real, behind.imaginary

        state = (mi.Bool(active), mi.Bool(True), due, mi.Float(0.0), field.real, field.imaginary)
        found = dr.while_loop(state, lambda looking, *_: looking, next_wall)
        return found[1], _Field(found[4], found[5])

    def _transmitted(self, field: _Field, way: Lanes, hit: Any, met: Lanes) -> _Field:
        """The field behind a wall that was met, and as it is elsewhere."""
        dr, mi = self._dr, self._mi
        surface = dr.gather(mi.UInt32, self._of_triangle, mi.UInt32(self._rays.rows(hit)), met)
        _, _, through_te, through_tm = self._wedges.slab(dr.abs(dr.dot(way, hit.n)), surface)
        transverse = self._rt.utils.transverse_basis_from_normal(way, mi.Vector3f(hit.n))
        upright = dr.cross(way, transverse)
        behind = _Field.of(
            [
                (field.along(dr, mi, transverse) * through_te, transverse),
                (field.along(dr, mi, upright) * through_tm, upright),
            ]
        )
        return _Field(dr.select(met, behind.real, field.real), dr.select(met, behind.imaginary, field.imaginary))

    def _over_edges(self, lanes: list[EdgeLanes], paths: EdgePaths, row: Lanes, field: _Field, edges: Edges) -> _Field:
        """The field behind the last edge, but for what it loses by spreading."""
        dr, mi = self._dr, self._mi
        faces = [self._wedges.faces(edges, k, row) for k in range(len(lanes))]
        terms = [self._wedges.terms(edge, faces[k], paths, k) for k, edge in enumerate(lanes)]
        part, off = soft_and_hard(dr, lanes[0], paths.directions[0])
        arriving = [field.along(dr, mi, part), field.along(dr, mi, off)]
        leaving = self._liftings.behind(lanes, paths, faces, terms, arriving)
        part, off = soft_and_hard(dr, lanes[-1], paths.directions[-1])
        return _Field.of([(leaving[0], part), (leaving[1], off)])

    def _sent(self, callables: Any, orientation: Lanes, way: Lanes) -> _Field:
        """The field that the user's antenna sends along a way."""
        dr, mi = self._dr, self._mi
        to_world = self._rt.utils.rotation_matrix(orientation)
        jones = self._to_world(callables[0], to_world, way, "out")
        soft = self._rt.utils.implicit_basis_vector(way)
        hard = dr.cross(way, soft)
        return _Field.of([(mi.Complex2f(jones.x, jones.z), soft), (mi.Complex2f(jones.y, jones.w), hard)])

    def _received(self, pattern: Any, orientation: Lanes, way: Lanes, field: _Field) -> Lanes:
        """What an antenna of the array takes from a field that comes along a way."""
        dr, mi = self._dr, self._mi
        to_world = self._rt.utils.rotation_matrix(orientation)
        jones = self._to_world(pattern, to_world, -way, "in")
        soft = self._rt.utils.implicit_basis_vector(way)
        parts = [field.along(dr, mi, unit) for unit in (soft, dr.cross(way, soft))]
        coming = mi.Vector4f(parts[0].real, parts[1].real, parts[0].imag, parts[1].imag)
        return self._rt.utils.jones_vec_dot(jones, coming)

    @property
    def _to_world(self) -> Any:
        return self._rt.antenna_pattern.antenna_pattern_to_world_implicit


def _in_order(site: NDArray[np.int64]) -> NDArray[np.int64]:
    """The edges [R, K] of chains whose sites are [R, D], -1 where there is no edge."""
    return site[site >= 0].reshape(len(site), -1)


def _walls_beside(kinds: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of walls [R] before the first and behind the last edge of chains."""
    passed = np.cumsum(kinds == DIFFRACTION, axis=1)
    walls = kinds == REFRACTION
    return (walls & (passed == 0)).sum(axis=1), (walls & (passed == passed[:, -1:])).sum(axis=1)
