import numpy as np
import pytest

from channelfm.config import parse_recipe, shipped_recipes
from channelfm.datasets.recipe import ArrayRecipe, ChannelRecipe, DatasetRecipe
from channelfm.errors import InputError

SPLITS = ("train", "val", "test")


def recipe(**changes):
    values = {
        "name": "r",
        "scenes": [{"name": "s", "source": "procedural:1"}],
        "flights": [{"name": "f", "split": "train"}],
    }
    return parse_recipe(DatasetRecipe, values | changes, "test")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scenes": []}, "scenes"),
        ({"flights": []}, "flights"),
        ({"name": "a--b"}, "name"),
        ({"name": "../x"}, "name"),
        ({"scenes": [{"name": "s", "source": "munich"}]}, "source"),
        ({"scenes": [{"name": "s", "source": "procedural:1"}] * 2}, "used twice"),
        ({"flights": [{"name": "f", "split": "train"}] * 2}, "used twice"),
        ({"flights": [{"name": "f", "split": "train", "scenes": ["x"]}]}, "names scene 'x'"),
        ({"flights": [{"name": "f", "split": "exam"}]}, "split"),
        ({"flights": [{"name": "f", "split": "train", "speed_mps": [9, 5]}]}, "smaller value first"),
        ({"flights": [{"name": "f", "split": "train", "before_array": {"ahead_m": [0, 9]}}]}, "aside_m"),
        (
            {"flights": [{"name": "f", "split": "train", "before_array": {"ahead_m": [9, 0], "aside_m": [0, 1]}}]},
            "empty",
        ),
        (
            {"flights": [{"name": "f", "split": "train", "altitude_m": [1, 2], "below_array_m": [1, 2]}]},
            "not both",
        ),
        ({"seed": -1}, "seed"),
        ({"array": {"rows": 0}}, "array.rows"),
        ({"tracing": {"bounces": 2}}, "unknown key 'tracing.bounces'"),
    ],
)
def test_an_unusable_recipe_is_refused_in_words(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        recipe(**changes)
    assert "\n" not in str(caught.value)


def test_subcarriers_are_symmetric_about_the_carrier():
    assert ChannelRecipe().frequencies_hz(7e9) == pytest.approx([7e9], rel=1e-15)
    frequencies = ChannelRecipe(num_subcarriers=4, subcarrier_spacing_hz=1e6).frequencies_hz(7e9)
    np.testing.assert_allclose(frequencies - 7e9, [-1.5e6, -0.5e6, 0.5e6, 1.5e6])


def test_the_array_recipe_is_the_array():
    array = ArrayRecipe(rows=3, cols=2, carrier_hz=3.5e9, pattern="isotropic", orientation_rad=(1.0, 0.0, 0.0)).at(
        (1, 2, 3)
    )
    assert (array.rows, array.cols, array.carrier_hz, array.position) == (3, 2, 3.5e9, (1, 2, 3))
    assert (array.pattern, array.orientation_rad) == ("isotropic", (1.0, 0.0, 0.0))


@pytest.mark.parametrize("name", ["laetwin-mini", "dynamic-cities", "dynamic-uma", "dynamic-quick"])
def test_shipped_data_set_recipes_are_valid(name):
    from channelfm.config import load_recipe

    assert name in shipped_recipes()
    assert len(load_recipe(DatasetRecipe, name).flights) >= 2


def test_cities_of_the_dynamic_twin_never_cross_splits():
    from channelfm.config import load_recipe

    recipe = load_recipe(DatasetRecipe, "dynamic-cities")
    cities = {split: {name for f in recipe.flights if f.split == split for name in f.scenes} for split in SPLITS}
    assert not cities["train"] & cities["val"]
    assert not (cities["train"] | cities["val"]) & cities["test"]
    assert set.union(*cities.values()) == {scene.name for scene in recipe.scenes}
    assert {(f.num_steps, f.interval_s) for f in recipe.flights} == {(20, 1e-3)}
