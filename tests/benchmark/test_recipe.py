import json
from pathlib import Path

import pytest
import yaml

import channelfm
from channelfm.baselines import BASELINES
from channelfm.benchmark.recipe import BenchmarkRecipe, benchmark, load_predictor
from channelfm.config import load_recipe
from channelfm.errors import InputError

DATA = {
    "name": "tiny",
    "array": {"rows": 8, "cols": 8},
    "scenes": [{"name": "grid", "source": "procedural:1"}],
    "flights": [
        {"name": "first", "split": "train", "num_uavs": 1, "num_steps": 2},
        {"name": "second", "split": "test", "num_uavs": 1, "num_steps": 4},
    ],
    "tracing": {"method": "images", "max_depth": 1},
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """A benchmark recipe on a data set that it generates itself, by the image method."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(DATA))
    settings = {
        "name": "tiny bench",
        "dataset": str(folder / "data"),
        "data_recipe": str(folder / "tiny.yaml"),
        "mask_ratios": [0.5],
        "quick_samples": 2,
    }
    (folder / "bench.yaml").write_text(yaml.safe_dump(settings))
    return folder / "bench.yaml"


def test_one_call_from_recipe_to_report(recipe, tmp_path):
    results = benchmark(recipe, tmp_path, progress=False)
    assert [row["predictor"] for row in results["rows"]] == list(BASELINES)
    assert results["rows"][0]["samples"] + results["left_out"] == 4
    assert results["scene"] == "grid"
    assert json.loads((tmp_path / "results.json").read_text()) == results
    page = (tmp_path / "report.html").read_text()
    assert "8 x 8 at 7 GHz" in page
    assert page.count("data:image/svg+xml") == 4


def test_quick_measures_fewer_and_the_module_is_callable(recipe, tmp_path):
    settings = ["predictors=[zero-filling]", "mask_ratios=[0.75, 0.9]"]
    results = channelfm.benchmark(recipe, tmp_path, quick=True, overrides=settings, progress=False)
    assert [(row["mask_ratio"], row["samples"]) for row in results["rows"]] == [(0.75, 2), (0.9, 2)]


def test_shipped_recipe_is_valid():
    assert set(load_recipe(BenchmarkRecipe, "bench-extrapolation").predictors) == set(BASELINES)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("mask_ratios=[1.0]", "less than 1"),
        ("predictors=[nothing-of-the-kind]", "nothing-of-the-kind"),
        ("split=val", "no split"),
        ("unknown=1", "unknown key"),
    ],
)
def test_bad_recipes_are_refused(recipe, tmp_path, override, words):
    with pytest.raises(InputError, match=words):
        benchmark(recipe, tmp_path, overrides=[override], progress=False)
    assert not list(tmp_path.iterdir())


def test_a_folder_without_data_is_refused(recipe, tmp_path):
    with pytest.raises(InputError):
        benchmark(recipe, tmp_path, overrides=[f"dataset={tmp_path / 'no'}", "data_recipe=null"], progress=False)


def test_classical_predictors_get_the_spacing():
    assert load_predictor("off-grid", 0.4).spacing_wavelengths == 0.4
