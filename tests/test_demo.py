import json

import pytest

from channelfm import demo
from channelfm.benchmarking import cells
from channelfm.demo import EvaluationRecipe, read_demo, run_demo
from channelfm.errors import InputError

TINY = (
    "data.array.rows=8",
    "data.array.cols=8",
    "data.tracing={method: images, max_depth: 1}",
    "data.flights=["
    "{name: train, split: train, num_uavs: 2, num_steps: 12}, {name: test, split: test, num_uavs: 1, num_steps: 5}]",
    "pretraining.steps=3",
    "pretraining.batch_size=4",
    "pretraining.predictor.sampler.steps=2",
    "evaluation.max_samples=4",
)


@pytest.fixture(scope="module")
def street_map(tmp_path_factory, write_map):
    return write_map(tmp_path_factory.mktemp("maps") / "old town.osm")


@pytest.fixture(scope="module")
def finished(street_map, tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    return out, run_demo(street_map, out, seed=3, overrides=TINY, progress=False)


def test_the_demo_writes_results_and_report(finished):
    out, results = finished
    written = json.loads((out / "results.json").read_text())
    assert written == results
    assert written["scene"] == "old-town"
    assert written["seed"] == 3
    assert {(row["estimator"], row["case"]["mask_ratio"]) for row in written["rows"]} == {
        (name, ratio) for name in (*EvaluationRecipe().predictors, "cddim-canonical") for ratio in (0.5, 0.75, 0.9)
    }
    for row in written["rows"]:
        assert {"estimator", "label", "nmse_db", "nmse_median_db", "latency_ms", "samples"} <= set(row)
        assert row["samples"] == 4 or row["group"] != "all"
        assert row["latency_ms"] >= 0
    assert "torch" in written["versions"]
    report = (out / "report.html").read_text()
    assert "<html" in report
    assert "OpenStreetMap" in report
    assert "http://" not in report.replace("http://www.w3.org", "")  # self-contained


def test_zero_filling_loses_what_is_hidden(finished):
    _, results = finished
    whole = [row for row in results["rows"] if row["group"] == "all"]
    rows = {row["case"]["mask_ratio"]: row for row in whole if row["estimator"] == "zero-filling"}
    assert rows[0.5]["nmse_db"] == pytest.approx(-3.01, abs=0.5)
    assert rows[0.9]["nmse_db"] == pytest.approx(-0.46, abs=0.3)


@pytest.mark.slow
def test_a_second_run_reuses_everything(finished, street_map, monkeypatch):
    out, results = finished
    monkeypatch.setattr(cells, "measure", lambda *_, **__: pytest.fail("measured again"))
    kept = [*out.glob("*-*/**/*"), *out.glob("cells/*")]
    before = {path: path.stat().st_mtime_ns for path in kept if path.is_file()}
    assert run_demo(street_map, out, seed=3, overrides=TINY, progress=False) == results
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_other_settings_do_not_disturb_what_is_there(finished, street_map):
    out, _ = finished
    before = {path for path in out.rglob("*") if path.is_file()}
    run_demo(street_map, out, seed=3, overrides=(*TINY, "evaluation.mask_ratios=[0.8]"), progress=False)
    added = [path for path in out.rglob("*") if path.is_file() and path not in before]
    assert {path.parent.name for path in added} == {"cells"}
    assert len(added) == len(EvaluationRecipe().predictors) + 1


@pytest.mark.slow
def test_an_interrupt_in_any_step_resumes(street_map, tmp_path, finished, monkeypatch):
    _, results = finished
    for step in ("generate", "pretrain", "measure"):
        real = getattr(demo, step)

        def interrupted(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(demo, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_demo(street_map, tmp_path, seed=3, overrides=TINY, progress=False)
        monkeypatch.setattr(demo, step, real)
    again = run_demo(street_map, tmp_path, seed=3, overrides=TINY, progress=False)
    for row, expected in zip(again["rows"], results["rows"], strict=True):
        assert row["nmse_db"] == expected["nmse_db"]


def test_the_shipped_recipe_tests_where_it_did_not_train():
    settings = read_demo()
    train = [flight.before_array.aside_m for flight in settings.data.flights if flight.split == "train"]
    test = [flight.before_array.aside_m for flight in settings.data.flights if flight.split == "test"]
    assert max(high for _, high in train) < min(low for low, _ in test)
    assert settings.data.array.rows == settings.data.array.cols == 32


def test_one_seed_for_all_parts():
    settings = read_demo(seed=9)
    assert (settings.data.seed, settings.pretraining.seed, settings.evaluation.seed) == (9, 9, 9)
    assert read_demo(seed=9, overrides=["evaluation.seed=1"]).evaluation.seed == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluation.predictors=[magic]", "magic.*polar-omp"),
        ("evaluation.mask_ratios=[1.0]", "mask_ratios"),
        ("data.flights=[{name: t, split: test}]", "split 'train'"),
        ("evaluation.spilt=val", "spilt"),
    ],
)
def test_an_unusable_recipe_is_refused(override, message):
    with pytest.raises(InputError, match=message):
        read_demo(overrides=[override])
