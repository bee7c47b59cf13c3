"""The only importer of sionna-rt: scenes, image method and fields, in and out as NumPy.

The near-field tracer needs pieces of Sionna's path solver that its public call does not offer: chains of interactions
that are known beforehand, evaluated at every element. Those pieces are private, so this file pins the release that
they were read from (2.2.0).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.arrays import UPA, ElementPattern, Polarization
from channelfm.errors import DependencyError
from channelfm.records import Scene
from channelfm.scenes.materials import electromagnetic_properties
from channelfm.tracing.chains import DIFFRACTION, DIFFUSE, Chains, Endpoints, Solution, Triangles
from channelfm.tracing.edges import Edges
from channelfm.tracing.fresnel import DEFAULT_THICKNESS_M
from channelfm.tracing.llvm import activate, find_llvm
from channelfm.tracing.rays import RayCaster
from channelfm.tracing.scatterers import (
    DIRECTIVITY,
    SCATTERING_COEFFICIENT,
    SMOOTH_COEFFICIENT,
    SMOOTH_MATERIALS,
    Scatterers,
)
from channelfm.units import wavelength

SUPPORTED_RELEASE = "2.2.0"
PATTERNS = {"isotropic": "iso", "dipole": "dipole", "tr38901": "tr38901"}  # Sionna's names


def import_sionna() -> Any:
    """The sionna.rt module on a usable backend (CUDA if there is a device, else LLVM).

    Raises DependencyError if sionna-rt is missing, of another release, or finds no backend.
    """
    if not _has_cuda():
        activate(find_llvm().path)
    try:
        import sionna.rt as rt
    except ImportError as error:
        raise DependencyError(f"the ray tracer is missing ({error}); run: pip install 'channelfm[rt]'") from error
    if rt.__version__ != SUPPORTED_RELEASE:
        raise DependencyError(
            f"sionna-rt {rt.__version__} is installed, but this adapter uses internals of {SUPPORTED_RELEASE}; "
            f"run: pip install sionna-rt=={SUPPORTED_RELEASE}"
        )
    return rt


def limit_threads(count: int) -> None:
    """Let the ray tracer of this process use ``count`` threads; raises DependencyError as ``import_sionna`` does."""
    import_sionna()
    import drjit

    drjit.set_thread_count(count)


def _has_cuda() -> bool:
    import ctypes

    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


class SionnaScene:
    """A Scene inside the ray tracer at one carrier frequency.

    All meshes of one material are merged into one, which makes tracing about ten times faster than one object per
    building: chains are told apart by planes, not by objects. ``material_notes`` lists every material that is used
    outside its ITU-R P.2040 range, with the policy applied. ``edges`` are those that diffract, None without
    ``diffraction`` or where there are none; ``scatterers`` are set by who knows the array.
    """

    scatterers: Scatterers | None = None

    def __init__(
        self, scene: Scene, carrier_hz: float, max_depth: int, diffraction: bool = False, diffuse: bool = False
    ) -> None:
        self._rt = import_sionna()
        import drjit
        import mitsuba

        self._dr: Any = drjit
        self._mi: Any = mitsuba
        self._wavelength = wavelength(carrier_hz)
        self.max_depth, self._diffuse = max_depth, diffuse
        self.material_notes: dict[str, str] = {}
        self._scene = self._rt.load_scene()
        self._scene.frequency = carrier_hz  # before the materials are built: slabs are measured in wavelengths
        self._scene.edit(add=self._meshes_by_material(scene, carrier_hz))
        self.triangles = self._triangles()
        edges = Edges.of(self.triangles) if diffraction else None
        self.edges = edges if edges else None
        self.rays = RayCaster(mitsuba, drjit, self._scene.mi_scene, self.triangles)
        self._solver = self._rt.PathSolver()

    def _triangles(self) -> Triangles:
        """All triangles of the scene as the tracer numbers them: by mesh, and within the mesh."""
        corners, shapes = [], []
        for item in self._scene.objects.values():
            parameters = self._mi.traverse(item.mi_mesh)
            faces = np.asarray(parameters["faces"]).reshape(-1, 3)
            corners.append(np.asarray(parameters["vertex_positions"]).reshape(-1, 3)[faces].astype(np.float64))
            pointer = self._dr.reinterpret_array(self._mi.UInt32, self._mi.ShapePtr(item.mi_mesh))
            shapes.append(int(np.asarray(pointer)[0]))
        return Triangles.of_meshes(shapes, corners)

    def _meshes_by_material(self, scene: Scene, carrier_hz: float) -> list[Any]:
        """One Sionna object per material, with explicit permittivity and conductivity at the carrier."""
        material_of_face = np.array([item.material for item in scene.objects])[scene.face_object]
        objects = []
        for material in np.unique(material_of_face):
            properties = electromagnetic_properties(str(material), carrier_hz)
            if properties.note:
                self.material_notes[str(material)] = properties.note
            faces = scene.faces[material_of_face == material]
            used, renumbered = np.unique(faces, return_inverse=True)
            mesh = self._mi.Mesh(f"mesh-{material}", vertex_count=len(used), face_count=len(faces))
            parameters = self._mi.traverse(mesh)
            parameters["vertex_positions"] = scene.vertices[used].astype(np.float32).ravel()
            parameters["faces"] = renumbered.astype(np.uint32).ravel()
            parameters.update()
            coefficient = SMOOTH_COEFFICIENT if material in SMOOTH_MATERIALS else SCATTERING_COEFFICIENT
            radio_material = self._rt.RadioMaterial(
                f"{material}-at-carrier",
                thickness=DEFAULT_THICKNESS_M,
                relative_permittivity=properties.relative_permittivity,
                conductivity=properties.conductivity_s_per_m,
                scattering_coefficient=coefficient if self._diffuse else 0.0,
                scattering_pattern="directive",
                alpha_r=DIRECTIVITY,
            )
            objects.append(self._rt.SceneObject(mi_mesh=mesh, name=f"all-{material}", radio_material=radio_material))
        return objects

    def pattern(self, name: ElementPattern, polarization: Polarization) -> Any:
        """Sionna's antenna patterns of one of our element patterns."""
        array = self._rt.PlanarArray(num_rows=1, num_cols=1, pattern=PATTERNS[name], polarization=polarization)
        return array.antenna_pattern.patterns

    def solve(
        self, chains: Chains, user: NDArray[np.intp], users: Endpoints, elements: Endpoints, patterns: tuple[Any, Any]
    ) -> Solution:
        """Image method, occlusion test and field of chains[r] from users[user[r]] to every element, for all rows r.

        ``patterns`` are those of the user and of the array. Chains without interactions are lines of sight; these
        and diffuse reflections come in calls of their own. Directions and points are given at the reference element of each row: the last
        element where the path reaches it, else the nearest to it that is reached.
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
        buffer.valid = ~self._scene.mi_scene.ray_test(rays)
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
        points, normals = self.scatterers.points[chains.site], self.scatterers.normals[chains.site]
        place = dr.gather(mi.Point3f, self.rays.points(points + 1e-3 * normals), row)
        start = dr.gather(mi.Point3f, sources, buffer.source_indices)
        end = dr.gather(mi.Point3f, targets, buffer.target_indices)
        normal = dr.gather(mi.Point3f, self.rays.points(normals), row)
        spawn, blocked = self._rt.utils.spawn_ray_to, self._scene.mi_scene.ray_test
        buffer.valid = (dr.dot(end - place, normal) > 0.0) & ~blocked(spawn(place, start)) & ~blocked(spawn(place, end))
        first = mi.UInt32(1)
        buffer.set_vertex(first, place, True)
        buffer.set_k_tx(dr.normalize(place - start), True)
        buffer.set_k_rx(dr.normalize(place - end), True)
        # Sionna takes the solid angle of a ray tube as 4 pi over (rays x probability): one ray, of the right share
        share = 4.0 * np.pi / self.scatterers.solid_angles(users.positions_m[user], chains.site)
        depth = buffer.depth_dim_size
        spread = dr.gather(mi.Float, mi.Float(np.repeat(share, depth).astype(np.float32)), self._entries(row, depth))
        buffer._probs = mi.TensorXf(spread, shape=buffer._probs.shape)
        return buffer

    def _entries(self, row: Any, depth: int) -> Any:
        """Where the entries of rows lie in flat arrays [rows x depth]."""
        dr, mi = self._dr, self._mi
        return dr.repeat(row * depth, depth) + dr.tile(dr.arange(mi.UInt32, depth), dr.width(row))

    def every_element(
        self,
        user_m: NDArray[np.float64],
        user_orientation_rad: NDArray[np.float64],
        array: UPA,
        rays: int,
        most_candidates: int,
        *,
        user_pattern: ElementPattern = "tr38901",
        refraction: bool = True,
        plane_wave: bool = False,
    ) -> tuple[NDArray[np.complex64], NDArray[np.float64]]:
        """Gains and delays [M, P] of one user by Sionna's public path solver, each element traced by itself.

        The reference of the near-field tracer (``synthetic_array=False``), slow by design: gain 0 and delay -1
        where an element lacks a path. ``plane_wave`` asks for ``synthetic_array=True`` instead (delays equal for
        all elements, phases within the gains).
        """
        rt = self._rt
        positions = (array.element_offsets @ array.rotation) / array.wavelength_m
        element = rt.PlanarArray(
            num_rows=1, num_cols=1, pattern=PATTERNS[array.pattern], polarization=array.polarization
        )
        sender = rt.PlanarArray(num_rows=1, num_cols=1, pattern=PATTERNS[user_pattern], polarization="V")
        self._scene.tx_array = sender
        self._scene.rx_array = rt.AntennaArray(element.antenna_pattern, self.rays.points(positions))
        user = rt.Transmitter("user", position=user_m.tolist(), orientation=user_orientation_rad.tolist())
        base = rt.Receiver(
            "base", position=[*map(float, array.position)], orientation=[*map(float, array.orientation_rad)]
        )
        self._scene.add(user)
        self._scene.add(base)
        try:
            paths = rt.PathSolver()(
                self._scene,
                max_depth=self.max_depth,
                max_num_paths_per_src=most_candidates,
                samples_per_src=rays,
                synthetic_array=plane_wave,
                refraction=refraction,
                diffraction=self.edges is not None,
            )
            real, imaginary = (np.asarray(part)[0, :, 0, 0, :] for part in paths.a)
            delay = np.asarray(paths.tau).astype(np.float64)
            delay = np.broadcast_to(delay[0, 0], real.shape) if plane_wave else delay[0, :, 0, 0, :]
        finally:
            self._scene.remove("user")
            self._scene.remove("base")
        return (real + 1j * imaginary).astype(np.complex64), np.asarray(delay)

    def _located(self, chains: Chains, user: NDArray[np.intp], row: Any, element: Any) -> Any:
        """The chains of the given rows to the given elements, ready for the image method."""
        from sionna.rt.path_solvers.paths_buffer import PathsBuffer

        dr, mi = self._dr, self._mi
        triangle = chains.triangle
        buffer = PathsBuffer(dr.width(row), self.max_depth, self.edges is not None)
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
        if self.edges is not None:
            self._place_wedges(buffer._diffracting_wedges, self.edges.select(np.where(chains.kinds == DIFFRACTION, chains.site[:, None], 0).max(axis=1)), row)
        return buffer

    def _place_wedges(self, geometry: Any, wedges: Edges, row: Any) -> None:
        """Write the wedge of every row's chain into Sionna's record of them; any wedge serves chains without one."""
        dr, mi = self._dr, self._mi

        def spread(values: NDArray[np.int64]) -> Any:
            return dr.gather(mi.UInt32, mi.UInt32(values.astype(np.uint32)), row)

        shape = self.triangles.shape[wedges.near_triangle]
        geometry.shape = dr.reinterpret_array(mi.MeshPtr, spread(shape))
        # a wedge of two meshes has no n-face in the first one, but only its normal is ever used
        geometry.prim0 = spread(self.triangles.primitive[wedges.near_triangle])
        geometry.primn = spread(self.triangles.primitive[wedges.far_triangle])
        for name, values in (("o", wedges.origin), ("e_hat", wedges.along), ("n0", wedges.near), ("nn", wedges.far)):
            vector = dr.gather(mi.Point3f, self.rays.points(values), row)
            setattr(geometry, name, type(getattr(geometry, name))(vector))
        geometry.length = dr.gather(mi.Float, mi.Float(wedges.length.astype(np.float32)), row)

    def _image(self, buffer: Any, sources: Any, targets: Any) -> Any:
        return self._solver._image_method(
            scene=self._scene.mi_scene,
            paths=buffer,
            src_positions=sources,
            tgt_positions=targets,
            diffraction=self.edges is not None,
            diffraction_lit_region=True,
        )

    def _with_fields(
        self, buffer: Any, sources: Any, targets: Any, users: Endpoints, elements: Endpoints, patterns: tuple[Any, Any]
    ) -> Any:
        return self._solver._field_calculator(
            wavelength=self._wavelength,
            paths=buffer,
            samples_per_src=1,
            diffraction=self.edges is not None,
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
        distance = np.linalg.norm(elements.positions_m - elements.positions_m[-1], axis=1)
        reference = np.arange(rows) * len(elements) + np.where(valid, distance, np.inf).argmin(axis=1)
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
