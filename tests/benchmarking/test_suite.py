import json

import numpy as np
import pytest
from channelfm.benchmark import cells, suite
from channelfm.benchmark.suite import benchmark

import channelfm
from channelfm.baselines import BASELINES
from channelfm.errors import InputError


@pytest.fixture(scope="module")
def finished(suite_recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return out, benchmark(suite_recipe, out, progress=False)


@pytest.fixture
def no_report(monkeypatch):
    """Figures take longer to draw than everything here takes to measure: one report is enough."""
    contents = []
    monkeypatch.setattr(suite, "write_report", lambda path, content: contents.append(content))
    return contents


def key(row):
    return row["set"], row["mask_kind"], row["mask_ratio"], row["predictor"], row["group"]


def test_one_call_from_recipe_to_report(finished):
    out, results = finished
    rows = {key(row): row for row in results["rows"]}
    assert len(rows) == len(results["rows"])
    whole = [cell for cell in rows if cell[-1] == "all"]
    assert whole[:3] == [
        ("whole", "random", 0.5, "zero-filling", "all"),
        ("whole", "random", 0.5, "wave-frame", "all"),
        ("whole", "random", 0.75, "zero-filling", "all"),
    ]
    assert len(whole) == 2 * 3 * 2
    assert rows["whole", "random", 0.5, "zero-filling", "all"]["nmse_db"] == pytest.approx(-3.01, abs=0.3)
    assert all(row["seeds"] == 2 and row["samples"] <= 5 and row["split"] == "test" for row in results["rows"])
    assert json.loads((out / "results.json").read_text()) == results
    page = (out / "report.html").read_text()
    for words in ("8 x 8 at ", "4 x 6 at ", "Who wins where", "In the polar domain (middle)", "Beside the paper"):
        assert words in page


def test_a_second_run_measures_nothing_and_a_new_predictor_alone(finished, suite_recipe, monkeypatch, no_report):
    out, results = finished
    measured = []
    real = cells.measure
    monkeypatch.setattr(cells, "measure", lambda *a, **k: measured.append(a[0].name) or real(*a, **k))
    assert benchmark(suite_recipe, out, progress=False) == results
    assert measured == []
    more = benchmark(suite_recipe, out, overrides=["predictors=[zero-filling, wave-frame, polar-omp]"], progress=False)
    assert set(measured) == {"polar-omp"}
    assert len(measured) == 2 * 3
    before = {key(row): row for row in results["rows"]}
    assert all(before[key(row)] == row for row in more["rows"] if row["predictor"] != "polar-omp")


def test_an_interrupted_run_goes_on_where_it_stopped(suite_recipe, tmp_path, monkeypatch, finished, no_report):
    real, calls = cells.measure, []

    def broken(*arguments, **settings):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **settings)

    monkeypatch.setattr(cells, "measure", broken)
    with pytest.raises(KeyboardInterrupt):
        benchmark(suite_recipe, tmp_path, progress=False)
    assert len(list((tmp_path / "cells").iterdir())) == 2
    (next((tmp_path / "cells").iterdir())).write_bytes(b"damaged")
    results = benchmark(suite_recipe, tmp_path, progress=False)
    assert len(calls) == 3 + 11
    assert [row["nmse_db"] for row in results["rows"]] == [row["nmse_db"] for row in finished[1]["rows"]]


def test_quick_measures_less_and_the_module_is_callable(suite_recipe, tmp_path, no_report):
    results = channelfm.benchmark(
        suite_recipe, tmp_path, quick=True, overrides=["predictors=[zero-filling]"], progress=False
    )
    assert results["seed"] == 3
    assert {(row["mask_kind"], row["mask_ratio"], row["seeds"]) for row in results["rows"]} == {("random", 0.75, 1)}
    assert max(row["samples"] for row in results["rows"]) == 2


def test_noise_is_a_case_of_its_own(suite_recipe, tmp_path, no_report):
    settings = ["predictors=[zero-filling]", "snr_db=[null, 0]", "masks=[{ratios: [0.5]}]"]
    rows = benchmark(suite_recipe, tmp_path, overrides=settings, progress=False)["rows"]
    clean, noisy = (
        next(r for r in rows if (r["set"], r["group"], r["snr_db"]) == ("whole", "all", snr)) for snr in (None, 0.0)
    )
    assert clean["nmse_db"] == pytest.approx(-3.01, abs=0.3)
    assert noisy["nmse_db"] == pytest.approx(0.0, abs=0.7)  # half of the channel missing, half of it in noise


class Pupil:
    """Answers with the mean of what it was taught."""

    name = "zero-filling"
    taught = ()

    def __init__(self, spacing_wavelengths=0.5):
        self.mean = None

    def learn(self, channels):
        Pupil.taught += (channels.shape,)
        self.mean = channels.mean(axis=0)

    def predict(self, observed, mask):
        return np.where(mask, observed, self.mean).astype(np.complex64)


def test_predictors_that_learn_are_taught_with_the_train_split(suite_recipe, tmp_path, monkeypatch, no_report):
    monkeypatch.setattr(Pupil, "taught", ())
    monkeypatch.setitem(BASELINES, "zero-filling", Pupil)
    settings = ["predictors=[zero-filling]", "learn_samples=2"]
    results = benchmark(suite_recipe, tmp_path, overrides=settings, progress=False)
    assert Pupil.taught == ((2, 8, 8, 1), (2, 4, 6, 1))
    assert results["notes"] == []
    monkeypatch.setattr(cells, "training_channels", lambda links, array, samples: links.channels.grid[:0])
    with pytest.raises(InputError, match="no predictor could be measured"):
        benchmark(suite_recipe, tmp_path / "other", overrides=settings, progress=False)
    both = ["predictors=[zero-filling, wave-frame]", "masks=[{ratios: [0.5]}]"]
    results = benchmark(suite_recipe, tmp_path / "other", overrides=both, progress=False)
    assert {row["predictor"] for row in results["rows"]} == {"wave-frame"}
    assert len(results["notes"]) == 2
    assert no_report[-1].notes == results["notes"]
    assert "no link of split 'train'" in results["notes"][0]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("predictors=[nothing-of-the-kind]", "nothing-of-the-kind"),
        ("predictors=[runs/none/checkpoint]", "channelfm pretrain"),
        ("sets.0.split=val", "no split"),
        ("masks=[{kind: comb, ratios: [0.1]}]", "hides nothing"),
        ("masks=[{ratios: [1.0]}]", "less than 1"),
        ("sets.1.dataset=nowhere", "nowhere"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(suite_recipe, tmp_path, override, words):
    with pytest.raises(InputError, match=words):
        benchmark(suite_recipe, tmp_path, overrides=[override], progress=False)
    assert not list(tmp_path.iterdir())


def test_channels_with_nan_are_refused(suite_recipe, tmp_path, monkeypatch):
    read = suite.load_links

    def spoiled(*arguments):
        links = read(*arguments)
        links.channels.response[0, 0, 0] = np.nan
        return links

    monkeypatch.setattr(suite, "load_links", spoiled)
    with pytest.raises(InputError, match="NaN"):
        benchmark(suite_recipe, tmp_path, progress=False)
