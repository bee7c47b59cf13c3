import dataclasses
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from typer.testing import CliRunner

import channelfm
from channelfm.baselines import ZeroFilling
from channelfm.benchmarking import cells, suite
from channelfm.benchmarking.console import print_results
from channelfm.benchmarking.entries import BASELINES
from channelfm.benchmarking.figures import colours
from channelfm.cli import app
from channelfm.errors import InputError


@pytest.fixture(scope="module")
def finished(suite_recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return out, suite.benchmark(suite_recipe, out, progress=False)


@pytest.fixture(scope="module")
def predicted(prediction_recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("predicted")
    return out, suite.benchmark(prediction_recipe, out, progress=False)


@pytest.fixture
def no_report(monkeypatch):
    """Figures take longer to draw than everything here takes to measure: few reports are enough."""
    monkeypatch.setattr(suite, "report_of", lambda *_: "")


@pytest.fixture
def counted(monkeypatch):
    """Names of the estimators of which cells are measured."""
    names, real = [], cells.measure

    def measure(asked, *arguments):
        names.append(asked.estimator.name)
        return real(asked, *arguments)

    monkeypatch.setattr(cells, "measure", measure)
    return names


def key(row):
    return row["set"], row["label"], row["estimator"], row["group"]


class Page(HTMLParser):
    """What a page loads, where its links go, and its words; every tag is closed."""

    def __init__(self, path):
        super().__init__()
        self.sources, self.words, self.open = [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        self.open += [] if tag in {"meta", "img", "br", "link"} else [tag]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def check_page(path, pictures, *words):
    page = Page(path)
    assert len(page.sources) == pictures
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    assert not re.search(r"@import|url\(|<script", path.read_text())
    for word in words:
        assert word in " ".join(page.words)


def test_one_call_from_recipe_to_report(finished):
    out, results = finished
    rows = {key(row): row for row in results["rows"]}
    assert len(rows) == len(results["rows"])
    whole = [cell for cell in rows if cell[-1] == "all"]
    assert whole[:3] == [
        ("whole", "random 0.5", "zero-filling", "all"),
        ("whole", "random 0.5", "wave-frame", "all"),
        ("whole", "random 0.75", "zero-filling", "all"),
    ]
    assert len(whole) == 2 * 3 * 2
    row = rows["whole", "random 0.5", "wave-frame", "all"]
    assert row["case"] == {"mask_kind": "random", "mask_ratio": 0.5, "snr_db": None}
    zero = rows["whole", "random 0.5", "zero-filling", "all"]
    assert zero["nmse_db"] == pytest.approx(-3.01, abs=0.3)
    assert zero["nmse_db_low"] <= zero["nmse_db"] <= zero["nmse_db_high"]
    trivial = row["against"]["trivial"]
    assert trivial["nmse_db"][0] == pytest.approx(row["nmse_db"] - zero["nmse_db"])
    assert row["against"]["classical"] | {"estimator": ""} == trivial | {"estimator": ""}  # there is no other
    assert row["floor_db"] < -50
    for row in results["rows"]:
        assert (row["seeds"], row["split"], row["task"], row["params"]) == (2, "test", "extrapolation", 0)
        assert row["samples"] <= 5
    assert json.loads((out / "results.json").read_text(), parse_constant=pytest.fail) == results
    assert results["measures"][0]["key"] == "nmse_median_db"
    words = (
        "8 x 8 at ",
        "4 x 6 at ",
        "Who wins where",
        "In the polar domain (middle)",
        "Beside the paper",
        "block 0.75",
    )
    # map, curve, other cases; of each set amplitudes, ratios, polar domain and focus; accuracy against time, times
    check_page(out / "report.html", 3 + 2 * 4 + 2, *words, "Against each other", "By kind of link")


def test_prediction_goes_through_the_same_suite(predicted, capsys):
    out, results = predicted
    rows = {key(row): row for row in results["rows"]}
    assert {row["label"] for row in results["rows"]} == {
        "clean", "10 dB SNR", "clean, pilots on 1/2", "10 dB SNR, pilots on 1/2",
    }  # fmt: skip
    assert {row["seeds"] for row in results["rows"] if row["case"]["snr_db"] is None} == {1}
    assert {row["seeds"] for row in results["rows"] if row["case"]["snr_db"] is not None} == {2}
    bins = [rows["cdl", "clean", "ar-shared", group]["samples"] for group in ("0 to 15 m/s", "15 to 30 m/s")]
    assert sum(bins) == rows["cdl", "clean", "ar-shared", "all"]["samples"] == 5
    for row in results["rows"]:
        assert 0 <= row["similarity@1"] <= 1
        assert 0 < row["rate_share@2"] < 1.01
    ahead = rows["cdl", "clean", "ar-shared", "all"]
    assert ahead["against"]["trivial"]["nmse_db@1"][0] < -1
    assert ahead["against"]["trivial"]["nmse_db@1"][3] > 0.5
    check_page(out / "report.html", 3, "10 dB SNR, pilots on 1/2", "squared cosine similarity", "0 to 15 m/s")
    print_results(results)
    assert "pilots on 1/2" in capsys.readouterr().out


def test_a_second_run_measures_nothing_and_a_new_estimator_or_case_alone(finished, suite_recipe, counted, no_report):
    out, results = finished
    assert suite.benchmark(suite_recipe, out, progress=False) == results
    assert counted == []
    more = ["predictors=[zero-filling, wave-frame, polar-omp]"]
    rows = suite.benchmark(suite_recipe, out, overrides=more, progress=False)["rows"]
    assert counted == ["polar-omp"] * 6
    before = {key(row): row["nmse_db"] for row in results["rows"]}
    assert all(before[key(row)] == row["nmse_db"] for row in rows if row["estimator"] != "polar-omp")
    counted.clear()
    ratios = ["task.masks=[{ratios: [0.5, 0.6]}]"]
    suite.benchmark(suite_recipe, out, overrides=ratios, progress=False)
    assert len(counted) == 2 * 2  # the new ratio, of both estimators on both sets


def test_a_setting_of_the_task_measures_again(predicted, prediction_recipe, counted, no_report):
    out, _ = predicted
    for changes, again in ((["speed_bins=[[0, 30]]"], 0), (["rate_snr_db=10"], 8), (["seeds=[0, 2]"], 4)):
        counted.clear()
        suite.benchmark(prediction_recipe, out, overrides=changes, progress=False)
        assert len(counted) == again, changes


def test_an_interrupted_run_goes_on_where_it_stopped(suite_recipe, tmp_path, monkeypatch, finished, no_report):
    real, calls = cells.measure, []

    def broken(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(cells, "measure", broken)
    with pytest.raises(KeyboardInterrupt):
        suite.benchmark(suite_recipe, tmp_path, progress=False)
    assert len(list((tmp_path / "cells").iterdir())) == 2
    (next((tmp_path / "cells").iterdir())).write_bytes(b"damaged")
    (tmp_path / "cells" / f"{'0' * 32}.safetensors").write_bytes(b"of format 1")
    results = suite.benchmark(suite_recipe, tmp_path, progress=False)
    assert len(calls) == 3 + 11
    assert re.search("1 kept cells in .* another format", " ".join(results["notes"]))
    assert [row["nmse_db"] for row in results["rows"]] == [row["nmse_db"] for row in finished[1]["rows"]]


def test_the_verb_is_a_function_whatever_was_imported_and_quick_measures_less(suite_recipe, tmp_path, no_report):
    assert channelfm.benchmark is suite.benchmark
    results = channelfm.benchmark(
        suite_recipe, tmp_path, quick=True, overrides=["predictors=[zero-filling]"], progress=False
    )
    assert results["seed"] == 3
    assert {(row["label"], row["seeds"]) for row in results["rows"]} == {("random 0.75", 1)}
    assert max(row["samples"] for row in results["rows"]) == 2


def test_the_command_prints_a_table_and_writes_the_rows(prediction_recipe, tmp_path, no_report):
    run = ["benchmark", str(prediction_recipe), "--quick", "--out", str(tmp_path), "--json", str(tmp_path / "rows")]
    answer = CliRunner().invoke(app, run)
    assert answer.exit_code == 0, answer.output
    assert "mean NMSE" in answer.output
    rows = json.loads((tmp_path / "rows").read_text())["rows"]
    assert {row["samples"] for row in rows if row["group"] == "all"} == {2}
    assert CliRunner().invoke(app, [*run, "-s", "context=40"]).exit_code == 2


class Pupil(ZeroFilling):
    """Fills in the mean of what it was taught."""

    taught = ()

    def learn(self, examples):
        Pupil.taught += (examples.channel.shape,)
        self.mean = examples.channel.mean(axis=0)

    def estimate(self, observation):
        return np.where(observation.mask, observation.values, self.mean).astype(np.complex64)


def test_estimators_that_learn_are_taught_once_for_each_set(suite_recipe, tmp_path, monkeypatch, no_report):
    monkeypatch.setattr(Pupil, "taught", ())
    monkeypatch.setitem(BASELINES, "zero-filling", Pupil)
    settings = ["predictors=[zero-filling]", "learn_samples=2"]
    results = suite.benchmark(suite_recipe, tmp_path, overrides=settings, progress=False)
    assert Pupil.taught == ((2, 1, 8, 8, 1), (2, 1, 4, 6, 1))
    assert results["notes"] == []


def test_notes_tell_who_is_left_out_and_why(suite_recipe, tmp_path, monkeypatch, no_report):
    monkeypatch.setattr("channelfm.datasets.dataset.Dataset.splits", ("test",))
    few = {name: BASELINES[name] for name in ("zero-filling", "lmmse", "kalman", "esprit")}
    monkeypatch.setattr("channelfm.benchmarking.entries.BASELINES", few)
    settings = ["predictors=[classical, esprit]", "task.masks=[{ratios: [0.5]}]", "sets.0.data_recipe=null"]
    results = suite.benchmark(suite_recipe, tmp_path, overrides=settings, progress=False)
    assert {row["estimator"] for row in results["rows"]} == {"zero-filling"}
    assert results["notes"][0] == "'classical' leaves out what does not answer this task: kalman"
    told = [note.partition(":") for note in results["notes"][1:]]
    assert [head for head, _, _ in told] == [
        f"{name} is not measured on '{where}'" for name in ("lmmse", "esprit") for where in ("whole", "middle")
    ]
    assert "no link of split 'train'" in told[0][2]
    assert "predicts frames" in told[2][2]
    with pytest.raises(InputError, match="no estimator could be measured"):
        suite.benchmark(suite_recipe, tmp_path, overrides=["predictors=[esprit]", *settings[1:]], progress=False)


def test_budgets_leave_the_first_units(suite_recipe, tmp_path, monkeypatch, no_report):
    real = cells.measure

    def measure(asked, drawn, shown, budget_s, advance):
        kept = drawn if budget_s is None else [examples.only(slice(0, 2)) for examples in drawn]
        return real(asked, kept, shown, None, advance)

    monkeypatch.setattr(cells, "measure", measure)
    found = suite.benchmark(suite_recipe, tmp_path, overrides=["time_budget_s=1"], progress=False)
    assert {row["samples"] for row in found["rows"] if row["group"] == "all"} == {2}
    found = suite.benchmark(suite_recipe, tmp_path, progress=False)  # what was cut short is no cell of this one
    assert {row["samples"] for row in found["rows"] if row["group"] == "all"} == {5}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("predictors=[nothing-of-the-kind]", "nothing-of-the-kind"),
        ("predictors=[runs/none/checkpoint]", "channelfm pretrain"),
        ("sets.0.split=val", "no split"),
        ("masks=[{kind: comb, ratios: [0.1]}]", "hides nothing"),
        ("masks=[{ratios: [1.0]}]", "less than 1"),
        ("sets.1.dataset=nowhere", "nowhere"),
        ("task={kind: prediction}", "2 at most|choose single links"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(suite_recipe, tmp_path, override, words):
    with pytest.raises(InputError, match=words):
        suite.benchmark(suite_recipe, tmp_path, overrides=[override], progress=False)
    assert not list(tmp_path.iterdir())


def test_channels_with_nan_are_refused(suite_recipe, tmp_path, monkeypatch):
    read = suite.load_set

    def spoiled(*arguments):
        found = read(*arguments)
        channel = found.blocks.channel.copy()
        channel[0, 0, 0, 0] = np.nan
        return dataclasses.replace(found, blocks=dataclasses.replace(found.blocks, channel=channel))

    monkeypatch.setattr(suite, "load_set", spoiled)
    with pytest.raises(InputError, match="NaN"):
        suite.benchmark(suite_recipe, tmp_path, progress=False)


def test_colours_are_stable_and_distinct():
    palette = colours(["off-grid", "mine", "polar-omp", "other"])
    assert len(set(palette.values())) == 4
    assert palette["off-grid"] == colours(["off-grid"])["off-grid"]
