"""The only importer of sionna-rt: scenes, candidate chains, image method and fields, in and out as NumPy.

The near-field tracer needs pieces of Sionna's path solver that its public call does not offer: candidates for a
few anchor elements, whose valid chains are then evaluated at every element. Those pieces are private, so this file
pins the release that they were read from (2.2.0).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.arrays import UPA, ElementPattern, Polarization
from channelfm.errors import DependencyError
from channelfm.records import Scene
from channelfm.scenes.materials import electromagnetic_properties
from channelfm.tracing.chains import Chains, Endpoints, Solution, Triangles, identified
from channelfm.tracing.fresnel import DEFAULT_THICKNESS_M
from channelfm.tracing.llvm import activate, find_llvm
from channelfm.units import wavelength

SUPPORTED_RELEASE = "2.2.0"
_PATTERNS = {"isotropic": "iso", "dipole": "dipole", "tr38901": "tr38901"}  # Sionna's names


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
    outside its ITU-R P.2040 range, with the policy applied.
    """

    def __init__(self, scene: Scene, carrier_hz: float, max_depth: int, refraction: bool, diffraction: bool) -> None:
        self._rt = import_sionna()
        import drjit
        import mitsuba

        self._dr: Any = drjit
        self._mi: Any = mitsuba
        self._wavelength = wavelength(carrier_hz)
        self.max_depth, self._refraction, self._diffraction = max_depth, refraction, diffraction
        self.material_notes: dict[str, str] = {}
        self._scene = self._rt.load_scene()
        self._scene.frequency = carrier_hz  # before the materials are built: slabs are measured in wavelengths
        self._scene.edit(add=self._meshes_by_material(scene, carrier_hz))
        self.triangles = self._triangles()
        self._solver = self._rt.PathSolver(deterministic=True)

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
            radio_material = self._rt.RadioMaterial(
                f"{material}-at-carrier",
                thickness=DEFAULT_THICKNESS_M,
                relative_permittivity=properties.relative_permittivity,
                conductivity=properties.conductivity_s_per_m,
            )
            objects.append(self._rt.SceneObject(mi_mesh=mesh, name=f"all-{material}", radio_material=radio_material))
        return objects

    def pattern(self, name: ElementPattern, polarization: Polarization) -> Any:
        """Sionna's antenna patterns of one of our element patterns."""
        array = self._rt.PlanarArray(num_rows=1, num_cols=1, pattern=_PATTERNS[name], polarization=polarization)
        return array.antenna_pattern.patterns

    def candidates(
        self, users: NDArray[np.float64], targets: NDArray[np.float64], rays_per_user: int, seed: int
    ) -> Chains:
        """Candidate chains from users [U, 3] towards targets [T, 3] by shooting and bouncing rays.

        A chain that several users or targets share is kept once; the line of sight is not among them.
        """
        sources = self._points(users)
        buffer = self._solver._candidate_generator(
            mi_scene=self._scene.mi_scene,
            src_positions=sources,
            tgt_positions=self._points(targets),
            samples_per_src=rays_per_user,
            max_num_paths_per_src=rays_per_user * len(targets),
            max_depth=self.max_depth,
            los=False,
            specular_reflection=True,
            diffuse_reflection=False,
            refraction=self._refraction,
            diffraction=self._diffraction,
            edge_diffraction=False,
            seed=seed,
        )
        buffer.schedule()
        self._dr.eval()
        buffer.shrink()
        tensors = (buffer.interaction_types, buffer.shapes, buffer.primitives)
        kinds, shapes, primitives = (np.asarray(tensor).astype(np.int64) for tensor in tensors)
        wedges = self._wedges(buffer.diffracting_wedges) if self._diffraction else {}
        return identified(kinds, shapes, primitives, wedges, self.triangles).distinct()

    def single_reflections(self, users: NDArray[np.float64], target: NDArray[np.float64], slack_m: float) -> Chains:
        """Every single reflection that may lead from users [U, 3] to within ``slack_m`` of a target [3].

        Rays can miss a small facet; one bounce is cheap enough to try on all triangles. Occlusion is not tested.
        """
        mirrors = [self.triangles.mirrors(user, target, slack_m) for user in users if self.max_depth > 0]
        index = np.flatnonzero(np.any(mirrors, axis=0)) if mirrors else np.zeros(0, np.intp)
        shape = (len(index), max(1, self.max_depth))
        kinds, shapes, primitives = (np.zeros(shape, np.int64) for _ in range(3))
        kinds[:, 0] = 1
        shapes[:, 0], primitives[:, 0] = self.triangles.shape[index], self.triangles.primitive[index]
        wedges = {}
        if self._diffraction:
            from sionna.rt.utils import WedgeGeometry

            wedges = self._wedges(WedgeGeometry.build_with_size(len(index)))
        return identified(kinds, shapes, primitives, wedges, self.triangles).distinct()

    @staticmethod
    def _wedges(geometry: Any) -> dict[str, NDArray[Any]]:
        return {item.name: np.asarray(getattr(geometry, item.name)).T for item in dataclasses.fields(geometry)}

    def connects(
        self,
        chains: Chains,
        chain: NDArray[np.intp],
        users: NDArray[np.float64],
        user: NDArray[np.intp],
        elements: NDArray[np.float64],
        element: NDArray[np.intp],
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Whether chains[chain[n]] connects users[user[n]] with elements[element[n]]: bool [N], and the interaction
        points [N, D, 3] (meaningless where it does not)."""
        count = len(chain)
        buffer = self._located(chains, chain, user, element)
        buffer = self._by_image_method(buffer, self._points(users), self._points(elements))
        self._dr.eval(buffer.valid)
        return np.asarray(buffer.valid)[:count].astype(bool), self._vertices(buffer, count)

    def solve(
        self,
        chains: Chains,
        chain: NDArray[np.intp],
        users: Endpoints,
        user: NDArray[np.intp],
        elements: Endpoints,
        element: NDArray[np.intp],
        patterns: tuple[Any, Any],
    ) -> Solution:
        """Image method, occlusion test and field of chains[chain[n]] from users[user[n]] to elements[element[n]]."""
        sources, targets = self._points(users.positions_m), self._points(elements.positions_m)
        buffer = self._by_image_method(self._located(chains, chain, user, element), sources, targets)
        return self._with_fields(buffer, sources, targets, users, elements, patterns, len(chain))

    def line_of_sight(
        self,
        users: Endpoints,
        user: NDArray[np.intp],
        elements: Endpoints,
        element: NDArray[np.intp],
        patterns: tuple[Any, Any],
    ) -> Solution:
        """The direct path from users[user[n]] to elements[element[n]], valid where nothing stands between."""
        from sionna.rt.path_solvers.paths_buffer import PathsBuffer

        padding = _padding(len(user))
        start, end = users.positions_m[user[padding]], elements.positions_m[element[padding]]
        rays = self._rt.utils.spawn_ray_to(self._points(start), self._points(end))
        buffer = PathsBuffer(len(padding), self.max_depth, self._diffraction)
        buffer.valid = ~self._scene.mi_scene.ray_test(rays)
        buffer._src_indices = self._integers(user[padding])
        buffer._tgt_indices = self._integers(element[padding])
        buffer._k_tx_x, buffer._k_tx_y, buffer._k_tx_z = rays.d.x, rays.d.y, rays.d.z
        buffer._k_rx_x, buffer._k_rx_y, buffer._k_rx_z = -rays.d.x, -rays.d.y, -rays.d.z
        sources, targets = self._points(users.positions_m), self._points(elements.positions_m)
        return self._with_fields(buffer, sources, targets, users, elements, patterns, len(user))

    def every_element(
        self,
        user_m: NDArray[np.float64],
        user_orientation_rad: NDArray[np.float64],
        array: UPA,
        user_pattern: ElementPattern,
        rays: int,
        most_candidates: int,
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
            num_rows=1, num_cols=1, pattern=_PATTERNS[array.pattern], polarization=array.polarization
        )
        sender = rt.PlanarArray(num_rows=1, num_cols=1, pattern=_PATTERNS[user_pattern], polarization="V")
        self._scene.tx_array = sender
        self._scene.rx_array = rt.AntennaArray(element.antenna_pattern, self._points(positions))
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
                refraction=self._refraction,
                diffraction=self._diffraction,
            )
            real, imaginary = (np.asarray(part)[0, :, 0, 0, :] for part in paths.a)
            delay = np.asarray(paths.tau).astype(np.float64)
            delay = np.broadcast_to(delay[0, 0], real.shape) if plane_wave else delay[0, :, 0, 0, :]
        finally:
            self._scene.remove("user")
            self._scene.remove("base")
        return (real + 1j * imaginary).astype(np.complex64), np.asarray(delay)

    def _located(
        self, chains: Chains, chain: NDArray[np.intp], user: NDArray[np.intp], element: NDArray[np.intp]
    ) -> Any:
        """Copies of chains between the given endpoints, padded so that Dr.Jit meets few different sizes."""
        from sionna.rt.path_solvers.paths_buffer import PathsBuffer

        padding = _padding(len(chain))
        row = chain[padding]
        buffer = PathsBuffer(len(row), self.max_depth, self._diffraction)
        buffer._interaction_types, buffer._shapes, buffer._primitives = (
            self._mi.TensorXu(values[row].astype(np.uint32))
            for values in (chains.kinds, chains.shapes, chains.primitives)
        )
        edges = buffer._diffracting_wedges
        for name, values in chains.wedges.items():
            setattr(edges, name, self._like(getattr(edges, name), values[row]))
        buffer._src_indices = self._integers(user[padding])
        buffer._tgt_indices = self._integers(element[padding])
        # The image method starts from a point on each mirror and leaves the path's vertices in the same place.
        buffer._vertices_x, buffer._vertices_y, buffer._vertices_z = (
            self._mi.TensorXf(np.ascontiguousarray(chains.corners[row, :, axis], dtype=np.float32)) for axis in range(3)
        )
        return buffer

    def _by_image_method(self, buffer: Any, sources: Any, targets: Any) -> Any:
        return self._solver._image_method(
            scene=self._scene.mi_scene,
            paths=buffer,
            src_positions=sources,
            tgt_positions=targets,
            diffraction=self._diffraction,
            diffraction_lit_region=True,
        )

    def _with_fields(
        self,
        buffer: Any,
        sources: Any,
        targets: Any,
        users: Endpoints,
        elements: Endpoints,
        patterns: tuple[Any, Any],
        count: int,
    ) -> Solution:
        buffer = self._solver._field_calculator(
            wavelength=self._wavelength,
            paths=buffer,
            samples_per_src=1,
            diffraction=self._diffraction,
            src_positions=sources,
            tgt_positions=targets,
            src_orientations=self._points(users.orientations_rad),
            tgt_orientations=self._points(elements.orientations_rad),
            src_antenna_patterns=patterns[0],
            tgt_antenna_patterns=patterns[1],
        )
        gain = buffer.a[0][0]
        self._dr.eval(buffer.valid, gain, buffer.k_tx, buffer.k_rx)
        depth = buffer.depth_dim_size
        kinds = np.asarray(buffer.interaction_types.array)[: count * depth].reshape(count, depth)
        return Solution(
            valid=np.asarray(buffer.valid)[:count].astype(bool),
            gain=(np.asarray(gain.real) + 1j * np.asarray(gain.imag)).astype(np.complex64)[:count],
            departure=np.asarray(buffer.k_tx).T.astype(np.float64)[:count],
            arrival=np.asarray(buffer.k_rx).T.astype(np.float64)[:count],
            interactions=kinds.astype(np.int32),
            points_m=self._vertices(buffer, count),
        )

    def _like(self, example: Any, values: NDArray[Any]) -> Any:
        """A Dr.Jit array of the example's type that holds values [N] or [N, 3]."""
        array_type: Any = type(example)
        if array_type is self._mi.MeshPtr:
            return self._dr.reinterpret_array(array_type, self._integers(values))
        return array_type(np.ascontiguousarray(values.T))

    @staticmethod
    def _vertices(buffer: Any, count: int) -> NDArray[np.float64]:
        depth = buffer.depth_dim_size
        axes = (buffer.vertices_x, buffer.vertices_y, buffer.vertices_z)
        flat = [np.asarray(axis.array)[: count * depth] for axis in axes]
        return np.stack(flat, axis=-1).reshape(count, depth, 3).astype(np.float64)

    def _points(self, positions: NDArray[np.float64]) -> Any:
        axes = np.ascontiguousarray(positions.T, dtype=np.float32)
        points = self._mi.Point3f(*(self._mi.Float(axis) for axis in axes))
        self._dr.make_opaque(points)
        return points

    def _integers(self, values: NDArray[np.intp]) -> Any:
        return self._mi.UInt32(values.astype(np.uint32))


def _padding(count: int) -> NDArray[np.intp]:
    """Row numbers 0 ... count - 1, continued with the last one up to the next size that is worth a kernel."""
    size = 256
    while size < count:
        size = size * 3 // 2 if (size & (size - 1)) == 0 else size // 3 * 4
    return np.minimum(np.arange(size), count - 1)
