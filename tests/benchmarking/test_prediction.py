"""The prediction benchmark on a small stochastic data set."""

import json

import numpy as np
import pytest
import yaml
from channelfm.benchmark.prediction.measure import measure
from channelfm.benchmark.prediction.predictors import find_sequence_predictors
from channelfm.benchmark.prediction.recipe import PredictionRecipe
from channelfm.benchmark.prediction.rows import case_name, print_prediction, row_name
from channelfm.benchmark.prediction.suite import benchmark_prediction
from typer.testing import CliRunner

import channelfm
from channelfm.cli import app
from channelfm.config import load_recipe, parse_recipe
from channelfm.errors import InputError
from channelfm.tasks.prediction import prediction_examples

TUNED = {
    "predictor": {"name": "gru-small", "method": "sequence", "model": "gru-small"},
    "objective": {"kind": "masked-sequence", "frames": 6, "horizon": 2, "mask_kinds": {"future": 1.0}},
    "steps": 1,
    "batch_size": 2,
    "accelerator": "cpu",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the recipes of a data set, a network and the benchmark."""
    folder = tmp_path_factory.mktemp("prediction")
    flight = {"speed_mps": [1, 29], "interval_s": 1e-3, "num_steps": 6, "scenes": ["cdl"]}
    data = {
        "name": "moving",
        "array": {"rows": 1, "cols": 4, "carrier_hz": 3.5e9, "height_m": 25.0},
        "channel": {"num_subcarriers": 8, "subcarrier_spacing_hz": 1e6},
        "scenes": [{"name": "cdl", "source": "threegpp:cdl-a"}],
        "flights": [
            flight | {"name": "train", "split": "train", "num_uavs": 4},
            flight | {"name": "test", "split": "test", "num_uavs": 5},
        ],
    }
    suite = {
        "name": "small prediction",
        "task": "prediction",
        "sets": [{"name": "cdl", "dataset": str(folder / "data"), "data_recipe": str(folder / "data.yaml")}],
        "context": 4,
        "horizons": [1, 2],
        "speed_bins": [[0, 15], [15, 30]],
        "snr_db": [None, 10],
        "combs": [1, 2],
        "seeds": [0, 1],
        "predictors": ["sample-and-hold", "ar-shared"],
        "quick": {"max_sequences": 2, "snr_db": [10], "combs": [1]},
    }
    for name, values in (("data", data), ("suite", suite), ("first", TUNED)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
    return folder


@pytest.fixture(scope="module")
def results(folder):
    return benchmark_prediction(folder / "suite.yaml", folder / "out", progress=False)


def test_rows_cover_every_cell_once(results):
    rows = results["rows"]
    keys = [(row["predictor"], case_name(row), row["speed_mps"], row["horizon"]) for row in rows]
    assert len(keys) == len(set(keys))
    assert {case_name(row) for row in rows} == {
        "clean", "10 dB SNR", "clean, pilots on 1/2", "10 dB SNR, pilots on 1/2",
    }  # fmt: skip
    assert {row["horizon"] for row in rows} == {1, 2}
    assert {row["seeds"] for row in rows if row["snr_db"] is None} == {1}
    assert {row["seeds"] for row in rows if row["snr_db"] is not None} == {2}
    assert sum({row["speed_mps"]: row["samples"] for row in rows}.values()) == 5


def test_numbers_make_sense(results):
    for row in results["rows"]:
        assert row["nmse_db_low"] <= row["nmse_db"] <= row["nmse_db_high"]
        assert 0 <= row["similarity"] <= 1
        assert 0 < row["rate_share"] < 1.01
        assert row["latency_ms"] > 0
    mean = {
        name: np.mean([row["nmse_db"] for row in results["rows"] if row["predictor"] == name and row["horizon"] == 1])
        for name in ("sample-and-hold", "ar-shared")
    }
    assert mean["ar-shared"] < mean["sample-and-hold"] - 1


def test_the_report_is_whole_and_asks_nobody(results, folder):
    page = (folder / "out" / "report.html").read_text()
    assert "http" not in page.replace("http-equiv", "").split("<svg")[0]
    for word in ("Who wins where", "ar-shared", "10 dB SNR, pilots on 1/2", "squared cosine similarity"):
        assert word in page
    assert json.loads((folder / "out" / "results.json").read_text())["rows"] == json.loads(json.dumps(results["rows"]))


def test_what_was_measured_is_kept(results, folder, monkeypatch):
    def refuse(*_):
        raise AssertionError("measured again")

    monkeypatch.setattr("channelfm.benchmark.prediction.suite.measure", refuse)
    assert benchmark_prediction(folder / "suite.yaml", folder / "out", progress=False)["rows"] == results["rows"]


def test_networks_are_tuned_on_shares_and_kept(folder, results):
    runner = CliRunner()
    start = ["pretrain", str(folder / "first.yaml"), "--data", str(folder / "data"), "--out", str(folder / "first")]
    assert runner.invoke(app, start).exit_code == 0
    tuned = TUNED | {"start_from": str(folder / "first" / "checkpoint")}
    (folder / "tuned.yaml").write_text(yaml.safe_dump(tuned))
    sets = f"[{{name: cdl, dataset: '{folder / 'data'}', split: train}}]"
    overrides = [
        f"tuning={{recipes: ['{folder / 'tuned.yaml'}'], sets: {sets}, percent: [0, 50, 100]}}",
        "predictors=[sample-and-hold]",
    ]
    found = benchmark_prediction(folder / "suite.yaml", folder / "out", overrides=overrides, progress=False)
    rows = [row for row in found["rows"] if row["tuned_on"] is not None]
    assert {row_name(row) for row in rows} == {f"gru-small + {share} % cdl" for share in (0, 50, 100)}
    assert {case_name(row) for row in rows} == {"clean"}
    [tuned] = (folder / "out" / "tuned").glob("gru-small--cdl--50--*")
    assert (tuned / "checkpoint").is_dir()
    assert "Tuned on shares" in (folder / "out" / "report.html").read_text()
    overrides[0] = f"tuning={{recipes: ['{folder / 'first.yaml'}'], sets: {sets}}}"
    with pytest.raises(InputError, match="start_from"):
        benchmark_prediction(folder / "suite.yaml", folder / "out", overrides=overrides, progress=False)


def test_the_command_and_the_function_take_prediction_recipes(folder, results):
    run = ["benchmark", str(folder / "suite.yaml"), "--quick", "--out", str(folder / "quick")]
    answer = CliRunner().invoke(app, [*run, "--json", str(folder / "rows.json")])
    assert answer.exit_code == 0, answer.output
    assert "frames ahead" in answer.output
    rows = json.loads((folder / "rows.json").read_text())["rows"]
    assert sum({tuple(row["speed_mps"]): row["samples"] for row in rows}.values()) == 2
    again = channelfm.benchmark(folder / "suite.yaml", folder / "quick", quick=True, progress=False)
    assert len(again["rows"]) == len(rows)


def test_tables_are_printed(results, capsys):
    print_prediction(results["rows"])
    assert "15 to 30 m/s" in capsys.readouterr().out


def test_the_shipped_recipe_is_that_of_the_issue():
    settings = load_recipe(PredictionRecipe, "bench-prediction")
    assert settings.horizons == (1, 2, 4, 8)
    assert settings.snr_db == (None, 20, 10, 0)
    assert settings.combs == (1, 2, 4)
    assert settings.tuning.percent == (0, 1, 2, 10, 50, 100)
    quick = settings.quickened()
    assert not quick.tuning.recipes
    assert quick.max_sequences < settings.max_sequences


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speed_bins": [[5, 5]]}, "empty"),
        ({"sets": [{"name": "a", "dataset": "x"}] * 2}, "same name"),
    ],
)
def test_recipes_that_make_no_sense(change, message):
    plain = {"name": "n", "task": "prediction", "sets": [{"name": "a", "dataset": "x"}]}
    with pytest.raises(InputError, match=message):
        parse_recipe(PredictionRecipe, plain | change, "here")


def test_unknown_predictors_and_splits(folder, results):
    with pytest.raises(InputError, match=r"crystal-ball.*classical: sample-and-hold"):
        find_sequence_predictors(["crystal-ball"])
    with pytest.raises(InputError, match="no split 'val'"):
        benchmark_prediction(folder / "suite.yaml", folder / "out", overrides=["sets.0.split=val"], progress=False)
    long = ["context=40"]
    run = ["benchmark", str(folder / "suite.yaml"), "-s", long[0], "--out", str(folder / "out")]
    answer = CliRunner().invoke(app, run)
    assert answer.exit_code == 2


def test_answers_that_are_none_are_refused(wave_sequences):
    class Broken:
        name = "broken"

        def predict(self, past, mask, horizon):
            return np.full((len(past), horizon, *past.shape[2:]), np.nan, np.complex64)

    with pytest.raises(InputError, match="'broken' answered"):
        measure(Broken(), [prediction_examples(wave_sequences(2), 6, 2)], [1, 2], 20.0)
