"""A small recipe, and the data set that an undisturbed run makes of it."""

import pytest

from channelfm.config import parse_recipe
from channelfm.datasets.generate import Workforce, generate
from channelfm.datasets.recipe import DatasetRecipe

SEED_OF_TEST = 5


@pytest.fixture(scope="session")
def street_map(tmp_path_factory, write_map):
    return write_map(tmp_path_factory.mktemp("maps") / "corner.osm")


@pytest.fixture(scope="session")
def recipe(street_map):
    """A small city, the image method, an array of 3 x 4: a fraction of a second per unit."""
    values = {
        "name": "small",
        "seed": 1,
        "array": {"rows": 3, "cols": 4, "height_m": 45.0},
        "scenes": [{"name": "corner", "source": f"osm:{street_map}"}],
        "flights": [
            {"name": "f", "split": "train", "num_uavs": 3, "num_steps": 4},
            {"name": "g", "split": "test", "num_uavs": 1, "num_steps": 4, "seed": SEED_OF_TEST},
        ],
        "tracing": {"method": "images", "max_depth": 1},
        "channel": {"num_subcarriers": 2},
    }
    return parse_recipe(DatasetRecipe, values, "test")


@pytest.fixture(scope="session")
def made(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    generate(recipe, folder, progress=False, workforce=Workforce(processes=1))
    return folder


@pytest.fixture(scope="session")
def contents():
    """Reads all files of a data set, by name, but those with wall times: the card and generation*.json."""

    def read(folder):
        names = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        timed = ("generation", "README", "card/")
        return {name: path.read_bytes() for name, path in names.items() if not name.startswith(timed)}

    return read
