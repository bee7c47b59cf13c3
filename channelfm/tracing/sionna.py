"""The only importer of sionna-rt: scenes and materials inside the ray tracer, and its own solver as a reference.

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
from channelfm.tracing.chains import Triangles
from channelfm.tracing.diffraction import EdgeSolver
from channelfm.tracing.edges import Edges
from channelfm.tracing.fresnel import DEFAULT_THICKNESS_M, complex_permittivity
from channelfm.tracing.llvm import activate, find_llvm
from channelfm.tracing.rays import Backend, RayCaster
from channelfm.tracing.scatterers import (
    DIRECTIVITY,
    SCATTERING_COEFFICIENT,
    SMOOTH_COEFFICIENT,
    SMOOTH_MATERIALS,
)
from channelfm.tracing.solver import ChainSolver
from channelfm.tracing.wedges import Surfaces
from channelfm.units import wavelength

SUPPORTED_RELEASE = "2.2.0"
_MESH_OF = "all-"  # before a material: the name of the mesh of all that is made of it
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


def _floors(scene: Scene) -> NDArray[np.bool_]:
    """bool [F]: faces of buildings that lie in a level ground. Rays would meet the floor or the ground as rounding has
    it, and with it one material or the other; only the ground stays."""
    kind = np.array([item.kind for item in scene.objects])[scene.face_object]
    heights = scene.vertices[scene.faces][..., 2]
    ground = heights[kind == "ground"]
    if not ground.size or np.ptp(ground) > 0.0:
        return np.zeros(len(kind), dtype=bool)
    return np.asarray((kind == "building") & (heights == ground.flat[0]).all(axis=1))


def _material_of_face(scene: Scene) -> NDArray[np.str_]:
    """Material [F] of each face, "" for those that are left out."""
    material = np.array([item.material for item in scene.objects])[scene.face_object]
    material[_floors(scene)] = ""
    return material


def _scattering_coefficient(material: str) -> float:
    return SMOOTH_COEFFICIENT if material in SMOOTH_MATERIALS else SCATTERING_COEFFICIENT


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
    outside its ITU-R P.2040 range, with the policy applied. ``solver`` solves all chains but those over edges, and
    ``edge_solver`` these, None without diffraction or edges."""

    def __init__(
        self,
        scene: Scene,
        carrier_hz: float,
        max_depth: int,
        *,
        refraction: bool = True,
        diffraction: bool = False,
        diffuse: bool = False,
    ) -> None:
        self._rt = import_sionna()
        import drjit
        import mitsuba
        from sionna.rt.path_solvers.paths_buffer import PathsBuffer

        self._dr: Any = drjit
        self._mi: Any = mitsuba
        self.max_depth, self._diffuse = max_depth, diffuse
        self.material_notes: dict[str, str] = {}
        self._scene = self._rt.load_scene()
        self._scene.frequency = carrier_hz  # before the materials are built: slabs are measured in wavelengths
        self._scene.edit(add=self._meshes_by_material(scene, carrier_hz))
        self.triangles = self._triangles()
        backend, mi_scene = Backend(self._rt, mitsuba, drjit, PathsBuffer), self._scene.mi_scene
        self.rays = RayCaster(mitsuba, drjit, mi_scene, self.triangles)
        self.solver = ChainSolver(backend, mi_scene, self.rays, self.triangles, wavelength(carrier_hz), max_depth)
        self.edge_solver: EdgeSolver | None = None
        edges = Edges.of(self.triangles, self.rays, self._ground(scene)) if diffraction else None
        if edges:
            surfaces, through = self._surfaces(carrier_hz), refraction and max_depth > 1
            self.edge_solver = EdgeSolver(
                backend, mi_scene, self.rays, edges, surfaces, wavelength(carrier_hz), through
            )

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

    def _meshes(self) -> list[str]:
        """The materials of the tracer's meshes, in its order."""
        return [name.removeprefix(_MESH_OF) for name in self._scene.objects]

    def _ground(self, scene: Scene) -> NDArray[np.bool_]:
        """bool [F]: whether a triangle, as the tracer numbers them, is of the ground."""
        ground = np.array([item.kind == "ground" for item in scene.objects])[scene.face_object]
        material = _material_of_face(scene)
        return np.concatenate([ground[material == name] for name in self._meshes()])

    def _surfaces(self, carrier_hz: float) -> Surfaces:
        """The materials of all triangles, as reflections and refractions have them."""
        names = self._meshes()
        properties = [electromagnetic_properties(name, carrier_hz) for name in names]
        scattered = np.array([_scattering_coefficient(name) if self._diffuse else 0.0 for name in names])
        return Surfaces(
            permittivity=np.array(
                [
                    complex_permittivity(item.relative_permittivity, item.conductivity_s_per_m, carrier_hz)
                    for item in properties
                ]
            ),
            thickness_m=np.full(len(names), DEFAULT_THICKNESS_M),
            specular=np.sqrt(1.0 - scattered**2),
            of_triangle=np.searchsorted(list(self.triangles.first.values()), np.arange(len(self.triangles)), "right")
            - 1,
        )

    def _meshes_by_material(self, scene: Scene, carrier_hz: float) -> list[Any]:
        """One Sionna object per material, with explicit permittivity and conductivity at the carrier."""
        material_of_face = _material_of_face(scene)
        objects = []
        for material in np.unique(material_of_face[material_of_face != ""]):
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
                scattering_coefficient=_scattering_coefficient(material) if self._diffuse else 0.0,
                scattering_pattern="directive",
                alpha_r=DIRECTIVITY,
            )
            objects.append(
                self._rt.SceneObject(mi_mesh=mesh, name=f"{_MESH_OF}{material}", radio_material=radio_material)
            )
        return objects

    def pattern(self, name: ElementPattern, polarization: Polarization) -> Any:
        """Sionna's antenna patterns of one of our element patterns."""
        array = self._rt.PlanarArray(num_rows=1, num_cols=1, pattern=PATTERNS[name], polarization=polarization)
        return array.antenna_pattern.patterns

    def every_element(
        self,
        user_m: NDArray[np.float64],
        user_orientation_rad: NDArray[np.float64],
        array: UPA,
        rays: int,
        most_candidates: int,
        *,
        elements: Any = slice(None),
        user_pattern: ElementPattern = "tr38901",
        refraction: bool = True,
        plane_wave: bool = False,
    ) -> tuple[NDArray[np.complex64], NDArray[np.float64]]:
        """Gains and delays [M, P] of one user by Sionna's public path solver, each element traced by itself.

        The reference of the near-field tracer (``synthetic_array=False``), slow by design: gain 0 and delay -1
        where an element lacks a path. ``elements`` is a NumPy index of those to trace; the fewer, the fewer candidates
        compete for the ``most_candidates`` that are kept of all. Paths that are found twice count once (see
        :func:`_repeated`). ``plane_wave`` asks for ``synthetic_array=True`` instead (delays equal for all elements,
        phases within the gains).
        """
        rt = self._rt
        positions = ((array.element_offsets @ array.rotation) / array.wavelength_m)[elements]
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
            )
            real, imaginary = (np.asarray(part)[0, :, 0, 0, :] for part in paths.a)
            delay = np.asarray(paths.tau).astype(np.float64)
            delay = np.broadcast_to(delay[0, 0], real.shape) if plane_wave else delay[0, :, 0, 0, :]
            chain = [np.asarray(part) for part in (paths.interactions, paths.objects, paths.primitives)]
        finally:
            self._scene.remove("user")
            self._scene.remove("base")
        repeated = _repeated(*(part.reshape(self.max_depth, -1, real.shape[1]) for part in chain))
        gain = np.where(repeated, 0.0, real + 1j * imaginary).astype(np.complex64)
        return gain, np.where(repeated, -1.0, delay)


def _repeated(interactions: NDArray[Any], objects: NDArray[Any], primitives: NDArray[Any]) -> NDArray[np.bool_]:
    """bool [M, P]: whether an earlier path of an element has the same interactions with the same triangles [D, M, P],
    and is that path once more.

    Sionna tells candidates apart by planes rounded to 1 mm, but accepts for each of them any triangle whose image lies
    within 1 cm of the one it looks for. Where the planes of two triangles are 1 to 5 mm apart, as those of neighbouring
    walls in maps are, each of their reflections is found twice, as that of either.
    """
    repeated = np.zeros(interactions.shape[1:], np.bool_)
    chains = np.concatenate([interactions, objects, primitives]).transpose(1, 2, 0)
    for element, chain in enumerate(chains):
        touched = np.flatnonzero(interactions[:, element].any(axis=0))  # neither empty slots nor the line of sight
        first = np.unique(chain[touched], axis=0, return_index=True)[1]
        repeated[element, np.setdiff1d(touched, touched[first])] = True
    return repeated
