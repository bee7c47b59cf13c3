import re
from html.parser import HTMLParser

import numpy as np
import pytest
from channelfm.benchmark.figures import colours
from channelfm.benchmark.report import Example, Flight, ReportContent, write_report
from channelfm.benchmark.run import evaluate

from channelfm.baselines import ZeroFilling
from channelfm.errors import InputError
from channelfm.records import Road, Scene, SceneObject


def square_scene():
    """One flat roof at 20 m over a square of 40 m."""
    corners = np.array([[0, 0, 20], [40, 0, 20], [40, 40, 20], [0, 40, 20]], dtype=float)
    return Scene(
        name="square <1>",
        vertices=corners,
        faces=np.array([[0, 1, 2], [0, 2, 3]], dtype=np.int32),
        face_object=np.zeros(2, dtype=np.int32),
        objects=(SceneObject("roof", "concrete", "building"),),
        bounds=(-100.0, -100.0, 100.0, 100.0),
        roads=(Road("residential", ((-90.0, 0.0), (90.0, 5.0))),),
    )


@pytest.fixture(scope="module")
def content():
    truth = np.exp(2j * np.pi * np.random.default_rng(0).random((3, 8, 8, 1))).astype(np.complex64)
    rows = evaluate([ZeroFilling()], truth, [0.5, 0.9], progress=False)
    mask = np.random.default_rng(1).random((8, 8)) < 0.5
    positions = np.linspace([-80, -50, 40], [80, 60, 45], 12)
    return ReportContent(
        title="A test & more",
        rows=rows,
        scene_name="square <1>",
        array="8 x 8 at 7 GHz",
        seed=7,
        versions={"channelfm": "0.1.0"},
        left_out=2,
        scene=square_scene(),
        flights=[
            Flight(positions, np.arange(12) < 5, np.repeat([0, 1], 6), held_out=True),
            Flight(positions[::-1] + 10, np.arange(12) < 5, np.zeros(12, dtype=np.int32), held_out=False),
        ],
        array_position_m=(-90.0, 0.0, 30.0),
        rayleigh_distance_m=70.0,
        examples=[
            Example(
                truth[0, ..., 0],
                mask,
                {"zero-filling": truth[0, ..., 0] * mask},
                0.5,
                "far field",
                wavelength_m=0.04,
                focus_m=30.0,
            )
        ],
        settings={"recipe": "<demo>"},
        attribution="OpenStreetMap contributors",
    )


class Collector(HTMLParser):
    def __init__(self):
        super().__init__()
        self.sources, self.links, self.text, self.open = [], [], [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.sources += [values["src"]] if "src" in values else []
        self.links += [values["href"]] if "href" in values else []
        if tag not in {"meta", "img", "br", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parse(path):
    page = Collector()
    page.feed(path.read_text(encoding="utf-8"))
    assert not page.open
    return page, " ".join(page.text)


def test_report_is_whole_and_self_contained(content, tmp_path):
    write_report(tmp_path / "report.html", content)
    page, text = parse(tmp_path / "report.html")
    assert len(page.sources) == 7  # map, accuracy, amplitudes, polar domain, focus, accuracy against time, times
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    assert page.links == []
    assert not re.search(r"@import|url\(|<script", (tmp_path / "report.html").read_text())
    for words in (
        "A test & more",
        "square <1>",
        "8 x 8 at 7 GHz",
        "<demo>",
        "OpenStreetMap",
        "5 of the 12",
        "channelfm",
    ):
        assert words in text
    assert "2 positions that no path reaches" in text
    assert f"{content.rows[0]['nmse_db']:.1f}".replace("-", "\N{MINUS SIGN}") in text


def test_report_without_map_and_example(content, tmp_path):
    bare = ReportContent("Bare", content.rows, "none", "ULA", 0, {})
    write_report(tmp_path / "report.html", bare)
    assert len(parse(tmp_path / "report.html")[0].sources) == 3


def test_report_needs_rows(tmp_path):
    with pytest.raises(InputError, match="at least one row"):
        write_report(tmp_path / "report.html", ReportContent("Empty", [], "none", "ULA", 0, {}))
    assert not list(tmp_path.iterdir())


def test_colours_are_stable_and_distinct():
    names = ["off-grid", "mine", "polar-omp", "other"]
    palette = colours(names)
    assert len(set(palette.values())) == 4
    assert palette["off-grid"] == colours(["off-grid"])["off-grid"]
