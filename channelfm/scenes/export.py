"""Scenes on disk: a Mitsuba / Sionna scene file with its meshes, scene.json, and the lossless record."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from channelfm.errors import InputError
from channelfm.files import write_atomically
from channelfm.records import Scene
from channelfm.scenes.materials import check_material
from channelfm.scenes.ply import to_ply


def write_sionna_scene(scene: Scene, folder: str | Path) -> Path:
    """Write ``scene.xml`` and ``meshes/<object>.ply``; returns the path of ``scene.xml``.

    ``sionna.rt.load_scene(path, merge_shapes=False)`` then holds one object per SceneObject, of the same name,
    with the radio material "itu_<material>". The meshes are put in place as a whole folder before the XML that
    names them, so an interrupted run leaves no scene file without its meshes.
    """
    folder = Path(folder)
    names = [item.name for item in scene.objects]
    if len(set(names)) < len(names):
        raise InputError(f"scene '{scene.name}': two objects share a name; give every object its own")
    for item in scene.objects:
        check_material(item.material)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "scene.xml").unlink(missing_ok=True)
        _write_meshes(scene, folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot write the scene ({error.strerror}); choose another folder") from error
    write_atomically(folder / "scene.xml", _scene_xml(scene))
    return folder / "scene.xml"


def write_scene(scene: Scene, out: str | Path) -> Path:
    """Write ``scene.xml`` + ``meshes/``, ``scene.safetensors`` (the whole record) and ``scene.json``
    (:func:`describe`) into the folder ``out``; returns the path of ``scene.json``, which is written last."""
    out = Path(out)
    write_sionna_scene(scene, out)
    scene.save(out / "scene.safetensors")
    text = json.dumps(describe(scene), indent=1, allow_nan=False)
    write_atomically(out / "scene.json", text.encode())
    return out / "scene.json"


def describe(scene: Scene) -> dict[str, Any]:
    """What ``scene.json`` holds: origin (None for a scene that lies nowhere), buildings, how many heights came from
    where, roads, terrain (None where the ground is level) and skipped counts."""
    origin = scene.origin
    return {
        "origin_lat": origin.latitude_deg if origin else None,
        "origin_lon": origin.longitude_deg if origin else None,
        "crs": origin.crs if origin else None,
        "terrain": _describe_terrain(scene),
        "height_sources": dict(Counter(item.height_source for item in scene.buildings).most_common()),
        "buildings": [dataclasses.asdict(item) for item in scene.buildings],
        "roads": [dataclasses.asdict(item) for item in scene.roads],
        "skipped": scene.skipped,
    }


def _describe_terrain(scene: Scene) -> dict[str, float] | None:
    """Lowest and highest z of the ground, and the height of z = 0 in the raster that it came from [m]."""
    is_ground = np.array([item.kind == "ground" for item in scene.objects])
    levels = scene.vertices[scene.faces[is_ground[scene.face_object]]][..., 2]
    if not levels.size or np.ptp(levels) == 0.0:
        return None
    datum = scene.origin.height_m if scene.origin else 0.0
    return {"lowest_m": float(levels.min()), "highest_m": float(levels.max()), "datum_m": datum}


def _write_meshes(scene: Scene, folder: Path) -> None:
    """One PLY per object, written into a temporary folder that then takes the place of ``meshes``."""
    temporary = Path(tempfile.mkdtemp(dir=folder, prefix=".meshes."))
    try:
        for index, item in enumerate(scene.objects):
            (temporary / f"{item.name}.ply").write_bytes(to_ply(*scene.object_mesh(index)))
        temporary.chmod(0o755)
        if (folder / "meshes").exists():
            shutil.rmtree(folder / "meshes")
        temporary.rename(folder / "meshes")
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _scene_xml(scene: Scene) -> bytes:
    """Mitsuba scene description; radio materials are two-sided by nature (slabs), so no wrapper is needed."""
    root = ElementTree.Element("scene", version="2.1.0")
    for material in sorted({item.material for item in scene.objects}):
        bsdf = ElementTree.SubElement(root, "bsdf", type="itu-radio-material", id=f"mat-itu_{material}")
        ElementTree.SubElement(bsdf, "string", name="type", value=material)
        ElementTree.SubElement(bsdf, "float", name="thickness", value="0.1")
    for item in scene.objects:
        shape = ElementTree.SubElement(root, "shape", type="ply", id=item.name)
        ElementTree.SubElement(shape, "string", name="filename", value=f"meshes/{item.name}.ply")
        ElementTree.SubElement(shape, "boolean", name="face_normals", value="true")
        ElementTree.SubElement(shape, "ref", id=f"mat-itu_{item.material}", name="bsdf")
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))
