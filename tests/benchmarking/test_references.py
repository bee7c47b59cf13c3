"""References know what no estimator can: they stand in tables, figures and reports, and win nothing."""

import numpy as np
import pytest
import yaml

from channelfm.benchmarking import cells, suite
from channelfm.benchmarking.bounds import FittedWaves
from channelfm.benchmarking.console import print_results
from channelfm.datasets import open_dataset
from channelfm.datasets.blocks import link_blocks
from channelfm.tasks import HybridEstimation
from channelfm.waves.bounds import field_bound

RECIPES = {
    "data": {
        "name": "drawn",
        "array": {"rows": 1, "cols": 48, "carrier_hz": 28e9, "pattern": "isotropic"},
        "channel": {"num_subcarriers": 8, "subcarrier_spacing_hz": 12e6},
        "scenes": [{"name": "paths", "source": "near-field:paths"}],
        "flights": [{"name": "test", "split": "test", "num_uavs": 2, "num_steps": 4}],
        "near_field": {"range_m": [1.0, 5.0], "squint": False},
    },
    "suite": {
        "name": "small hybrid",
        "task": {"kind": "hybrid-estimation", "slots": [4, 8], "snr_db": [10], "users": 4},
        "sets": [{"name": "paths", "dataset": "data", "data_recipe": "data.yaml"}],
        "predictors": ["least-squares", "polar-somp"],
        "seeds": [0, 1],
    },
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("references")
    settings = RECIPES["suite"] | {
        "sets": [{"name": "paths", "dataset": str(folder / "data"), "data_recipe": str(folder / "data.yaml")}]
    }
    (folder / "data.yaml").write_text(yaml.safe_dump(RECIPES["data"]))
    (folder / "suite.yaml").write_text(yaml.safe_dump(settings))
    return folder, suite.benchmark(folder / "suite.yaml", folder / "out", progress=False)


def test_they_have_rows_below_the_estimators(finished):
    _, results = finished
    rows = [row for row in results["rows"] if row["group"] == "all"]
    assert [row["estimator"] for row in rows] == ["least-squares", "polar-somp", "oracle-ls"] * 2
    for row in rows:
        assert row["reference"] is (row["estimator"] == "oracle-ls")
        assert row["seeds"] == 2
        assert "bound" in row["against"]
    oracle = rows[-1]
    assert oracle["nmse_db"] == pytest.approx(10 * np.log10(3 * 0.1 / 32), abs=1.5)
    assert oracle["latency_ms"] == 0
    assert oracle["against"]["bound"]["nmse_db"][0] > 0  # its gains are free, so that the bound lies below


def test_they_win_nothing(finished):
    folder, results = finished
    least = {row["label"]: row for row in results["rows"] if row["estimator"] == "least-squares"}
    assert all(row["against"]["classical"]["estimator"] == "polar-somp" for row in least.values())
    page = (folder / "out/report.html").read_text()
    assert "<tr class='reference'>" in page
    assert "what no estimator can" in page
    cards = page[page.index("<dl class='facts'>") : page.index("</dl>")]
    assert "polar-somp" in cards
    assert "oracle-ls" not in cards
    assert "won" in page
    assert "oracle-ls <b>" not in page


def test_the_terminal_shows_them(finished, capsys):
    print_results(finished[1])
    assert "oracle-ls" in capsys.readouterr().out


def test_they_are_kept_like_other_cells(finished, monkeypatch):
    folder, results = finished
    monkeypatch.setattr(HybridEstimation, "references", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(cells, "measure", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(suite, "report_of", lambda *_: "")
    assert suite.benchmark(folder / "suite.yaml", folder / "out", progress=False)["rows"] == results["rows"]


def test_the_bound_of_single_paths_is_that_of_the_paths(finished):
    folder, _ = finished
    blocks, task = link_blocks(open_dataset(folder / "data"), "test"), HybridEstimation(slots=(8,))
    examples = task.examples(blocks, task.cases()[0], 0)
    waves, left = FittedWaves(blocks).found
    assert not left.any()
    bound = FittedWaves(blocks).bound(task, [examples])
    assert bound.shape == (1, 8)
    assert (bound[0] <= field_bound(waves, examples.observation) * (1 + 1e-9)).all()
    assert bound.mean() < task.references(examples)["oracle-ls"].mean() / 2
