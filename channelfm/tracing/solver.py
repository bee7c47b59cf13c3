"""Chains of interactions solved between users and array elements, by the ray tracer's own image method and fields.

Sionna's path solver finds candidates, then refines them. Here the chains are known, so only the second half of it is
used: the chains are written into its record of paths, once for every element, and what comes out is read back. These
are private parts of Sionna RT; ``channelfm.tracing.sionna`` checks the release and hands over its modules.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.tracing.chains import DIFFUSE, Chains, Endpoints, Solution, Triangles, reference_lanes
from channelfm.tracing.rays import Backend, RayCaster
from channelfm.tracing.scatterers import Scatterers


class ChainSolver:
    """Solves chains of reflections, refractions and diffuse reflections in one scene at one wavelength.

    ``scatterers``, those of diffuse reflections, are set by who knows the array.
    """

    scatterers: Scatterers | None = None

    def __init__(
        self,
        backend: Backend,
        mi_scene: Any,
        rays: RayCaster,
        triangles: Triangles,
        wavelength_m: float,
        max_depth: int,
    ) -> None:
        self._rt, self._mi, self._dr, self._paths_buffer = (
            backend.rt,
            backend.mitsuba,
            backend.drjit,
            backend.paths_buffer,
        )
        self._mi_scene, self._wavelength, self.max_depth = mi_scene, wavelength_m, max_depth
        self.rays, self.triangles = rays, triangles
        self._solver = self._rt.PathSolver()

    def solve(
        self, chains: Chains, user: NDArray[np.intp], users: Endpoints, elements: Endpoints, patterns: tuple[Any, Any]
    ) -> Solution:
        """Image method, occlusion test and field of chains[r] from users[user[r]] to every element, for all rows r.

        ``patterns`` are those of the user and of the array. Chains without interactions are lines of sight; these
        and diffuse reflections come in calls of their own. Directions and points are given at the reference element of
        each row: the last element where the path reaches it, else the nearest to it that is reached.
        """
        sources, targets = self.rays.points(users.positions_m), self.rays.points(elements.positions_m)
        row, element = self._grid(len(chains), len(elements))
        buffer = self._located(chains, user, row, element)
        kind = chains.kinds[0, 0]
        if kind == DIFFUSE:
            buffer = self._scattered(buffer, chains, user, users, sources, targets, row)
        else:
            buffer = (self._image if kind else self._seen_directly)(buffer, sources, targets)
        buffer = self._with_fields(buffer, sources, targets, users, elements, patterns)
        return self._downloaded(buffer, len(chains), users, elements)

    def _grid(self, rows: int, elements: int) -> tuple[Any, Any]:
        """Row and element numbers of all their pairs, as Dr.Jit integers."""
        pair = self._dr.arange(self._mi.UInt32, rows * elements)
        return pair // elements, pair % elements

    def _seen_directly(self, buffer: Any, sources: Any, targets: Any) -> Any:
        """Lines of sight, valid where nothing stands between."""
        start = self._dr.gather(self._mi.Point3f, sources, buffer.source_indices)
        end = self._dr.gather(self._mi.Point3f, targets, buffer.target_indices)
        rays = self._rt.utils.spawn_ray_to(start, end)
        buffer.valid = ~self._mi_scene.ray_test(rays)
        buffer._k_tx_x, buffer._k_tx_y, buffer._k_tx_z = rays.d.x, rays.d.y, rays.d.z
        buffer._k_rx_x, buffer._k_rx_y, buffer._k_rx_z = -rays.d.x, -rays.d.y, -rays.d.z
        return buffer

    def _scattered(
        self,
        buffer: Any,
        chains: Chains,
        user: NDArray[np.intp],
        users: Endpoints,
        sources: Any,
        targets: Any,
        row: Any,
    ) -> Any:
        """Single diffuse reflections at the scatterers of the chains, valid where both legs are free."""
        assert self.scatterers is not None
        dr, mi = self._dr, self._mi
        site = chains.site[:, 0]
        points, normals = self.scatterers.points[site], self.scatterers.normals[site]
        place = dr.gather(mi.Point3f, self.rays.points(points + 1e-3 * normals), row)
        start = dr.gather(mi.Point3f, sources, buffer.source_indices)
        end = dr.gather(mi.Point3f, targets, buffer.target_indices)
        normal = dr.gather(mi.Point3f, self.rays.points(normals), row)
        spawn, blocked = self._rt.utils.spawn_ray_to, self._mi_scene.ray_test
        buffer.valid = (dr.dot(end - place, normal) > 0.0) & ~blocked(spawn(place, start)) & ~blocked(spawn(place, end))
        first = mi.UInt32(1)
        buffer.set_vertex(first, place, True)
        buffer.set_k_tx(dr.normalize(place - start), True)
        buffer.set_k_rx(dr.normalize(place - end), True)
        # Sionna takes the solid angle of a ray tube as 4 pi over (rays x probability): one ray, of the right share
        share = 4.0 * np.pi / self.scatterers.solid_angles(users.positions_m[user], site)
        depth = buffer.depth_dim_size
        spread = dr.gather(mi.Float, mi.Float(np.repeat(share, depth).astype(np.float32)), self._entries(row, depth))
        buffer._probs = mi.TensorXf(spread, shape=buffer._probs.shape)
        return buffer

    def _entries(self, row: Any, depth: int) -> Any:
        """Where the entries of rows lie in flat arrays [rows x depth]."""
        dr, mi = self._dr, self._mi
        return dr.repeat(row * depth, depth) + dr.tile(dr.arange(mi.UInt32, depth), dr.width(row))

    def _located(self, chains: Chains, user: NDArray[np.intp], row: Any, element: Any) -> Any:
        """The chains of the given rows to the given elements, ready for the image method."""
        dr, mi = self._dr, self._mi
        triangle = chains.triangle
        buffer = self._paths_buffer(dr.width(row), self.max_depth, False)
        entry = self._entries(row, buffer.depth_dim_size)

        def spread(tensor: Any, example: Any, values: NDArray[Any]) -> Any:
            flat = type(example.array)(np.ascontiguousarray(values.ravel()))
            return tensor(dr.gather(type(example.array), flat, entry), shape=example.shape)

        buffer._interaction_types = spread(mi.TensorXu, buffer._shapes, chains.kinds.astype(np.uint32))
        buffer._shapes = spread(mi.TensorXu, buffer._shapes, self.triangles.shape[triangle].astype(np.uint32))
        buffer._primitives = spread(mi.TensorXu, buffer._shapes, self.triangles.primitive[triangle].astype(np.uint32))
        buffer._src_indices = dr.gather(mi.UInt32, mi.UInt32(user.astype(np.uint32)), row)
        buffer._tgt_indices = element
        # The image method starts from a point on each mirror and leaves the path's vertices in the same place.
        on_mirror = self.triangles.corners[triangle, 0].astype(np.float32)
        buffer._vertices_x, buffer._vertices_y, buffer._vertices_z = (
            spread(mi.TensorXf, buffer._vertices_x, on_mirror[..., axis]) for axis in range(3)
        )
        return buffer

    def _image(self, buffer: Any, sources: Any, targets: Any) -> Any:
        return self._solver._image_method(
            scene=self._mi_scene,
            paths=buffer,
            src_positions=sources,
            tgt_positions=targets,
            diffraction=False,
            diffraction_lit_region=True,
        )

    def _with_fields(
        self, buffer: Any, sources: Any, targets: Any, users: Endpoints, elements: Endpoints, patterns: tuple[Any, Any]
    ) -> Any:
        return self._solver._field_calculator(
            wavelength=self._wavelength,
            paths=buffer,
            samples_per_src=1,
            diffraction=False,
            src_positions=sources,
            tgt_positions=targets,
            src_orientations=self.rays.points(users.orientations_rad),
            tgt_orientations=self.rays.points(elements.orientations_rad),
            src_antenna_patterns=patterns[0],
            tgt_antenna_patterns=patterns[1],
        )

    def _downloaded(self, buffer: Any, rows: int, users: Endpoints, elements: Endpoints) -> Solution:
        """What the buffer holds for the first ``rows`` chains, with path lengths in double precision.

        The tracer's own delays are single precision: 20 micrometres on 300 m, which at 7 GHz is noise of -55 dB. Its
        interaction points are rounded too, but a path's length is stationary in them along each plane.
        """
        dr, mi = self._dr, self._mi
        gains = [by_user[0] for by_user in buffer.a]  # one per polarisation of the array
        length = self._lengths(buffer, users, elements)
        velocity = dr.gather(mi.Vector3f, mi.Vector3f(self.rays.points(users.velocities_mps)), buffer.source_indices)
        closing = dr.dot(velocity, buffer.k_tx)
        vertices = (buffer.vertices_x.array, buffer.vertices_y.array, buffer.vertices_z.array)
        dr.eval(buffer.valid, gains, length, closing, buffer.k_tx, buffer.k_rx, vertices)
        shape = (rows, len(elements))
        kept = rows * len(elements)

        def grid(values: Any) -> NDArray[Any]:
            return np.asarray(values)[:kept].reshape(shape)

        valid = grid(buffer.valid).astype(bool)
        reference = reference_lanes(valid, elements)
        depth = buffer.depth_dim_size
        points = np.stack([np.asarray(axis)[: kept * depth].reshape(kept, depth)[reference] for axis in vertices], -1)
        departure, arrival = (np.asarray(k).T[reference].astype(np.float64) for k in (buffer.k_tx, buffer.k_rx))
        return Solution(
            valid=valid,
            gain=np.stack([grid(gain.real) + 1j * grid(gain.imag) for gain in gains], axis=1),
            length_m=grid(length),
            closing_mps=grid(closing),
            departure=departure,
            arrival=arrival,
            points_m=points.astype(np.float64),
        )

    def _lengths(self, buffer: Any, users: Endpoints, elements: Endpoints) -> Any:
        """Path lengths as Dr.Jit doubles, from user to element through the interaction points."""
        dr, mi = self._dr, self._mi
        double = dr.float64_array_t(mi.Float)

        def end(positions: NDArray[np.float64], index: Any) -> list[Any]:
            return [dr.gather(double, double(np.ascontiguousarray(axis)), index) for axis in positions.T]

        here = end(users.positions_m, buffer.source_indices)
        length = dr.zeros(double, buffer.buffer_size)
        for depth in range(1, self.max_depth + 1):
            touched = buffer.get_interaction_type(mi.UInt32(depth), True) != 0
            vertex = buffer.get_vertex(mi.UInt32(depth), True)
            there = [dr.select(touched, double(axis), old) for axis, old in zip(vertex, here, strict=True)]
            length += self._distance(here, there)
            here = there
        return length + self._distance(here, end(elements.positions_m, buffer.target_indices))

    def _distance(self, here: list[Any], there: list[Any]) -> Any:
        return self._dr.sqrt(sum((a - b) * (a - b) for a, b in zip(here, there, strict=True)))
