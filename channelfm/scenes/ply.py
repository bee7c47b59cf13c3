"""Triangle meshes as binary PLY files, the form that Mitsuba reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from channelfm.errors import InputError

_TYPES = {"float": "<f4", "float32": "<f4", "double": "<f8", "float64": "<f8", "uchar": "u1", "uint8": "u1"}
_TYPES |= {"int": "<i4", "int32": "<i4", "uint": "<u4", "uint32": "<u4"}


def to_ply(vertices: NDArray[np.float64], faces: NDArray[np.int32]) -> bytes:
    """Content of a little-endian PLY file: vertices [V, 3] in single precision, faces [F, 3]."""
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    records = np.empty(len(faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    records["count"], records["corners"] = 3, faces
    return header.encode() + vertices.astype("<f4").tobytes() + records.tobytes()


def read_ply(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Vertices [V, 3] and triangles [F, 3] of a little-endian binary PLY file; other vertex properties are ignored.

    Raises InputError on anything else: text or big-endian files, faces that are not triangles, a cut file.
    """
    content = path.read_bytes()
    head, mark, body = content.partition(b"end_header\n")
    lines = head.decode("ascii", errors="replace").replace("\r", "").split("\n")
    if not mark or lines[0] != "ply" or "format binary_little_endian 1.0" not in lines:
        raise InputError(f"{path}: not a little-endian binary PLY mesh; convert it, e.g. with trimesh")
    counts = {words[1]: int(words[2]) for line in lines if (words := line.split()) and words[0] == "element"}
    scalars = [words for line in lines if (words := line.split()) and words[0] == "property" and words[1] != "list"]
    lists = [words for line in lines if (words := line.split()) and words[:2] == ["property", "list"]]
    try:
        vertex_type = np.dtype([(words[2], _TYPES[words[1]]) for words in scalars])
        face_type = np.dtype([("count", _TYPES[lists[0][2]]), ("corners", _TYPES[lists[0][3]], 3)])
        table = np.frombuffer(body, vertex_type, counts["vertex"])
        faces = np.frombuffer(body, face_type, counts["face"], offset=table.nbytes)
        vertices = np.stack([table[axis] for axis in "xyz"], axis=1).astype(np.float64)
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(f"{path}: truncated or unknown PLY layout ({error}); export the mesh again") from error
    if (faces["count"] != 3).any():
        raise InputError(f"{path}: a face is no triangle; triangulate the mesh")
    return vertices, faces["corners"].astype(np.int32)
