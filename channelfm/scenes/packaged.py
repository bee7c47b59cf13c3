"""The scenes packaged with sionna-rt as Scene records, read from their files without running sionna."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from channelfm.errors import DependencyError, InputError
from channelfm.records import Building, Scene, SceneObject
from channelfm.scenes.assembly import join_meshes
from channelfm.scenes.extrusion import Float, Int, is_watertight
from channelfm.scenes.materials import check_material
from channelfm.scenes.ply import read_ply

CITIES = frozenset(
    {"etoile", "florence", "munich", "san_francisco", "simple_street_canyon", "simple_street_canyon_with_cars"}
)
_OSM_CITIES = CITIES - {"simple_street_canyon", "simple_street_canyon_with_cars"}
_GROUND_NAMES = frozenset({"ground", "plane", "floor", "terrain"})
_SURFACE_SUFFIX = re.compile(r"-(itu_\w+|wall|roof|[0-9a-f]{6})$")  # Heilig_Geist-itu_marble -> Heilig_Geist

Mesh = tuple[Float, Int]


def builtin(name: str = "munich") -> Scene:
    """One of the scenes that sionna-rt packages, e.g. "munich", "florence", "etoile", "simple_street_canyon".

    Objects keep the names and materials that sionna gives them. In city scenes every object that is neither
    ground nor vehicle has kind "building"; walls and roof of one building, separate objects there, make one
    entry of ``buildings`` (height source "mesh"; these meshes have no underside, so they are not watertight).
    The frame is the scene file's own, so ``origin`` is None.

    Raises DependencyError without sionna-rt, InputError on an unknown name.
    """
    folder = scenes_folder()
    known = sorted(path.parent.name for path in folder.glob("*/*.xml") if path.stem == path.parent.name)
    if name not in known:
        raise InputError(f"no packaged scene '{name}'; use one of: {', '.join(known)}")
    objects, meshes = _read_scene_file(folder / name / f"{name}.xml", name in CITIES)
    meshes = _outward(objects, meshes)
    vertices, faces, face_object = join_meshes(meshes)
    raised = [mesh[0] for item, mesh in zip(objects, meshes, strict=True) if item.kind != "ground"]
    corners = np.concatenate(raised)
    low, high = corners.min(axis=0), corners.max(axis=0)
    return Scene(
        name=name,
        vertices=vertices,
        faces=faces,
        face_object=face_object,
        objects=tuple(objects),
        bounds=(float(low[0]), float(low[1]), float(high[0]), float(high[1])),
        buildings=tuple(_buildings(objects, meshes)),
        attribution="sionna-rt (Apache-2.0)"
        + ("; © OpenStreetMap contributors, Open Database License 1.0" if name in _OSM_CITIES else ""),
    )


def scenes_folder() -> Path:
    """Folder of the packaged scenes; found without importing anything of sionna (that would start Dr.Jit).

    Raises DependencyError without sionna-rt.
    """
    try:
        found = importlib.util.find_spec("sionna")
    except ImportError:
        found = None
    for place in (found.submodule_search_locations or []) if found else []:
        folder = Path(place) / "rt" / "scenes"
        if folder.is_dir():
            return folder
    raise DependencyError("packaged scenes come with sionna-rt, which is not installed: pip install channelfm[rt]")


def _read_scene_file(path: Path, is_city: bool) -> tuple[list[SceneObject], list[Mesh]]:
    """Objects and meshes of a Mitsuba scene description."""
    root = parse_xml(path)
    materials = {bsdf.get("id", ""): _itu_material(bsdf) for bsdf in root.findall("bsdf")}
    objects: list[SceneObject] = []
    meshes: list[Mesh] = []
    for shape in root.findall("shape"):
        reference, file = shape.find("ref"), shape.find("string[@name='filename']")
        name = shape.get("id", "").removeprefix("mesh-")
        if shape.get("type") != "ply" or reference is None or file is None or reference.get("id") not in materials:
            raise InputError(f"{path}: shape '{name}' is no PLY mesh with a material of this file")
        material = materials[str(reference.get("id"))]
        objects.append(SceneObject(name, material, _kind(name, is_city)))
        meshes.append(read_ply(path.parent / str(file.get("value"))))
    return objects, meshes


def parse_xml(path: Path) -> ElementTree.Element:
    """Root of an XML file; a document type or entity declaration is refused, so nothing outside is ever read."""
    content = path.read_bytes()
    if b"<!DOCTYPE" in content.upper() or b"<!ENTITY" in content.upper():
        raise InputError(f"{path}: declares a document type or entities, which scene files need not; remove them")
    try:
        return ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise InputError(f"{path}: broken XML ({error}); export the scene again") from error


def _itu_material(bsdf: ElementTree.Element) -> str:
    """ITU-R P.2040 name of a radio material: its ``type``, else what its id says ("mat-itu_concrete")."""
    stated = bsdf.find("string[@name='type']")
    identity = bsdf.get("id", "").removeprefix("mat-").removeprefix("itu_").removeprefix("itu-")
    material = str(stated.get("value")) if stated is not None else identity
    check_material(material)
    return material


def _kind(name: str, is_city: bool) -> str:
    if name.lower() in _GROUND_NAMES:
        return "ground"
    return "building" if is_city and not name.startswith("car_") else "other"


def _structure(name: str) -> str:
    """Name of the building that an object is a part of."""
    return _SURFACE_SUFFIX.sub("", name)


def _groups(objects: Sequence[SceneObject]) -> dict[str, list[int]]:
    """Object numbers by building (or by object, for ground and others)."""
    groups: dict[str, list[int]] = {}
    for number, item in enumerate(objects):
        groups.setdefault(_structure(item.name), []).append(number)
    return groups


def _outward(objects: Sequence[SceneObject], meshes: list[Mesh]) -> list[Mesh]:
    """Meshes with faces turned outwards (ground: upwards), decided for all objects of one building together."""
    turned = list(meshes)
    for numbers in _groups(objects).values():
        vertices, faces, _ = join_meshes([meshes[number] for number in numbers])
        if _upward_volume(vertices, faces) < 0.0:
            for number in numbers:
                turned[number] = (meshes[number][0], meshes[number][1][:, ::-1])
    return turned


def _upward_volume(vertices: Float, faces: Int) -> float:
    """Volume [m3] between the faces and the lowest point, upward faces counted positive; a flat mesh counts its
    area. It is the volume of a solid whose underside may be missing."""
    corners = vertices[faces]
    height = corners[:, :, 2].mean(axis=1) - vertices[:, 2].min()
    area = _projected_area(corners)
    return float(np.sum(area * height)) if np.ptp(vertices[:, 2]) > 1e-6 else float(np.sum(area))


def _projected_area(corners: Float) -> Float:
    """Horizontal area [F] of triangles [F, 3, 3], positive where they look upwards."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.asarray((first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2)


def _buildings(objects: Sequence[SceneObject], meshes: Sequence[Mesh]) -> list[Building]:
    """One entry per building; its area is that of its upward faces, its height counts from its lowest point."""
    entries: list[Building] = []
    for name, numbers in _groups(objects).items():
        if objects[numbers[0]].kind != "building":
            continue
        vertices, faces, face_object = join_meshes([meshes[number] for number in numbers])
        area = _projected_area(vertices[faces])
        largest = int(np.bincount(face_object).argmax())
        entries.append(
            Building(
                osm_id=name,
                height_m=float(np.ptp(vertices[:, 2])),
                min_height_m=0.0,
                height_source="mesh",
                footprint_area_m2=float(area[area > 0].sum()),
                hole_area_m2=0.0,
                volume_m3=_upward_volume(vertices, faces),
                material=objects[numbers[largest]].material,
                watertight=is_watertight(vertices, faces),
                roof_shape="mesh",
                mesh=objects[numbers[largest]].name,
            )
        )
    return entries
