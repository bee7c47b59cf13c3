"""Benchmarks whose data ship with the package run without maps; what lies in their folders comes first."""

import pytest

from channelfm.benchmarking import sets
from channelfm.benchmarking.recipe import DataRecipe, read_benchmark
from channelfm.benchmarking.sets import describe_data, open_set
from channelfm.config import load_recipe, shipped_recipes
from channelfm.datasets import DatasetRecipe
from channelfm.datasets.packaged import packaged_folder


def drawn_from_models(name: str) -> bool:
    """Whether all channels of a data set are drawn from a model, which takes seconds and neither maps nor rays."""
    return all(scene.is_stochastic for scene in load_recipe(DatasetRecipe, name).scenes)


# Not the recipe of a data set, nor that of a street map's channels.
OTHERS = ("bench-generation", "bench-off-grid")
RECIPES = {name: read_benchmark(name) for name in shipped_recipes() if name.startswith("bench-") and name not in OTHERS}
RECIPES["bench-prediction"] = RECIPES["bench-prediction"].quickened()  # whose full set is made from maps
SHIPPED = {
    f"{name}-{part.name}": part
    for name, recipe in RECIPES.items()
    for part in recipe.sets
    if not drawn_from_models(str(part.data_recipe))
}
EASY = SHIPPED["bench-extrapolation-easy"]


@pytest.fixture(autouse=True)
def made(tmp_path, monkeypatch) -> list[str]:
    """The folders in which a data set would have been made; an empty folder to stand in."""
    asked: list[str] = []

    def generate(recipe: str, out: str, progress: bool) -> None:
        asked.append(out)
        raise RuntimeError("no maps here")

    monkeypatch.setattr(sets, "generate", generate)
    monkeypatch.chdir(tmp_path)
    return asked


@pytest.mark.parametrize("settings", SHIPPED.values(), ids=SHIPPED)
def test_the_data_of_a_benchmark_ship_with_the_package(settings: DataRecipe, made: list[str]) -> None:
    dataset = open_set(settings)
    assert dataset.folder == packaged_folder(str(settings.data_recipe))
    assert dataset.manifest.is_whole(settings.split)
    assert describe_data(dataset).startswith(f"{settings.data_recipe}, packaged, ")
    assert not made


def test_what_lies_in_the_folder_comes_first(tmp_path, made: list[str]) -> None:
    (tmp_path / EASY.dataset).mkdir(parents=True)
    with pytest.raises(RuntimeError, match="no maps here"):
        open_set(EASY)
    assert made == [EASY.dataset]


def test_a_split_that_is_not_whole_is_made(made: list[str]) -> None:
    with pytest.raises(RuntimeError, match="no maps here"):
        open_set(EASY.model_copy(update={"split": "train"}))
    assert made == [EASY.dataset]


def test_data_of_another_recipe_are_made(monkeypatch, made: list[str]) -> None:
    other = load_recipe(DatasetRecipe, str(EASY.data_recipe), ["seed=12345"])
    monkeypatch.setattr(sets, "load_recipe", lambda *_: other)
    with pytest.raises(RuntimeError, match="no maps here"):
        open_set(EASY)
    assert made == [EASY.dataset]
