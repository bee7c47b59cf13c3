"""Fixtures that several folders share: maps, a server that plays Overpass, a small scene, made-up channels."""

from __future__ import annotations

import importlib.util
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from channelfm.processes import ALONE, share_cores

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes that test at once
    for name, value in ALONE.items():
        os.environ.setdefault(name, value)
share_cores()  # as the command line does, before NumPy and PyTorch load

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from channelfm.errors import DependencyError  # noqa: E402
from channelfm.records import Channels, Paths, Scene, SceneObject  # noqa: E402
from channelfm.units import SPEED_OF_LIGHT  # noqa: E402

METRES_PER_DEGREE = 111_320.0
# The street maps that development uses are not part of the repository.
EXTRACTS = Path(os.environ.get("CHANNELFM_MAPS") or Path(__file__).resolve().parents[2] / "shared" / "osm")


@pytest.fixture(autouse=True, scope="session")
def _no_maps_of_the_user(tmp_path_factory):
    """Tests find no maps by name but those that they name a folder for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CHANNELFM_MAPS", raising=False)
        patch.setenv("CHANNELFM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def extract():
    """A file of the street maps that development uses, by its name; skips where it is not there."""

    def find(name: str = "") -> Path:
        if not (EXTRACTS / name).exists():
            pytest.skip(f"the map {name or EXTRACTS} is not there; name the folder of such maps in CHANNELFM_MAPS")
        return EXTRACTS / name

    return find


def pytest_collection_modifyitems(items):
    """Tests of a CUDA device are skipped where there is none."""
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if marked and not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


class MapServer(ThreadingHTTPServer):
    """Plays Overpass (POST: ``answer``) and Nominatim (GET: ``places``) with ``status``; keeps what it was asked."""

    def __init__(self, answer: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _MapHandler)
        self.answer, self.status, self.slow_s = answer, 200, 0.0
        self.places: list[dict] = []
        self.queries: list[str] = []
        self.agents: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}/api"

    def handle_error(self, *_: object) -> None:
        """Stay silent when a client hangs up."""


class _MapHandler(BaseHTTPRequestHandler):
    server: MapServer

    def do_POST(self) -> None:
        assert self.path == "/api/interpreter"
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.queries.append(parse_qs(body)["data"][0])
        self.server.agents.append(self.headers["User-Agent"])
        self._send(self.server.answer)

    def do_GET(self) -> None:
        self.server.queries.append(parse_qs(urlsplit(self.path).query)["q"][0])
        self._send(json.dumps(self.server.places).encode())

    def _send(self, content: bytes) -> None:
        self.send_response(self.server.status)
        self.end_headers()
        for start in range(0, len(content), 200):
            self.wfile.write(content[start : start + 200])
            time.sleep(self.server.slow_s)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def overpass(monkeypatch, write_map, tmp_path):
    """A server on this machine that plays Overpass and has the small street map; all downloads go there."""
    answer = write_map(tmp_path / "answer.osm").read_text(encoding="utf-8")
    notes = "<note>from www.openstreetmap.org, under ODbL</note><meta osm_base='2026-01-02T03:04:05Z'/>"
    (tmp_path / "answer.osm").unlink()
    with MapServer(answer.replace("><node", f">{notes}<node", 1).replace("'", '"').encode()) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        monkeypatch.setenv("CHANNELFM_OVERPASS", server.url)
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def write_map():
    """Writes an .osm file of square buildings [(x, y, side, height), ...] in metres about a place near 0 N 0 E."""

    def write(path: Path, buildings=((0, 0, 20, 15), (60, 10, 30, 25), (20, 70, 25, 40)), road=True) -> Path:
        nodes, ways, number = [], [], 0
        for index, (x, y, side, height) in enumerate(buildings):
            corners = [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]
            nodes += [_node(number + k + 1, *corner) for k, corner in enumerate(corners)]
            refs = [number + k + 1 for k in (0, 1, 2, 3, 0)]
            ways.append(_way(1000 + index, refs, {"building": "yes", "height": str(height)}))
            number += 4
        if road:
            nodes += [_node(number + 1, 5, 55), _node(number + 2, 80, 55), _node(number + 3, 80, 90)]
            ways.append(_way(2000, [number + 1, number + 2, number + 3], {"highway": "residential"}))
        path.write_text("<osm version='0.6' generator='test'>" + "".join(nodes + ways) + "</osm>", encoding="utf-8")
        return path

    return write


def _node(number, x, y):
    return f"<node id='{number}' version='1' lat='{y / METRES_PER_DEGREE:.9f}' lon='{x / METRES_PER_DEGREE:.9f}'/>"


def _way(number, refs, tags):
    inner = "".join(f"<nd ref='{ref}'/>" for ref in refs) + "".join(f"<tag k='{k}' v='{v}'/>" for k, v in tags.items())
    return f"<way id='{number}' version='1'>{inner}</way>"


@pytest.fixture(scope="session")
def tiny_scene() -> Scene:
    """Ground of 200 m x 200 m and one concrete box of 20 m x 20 m x 15 m at (40 ... 60, -10 ... 10)."""
    ground = np.array([[-20, -100, 0], [180, -100, 0], [180, 100, 0], [-20, 100, 0]], np.float64)
    box = np.array([[x, y, z] for z in (0, 15) for x, y in ((40, -10), (60, -10), (60, 10), (40, 10))], np.float64)
    quads = [(0, 3, 2, 1), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)]
    faces = [(0, 1, 2), (0, 2, 3)]
    faces += [tuple(4 + corner for corner in (a, b, c)) for q in quads for a, b, c in (q[:3], (q[0], q[2], q[3]))]
    return Scene(
        name="tiny",
        vertices=np.concatenate([ground, box]),
        faces=np.array(faces, np.int32),
        face_object=np.array([0] * 2 + [1] * 12, np.int32),
        objects=(SceneObject("ground", "medium_dry_ground", "ground"), SceneObject("box", "concrete", "building")),
        bounds=(-20.0, -100.0, 180.0, 100.0),
    )


@pytest.fixture(scope="session")
def make_channels():
    """Made-up channels of any shape, with labels of the right types."""

    def make(snapshots=4, rows=2, cols=3, frequencies=1, seed=0) -> Channels:
        rng = np.random.default_rng(seed)
        shape = (snapshots, rows * cols, frequencies)
        return Channels(
            response=(rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64),
            frequencies_hz=7e9 + np.arange(frequencies) * 30e3,
            positions_m=rng.normal(size=(snapshots, 3)),
            velocities_mps=rng.normal(size=(snapshots, 3)),
            times_s=np.arange(snapshots, dtype=np.float64),
            track=np.zeros(snapshots, np.int32),
            line_of_sight=rng.random(snapshots) < 0.5,
            near_field=rng.random(snapshots) < 0.5,
            has_path=np.ones(snapshots, bool),
            distance_m=rng.random(snapshots),
            azimuth_rad=rng.random(snapshots),
            elevation_rad=rng.random(snapshots),
            rows=rows,
            cols=cols,
            carrier_hz=7e9,
        )

    return make


@pytest.fixture(scope="session")
def direct_paths():
    """Makes the lines of sight from two users, positions [2, 3], to an array, as plane waves."""

    def make(array, users) -> Paths:
        legs = np.asarray(array.position) - users
        distance = np.linalg.norm(legs, axis=1)
        departure = (legs / distance[:, None])[:, None]
        return Paths(
            gain=np.full((2, 1, 1), 1e-4, np.complex64),
            delay_s=distance[:, None, None] / SPEED_OF_LIGHT,
            valid=np.ones((2, 1, 1), bool),
            doppler_hz=np.zeros((2, 1, 1), np.float32),
            interactions=np.zeros((2, 1, 1), np.int32),
            points_m=np.zeros((2, 1, 1, 3)),
            departure=departure,
            arrival=-departure,
            times_s=np.zeros(2),
            positions_m=users,
            carrier_hz=array.carrier_hz,
            method="test",
        )

    return make


@pytest.fixture(scope="session")
def sionna_rt():
    """The module sionna.rt, on an LLVM that was chosen before Dr.Jit is imported; skips where there is none."""
    from channelfm.tracing.sionna import import_sionna

    try:
        return import_sionna()
    except DependencyError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def packaged_scenes():
    """Skips where Sionna's packaged scenes are not installed; they are read without running any of it."""
    if importlib.util.find_spec("sionna") is None:
        pytest.skip("the packaged scenes come with sionna-rt")


@pytest.fixture(scope="session")
def wave_sequences():
    """Sequences complex64 [count, frames, rows, cols, frequencies] of three plane waves with Doppler shifts each."""

    def make(count=3, frames=8, rows=1, cols=4, frequencies=8, seed=0, delay=0.2):
        generator = np.random.default_rng(seed)
        shifts = generator.uniform(-1, 1, (4, count, 3)) * np.array([0.3, 0.4, 0.4, delay])[:, None, None]
        shifts[3] = np.abs(shifts[3]) + 1 / 32
        phase = generator.random((count, 3, 1, 1, 1, 1))
        for axis, size, sign in zip(range(4), (frames, rows, cols, frequencies), (1, 1, 1, -1), strict=True):
            index = np.arange(size).reshape(-1, *[1] * (3 - axis))
            phase = phase + sign * shifts[axis].reshape(count, 3, *[1] * 4) * index
        gains = np.array([1.0, 0.5, 0.3]).reshape(1, 3, 1, 1, 1, 1)
        return (gains * np.exp(2j * np.pi * phase)).sum(axis=1).astype(np.complex64)

    return make
