import pytest
import yaml

from channelfm.benchmarking.recipe import BenchmarkRecipe, read_benchmark
from channelfm.config import parse_recipe, shipped_recipes
from channelfm.errors import InputError
from channelfm.tasks import Extrapolation, Prediction
from channelfm.tokens.masks import MASKS

LINKS = {"dataset": "data/x"}
MASKED = {"name": "n", "task": {"kind": "extrapolation"}, "sets": [LINKS]}
BENCHMARKS = [name for name in shipped_recipes() if name.startswith("bench-") and name != "bench-generation"]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_shipped_recipes_are_valid(name):
    settings = read_benchmark(name)
    assert settings.predictors
    quick = settings.quickened()
    assert quick.max_samples < settings.max_samples
    assert len(quick.task.cases()) <= len(settings.task.cases())
    assert not quick.tuning.recipes


def test_the_suites_of_the_issues_are_whole():
    settings = read_benchmark("bench-extrapolation")
    cases = settings.task.cases()
    ratios = {case.mask_ratio for case in cases if case.mask_kind == "random"}
    assert ratios >= {n / 10 for n in range(1, 10)} | {0.95, 0.98, 0.99}
    assert {case.mask_kind for case in cases} == set(MASKS)
    hard = next(part for part in settings.sets if part.name == "hard")
    assert (hard.keep.line_of_sight, hard.keep.more_paths_than) == (False, 6)
    assert len(settings.seeds) > 1
    prediction = read_benchmark("bench-prediction")
    assert prediction.task.horizons == (1, 2, 4, 8)
    assert {(case.snr_db, case.comb) for case in prediction.task.cases()} == {
        (snr_db, comb) for snr_db in (None, 20, 10, 0) for comb in (1, 2, 4)
    }
    assert prediction.tuning.percent == (0, 1, 2, 10, 50, 100)


def test_a_quick_run_changes_only_what_it_names():
    values = MASKED | {"seeds": [5, 6], "quick": {"max_samples": 3, "task": {"snr_db": [10]}}}
    quick = parse_recipe(BenchmarkRecipe, values, "here").quickened()
    assert (quick.max_samples, quick.task.snr_db, quick.seeds) == (3, (10.0,), (5, 6))
    assert quick.task.masks == Extrapolation().masks


def read(folder, values, *overrides):
    (folder / "old.yaml").write_text(yaml.safe_dump(values))
    return read_benchmark(folder / "old.yaml", overrides)


def test_recipes_of_format_1_are_read(tmp_path):
    flat = {"name": "n", "sets": [LINKS], "masks": [{"ratios": [0.5]}], "quick": {"snr_db": [3]}}
    found = read(tmp_path, flat, "snr_db=[null, 20]", "masks.0.ratios=[0.75]", "quick.masks=[{ratios: [0.9]}]")
    assert found.task == Extrapolation(masks=[{"ratios": [0.75]}], snr_db=[None, 20])
    assert found.quickened().task == Extrapolation(masks=[{"ratios": [0.9]}], snr_db=[3])
    ahead = {"name": "n", "task": "prediction", "sets": [LINKS], "context": 4, "max_sequences": 7}
    found = read(tmp_path, ahead, "combs=[1, 2]", "quick.max_sequences=2")
    assert found.task == Prediction(context=4, combs=(1, 2), alignment="clean")  # as its numbers were
    assert (found.max_samples, found.quick.max_samples) == (7, 2)


def test_overrides_of_format_1_change_recipes_of_format_2(tmp_path):
    found = read(tmp_path, MASKED, "snr_db=[20]", "quick.snr_db=[3]", "task.masks=[{ratios: [0.2]}]")
    assert (found.task.snr_db, found.quickened().task.snr_db) == ((20.0,), (3.0,))
    assert found.task.masks[0].ratios == (0.2,)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"context": 3}, "old.yaml: unknown key 'task.extrapolation.context'.*masks, snr_db"),
        ({"task": "prediction", "masks": []}, "old.yaml: unknown key 'task.prediction.masks'.*context"),
        ({"task": "soothsaying"}, "old.yaml: task.*soothsaying"),
        ({"quick": {"context": 3}}, "old.yaml: .*quick.task: unknown key 'context'"),
        ({"max_links": 3}, "old.yaml: unknown key 'max_links'"),
    ],
)
def test_fields_that_do_not_apply_are_refused_with_their_file(tmp_path, values, words):
    with pytest.raises(InputError, match=words):
        read(tmp_path, {"name": "n", "sets": [LINKS]} | values)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task": {"kind": "extrapolation", "masks": [{"ratios": [1.0]}]}}, "masks.0.ratios.0.*less than 1"),
        ({"task": {"kind": "extrapolation", "masks": [{"ratios": [0.5, 0.5]}]}}, "task: 'random 0.5' is there twice"),
        ({"task": {"kind": "extrapolation", "snr_db": [None, None]}}, "task: 'random 0.5' is there twice"),
        ({"task": {"snr_db": [3]}}, "kind"),
        ({"sets": [LINKS, LINKS]}, "'links' is there twice"),
        ({"sets": [LINKS | {"keep": {"paths": 3}}]}, "unknown key 'sets.0.keep.paths'"),
        ({"task": {"kind": "prediction"}, "sets": [LINKS | {"array": [4, 4]}]}, "choose single links"),
        ({"tuning": {"recipes": ["tune-gru-small"]}}, "tuned on sequences"),
        ({"seeds": [1, 1]}, "seeds"),
        ({"time_budget_s": 0}, "time_budget_s"),
        ({"device": "abacus"}, "device"),
    ],
)
def test_bad_recipes_are_refused(change, words):
    with pytest.raises(InputError, match=words):
        parse_recipe(BenchmarkRecipe, MASKED | change, "here")
