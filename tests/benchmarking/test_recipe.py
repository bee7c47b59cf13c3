import pytest
from channelfm.benchmark.recipe import BenchmarkRecipe, mask_cases

from channelfm.config import load_recipe, parse_recipe
from channelfm.errors import InputError
from channelfm.tokens.masks import MASKS

LINKS = {"dataset": "data/x"}


@pytest.mark.parametrize("name", ["bench-extrapolation", "bench-generalisation", "bench-off-grid"])
def test_shipped_recipes_are_valid(name):
    settings = load_recipe(BenchmarkRecipe, name)
    assert "classical" in settings.predictors
    quick = settings.quickened()
    assert quick.max_samples < settings.max_samples
    assert len(mask_cases(quick.masks)) <= len(mask_cases(settings.masks))


def test_the_suite_of_the_issue_is_whole():
    settings = load_recipe(BenchmarkRecipe, "bench-extrapolation")
    cases = mask_cases(settings.masks)
    assert {ratio for kind, ratio in cases if kind == "random"} >= {n / 10 for n in range(1, 10)} | {0.95, 0.98, 0.99}
    assert {kind for kind, _ in cases} == set(MASKS)
    hard = next(part for part in settings.sets if part.name == "hard")
    assert hard.keep.line_of_sight is False
    assert hard.keep.more_paths_than == 6
    assert {part.split for part in settings.sets} == {"test"}
    assert len(settings.seeds) > 1


def test_a_quick_run_changes_only_what_it_names():
    values = {"name": "n", "sets": [LINKS], "seeds": [5, 6], "quick": {"max_samples": 3, "snr_db": [10]}}
    quick = parse_recipe(BenchmarkRecipe, values, "here").quickened()
    assert (quick.max_samples, quick.snr_db, quick.seeds) == (3, (10.0,), (5, 6))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"masks": [{"ratios": [1.0]}]}, "masks.0.ratios.0.*less than 1"),
        ({"masks": [{"ratios": [0.0]}]}, "greater than 0"),
        ({"masks": [{"kind": "stripes", "ratios": [0.5]}]}, "masks.0.kind.*random, rows"),
        ({"masks": [{"ratios": [0.5]}, {"ratios": [0.5]}]}, "random at 0.5.*twice"),
        ({"masks": []}, "masks"),
        ({"sets": [LINKS, LINKS]}, "'links' is there twice"),
        ({"sets": []}, "sets"),
        ({"sets": [LINKS | {"keep": {"paths": 3}}]}, "unknown key 'sets.0.keep.paths'"),
        ({"seeds": [1, 1]}, "seeds"),
        ({"snr_db": [None, None]}, "snr_db"),
        ({"snr_db": [1e9]}, "snr_db"),
        ({"device": "abacus"}, "device"),
        ({"unknown": 1}, "unknown key"),
    ],
)
def test_bad_recipes_are_refused(change, words):
    with pytest.raises(InputError, match=words):
        parse_recipe(BenchmarkRecipe, {"name": "n", "sets": [LINKS]} | change, "here")
