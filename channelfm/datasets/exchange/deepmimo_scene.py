"""DeepMIMO meshes and materials: ``vertices`` and ``objects.json``, and for triangles ``faces`` and ``materials``.

Older and simplified scenarios ("hull") list the corners of polygons in ``objects.json``; a scenario with ``faces.npz``
and ``materials.npz`` ("mesh") holds triangles, one array for each object. Both are read; triangles are written.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from channelfm.config import brief
from channelfm.datasets.exchange.files import read_arrays, write_npz
from channelfm.errors import InputError
from channelfm.files import write_atomically
from channelfm.plain import from_json
from channelfm.records import Scene, SceneObject

LABELS = {"building": "buildings", "ground": "terrain", "other": "objects"}  # ours -> DeepMIMO's
KINDS = {label: kind for kind, label in LABELS.items()}

Float = NDArray[np.float64]
Faces = list[tuple[int, int, int]]


class Properties(Protocol):
    """Electromagnetic properties of a material, as :mod:`channelfm.scenes.materials` gives them."""

    @property
    def relative_permittivity(self) -> float:
        """Real part."""

    @property
    def conductivity_s_per_m(self) -> float:
        """In S/m."""


PropertiesOf = Callable[[str, float], Properties]  # of a material's name and a frequency [Hz]


def write_scene(
    scene: Scene | None, properties_of: PropertiesOf | None, folder: Path, carrier_hz: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write a scene's meshes (or, for None, empty ones); the blocks ``scene`` and ``materials`` of ``params.json``.

    Raises InputError without ``properties_of``, and whatever that raises for a material it does not know.
    """
    objects = () if scene is None else scene.objects
    names = sorted({item.material for item in objects})
    materials = {}
    for number, name in enumerate(names):
        if properties_of is None:
            raise InputError(
                f"DeepMIMO wants permittivity and conductivity of '{name}': give properties_of, "
                "e.g. channelfm.scenes.materials.electromagnetic_properties"
            )
        properties = properties_of(name, carrier_hz)
        materials[f"material_{number}"] = {
            "id": number,
            "name": name,
            "permittivity": properties.relative_permittivity,
            "conductivity": properties.conductivity_s_per_m,
        }
    listed = [
        {"name": item.name, "label": LABELS.get(item.kind, LABELS["other"]), "id": number, "mesh_key": str(number)}
        for number, item in enumerate(objects)
    ]
    vertices = np.zeros((0, 3)) if scene is None else scene.vertices
    write_npz(folder / "vertices.npz", {"vertices": vertices})
    write_atomically(folder / "objects.json", json.dumps(listed, indent=1).encode())
    if scene is not None:
        own = [scene.faces[scene.face_object == number] for number in range(len(objects))]
        index = [names.index(item.material) for item in objects]
        numbered = enumerate(zip(own, index, strict=True))
        write_npz(folder / "faces.npz", {str(number): faces for number, faces in enumerate(own)})
        of_faces = {str(number): np.full(len(faces), which, np.int32) for number, (faces, which) in numbered}
        write_npz(folder / "materials.npz", of_faces)
    count = 0 if scene is None else len(scene.faces)
    block = {
        "num_scenes": 1,
        "n_objects": len(objects),
        "n_vertices": len(vertices),
        "n_faces": count,
        "n_triangular_faces": count,
        "representation": "hull" if scene is None else "mesh",
    }
    return block, materials


def read_scene(folder: Path, materials: dict[str, Any], name: str) -> Scene | None:
    """The scene of a scenario, or None if it has no objects.

    Material names are taken over, without the prefix "itu_"; one that ITU-R P.2040 does not know stays as it is, and
    whoever traces the scene is told. A polygon that a fan of triangles does not fill is left out and counted in
    ``skipped``. Raises InputError, with the file's name, for files that do not fit together.
    """
    place = folder / "objects.json"
    vertices_at = next(
        (folder / f"vertices{end}" for end in (".npz", ".mat") if (folder / f"vertices{end}").is_file()), None
    )
    if not place.is_file() or vertices_at is None:
        return None
    try:
        listed = from_json(place.read_text(encoding="utf-8"))
        vertices = np.asarray(read_arrays(vertices_at)["vertices"], dtype=np.float64)
        names = [_plain_name(str(entry["name"])) for entry in materials.values()]
        mesh = (folder / "faces.npz").is_file()
        pieces = _meshes(folder, listed) if mesh else _polygons(listed)
        scene = _assembled(name, vertices, listed, pieces, names)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{place}: objects, vertices and materials do not fit together ({brief(repr(error), 160)})"
        ) from error
    return scene if len(scene.faces) else None


def _meshes(folder: Path, listed: list[dict[str, Any]]) -> list[list[tuple[list[int], int]]]:
    """Corners and material of every face, object by object, of triangular meshes."""
    faces, materials = read_arrays(folder / "faces.npz"), read_arrays(folder / "materials.npz")
    keys = [str(item["mesh_key"]) for item in listed]
    return [list(zip(faces[key].tolist(), materials[key].tolist(), strict=True)) for key in keys]


def _polygons(listed: list[dict[str, Any]]) -> list[list[tuple[list[int], int]]]:
    """Corners and material of every face, object by object, of objects made of polygons."""
    return [list(zip(item["face_vertex_idxs"], item["face_material_idxs"], strict=True)) for item in listed]


def _assembled(
    name: str,
    vertices: Float,
    listed: list[dict[str, Any]],
    pieces: list[list[tuple[list[int], int]]],
    materials: list[str],
) -> Scene:
    """The scene, with one object for every material of a DeepMIMO object."""
    triangles: Faces = []
    owner: list[int] = []
    objects: list[SceneObject] = []
    skipped = 0
    for item, faces in zip(listed, pieces, strict=True):
        used = list(dict.fromkeys(material for _, material in faces))
        number_of = {material: len(objects) + place for place, material in enumerate(used)}
        for material in used:
            own_name = f"{item['name']}-{material}" if len(used) > 1 else str(item["name"])
            objects.append(SceneObject(own_name, materials[material], KINDS.get(item["label"], "other")))
        for corners, material in faces:
            fan = _fan(vertices, corners)
            skipped += not fan
            triangles += fan
            owner += [number_of[material]] * len(fan)
    low, high = (vertices.min(axis=0), vertices.max(axis=0)) if len(vertices) else (np.zeros(3), np.zeros(3))
    return Scene(
        name=name,
        vertices=vertices,
        faces=np.array(triangles, dtype=np.int32).reshape(-1, 3),
        face_object=np.array(owner, dtype=np.int32),
        objects=tuple(objects),
        bounds=(float(low[0]), float(low[1]), float(high[0]), float(high[1])),
        skipped={"faces that are not convex": skipped} if skipped else {},
    )


def _fan(vertices: Float, corners: list[int]) -> Faces:
    """Triangles from the first corner; none if they do not fill the polygon (it is not convex as seen from there)."""
    fan = [(corners[0], corners[step], corners[step + 1]) for step in range(1, len(corners) - 1)]
    if len(fan) <= 1:
        return fan
    points = vertices[np.array(fan)]
    areas = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    filled, outlined = np.linalg.norm(areas, axis=1).sum(), np.linalg.norm(areas.sum(axis=0))
    return fan if np.isclose(filled, outlined, rtol=1e-3) else []


def _plain_name(material: str) -> str:
    return material.lower().removeprefix("itu_").removeprefix("itu-")
